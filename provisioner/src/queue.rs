//! Which node comes next: those that are known, those that are worked on, and those that have to wait.
//!
//! Two bounds: nodes that were asked and wait for their first answer or for a place, and places. A dead node holds one of
//! the many former, never one of the few latter. New nodes and those that are tried again take turns, so that neither a
//! crowd of newcomers nor a crowd of failing ones keeps the other waiting.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::num::NonZeroUsize;
use std::time::Duration;

use overlay_protocol::id::Identity;
use overlay_tokens::UnixTime;

use crate::enrol::{Finished, Found, Outcome};
use crate::reason::Reason;
use crate::time::after;

/// How much is done at a time.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Nodes that were asked and have no place.
    pub first_contact: NonZeroUsize,
    /// Places: nodes that are worked on.
    pub workers: NonZeroUsize,
    /// Nodes that are known.
    pub waiting: NonZeroUsize,
}

/// What became of a node that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// It waits for its turn.
    Queued,
    /// It waits or is worked on already.
    Known,
    /// It has to wait until then.
    Later(UnixTime),
    /// There are too many; it has to be found again.
    Full,
}

/// Nodes by where they stand.
#[derive(Debug)]
pub struct Queue {
    bounds: Bounds,
    nodes: HashMap<Identity, At>,
    fresh: VecDeque<Identity>,
    again: VecDeque<Identity>,
    /// Whether it is the turn of those that are tried again.
    turn_of_again: bool,
    later: BTreeSet<(UnixTime, Identity)>,
    contacting: usize,
    for_place: VecDeque<Identity>,
    working: usize,
    settling: usize,
}

/// Where a node stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// In one of the two queues.
    Ready(Found),
    /// Not before then; afterwards it is tried again, or has to be found again.
    Later { due: UnixTime, again: bool },
    /// Asked for the first time.
    Contacting,
    /// It answered, and waits for a place.
    ForPlace,
    /// It has a place.
    Working,
    /// It was restarted, and is awaited in the fleet.
    Settling,
}

impl Queue {
    /// An empty queue.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            nodes: HashMap::new(),
            fresh: VecDeque::new(),
            again: VecDeque::new(),
            turn_of_again: false,
            later: BTreeSet::new(),
            contacting: 0,
            for_place: VecDeque::new(),
            working: 0,
            settling: 0,
        }
    }

    /// Takes in a node that was found.
    pub fn offer(&mut self, identity: Identity, found: Found, now: UnixTime) -> Offer {
        self.wake(now);
        match self.nodes.get(&identity) {
            Some(At::Later { due, .. }) => return Offer::Later(*due),
            Some(At::Ready(_) | At::Contacting | At::ForPlace | At::Working | At::Settling) => {
                return Offer::Known;
            }
            None => {}
        }
        if self.nodes.len() >= self.bounds.waiting.get() {
            return Offer::Full;
        }
        self.ready(identity, found);
        Offer::Queued
    }

    /// Lets a node be tried at once, whatever it waits for; one that is worked on is left alone.
    pub fn hurry(&mut self, identity: Identity) -> Offer {
        match self.nodes.get(&identity).copied() {
            Some(At::Ready(_) | At::Contacting | At::ForPlace | At::Working | At::Settling) => {
                return Offer::Known;
            }
            Some(At::Later { due, .. }) => {
                self.later.remove(&(due, identity.clone()));
            }
            None if self.nodes.len() >= self.bounds.waiting.get() => return Offer::Full,
            None => {}
        }
        self.ready(identity, Found::Retry);
        Offer::Queued
    }

    /// The next node to be asked, if there is one and not too many are.
    pub fn next(&mut self, now: UnixTime) -> Option<(Identity, Found)> {
        self.wake(now);
        if self.contacting >= self.bounds.first_contact.get() {
            return None;
        }
        let (first, second) = if self.turn_of_again {
            (&mut self.again, &mut self.fresh)
        } else {
            (&mut self.fresh, &mut self.again)
        };
        let identity = first.pop_front().or_else(|| second.pop_front())?;
        self.turn_of_again = !self.turn_of_again;
        let found = match self.nodes.insert(identity.clone(), At::Contacting) {
            Some(At::Ready(found)) => found,
            Some(At::Later { .. } | At::Contacting | At::ForPlace | At::Working | At::Settling)
            | None => Found::Retry,
        };
        self.contacting += 1;
        Some((identity, found))
    }

    /// A node answered and wants a place. Whether it gets one at once; else [`Queue::next_placed`] names it in its turn.
    pub fn want_place(&mut self, identity: &Identity) -> bool {
        let Some(at @ At::Contacting) = self.nodes.get_mut(identity) else {
            return false;
        };
        if self.working < self.bounds.workers.get() && self.for_place.is_empty() {
            *at = At::Working;
            self.contacting -= 1;
            self.working += 1;
            return true;
        }
        *at = At::ForPlace;
        self.for_place.push_back(identity.clone());
        false
    }

    /// The next node that waits for a place and gets one now.
    pub fn next_placed(&mut self) -> Option<Identity> {
        while self.working < self.bounds.workers.get() {
            let identity = self.for_place.pop_front()?;
            if let Some(at @ At::ForPlace) = self.nodes.get_mut(&identity) {
                *at = At::Working;
                self.contacting -= 1;
                self.working += 1;
                return Some(identity);
            }
        }
        None
    }

    /// A node was restarted: it needs no place any more.
    pub fn settle(&mut self, identity: &Identity) {
        if let Some(at @ At::Working) = self.nodes.get_mut(identity) {
            *at = At::Settling;
            self.working -= 1;
            self.settling += 1;
        }
    }

    /// A node's enrolment ended.
    pub fn finish(&mut self, identity: &Identity, finished: &Finished, now: UnixTime) {
        match self.nodes.remove(identity) {
            None => return,
            Some(at @ (At::Ready(_) | At::Later { .. })) => {
                // It was not worked on.
                self.nodes.insert(identity.clone(), at);
                return;
            }
            Some(At::Contacting | At::ForPlace) => self.contacting -= 1,
            Some(At::Working) => self.working -= 1,
            Some(At::Settling) => self.settling -= 1,
        }
        if let Some(pause) = finished.pause {
            let due = after(now, pause);
            let again = is_tried_again(&finished.outcome);
            self.nodes
                .insert(identity.clone(), At::Later { due, again });
            self.later.insert((due, identity.clone()));
        }
    }

    /// Forgets all nodes that are not worked on: they have to be found again.
    pub fn forget_waiting(&mut self) {
        self.fresh.clear();
        self.again.clear();
        self.later.clear();
        self.nodes
            .retain(|_, at| !matches!(at, At::Ready(_) | At::Later { .. }));
    }

    /// How long until a node that has to wait may be next; nothing when none waits for its time.
    #[must_use]
    pub fn due_in(&self, now: UnixTime) -> Option<Duration> {
        let (due, _) = self.later.first()?;
        Some(crate::time::until(now, *due))
    }

    /// Nodes that wait for their turn.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.fresh.len() + self.again.len()
    }

    /// Nodes that have to wait for their time.
    #[must_use]
    pub fn paused(&self) -> usize {
        self.later.len()
    }

    /// Nodes that were asked and have no place yet.
    #[must_use]
    pub fn contacting(&self) -> usize {
        self.contacting
    }

    /// Nodes that are worked on.
    #[must_use]
    pub fn working(&self) -> usize {
        self.working
    }

    /// Nodes that are awaited in the fleet.
    #[must_use]
    pub fn settling(&self) -> usize {
        self.settling
    }

    /// All nodes that are known.
    #[must_use]
    pub fn known(&self) -> usize {
        self.nodes.len()
    }

    fn ready(&mut self, identity: Identity, found: Found) {
        match found {
            Found::Event | Found::Scan => self.fresh.push_back(identity.clone()),
            Found::Retry => self.again.push_back(identity.clone()),
        }
        self.nodes.insert(identity, At::Ready(found));
    }

    /// Moves those whose time has come.
    fn wake(&mut self, now: UnixTime) {
        while let Some((due, _)) = self.later.first()
            && *due <= now
            && let Some((_, identity)) = self.later.pop_first()
        {
            match self.nodes.remove(&identity) {
                Some(At::Later { again: true, .. }) => self.ready(identity, Found::Retry),
                Some(At::Later { again: false, .. }) | None => {}
                Some(
                    at
                    @ (At::Ready(_) | At::Contacting | At::ForPlace | At::Working | At::Settling),
                ) => {
                    self.nodes.insert(identity, at);
                }
            }
        }
    }
}

/// Whether a node is tried again by itself after its pause; others have to be found again.
fn is_tried_again(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Failed(_) | Outcome::Refused(_) | Outcome::Deferred(_) => true,
        Outcome::Stopped(why) => matches!(why.reason, Reason::Busy | Reason::NotDue),
        Outcome::Enrolled { .. }
        | Outcome::ShutDown
        | Outcome::Upgraded { .. }
        | Outcome::Quarantined(_) => false,
    }
}

#[cfg(test)]
mod tests;
