//! Requests to bytes, bytes to replies.

use std::time::Duration;

use bytes::Bytes;
use overlay_protocol::envelope::Limits;
use overlay_protocol::envelope::v2::{Reply, Request, SecureReply, SecureRequest, Transport};
use overlay_protocol::error::DecodeError;
use overlay_protocol::filter::Filter;
use overlay_protocol::id::{AgentName, Collective, Identity, Ksuid};
use overlay_protocol::rpc::RpcReply;
use overlay_tokens::claims::ClientClaims;
use overlay_tokens::request::{ReplyTrust, VerifiedReply, verify_reply};
use overlay_tokens::{Issuers, UnixTime, Unverified};

use crate::clock;
use crate::credentials::Credentials;

/// A request before it is signed; each signing has its own time.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    pub(crate) id: Ksuid,
    pub(crate) collective: Collective,
    pub(crate) agent: AgentName,
    pub(crate) filter: Filter,
    pub(crate) payload: Vec<u8>,
    pub(crate) ttl: Duration,
    pub(crate) sender: Identity,
    pub(crate) reply_to: String,
}

/// A new id for a request; none if this machine has no random numbers.
pub(crate) fn new_id() -> Option<Ksuid> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).ok()?;
    let seconds = u64::try_from(clock::now().secs).ok()?;
    Ksuid::from_parts(seconds, random).ok()
}

impl Draft {
    /// The bytes that are to be signed, as of `now_ns`.
    pub(crate) fn request(&self, credentials: &Credentials, now_ns: i64) -> Vec<u8> {
        Request {
            message: self.payload.clone(),
            id: self.id.to_string(),
            sender: self.sender.to_string(),
            caller: credentials.caller().to_owned(),
            collective: self.collective.to_string(),
            agent: self.agent.to_string(),
            ttl: self.ttl,
            time_ns: now_ns,
            filter: Some(self.filter.clone()),
        }
        .encode()
    }

    /// Packs the signed request for the broker.
    pub(crate) fn pack(&self, signed: &SecureRequest) -> Bytes {
        let mut transport = Transport::new(signed.encode());
        transport.reply = Some(self.reply_to.clone());
        transport.sender = Some(self.sender.to_string());
        transport.encode().into()
    }
}

/// A reply as it came, with what is known of its truth.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The reply's envelope; `sender` is the node's name.
    pub reply: Reply,
    /// Whether the sender is who it says.
    pub trust: Trust,
}

/// Whether a reply is from whom it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// Signed with the key of a valid node token of that name.
    Verified,
    /// No issuers are configured, so nobody checked.
    Unchecked,
    /// Not signed although issuers are configured.
    Unsigned,
    /// Signed, and the signature or the token is wrong.
    Bad(String),
}

/// Why bytes on a reply subject are no reply.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AnswerError {
    /// Not a message of the protocol, or its hash is wrong.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The reply is to another request.
    #[error("the reply is to request `{0}`")]
    OtherRequest(String),
    /// A reply of nobody.
    #[error("the reply has no sender")]
    NoSender,
}

impl Answer {
    /// Reads what came on the reply subject of request `id`.
    ///
    /// # Errors
    ///
    /// It is no reply to this request.
    pub(crate) fn decode(
        bytes: &[u8],
        id: &str,
        limits: &Limits,
    ) -> Result<(Self, SecureReply), AnswerError> {
        let transport = Transport::decode(bytes, limits)?;
        let secure = SecureReply::decode(&transport.data, limits)?;
        let reply = Reply::decode(&secure.reply, limits)?;
        if reply.request != id {
            return Err(AnswerError::OtherRequest(reply.request));
        }
        if reply.sender.is_empty() {
            return Err(AnswerError::NoSender);
        }
        Ok((
            Self {
                reply,
                trust: Trust::Unchecked,
            },
            secure,
        ))
    }

    /// Checks signature and token of the reply, if there is something to check with.
    pub(crate) fn check(
        &mut self,
        secure: &SecureReply,
        issuers: Option<&Issuers>,
        now: UnixTime,
        limits: &Limits,
    ) {
        let Some(issuers) = issuers else { return };
        self.trust = match verify_reply(secure, issuers, now, limits, None) {
            Ok(VerifiedReply {
                trust: ReplyTrust::Signed { .. },
                ..
            }) => Trust::Verified,
            Ok(VerifiedReply {
                trust: ReplyTrust::Unsigned,
                ..
            }) => Trust::Unsigned,
            Ok(VerifiedReply {
                trust: ReplyTrust::Bad(bad),
                ..
            }) => Trust::Bad(chain(&bad)),
            Err(error) => Trust::Bad(chain(&error)),
        };
    }

    /// Checks a reply of the service `provisioner` instead, which is no node: it signs with the client token that
    /// lets it provision, and names itself by its caller id. What a node signs in its place is not believed.
    pub(crate) fn check_provisioner(
        &mut self,
        secure: &SecureReply,
        issuers: Option<&Issuers>,
        now: UnixTime,
    ) {
        let Some(issuers) = issuers else { return };
        self.trust = if is_provisioners(secure, &self.reply.sender, issuers, now) {
            Trust::Verified
        } else if secure.signature.is_none() {
            Trust::Unsigned
        } else {
            Trust::Bad("the reply is not signed by a provisioner".to_owned())
        };
    }

    /// The reply's body as an action's result.
    ///
    /// # Errors
    ///
    /// It is none.
    pub fn body(&self, limits: &Limits) -> Result<RpcReply, DecodeError> {
        RpcReply::decode(&self.reply.message, limits)
    }
}

impl Trust {
    /// Whether the reply may be taken for the sender's without a word.
    #[must_use]
    pub fn is_good(&self) -> bool {
        matches!(self, Self::Verified | Self::Unchecked)
    }
}

fn is_provisioners(secure: &SecureReply, sender: &str, issuers: &Issuers, now: UnixTime) -> bool {
    let (Some(signature), Some(token)) = (&secure.signature, &secure.sender) else {
        return false;
    };
    let Ok(token) = Unverified::<ClientClaims>::decode(token) else {
        return false;
    };
    let Ok(token) = token.verify(issuers, now) else {
        return false;
    };
    token.granted().provisioner
        && token.callerid == sender
        && token
            .public_key()
            .is_ok_and(|key| key.verify(&secure.reply, signature))
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
