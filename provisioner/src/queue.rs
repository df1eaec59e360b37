//! Nodes that wait for their turn, and those that have to wait for their time first.
//!
//! A node is in it once, however often it is found. New nodes and those that are tried again take turns, so that neither
//! a crowd of newcomers nor a crowd of failing ones keeps the other waiting.

use std::collections::{BTreeSet, HashMap, VecDeque};

use overlay_protocol::id::Identity;
use overlay_tokens::UnixTime;

use crate::enrol::Found;

/// What became of a node that was offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offered {
    /// It waits now.
    Added,
    /// It waited before, for its turn or for its time.
    Known,
    /// There are too many; it has to be found again.
    Full,
}

/// Nodes that wait.
#[derive(Debug)]
pub struct Queue {
    capacity: usize,
    nodes: HashMap<Identity, At>,
    fresh: VecDeque<(Identity, u64)>,
    again: VecDeque<(Identity, u64)>,
    /// Whether it is the turn of those that are tried again.
    turn_of_again: bool,
    delayed: BTreeSet<(UnixTime, Identity)>,
    /// Number of the next place in a queue: a node that was removed leaves its old place behind.
    next: u64,
}

/// Where a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// In one of the two queues, at the place of that number.
    Ready(Found, u64),
    /// Not before then.
    Delayed(Found, UnixTime),
    /// The same, but for the reason that somebody else has it.
    Aside(Found, UnixTime),
}

impl Queue {
    /// An empty queue for so many nodes.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity,
            nodes: HashMap::new(),
            fresh: VecDeque::new(),
            again: VecDeque::new(),
            turn_of_again: false,
            delayed: BTreeSet::new(),
            next: 0,
        }
    }

    /// Takes in a node; one that is delayed stays so, however often it is found.
    pub fn offer(&mut self, identity: Identity, found: Found, now: UnixTime) -> Offered {
        self.wake(now);
        if self.nodes.contains_key(&identity) {
            return Offered::Known;
        }
        if self.len() >= self.capacity {
            return Offered::Full;
        }
        self.ready(identity, found);
        Offered::Added
    }

    /// Lets a node wait until a time, wherever it was.
    pub fn delay(&mut self, identity: Identity, found: Found, until: UnixTime) -> Offered {
        self.keep_until(identity, until, At::Delayed(found, until))
    }

    /// Lets a node that somebody else has wait until a time, or until [`hurry`](Self::hurry).
    pub fn set_aside(&mut self, identity: Identity, found: Found, until: UnixTime) -> Offered {
        self.keep_until(identity, until, At::Aside(found, until))
    }

    /// Lets nodes that were set aside take their turn now: whoever had them may be gone.
    pub fn hurry(&mut self) {
        let nodes = &self.nodes;
        let is_aside = |identity: &Identity| matches!(nodes.get(identity), Some(At::Aside(..)));
        let aside = self
            .delayed
            .extract_if(.., |(_, identity)| is_aside(identity));
        for (_, identity) in aside.collect::<Vec<_>>() {
            self.wake_one(identity);
        }
    }

    fn keep_until(&mut self, identity: Identity, until: UnixTime, at: At) -> Offered {
        let was_known = self.remove(&identity);
        if self.len() >= self.capacity {
            return Offered::Full;
        }
        self.delayed.insert((until, identity.clone()));
        self.nodes.insert(identity, at);
        if was_known {
            Offered::Known
        } else {
            Offered::Added
        }
    }

    /// Takes out the next node whose turn it is.
    pub fn take(&mut self, now: UnixTime) -> Option<(Identity, Found)> {
        self.wake(now);
        loop {
            let (first, second) = if self.turn_of_again {
                (&mut self.again, &mut self.fresh)
            } else {
                (&mut self.fresh, &mut self.again)
            };
            let (identity, place) = first.pop_front().or_else(|| second.pop_front())?;
            if let Some(At::Ready(found, at)) = self.nodes.get(&identity).copied()
                && at == place
            {
                self.nodes.remove(&identity);
                self.turn_of_again = !self.turn_of_again;
                return Some((identity, found));
            }
        }
    }

    /// When the next delayed node's time comes.
    #[must_use]
    pub fn next_due(&self) -> Option<UnixTime> {
        self.delayed.first().map(|(due, _)| *due)
    }

    /// Tells whether a node waits here.
    #[must_use]
    pub fn contains(&self, identity: &Identity) -> bool {
        self.nodes.contains_key(identity)
    }

    /// Takes a node out, and tells whether it was here.
    pub fn remove(&mut self, identity: &Identity) -> bool {
        match self.nodes.remove(identity) {
            Some(At::Delayed(_, due) | At::Aside(_, due)) => {
                self.delayed.remove(&(due, identity.clone()));
                true
            }
            Some(At::Ready(..)) => {
                self.tidy();
                true
            }
            None => false,
        }
    }

    /// Forgets all nodes: they have to be found again.
    pub fn clear(&mut self) {
        self.nodes.clear();
        self.fresh.clear();
        self.again.clear();
        self.delayed.clear();
    }

    /// How many nodes are here, delayed ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Tells whether no node is here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// How many of them are delayed.
    #[must_use]
    pub fn delayed(&self) -> usize {
        self.delayed.len()
    }

    /// How many nodes may be here.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    fn ready(&mut self, identity: Identity, found: Found) {
        let place = self.next;
        self.next = self.next.wrapping_add(1);
        let queue = match found {
            Found::Event | Found::Scan => &mut self.fresh,
            Found::Retry => &mut self.again,
        };
        queue.push_back((identity.clone(), place));
        self.nodes.insert(identity, At::Ready(found, place));
    }

    /// Moves those whose time has come.
    fn wake(&mut self, now: UnixTime) {
        while let Some((due, _)) = self.delayed.first()
            && *due <= now
            && let Some((_, identity)) = self.delayed.pop_first()
        {
            self.wake_one(identity);
        }
    }

    fn wake_one(&mut self, identity: Identity) {
        if let Some(At::Delayed(found, _) | At::Aside(found, _)) =
            self.nodes.get(&identity).copied()
        {
            self.ready(identity, found);
        }
    }

    /// Drops places that were left behind, when they outnumber the nodes.
    fn tidy(&mut self) {
        let places = self.fresh.len() + self.again.len();
        if places <= 64 || places / 2 <= self.nodes.len() {
            return;
        }
        let nodes = &self.nodes;
        let taken = |(identity, place): &(Identity, u64)| matches!(nodes.get(identity), Some(At::Ready(_, at)) if at == place);
        self.fresh.retain(taken);
        self.again.retain(taken);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::time::after;

    const NOW: UnixTime = UnixTime::from_secs(1000);

    fn node(name: impl ToString) -> Identity {
        Identity::new(name.to_string()).unwrap()
    }

    #[test]
    fn a_node_is_there_once_however_often_it_is_found() {
        let mut queue = Queue::new(10);
        assert_eq!(queue.offer(node("a"), Found::Event, NOW), Offered::Added);
        assert_eq!(queue.offer(node("a"), Found::Scan, NOW), Offered::Known);
        assert_eq!(queue.take(NOW), Some((node("a"), Found::Event)));
        assert_eq!(queue.take(NOW), None);
        assert!(queue.is_empty());
    }

    #[test]
    fn a_delayed_node_comes_in_its_time_and_no_event_makes_it_earlier() {
        let mut queue = Queue::new(10);
        let due = after(NOW, Duration::from_secs(5));
        assert_eq!(queue.delay(node("a"), Found::Retry, due), Offered::Added);
        assert_eq!(queue.offer(node("a"), Found::Event, NOW), Offered::Known);
        assert_eq!((queue.take(NOW), queue.next_due()), (None, Some(due)));
        assert_eq!(queue.take(due), Some((node("a"), Found::Retry)));
        assert_eq!(queue.next_due(), None);
    }

    #[test]
    fn a_node_that_was_removed_and_offered_again_stands_at_the_end() {
        let mut queue = Queue::new(10);
        queue.offer(node("a"), Found::Event, NOW);
        queue.offer(node("b"), Found::Event, NOW);
        assert!(queue.remove(&node("a")) && !queue.remove(&node("a")));
        queue.offer(node("a"), Found::Event, NOW);
        let order: Vec<_> = std::iter::from_fn(|| queue.take(NOW))
            .map(|(identity, _)| identity.to_string())
            .collect();
        assert_eq!(order, ["b", "a"]);
    }

    #[test]
    fn newcomers_and_those_tried_again_take_turns() {
        let mut queue = Queue::new(10);
        for name in ["r1", "r2"] {
            queue.offer(node(name), Found::Retry, NOW);
        }
        for name in ["n1", "n2", "n3"] {
            queue.offer(node(name), Found::Event, NOW);
        }
        let order: Vec<_> = std::iter::from_fn(|| queue.take(NOW))
            .map(|(identity, _)| identity.to_string())
            .collect();
        assert_eq!(order, ["n1", "r1", "n2", "r2", "n3"]);
    }

    #[test]
    fn what_is_known_is_bounded() {
        let mut queue = Queue::new(2);
        queue.offer(node("a"), Found::Scan, NOW);
        queue.delay(node("b"), Found::Retry, NOW);
        assert_eq!(queue.offer(node("c"), Found::Scan, NOW), Offered::Full);
        assert_eq!(queue.delay(node("c"), Found::Scan, NOW), Offered::Full);
        queue.clear();
        assert_eq!((queue.len(), queue.delayed()), (0, 0));
        for number in 0..1000 {
            queue.offer(node(number), Found::Scan, NOW);
            queue.remove(&node(number));
        }
        assert!(queue.fresh.len() <= 64, "places that were left are dropped");
    }

    #[test]
    fn nodes_that_were_set_aside_are_hurried_and_those_that_have_to_wait_are_not() {
        let mut queue = Queue::new(10);
        let due = after(NOW, Duration::from_secs(20));
        queue.delay(node("waits"), Found::Retry, due);
        queue.set_aside(node("held"), Found::Event, due);
        queue.set_aside(node("waits-too"), Found::Event, due);
        queue.delay(node("waits-too"), Found::Retry, due);
        assert_eq!(queue.take(NOW), None);
        queue.hurry();
        assert_eq!(queue.take(NOW), Some((node("held"), Found::Event)));
        assert_eq!((queue.take(NOW), queue.delayed()), (None, 2));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Offer(u8, Found),
        Delay(u8, u64),
        SetAside(u8, u64),
        Hurry,
        Take,
        Remove(u8),
        Wait(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        let name = 0_u8..8;
        let found = prop_oneof![Just(Found::Event), Just(Found::Scan), Just(Found::Retry)];
        prop_oneof![
            3 => (name.clone(), found).prop_map(|(n, found)| Step::Offer(n, found)),
            2 => (name.clone(), 0_u64..20).prop_map(|(n, wait)| Step::Delay(n, wait)),
            2 => (name.clone(), 0_u64..20).prop_map(|(n, wait)| Step::SetAside(n, wait)),
            1 => Just(Step::Hurry),
            3 => Just(Step::Take),
            1 => name.prop_map(Step::Remove),
            1 => (0_u64..10).prop_map(Step::Wait),
        ]
    }

    proptest! {
        /// Against a model that is a plain map: the same nodes are here, none comes before its time, none twice.
        #[test]
        fn holds_what_a_map_would_hold(steps in prop::collection::vec(step(), 1..300)) {
            let mut queue = Queue::new(6);
            let mut model: BTreeMap<u8, Option<UnixTime>> = BTreeMap::new();
            let mut aside = BTreeSet::new();
            let mut now = NOW;
            for step in steps {
                match step {
                    Step::Offer(n, found) => {
                        let expected = if model.contains_key(&n) {
                            Offered::Known
                        } else if model.len() >= 6 {
                            Offered::Full
                        } else {
                            model.insert(n, None);
                            Offered::Added
                        };
                        prop_assert_eq!(queue.offer(node(n), found, now), expected);
                    }
                    Step::Hurry => {
                        queue.hurry();
                        for n in std::mem::take(&mut aside) {
                            if let Some(due) = model.get_mut(&n) {
                                *due = None;
                            }
                        }
                    }
                    Step::Delay(n, wait) | Step::SetAside(n, wait) => {
                        let until = after(now, Duration::from_secs(wait));
                        let known = model.remove(&n).is_some();
                        let is_aside = matches!(step, Step::SetAside(..));
                        let expected = match (model.len() >= 6, known) {
                            (true, _) => Offered::Full,
                            (false, true) => Offered::Known,
                            (false, false) => Offered::Added,
                        };
                        if expected != Offered::Full {
                            model.insert(n, Some(until));
                        }
                        let offered = if is_aside {
                            aside.insert(n);
                            queue.set_aside(node(n), Found::Retry, until)
                        } else {
                            aside.remove(&n);
                            queue.delay(node(n), Found::Retry, until)
                        };
                        prop_assert_eq!(offered, expected);
                    }
                    Step::Take => match queue.take(now) {
                        Some((identity, _)) => {
                            let n: u8 = identity.as_str().parse().unwrap();
                            let at = model.remove(&n);
                            prop_assert!(at.is_some_and(|due| due.is_none_or(|due| due <= now)));
                        }
                        None => prop_assert!(
                            model.values().all(|due| due.is_some_and(|due| due > now))
                        ),
                    },
                    Step::Remove(n) => {
                        prop_assert_eq!(queue.remove(&node(n)), model.remove(&n).is_some());
                    }
                    Step::Wait(secs) => now = after(now, Duration::from_secs(secs)),
                }
                prop_assert_eq!(queue.len(), model.len());
                prop_assert!((0..8).all(|n| queue.contains(&node(n)) == model.contains_key(&n)));
            }
        }
    }
}
