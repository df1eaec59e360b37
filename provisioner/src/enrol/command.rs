//! What goes into the enrolment of a node and what comes out of it.

use std::fmt;
use std::time::Duration;

use overlay_protocol::lifecycle::Event;
use overlay_protocol::provisioning::NodeRecord;
use overlay_protocol::provisioning::audit::Record as AuditRecord;
use overlay_protocol::rpc::RpcReply;
use overlay_tokens::SecretText;
use overlay_tokens::claims::ServerClaims;
use serde_json::{Map, Value};

use crate::answer::{Answer, HelperFault};
use crate::question::Question;
use crate::reason::Reason;

/// Longest sentence for people, in bytes: nodes and helpers may say more.
const MOST_MESSAGE: usize = 1000;

/// The beginning of a text, in whole characters.
pub(super) fn cut(text: &str, most: usize) -> &str {
    text.get(..text.floor_char_boundary(most)).unwrap_or(text)
}

/// The beginning of a text as one line: what nodes and helpers say must not look like lines of our own log.
pub(super) fn one_line(text: &str, most: usize) -> String {
    cut(text, most)
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// How a node was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Found {
    /// By its own event.
    Event,
    /// By asking all that wait.
    Scan,
    /// It is known from an earlier attempt, or an operator asks for another.
    Retry,
}

impl Found {
    /// The word for records and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Scan => "scan",
            Self::Retry => "retry",
        }
    }
}

/// One try of one call; unique within its enrolment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(pub(super) u32);

impl CallId {
    /// The number, from 1 on.
    #[must_use]
    pub fn number(self) -> u32 {
        self.0
    }
}

/// An action that is called on the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// `choria_provision#jwt`.
    Jwt,
    /// `rpcutil#inventory`.
    Inventory,
    /// `choria_provision#gen25519`.
    Gen25519,
    /// `choria_provision#gencsr`.
    Gencsr,
    /// `choria_provision#configure`.
    Configure,
    /// `choria_provision#restart`.
    Restart,
    /// `choria_provision#shutdown`.
    Shutdown,
    /// `choria_provision#release_update`.
    ReleaseUpdate,
}

impl Action {
    /// All actions.
    pub const ALL: &[Self] = &[
        Self::Jwt,
        Self::Inventory,
        Self::Gen25519,
        Self::Gencsr,
        Self::Configure,
        Self::Restart,
        Self::Shutdown,
        Self::ReleaseUpdate,
    ];

    /// The agent.
    #[must_use]
    pub fn agent(self) -> &'static str {
        match self {
            Self::Inventory => "rpcutil",
            Self::Jwt
            | Self::Gen25519
            | Self::Gencsr
            | Self::Configure
            | Self::Restart
            | Self::Shutdown
            | Self::ReleaseUpdate => "choria_provision",
        }
    }

    /// The action's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Jwt => "jwt",
            Self::Inventory => "inventory",
            Self::Gen25519 => "gen25519",
            Self::Gencsr => "gencsr",
            Self::Configure => "configure",
            Self::Restart => "restart",
            Self::Shutdown => "shutdown",
            Self::ReleaseUpdate => "release_update",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.agent(), self.name())
    }
}

/// One try of a call.
#[derive(Clone, PartialEq)]
pub struct Call {
    /// Which try of which call.
    pub id: CallId,
    /// What is called.
    pub action: Action,
    /// The inputs; they hold secrets.
    pub data: Map<String, Value>,
    /// How long to wait for the reply.
    pub limit: Duration,
    /// Whether nobody but the node may hear it: not to be sent while somebody else listens under its name.
    pub alone: bool,
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("id", &self.id)
            .field("action", &self.action)
            .field("inputs", &self.data.keys().collect::<Vec<_>>())
            .field("limit", &self.limit)
            .field("alone", &self.alone)
            .finish()
    }
}

/// Why there is no reply to a try.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallFault {
    /// The broker knows nobody who listens.
    #[error("nobody listens by this name")]
    NoResponders,
    /// Nothing came within the limit.
    #[error("no answer in time")]
    TimedOut,
    /// Something came that cannot be read as a reply.
    #[error("the answer cannot be read: {0}")]
    Unreadable(String),
    /// Something came that is longer than replies are read.
    #[error("the answer is too large")]
    TooLarge,
    /// It was not sent, for so many listen under the node's name.
    #[error("{0} connections listen under this name")]
    Overheard(u64),
    /// It could not be sent.
    #[error("it could not be asked: {0}")]
    NotSent(String),
}

/// Whether a node of the name is connected to the fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NameState {
    /// Nobody.
    Free,
    /// Somebody.
    Live,
    /// The broker could not be asked.
    Unknown,
}

/// Whether a token that is good once was used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenUse {
    /// This node uses it for the first time, or used it itself in an enrolment that did not end well.
    Ours,
    /// It was used by this node or another.
    Used {
        /// The node that used it.
        by: String,
    },
    /// The registry could not be asked.
    Unknown(String),
}

/// Whether a node may be enrolled now, by the rates for its token and its site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Yes; it was counted.
    Granted,
    /// Not before so long.
    Later(Duration),
}

/// A token that was issued for the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuedToken {
    /// The token.
    pub token: SecretText,
    /// Id of the token of the chain issuer that signed it.
    pub issuer: String,
}

/// What an enrolment is told.
#[derive(Debug, Clone)]
pub enum Input {
    /// Begin.
    Start,
    /// A reply came; also a second one to the same try, which proves that two nodes have one name.
    Reply {
        /// To which try.
        call: CallId,
        /// Who says that it replies.
        sender: String,
        /// The reply, which may be one of failure.
        reply: RpcReply,
    },
    /// No reply came.
    CallFailed {
        /// To which try.
        call: CallId,
        /// Why.
        fault: CallFault,
    },
    /// The answer to [`Command::CheckName`].
    Name(NameState),
    /// The answer to [`Command::TakeRates`].
    Rates(Admission),
    /// The answer to [`Command::UseToken`].
    Token(TokenUse),
    /// The answer to [`Command::AwaitWorker`].
    Worker,
    /// The answer to [`Command::AskHelper`].
    Helper(Result<Box<Answer>, HelperFault>),
    /// The answer to [`Command::Issue`].
    Issued(Result<IssuedToken, String>),
    /// Another instance holds the claim.
    FenceLost,
    /// An operator paused provisioning, or this process ends.
    Paused,
    /// A node of the name was seen as a member of the fleet, started after its restart.
    Member,
    /// A node of the name says that it started, unprovisioned. Anybody who waits can say so of anybody.
    Announced,
    /// The time of [`super::Enrolment::deadline`] has come.
    Tick,
}

/// What an enrolment asks for. All are to be done in order.
#[derive(Debug, Clone)]
pub enum Command {
    /// Call the node; answered by [`Input::Reply`] or [`Input::CallFailed`].
    Call(Call),
    /// Ask whether a node of the name is connected to the fleet; answered by [`Input::Name`].
    CheckName,
    /// Count the node against the rates of its token and site; answered by [`Input::Rates`].
    TakeRates {
        /// Id of the provisioning token; that of its bytes when it has none.
        token: String,
        /// The site.
        site: Option<String>,
    },
    /// Note that a token that is good once is used by this node; answered by [`Input::Token`].
    UseToken {
        /// Id of the provisioning token.
        id: String,
    },
    /// Wait for a place among the nodes that are worked on; answered by [`Input::Worker`].
    AwaitWorker,
    /// Ask the helper; answered by [`Input::Helper`].
    AskHelper(Box<Question>),
    /// Sign the node's token as its chain issuer; answered by [`Input::Issued`].
    Issue(Box<ServerClaims>),
    /// Tell the fleet what the node did, under [`overlay_protocol::lifecycle::COMPONENT_PROVISION_MODE`].
    PublishVetted(Box<Event>),
    /// Keep what is known of the node.
    Record(Box<NodeRecord>),
    /// Keep what was done, for ever.
    Audit(Box<AuditRecord>),
    /// Watch for the node among the fleet; the place among the nodes that are worked on is free again.
    AwaitMember {
        /// How long at most; the enrolment watches the time itself.
        limit: Duration,
    },
    /// Write a line into the log.
    Tell(Note),
    /// It is over: nothing more comes.
    Finish(Finished),
}

/// Something that people should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// What the helper says.
    Helper(String),
    /// A try of a call failed.
    TryFailed {
        /// The call.
        action: Action,
        /// Which try, from 1 on.
        attempt: u32,
        /// Why.
        why: String,
    },
    /// Something is odd, and was passed over.
    Odd(String),
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Helper(text) => write!(f, "the helper says: {text}"),
            Self::TryFailed {
                action,
                attempt,
                why,
            } => write!(f, "try {attempt} of {action} failed: {why}"),
            Self::Odd(text) => f.write_str(text),
        }
    }
}

/// How an enrolment ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// How.
    pub outcome: Outcome,
    /// The node is to be tried again after so long, and not before; nothing: when it is found again.
    pub pause: Option<Duration>,
}

/// How an enrolment ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The node is a member.
    Enrolled {
        /// It was one before, and proved it.
        renewed: bool,
    },
    /// It was shut down, as the helper wanted.
    ShutDown,
    /// It replaces its software, and will come again.
    Upgraded {
        /// The version that it shall have.
        version: String,
    },
    /// It has to wait: the helper or a rate says so.
    Deferred(Why),
    /// It may not be enrolled.
    Refused(Why),
    /// It could not be enrolled this time.
    Failed(Why),
    /// It failed or looped too often, and is left alone.
    Quarantined(Why),
    /// Stopped without a fault of the node: it left, another provisioner has it, or provisioning is paused.
    Stopped(Why),
}

/// A reason and its sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Why {
    /// For machines.
    pub reason: Reason,
    /// For people.
    pub message: String,
}

impl Why {
    /// Makes one; a long sentence is cut.
    #[must_use]
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: one_line(&message.into(), MOST_MESSAGE),
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.reason)
    }
}

impl Outcome {
    /// The word for records and metrics.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Enrolled { renewed: false } => "enrolled",
            Self::Enrolled { renewed: true } => "renewed",
            Self::ShutDown => "shutdown",
            Self::Upgraded { .. } => "upgraded",
            Self::Deferred(_) => "deferred",
            Self::Refused(_) => "refused",
            Self::Failed(_) => "failed",
            Self::Quarantined(_) => "quarantined",
            Self::Stopped(_) => "stopped",
        }
    }

    /// Why it did not end as it should have.
    #[must_use]
    pub fn why(&self) -> Option<&Why> {
        match self {
            Self::Enrolled { .. } | Self::ShutDown | Self::Upgraded { .. } => None,
            Self::Deferred(why)
            | Self::Refused(why)
            | Self::Failed(why)
            | Self::Quarantined(why)
            | Self::Stopped(why) => Some(why),
        }
    }
}
