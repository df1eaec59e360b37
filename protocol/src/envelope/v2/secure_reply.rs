use std::fmt;

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::{FRAME_BYTES, SECURE_REPLY};
use crate::b64::{self, Bytes};
use crate::error::{DecodeError, Layer};
use crate::json::{Limits, Member, Object, encode_about, text};

const MEMBERS: &[Member] = &[
    text("protocol"),
    text("reply"),
    text("hash"),
    text("signature"),
    text("sender"),
];

/// Reply with its hash and, unless the node was told not to sign, with the proof of who replied.
///
/// The hash proves nothing but that the bytes are whole: anybody can make one.
#[derive(Clone, PartialEq, Eq)]
pub struct SecureReply {
    /// The hashed and signed bytes, as received.
    pub reply: Vec<u8>,
    /// SHA-256 of `reply`.
    pub hash: [u8; 32],
    /// Raw ed25519 signature over `reply`.
    pub signature: Option<Vec<u8>>,
    /// Token of the node that replied.
    pub sender: Option<String>,
}

impl SecureReply {
    /// Hashes a reply that is not signed.
    #[must_use]
    pub fn new(reply: Vec<u8>) -> Self {
        let hash = Sha256::digest(&reply).into();
        Self {
            reply,
            hash,
            signature: None,
            sender: None,
        }
    }

    /// Decodes the data of a transport and checks the hash; the signature is not verified.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Hash`] when the hash is not that of the reply, another [`DecodeError`] for broken bytes.
    pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Self, DecodeError> {
        let object = Object::decode(Layer::SecureReply, MEMBERS, bytes, limits)?;
        object.protocol(SECURE_REPLY)?;
        let reply = object.base64("reply")?;
        let claimed = object.str("hash")?;
        let mut decoded = Self::new(reply);
        if b64::decode(claimed.as_bytes()).ok().as_deref() != Some(decoded.hash.as_slice()) {
            return Err(DecodeError::Hash);
        }
        if let Some(signature) = object.optional_text("signature")? {
            let bytes = b64::decode(signature.as_bytes());
            decoded.signature = Some(bytes.map_err(|error| object.bad("signature", error))?);
        }
        decoded.sender = object
            .optional_text("sender")?
            .map(|token| token.trim().to_owned());
        Ok(decoded)
    }

    /// Encodes for the data of a transport.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let token = self.sender.as_ref().map_or(0, String::len);
        let wire = Wire {
            protocol: SECURE_REPLY,
            reply: Bytes(&self.reply),
            hash: Bytes(&self.hash),
            signature: self.signature.as_deref().map(Bytes),
            sender: self.sender.as_deref(),
        };
        encode_about(&wire, b64::length(&self.reply) + token + FRAME_BYTES)
    }
}

impl fmt::Debug for SecureReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecureReply")
            .field("reply_bytes", &self.reply.len())
            .field("signature_bytes", &self.signature.as_ref().map(Vec::len))
            .field("sender_bytes", &self.sender.as_ref().map(String::len))
            .finish()
    }
}

#[derive(Serialize)]
struct Wire<'a> {
    protocol: &'static str,
    reply: Bytes<'a>,
    hash: Bytes<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signature: Option<Bytes<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sender: Option<&'a str>,
}
