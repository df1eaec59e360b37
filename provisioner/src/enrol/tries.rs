//! Calls under way: how often they are tried, and when again.

use std::time::Duration;

use overlay_tokens::UnixTime;

use super::command::{Action, CallId};
use crate::policy::Calls;

/// How long the second and further pauses between tries get.
const MOST_PAUSES: u32 = 5;

/// A call and its tries.
#[derive(Debug)]
pub(super) struct Tries {
    pub(super) action: Action,
    /// Tries that were begun.
    pub(super) begun: u32,
    /// Tries that ended without any reply.
    pub(super) silent: u32,
    /// The try that waits for its reply.
    pub(super) current: Option<CallId>,
    /// When that try, or the last one, began.
    pub(super) sent: UnixTime,
    /// When the next try begins.
    pub(super) again: Option<UnixTime>,
}

/// How often and how long a call is tried.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    /// Tries in all.
    pub(super) tries: u32,
    /// Tries without any reply: whoever is silent holds a place for the whole limit each time.
    pub(super) silent: u32,
    /// How long each waits.
    pub(super) limit: Duration,
}

impl Tries {
    pub(super) fn new(action: Action) -> Self {
        Self {
            action,
            begun: 0,
            silent: 0,
            current: None,
            sent: UnixTime::from_secs(0),
            again: None,
        }
    }

    pub(super) fn has_more(&self, plan: &Plan) -> bool {
        self.begun < plan.tries && self.silent < plan.silent
    }

    /// The pause before the next try, without its jitter.
    pub(super) fn pause(&self, calls: &Calls) -> Duration {
        calls.pause.saturating_mul(self.begun.clamp(1, MOST_PAUSES))
    }
}

/// The plan of an action. The numbers of tries are the original's; only silence ends a call earlier.
pub(super) fn plan(action: Action, calls: &Calls) -> Plan {
    let (tries, silent, limit) = match action {
        Action::Jwt => (3, 3, calls.first_contact),
        Action::Inventory => (5, 3, calls.first_contact),
        Action::Gen25519 | Action::Configure => (5, 2, calls.answer),
        Action::Gencsr => (2, 1, calls.answer),
        Action::Restart | Action::Shutdown => (3, 2, calls.answer),
        Action::ReleaseUpdate => (3, 1, calls.update),
    };
    Plan {
        tries,
        silent,
        limit,
    }
}
