use std::fmt;

use serde::Serialize;

use super::{FRAME_BYTES, SECURE_REQUEST};
use crate::b64::{self, Bytes};
use crate::error::{DecodeError, Layer};
use crate::json::{Limits, Member, Object, encode_about, text};

const MEMBERS: &[Member] = &[
    text("protocol"),
    text("request"),
    text("signature"),
    text("caller"),
    text("signer"),
];

/// What stands in place of a signature on requests that need none: those to the signer itself, and in provisioning.
pub const INSECURE_SIGNATURE: &[u8] = b"insecure";

/// Request with the proof of who asks. Nothing is proved before the signature and the tokens are verified.
#[derive(Clone, PartialEq, Eq)]
pub struct SecureRequest {
    /// The signed bytes, as received.
    pub request: Vec<u8>,
    /// Raw ed25519 signature over `request`, or [`INSECURE_SIGNATURE`].
    pub signature: Vec<u8>,
    /// Token of the caller, without surrounding white space.
    pub caller: String,
    /// Token of the delegator that signed in the caller's stead.
    pub signer: Option<String>,
}

impl SecureRequest {
    /// Decodes the data of a transport.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] says which limit, member or rule was broken.
    pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Self, DecodeError> {
        let object = Object::decode(Layer::SecureRequest, MEMBERS, bytes, limits)?;
        object.protocol(SECURE_REQUEST)?;
        // token files end in a line feed more often than not, and some clients send them whole
        let caller = object.str("caller")?.trim().to_owned();
        if caller.is_empty() {
            return Err(object.missing("caller"));
        }
        let signer = object.str("signer")?.trim();
        Ok(Self {
            request: object.base64("request")?,
            signature: object.base64("signature")?,
            caller,
            signer: if signer.is_empty() {
                None
            } else {
                Some(signer.to_owned())
            },
        })
    }

    /// Encodes for the data of a transport, or for the answer of a signer.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let tokens = self.caller.len() + self.signer.as_ref().map_or(0, String::len);
        let wire = Wire {
            protocol: SECURE_REQUEST,
            request: Bytes(&self.request),
            signature: Bytes(&self.signature),
            caller: &self.caller,
            signer: self.signer.as_deref(),
        };
        encode_about(&wire, b64::length(&self.request) + tokens + FRAME_BYTES)
    }

    /// Tells whether there is no signature, only the word that says so.
    #[must_use]
    pub fn is_unsigned(&self) -> bool {
        self.signature == INSECURE_SIGNATURE
    }
}

impl fmt::Debug for SecureRequest {
    // tokens are not secret, but with a key they are a login: keep them out of logs
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecureRequest")
            .field("request_bytes", &self.request.len())
            .field("signature_bytes", &self.signature.len())
            .field("caller_bytes", &self.caller.len())
            .field("signer_bytes", &self.signer.as_ref().map(String::len))
            .finish()
    }
}

#[derive(Serialize)]
struct Wire<'a> {
    protocol: &'static str,
    request: Bytes<'a>,
    signature: Bytes<'a>,
    caller: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    signer: Option<&'a str>,
}
