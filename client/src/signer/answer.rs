//! Whether a signer signed what it was asked to sign.

use overlay_protocol::envelope::Limits;
use overlay_protocol::envelope::v2::{Request, SecureRequest};
use overlay_protocol::error::DecodeError;
use overlay_tokens::claims::ClientClaims;
use overlay_tokens::request::{RequestError, RequestPolicy, verify_request};
use overlay_tokens::{Issuers, PublicKey, UnixTime, Unverified};

/// What is wrong with a signer's answer.
#[derive(Debug, thiserror::Error)]
pub enum AnswerFault {
    /// It is no signed request.
    #[error("it is no signed request")]
    Decode(#[from] DecodeError),
    /// It is no JSON of the shape that was agreed.
    #[error("it is not understood")]
    Shape(#[source] serde_json::Error),
    /// It names no signer.
    #[error("remote signer did not set a signer JWT")]
    NoSigner,
    /// Something else was signed.
    #[error("`{0}` is not as it was submitted")]
    Changed(&'static str),
    /// The signer's token is no client's.
    #[error("the signer's token is none")]
    Token(#[from] overlay_tokens::DecodeError),
    /// The signature is not the signer's.
    #[error("the signature is not made with the key of the signer's token")]
    Signature,
    /// The nodes would not accept it.
    #[error("the fleet would not accept it")]
    Untrusted(#[from] RequestError),
}

/// What an answer is held against.
#[derive(Debug, Clone)]
pub struct Check<'a> {
    /// The bytes that were to be signed.
    pub submitted: &'a [u8],
    /// The caller's token.
    pub token: &'a str,
    /// Whom the fleet trusts, where it is known.
    pub issuers: Option<&'a Issuers>,
    /// The time of day.
    pub now: UnixTime,
    /// Bounds of the answer.
    pub limits: Limits,
}

impl Check<'_> {
    /// Reads a signed request, and makes it the caller's.
    ///
    /// # Errors
    ///
    /// It is not what was submitted, apart from the name of the caller, or its signature does not count.
    pub fn signed(&self, bytes: &[u8]) -> Result<SecureRequest, AnswerFault> {
        let mut signed = SecureRequest::decode(bytes, &self.limits)?;
        let Some(signer) = signed.signer.as_deref() else {
            return Err(AnswerFault::NoSigner);
        };
        let token = Unverified::<ClientClaims>::decode(signer)?;
        let key: Option<PublicKey> = token.claims_unverified().standard.public_key.parse().ok();
        if !key.is_some_and(|key| key.verify(&signed.request, &signed.signature)) {
            return Err(AnswerFault::Signature);
        }
        let submitted = Request::decode(self.submitted, &self.limits)?;
        let answered = Request::decode(&signed.request, &self.limits)?;
        if let Some(member) = difference(&submitted, &answered) {
            return Err(AnswerFault::Changed(member));
        }
        self.token.clone_into(&mut signed.caller);
        if let Some(issuers) = self.issuers {
            // How a delegator names callers is between it and the nodes.
            let policy = RequestPolicy {
                bind_delegated_caller: false,
                limits: self.limits,
            };
            verify_request(&signed, issuers, self.now, &policy)?;
        }
        Ok(signed)
    }
}

/// The first member that differs, the caller aside.
fn difference(submitted: &Request, answered: &Request) -> Option<&'static str> {
    let same = [
        ("message", submitted.message == answered.message),
        ("id", submitted.id == answered.id),
        ("sender", submitted.sender == answered.sender),
        ("collective", submitted.collective == answered.collective),
        ("agent", submitted.agent == answered.agent),
        ("ttl", submitted.ttl == answered.ttl),
        ("time", submitted.time_ns == answered.time_ns),
        ("filter", submitted.filter == answered.filter),
    ];
    same.iter().find(|(_, same)| !same).map(|(name, _)| *name)
}
