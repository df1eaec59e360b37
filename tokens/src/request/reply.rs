//! Who answered: the signature of a reply and the server token behind it, which Choria's own clients never look at.

use std::sync::Arc;

use overlay_protocol::DecodeError as MessageError;
use overlay_protocol::envelope::Limits;
use overlay_protocol::envelope::v2::{Reply, SecureReply};

use crate::UnixTime;
use crate::cache::{TokenError, VerifiedCache};
use crate::claims::ServerClaims;
use crate::issuers::Issuers;
use crate::key::{Key, KeyError};
use crate::token::Unverified;

/// A reply and what is known about who made it.
#[derive(Debug)]
pub struct VerifiedReply {
    /// The reply; its sender is only as good as `trust`.
    pub reply: Reply,
    /// Whether the sender is proved.
    pub trust: ReplyTrust,
}

/// What is known about who made a reply.
#[derive(Debug)]
pub enum ReplyTrust {
    /// The node proved that it is the sender that the reply names.
    Signed {
        /// Its identity.
        identity: String,
    },
    /// Nobody signed: the node is configured so. Anybody who saw the reply subject may have sent it.
    Unsigned,
    /// A proof was given and does not hold.
    Bad(BadReply),
}

/// Why the proof of a reply does not hold.
#[derive(Debug, thiserror::Error)]
pub enum BadReply {
    /// A signature without a token, or a token without a signature.
    #[error("reply has a signature or a token, but not both")]
    Half,
    /// The token is not to be trusted, or is no server's.
    #[error("sender token refused")]
    Token(#[source] TokenError),
    /// The token has no usable public key.
    #[error("sender token has no usable public key")]
    NoPublicKey(#[source] KeyError),
    /// The signature is not by the key of the token.
    #[error("reply signature is invalid")]
    Signature,
    /// The reply names another sender than the token.
    #[error("reply of `{sender}` is signed by `{identity}`")]
    OtherSender {
        /// Name in the reply.
        sender: String,
        /// Name in the token.
        identity: String,
    },
}

/// Signs a reply with a node's key, and adds its token.
pub fn sign_reply(reply: Vec<u8>, key: &Key, server_jwt: &str) -> SecureReply {
    let signature = key.sign(&reply).to_vec();
    let mut signed = SecureReply::new(reply);
    signed.signature = Some(signature);
    signed.sender = Some(server_jwt.trim().to_owned());
    signed
}

/// Verifies who made a reply, and decodes it. The hash was checked when the secure reply was decoded.
///
/// Only a reply that cannot be read is an error; what to do with an unsigned or badly signed one is the client's choice.
/// That it answers this request is to be checked by its `request` id.
pub fn verify_reply(
    secure: &SecureReply,
    issuers: &Issuers,
    now: UnixTime,
    limits: &Limits,
    tokens: Option<&VerifiedCache<ServerClaims>>,
) -> Result<VerifiedReply, MessageError> {
    let proof = prove(secure, issuers, now, tokens);
    let reply = Reply::decode(&secure.reply, limits)?;
    let trust = match proof {
        Ok(None) => ReplyTrust::Unsigned,
        Ok(Some(identity)) if identity == reply.sender => ReplyTrust::Signed { identity },
        Ok(Some(identity)) => ReplyTrust::Bad(BadReply::OtherSender {
            sender: reply.sender.clone(),
            identity,
        }),
        Err(bad) => ReplyTrust::Bad(bad),
    };
    Ok(VerifiedReply { reply, trust })
}

/// The proved identity, or nothing for an unsigned reply.
fn prove(
    secure: &SecureReply,
    issuers: &Issuers,
    now: UnixTime,
    tokens: Option<&VerifiedCache<ServerClaims>>,
) -> Result<Option<String>, BadReply> {
    let (signature, sender) = match (&secure.signature, &secure.sender) {
        (None, None) => return Ok(None),
        (Some(signature), Some(sender)) => (signature, sender),
        (Some(_), None) | (None, Some(_)) => return Err(BadReply::Half),
    };
    let server = match tokens {
        Some(tokens) => tokens.verify(sender, issuers, now),
        None => Unverified::decode(sender)
            .map_err(TokenError::from)
            .and_then(|token| Ok(Arc::new(token.verify(issuers, now)?))),
    }
    .map_err(BadReply::Token)?;
    let key = server.public_key().map_err(BadReply::NoPublicKey)?;
    if !key.verify(&secure.reply, signature) {
        return Err(BadReply::Signature);
    }
    Ok(Some(server.identity.clone()))
}
