//! One node, from its first answer to its life in the fleet: a state machine without a clock, a broker or a file.

mod command;

use std::sync::Arc;

use overlay_protocol::id::Identity;
use overlay_tokens::UnixTime;

use crate::entropy::Entropy;
use crate::policy::Policy;
use crate::record::NodeRecord;

pub use command::{
    Action, Admission, Call, CallFault, CallId, Command, Finished, Found, Input, IssuedToken,
    NameState, Note, Outcome, TokenUse, Why,
};

/// The enrolment of one node.
#[derive(Debug)]
pub struct Enrolment {
    identity: Identity,
    found: Found,
    prior: Option<NodeRecord>,
    policy: Arc<Policy>,
    entropy: Entropy,
    started: UnixTime,
}

impl Enrolment {
    /// Begins the enrolment of a node of which something may be known.
    #[must_use]
    pub fn new(
        identity: Identity,
        found: Found,
        prior: Option<NodeRecord>,
        policy: Arc<Policy>,
        entropy: Entropy,
        now: UnixTime,
    ) -> Self {
        Self {
            identity,
            found,
            prior,
            policy,
            entropy,
            started: now,
        }
    }

    /// Takes an input and returns what is to be done.
    pub fn on(&mut self, input: Input, now: UnixTime) -> Vec<Command> {
        drop((input, now));
        Vec::new()
    }

    /// When [`Input::Tick`] is due at the latest.
    #[must_use]
    pub fn deadline(&self) -> Option<UnixTime> {
        None
    }
}
