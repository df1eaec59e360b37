//! Whether a message is a request that this node acts on. Bytes and a time in, a verdict out.
//!
//! A node that waits to be enrolled knows nobody whom it could trust: it takes requests that are
//! signed by anyone, and answers only where replies to its provisioner go. What they may do is the
//! agent's to say, by the secret of the provisioning token.
//!
//! The order is the one Choria servers use: transport, secure request, signature over the bytes
//! received, request, caller, filter, collective, time. Nothing of the request is parsed before its
//! signature holds. Two checks are ours: no request may live longer than the configured maximum,
//! and the same signed bytes are not taken twice.

use std::sync::Arc;
use std::time::Duration;

use overlay_protocol::DecodeError;
use overlay_protocol::envelope::Limits;
use overlay_protocol::envelope::v2::{Federation, Request, SecureRequest, Transport};
use overlay_protocol::filter::Verdict;
use overlay_protocol::id::Collective;
use overlay_protocol::subject;
use overlay_tokens::claims::ClientClaims;
use overlay_tokens::request::{RequestError, RequestPolicy, RequestVerifier, VerifiedRequest};
use overlay_tokens::{UnixTime, Verified};
use sha2::{Digest as _, Sha256};

use crate::config::Config;
use crate::node::View;
use crate::replay::{Digest, Seen, Sight};
use crate::stats::Count;

/// What a message is held against.
#[derive(Debug)]
pub struct Receiver {
    /// Who may ask.
    pub trust: Trust,
    /// Bounds of the layers.
    pub limits: Limits,
    /// The node's collectives.
    pub collectives: Vec<Collective>,
    /// The longest time to live taken.
    pub max_ttl: Duration,
}

/// Who may ask.
#[derive(Debug)]
pub enum Trust {
    /// Callers whose tokens and signatures hold; remembers the tokens it saw.
    Verified(RequestVerifier),
    /// Anyone, as long as the node waits to be enrolled.
    Anyone,
}

/// Where replies of a node go that waits to be enrolled.
const ENROLMENT_REPLIES: &str = "provisioning.reply.";

/// Tokens of callers and signers that are not verified again while they hold.
const REMEMBERED_TOKENS: usize = 256;

impl Receiver {
    /// The receiver of a configuration.
    pub fn new(config: &Config) -> Self {
        let limits = config.rpc.limits();
        let policy = RequestPolicy {
            limits,
            ..RequestPolicy::default()
        };
        let trust = match config.membership() {
            Some(own) => Trust::Verified(RequestVerifier::new(
                own.issuers.clone(),
                policy,
                REMEMBERED_TOKENS,
            )),
            None => Trust::Anyone,
        };
        Self {
            trust,
            limits,
            collectives: config.collectives.clone(),
            max_ttl: config.rpc.max_ttl,
        }
    }
}

/// The token of who made a request.
pub type CallerToken = Arc<Verified<ClientClaims>>;

/// A request to act on.
#[derive(Debug)]
pub struct Accepted {
    /// The request.
    pub request: Request,
    /// The token of who made it; none where anyone may ask.
    pub caller: Option<CallerToken>,
    /// What the agent gets.
    pub payload: Vec<u8>,
    /// Where replies go; not signed, so only ever a subject to publish to.
    pub reply_to: Option<String>,
    /// What a federation broker needs back.
    pub federation: Option<Federation>,
}

/// Where a message was given up, in the order of checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The outermost layer.
    Transport,
    /// The signed layer: its form, its signature, its caller.
    SecureRequest,
    /// The request itself.
    Request,
    /// The filter.
    Filter,
    /// Collective and agent.
    Message,
    /// Age.
    Ttl,
    /// The memory of requests already taken.
    Replay,
}

/// Why a message was given up.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// A layer is malformed.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// Signature or caller are not trusted.
    #[error(transparent)]
    Untrusted(#[from] RequestError),
    /// The filter does not match; this is not a fault.
    #[error("the filter does not match: {0}")]
    Filtered(String),
    /// The node is not in the collective.
    #[error("the node is not in collective `{0}`")]
    Collective(String),
    /// There is no signature at all.
    #[error("the request is not signed")]
    Unsigned,
    /// The request's time is over, or not yet come.
    #[error("the request of {age} s ago is not within its {ttl} s")]
    NotLive {
        /// Seconds since it was made, negative when it is from ahead.
        age: i64,
        /// The seconds it gave itself.
        ttl: u64,
    },
    /// The request gives itself too long a life.
    #[error("the request wants to live for {ttl} s, the most is {most} s")]
    TooLong {
        /// The seconds it gave itself.
        ttl: u64,
        /// The seconds allowed.
        most: u64,
    },
    /// The same signed bytes were taken before.
    #[error("the request was taken before")]
    Replayed,
}

impl Refused {
    /// Where the message was given up.
    pub fn stage(&self) -> Stage {
        match self {
            Self::Decode(error) => match error.layer() {
                overlay_protocol::Layer::Transport => Stage::Transport,
                overlay_protocol::Layer::SecureRequest
                | overlay_protocol::Layer::Request
                | overlay_protocol::Layer::SecureReply
                | overlay_protocol::Layer::Reply
                | overlay_protocol::Layer::RpcRequest
                | overlay_protocol::Layer::RpcReply
                | overlay_protocol::Layer::Ddl
                | overlay_protocol::Layer::Event
                | overlay_protocol::Layer::NodeRecord
                | overlay_protocol::Layer::AuditRecord
                | overlay_protocol::Layer::Signing
                | overlay_protocol::Layer::ReplicationPause
                | overlay_protocol::Layer::Replication => Stage::SecureRequest,
            },
            Self::Untrusted(_) | Self::Unsigned => Stage::SecureRequest,
            Self::Filtered(_) => Stage::Filter,
            Self::Collective(_) => Stage::Message,
            Self::NotLive { .. } | Self::TooLong { .. } => Stage::Ttl,
            Self::Replayed => Stage::Replay,
        }
    }

    /// What is counted for it.
    pub fn count(&self) -> Count {
        match self.stage() {
            Stage::Transport | Stage::SecureRequest | Stage::Request | Stage::Message => {
                Count::Invalid
            }
            Stage::Filter => Count::Filtered,
            Stage::Ttl => Count::TtlExpired,
            Stage::Replay => Count::Replayed,
        }
    }

    /// Whether the filter had matched when the message was given up.
    pub fn passed(&self) -> bool {
        self.stage() > Stage::Filter
    }
}

/// Judges one message; `view` is asked for only when there is a filter to hold against it.
pub fn authorise<'a>(
    bytes: &[u8],
    receiver: &Receiver,
    view: &dyn Fn() -> View<'a>,
    seen: &mut Seen,
    now: UnixTime,
) -> Result<Accepted, Refused> {
    let transport = Transport::decode(bytes, &receiver.limits)?;
    let secure = SecureRequest::decode(&transport.data, &receiver.limits)?;
    let (request, caller) = receiver.trust.judge(&secure, &receiver.limits, now)?;
    if let Some(filter) = &request.filter
        && let Verdict::NoMatch(mismatch) = filter.explain(&view().as_filter_view())
    {
        return Err(Refused::Filtered(mismatch.to_string()));
    }
    if !receiver
        .collectives
        .iter()
        .any(|collective| collective.as_str() == request.collective)
    {
        return Err(Refused::Collective(request.collective));
    }
    in_time(&request, receiver.max_ttl, now.as_nanos())?;
    let ends = request
        .time_ns
        .saturating_add(i64::try_from(request.ttl.as_nanos()).unwrap_or(i64::MAX));
    if seen.note(digest(&secure.request), ends, now.as_nanos()) == Sight::Again {
        return Err(Refused::Replayed);
    }
    Ok(Accepted {
        payload: request.payload(),
        reply_to: transport
            .reply
            .filter(|reply| subject::is_valid(reply) && receiver.trust.may_reply(reply)),
        federation: transport.federation,
        request,
        caller,
    })
}

impl Trust {
    fn judge(
        &self,
        secure: &SecureRequest,
        limits: &Limits,
        now: UnixTime,
    ) -> Result<(Request, Option<CallerToken>), Refused> {
        match self {
            Self::Verified(verifier) => {
                let VerifiedRequest {
                    request, caller, ..
                } = verifier.verify(secure, now)?;
                Ok((request, Some(caller)))
            }
            Self::Anyone if secure.signature.is_empty() => Err(Refused::Unsigned),
            Self::Anyone => Ok((Request::decode(&secure.request, limits)?, None)),
        }
    }

    fn may_reply(&self, subject: &str) -> bool {
        match self {
            Self::Verified(_) => true,
            Self::Anyone => subject.starts_with(ENROLMENT_REPLIES),
        }
    }
}

fn in_time(request: &Request, most: Duration, now_ns: i64) -> Result<(), Refused> {
    if request.ttl > most {
        return Err(Refused::TooLong {
            ttl: request.ttl.as_secs(),
            most: most.as_secs(),
        });
    }
    if request.is_live(now_ns) {
        return Ok(());
    }
    Err(Refused::NotLive {
        age: now_ns.saturating_sub(request.time_ns) / 1_000_000_000,
        ttl: request.ttl.as_secs(),
    })
}

fn digest(signed: &[u8]) -> Digest {
    let mut digest = Digest::default();
    for (to, from) in digest.iter_mut().zip(Sha256::digest(signed)) {
        *to = from;
    }
    digest
}
