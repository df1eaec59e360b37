//! A service agent's side of requests: which are taken, which are answered with a refusal, and how answers are signed.

use std::time::Duration;

use overlay_protocol::envelope::Limits;
use overlay_protocol::envelope::v2::{Reply, SecureReply, SecureRequest, Transport};
use overlay_protocol::rpc::ddl::{self, Ddl};
use overlay_protocol::rpc::{RpcReply, RpcRequest, StatusCode};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::judge::{Denial, judge};
use super::seen::{Digest, Seen, Sight};
use super::{RequestError, RequestPolicy, RequestVerifier, VerifiedRequest};
use crate::UnixTime;
use crate::issuers::Issuers;
use crate::key::Key;

/// Tokens of callers that are remembered as verified.
const TOKENS: usize = 256;
/// Requests that are remembered, so that none is done twice.
const REQUESTS: usize = 10_000;
/// The longest life of a request that is believed: what is remembered is bounded by it.
pub const MAX_REQUEST_LIFE: Duration = Duration::from_secs(600);
/// What callers are told who may not; why is for the log.
const NOT_AUTHORISED: &str = "You are not authorized to call this agent or action";

/// Verifies requests to one service agent, with a memory of what it saw.
#[derive(Debug)]
pub struct ServiceAgent {
    ddl: &'static Ddl,
    verifier: RequestVerifier,
    seen: Seen,
    limits: Limits,
}

/// A request that gets an answer.
#[derive(Debug)]
pub struct TakenRequest {
    /// Caller id of who asks.
    pub caller: String,
    /// Id of the request.
    pub id: String,
    /// Where the answer goes.
    pub reply_to: String,
    /// Of the bytes that were signed.
    pub digest: Digest,
    /// What is to be done, or why not.
    pub call: Result<ServiceCall, Box<RefusedCall>>,
}

/// An action to be done.
#[derive(Debug)]
pub struct ServiceCall {
    /// One of the agent's description.
    pub action: &'static str,
    /// Inputs, as the description wants them.
    pub inputs: Map<String, Value>,
}

/// An action that is not to be done.
#[derive(Debug)]
pub struct RefusedCall {
    /// Why not.
    pub refusal: CallRefusal,
    /// The answer.
    pub reply: RpcReply,
}

/// Why an action is not to be done.
#[derive(Debug)]
pub enum CallRefusal {
    /// What was signed names no action.
    Unreadable,
    /// The agent has none of that name.
    Unknown,
    /// The caller may not, by its own token.
    Denied {
        /// One of the agent's description.
        action: &'static str,
        /// Why.
        reason: Denial,
    },
    /// The inputs are none of the action's.
    Invalid {
        /// One of the agent's description.
        action: &'static str,
    },
}

/// Why a request gets no answer.
#[derive(Debug, thiserror::Error)]
pub enum DroppedRequest {
    /// It is no message of the protocol.
    #[error(transparent)]
    Message(#[from] overlay_protocol::DecodeError),
    /// Nobody can be held to it.
    #[error(transparent)]
    Unverified(#[from] RequestError),
    /// It is for another agent.
    #[error("it is for agent `{0}`")]
    OtherAgent(String),
    /// It was sent to another collective than it names.
    #[error("it is for collective `{0}`")]
    OtherCollective(String),
    /// It is good for too long.
    #[error("its life of {0:?} is too long")]
    LongLife(Duration),
    /// It is too old, or from the future.
    #[error("it is not of this time")]
    Untimely,
    /// It was taken before.
    #[error("it came before")]
    Again,
    /// It does not say where an answer should go.
    #[error("it names no reply subject")]
    NoReplySubject,
}

impl ServiceAgent {
    /// An agent with a description of ours, that believes tokens of `issuers`. Nothing if there is no such description.
    #[must_use]
    pub fn new(name: &str, issuers: Issuers) -> Option<Self> {
        Some(Self {
            ddl: ddl::builtin(name)?,
            verifier: RequestVerifier::new(issuers, RequestPolicy::default(), TOKENS),
            seen: Seen::new(REQUESTS),
            limits: Limits::default(),
        })
    }

    /// Verifies a request that came on `subject`: signature and tokens, then that it is for this agent, in time, and no
    /// copy, and then whether the caller may and what it wants.
    ///
    /// # Errors
    ///
    /// When it is to get no answer.
    pub fn take(
        &mut self,
        subject: &str,
        payload: &[u8],
        now: UnixTime,
    ) -> Result<TakenRequest, DroppedRequest> {
        let transport = Transport::decode(payload, &self.limits)?;
        let secure = SecureRequest::decode(&transport.data, &self.limits)?;
        let verified = self.verifier.verify(&secure, now)?;
        let digest = self.check(&verified, &secure, subject, now)?;
        let reply_to = transport.reply.ok_or(DroppedRequest::NoReplySubject)?;
        let call = self.call(&verified);
        Ok(TakenRequest {
            caller: verified.request.caller,
            id: verified.request.id,
            reply_to,
            digest,
            call,
        })
    }

    /// What the signature does not say: that it is for this agent, in time, and not a copy.
    fn check(
        &mut self,
        verified: &VerifiedRequest,
        secure: &SecureRequest,
        subject: &str,
        now: UnixTime,
    ) -> Result<Digest, DroppedRequest> {
        let request = &verified.request;
        if request.agent != self.ddl.metadata.name {
            return Err(DroppedRequest::OtherAgent(request.agent.clone()));
        }
        let collective = subject.split('.').next().unwrap_or_default();
        if request.collective != collective {
            return Err(DroppedRequest::OtherCollective(request.collective.clone()));
        }
        if request.ttl > MAX_REQUEST_LIFE {
            return Err(DroppedRequest::LongLife(request.ttl));
        }
        if !request.is_live(nanos(now)) {
            return Err(DroppedRequest::Untimely);
        }
        let mut digest = [0_u8; 16];
        for (to, from) in digest.iter_mut().zip(Sha256::digest(&secure.request)) {
            *to = from;
        }
        let ends = i64::try_from(request.ttl.as_nanos())
            .unwrap_or(i64::MAX)
            .saturating_add(request.time_ns);
        match self.seen.note(digest, ends, nanos(now)) {
            Sight::First => Ok(digest),
            Sight::Again => Err(DroppedRequest::Again),
        }
    }

    fn call(&self, verified: &VerifiedRequest) -> Result<ServiceCall, Box<RefusedCall>> {
        let name = self.ddl.metadata.name.as_str();
        let refused = |refusal, asked: &str, status, message: String| {
            Box::new(RefusedCall {
                refusal,
                reply: RpcReply::failed(asked, status, message),
            })
        };
        let body =
            RpcRequest::decode(&verified.request.payload(), &self.limits).map_err(|error| {
                let message = format!("Could not process request: {}", chain(&error));
                refused(
                    CallRefusal::Unreadable,
                    "",
                    StatusCode::InvalidData,
                    message,
                )
            })?;
        let action = self.ddl.action(&body.action).ok_or_else(|| {
            let message = format!("Unknown action {} for agent {name}", body.action);
            let status = StatusCode::UnknownAction;
            refused(CallRefusal::Unknown, &body.action, status, message)
        })?;
        let rego = verified.caller.opa_policy.as_ref();
        let has_rego = rego.is_some_and(|policy| !policy.is_empty());
        judge(name, &verified.caller.agents, has_rego, &body).map_err(|reason| {
            let refusal = CallRefusal::Denied {
                action: &action.action,
                reason,
            };
            let message = NOT_AUTHORISED.to_owned();
            refused(refusal, &body.action, StatusCode::Aborted, message)
        })?;
        action.validate(&body.data).map_err(|error| {
            let refusal = CallRefusal::Invalid {
                action: &action.action,
            };
            let status = StatusCode::InvalidData;
            refused(refusal, &body.action, status, chain(&error))
        })?;
        Ok(ServiceCall {
            action: &action.action,
            inputs: body.data,
        })
    }
}

impl TakenRequest {
    /// Encodes an answer; signed with a key and its token if there are any.
    #[must_use]
    pub fn answer(
        &self,
        service: &str,
        body: &RpcReply,
        sender: &str,
        signer: Option<(&Key, &str)>,
        now: UnixTime,
    ) -> Vec<u8> {
        let reply = Reply {
            message: body.encode(),
            request: self.id.clone(),
            sender: sender.to_owned(),
            agent: service.to_owned(),
            time_ns: nanos(now),
        };
        let secure = match signer {
            Some((key, token)) => super::sign_reply(reply.encode(), key, token),
            None => SecureReply::new(reply.encode()),
        };
        let transport = Transport {
            data: secure.encode(),
            sender: Some(sender.to_owned()),
            ..Transport::default()
        };
        transport.encode()
    }
}

/// An error with what caused it, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

fn nanos(now: UnixTime) -> i64 {
    now.secs
        .saturating_mul(1_000_000_000)
        .saturating_add(i64::from(now.nanos))
}
