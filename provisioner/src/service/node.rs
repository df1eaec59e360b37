//! A node that this instance has claimed, or tries to.

use std::collections::VecDeque;
use std::time::Duration;

use overlay_protocol::id::{Identity, Ksuid};
use overlay_tokens::UnixTime;
use tokio::time::Instant;

use super::places::Stage;
use crate::enrol::{Action, Call, CallId, Command, Enrolment, Found, NameState};
use crate::store::Store;

/// Number of a node in this process; never used again.
pub(super) type NodeId = u64;

/// A node that is worked on.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) identity: Identity,
    pub(super) found: Found,
    /// Since when it is claimed, or tried to be.
    pub(super) since: Instant,
    pub(super) stage: Stage,
    /// Whether another instance may have it by now: nothing more is said to it or written of it.
    pub(super) is_lost: bool,
    /// Revision of its claim; 0: not yet.
    pub(super) claim: u64,
    /// As whom it is called: as the instance that began with it and is no more, if there was one, for the node locks
    /// everybody else out.
    pub(super) sender: Option<String>,
    /// Absent until it is claimed.
    pub(super) enrolment: Option<Box<Enrolment>>,
    /// When it was told to restart.
    pub(super) restarted: Option<UnixTime>,
    /// What is still to be done, in order.
    pub(super) todo: VecDeque<Command>,
    /// Revision of its record; 0: there is none.
    pub(super) record: u64,
    /// Whether a record of it is not acknowledged: the next one needs its revision.
    pub(super) record_pending: bool,
    /// Writes that are not acknowledged: calls, helper and the end wait for them.
    pub(super) writes: usize,
    /// Questions whose answers belong to it.
    pub(super) asks: Vec<Ksuid>,
    pub(super) probe: Option<Probe>,
    /// When its enrolment wants to know the time.
    pub(super) deadline: Option<UnixTime>,
    /// The timer that counts: not later than the deadline, as far as the clocks agree.
    pub(super) timer: Option<Instant>,
    pub(super) called: Option<Action>,
    /// Whether it was seen in the fleet before it was awaited there.
    pub(super) seen: bool,
}

/// The question whether a name is connected to the fleet.
#[derive(Debug)]
pub(super) struct Probe {
    /// How many collectives have not said that nobody is.
    pub(super) open: usize,
}

/// A question that is under way.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) what: What,
    pub(super) sent: Instant,
}

/// What is asked.
#[derive(Debug)]
pub(super) enum What {
    /// A call of a node.
    Call {
        node: NodeId,
        call: CallId,
        action: Action,
        /// Whether its time is over or an answer came; further ones still prove that two nodes have one name.
        over: bool,
    },
    /// Who waits.
    Scan,
    /// Who hears the requests of a node, before this one is sent.
    Listeners { node: NodeId, call: Box<Call> },
    /// Whether a name is connected, in one collective.
    Probe { node: NodeId },
    /// A name that nobody has: its answer comes after those of the probes before it.
    Decoy { node: NodeId },
    /// The claim of a node.
    Claim { node: NodeId },
    /// Who has it, when it is another's.
    Holder { node: NodeId },
    /// The end of a claim.
    Parting,
    /// A record or an audit record.
    Write { node: NodeId, write: Box<Write> },
    /// A token that is good once.
    TokenUse { node: NodeId, key: String },
    /// Who used it.
    TokenUser { node: NodeId, key: String },
    /// The word that this instance is there.
    Beat,
    /// Whether a node that was restarted long ago is in the fleet.
    Stale,
    /// A name that nobody has, asked for after it.
    StaleDecoy { identity: Identity, probe: Ksuid },
    /// What another instance may have told as well.
    Told,
}

/// Something to be stored, as often as it takes.
#[derive(Debug)]
pub(super) struct Write {
    pub(super) store: Store,
    pub(super) subject: String,
    /// The id by which the stream keeps one of several.
    pub(super) id: Option<String>,
    /// How long it is kept; nothing: as the stream has it.
    pub(super) ttl: Option<Duration>,
    pub(super) payload: bytes::Bytes,
    pub(super) attempt: usize,
}

/// What falls due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    /// A question was not answered.
    Ask(Ksuid),
    /// The enrolment wants to know that time passes.
    Node(NodeId),
    /// A write is to be tried again.
    Write(Ksuid),
}

impl Node {
    pub(super) fn new(identity: Identity, found: Found) -> Self {
        Self {
            identity,
            found,
            since: Instant::now(),
            stage: Stage::Contacting,
            is_lost: false,
            claim: 0,
            sender: None,
            enrolment: None,
            restarted: None,
            todo: VecDeque::new(),
            record: 0,
            record_pending: false,
            writes: 0,
            asks: Vec::new(),
            probe: None,
            deadline: None,
            timer: None,
            called: None,
            seen: false,
        }
    }

    /// Whether the next command has to wait for writes.
    pub(super) fn is_held_up(&self) -> bool {
        self.writes > 0
            && self.todo.front().is_some_and(|command| match command {
                Command::Call(_)
                | Command::AskHelper(_)
                | Command::AwaitMember { .. }
                | Command::Finish(_) => true,
                Command::CheckName
                | Command::TakeRates { .. }
                | Command::UseToken { .. }
                | Command::AwaitWorker
                | Command::Issue(_)
                | Command::PublishVetted(_)
                | Command::Audit(_)
                | Command::Tell(_) => false,
                Command::Record(_) => self.record_pending,
            })
    }
}

/// What a probe found: `Unknown` when even a name that nobody has seems to be connected.
pub(super) fn name_state(open: usize) -> NameState {
    if open == 0 {
        NameState::Free
    } else {
        NameState::Live
    }
}
