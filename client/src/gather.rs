//! Who has answered, who has not, who was not asked.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};

/// A sender that was not asked is remembered up to this number; further ones are counted only.
const MAX_UNEXPECTED: usize = 10_000;

/// The books of one request: every reply is entered once.
#[derive(Debug, Default)]
pub struct Gather {
    asked: HashMap<String, State>,
    /// How many are still waited for.
    waiting: usize,
    answered: usize,
    unexpected: BTreeSet<String>,
    duplicates: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Has not answered yet.
    Waiting,
    /// Has not answered in time, but still may.
    Late,
    Answered,
}

/// What a reply is to its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// The first from a sender that was asked.
    Expected,
    /// From a sender that was not asked.
    Unexpected,
    /// One more from the same sender.
    Duplicate,
}

impl Gather {
    /// Adds senders that are asked.
    pub fn expect(&mut self, senders: impl IntoIterator<Item = String>) {
        for sender in senders {
            if let Entry::Vacant(vacant) = self.asked.entry(sender) {
                vacant.insert(State::Waiting);
                self.waiting += 1;
            }
        }
    }

    /// Stops waiting for those that have not answered; they may still do.
    pub fn give_up(&mut self) {
        for state in self
            .asked
            .values_mut()
            .filter(|state| **state == State::Waiting)
        {
            *state = State::Late;
        }
        self.waiting = 0;
    }

    /// What a reply of this sender would be.
    #[must_use]
    pub fn judge(&self, sender: &str) -> Arrival {
        match self.asked.get(sender) {
            Some(State::Waiting | State::Late) => Arrival::Expected,
            Some(State::Answered) => Arrival::Duplicate,
            None if self.unexpected.contains(sender) => Arrival::Duplicate,
            None => Arrival::Unexpected,
        }
    }

    /// Whether this sender is still waited for.
    #[must_use]
    pub fn is_waiting(&self, sender: &str) -> bool {
        self.asked.get(sender) == Some(&State::Waiting)
    }

    /// Enters a reply.
    pub fn accept(&mut self, sender: &str) -> Arrival {
        let arrival = self.judge(sender);
        match arrival {
            Arrival::Duplicate => self.duplicates += 1,
            Arrival::Unexpected if self.unexpected.len() >= MAX_UNEXPECTED => {}
            Arrival::Unexpected => drop(self.unexpected.insert(sender.to_owned())),
            Arrival::Expected => {
                if let Some(state) = self.asked.get_mut(sender) {
                    if *state == State::Waiting {
                        self.waiting -= 1;
                    }
                    *state = State::Answered;
                    self.answered += 1;
                }
            }
        }
        arrival
    }

    /// How many are still waited for.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// How many were asked.
    #[must_use]
    pub fn asked(&self) -> usize {
        self.asked.len()
    }

    /// How many of those asked have answered.
    #[must_use]
    pub fn answered(&self) -> usize {
        self.answered
    }

    /// How many replies came more than once.
    #[must_use]
    pub fn duplicates(&self) -> u64 {
        self.duplicates
    }

    /// The senders that were asked and have not answered, by name.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        let silent = self
            .asked
            .iter()
            .filter(|(_, state)| **state != State::Answered);
        let mut names: Vec<String> = silent.map(|(name, _)| name.clone()).collect();
        names.sort_unstable();
        names
    }

    /// The senders that answered without being asked, by name, up to a bound.
    #[must_use]
    pub fn unexpected(&self) -> Vec<String> {
        self.unexpected.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_sender_counts_once() {
        let mut gather = Gather::default();
        gather.expect(["a", "b"].map(str::to_owned));
        assert_eq!(gather.accept("a"), Arrival::Expected);
        assert_eq!(gather.accept("a"), Arrival::Duplicate);
        assert_eq!(gather.accept("x"), Arrival::Unexpected);
        assert_eq!(gather.accept("x"), Arrival::Duplicate);
        assert_eq!(gather.waiting(), 1);
        assert_eq!(gather.missing(), ["b"]);
        assert_eq!(gather.unexpected(), ["x"]);
        assert_eq!(gather.accept("b"), Arrival::Expected);
        assert_eq!(gather.waiting(), 0);
        assert_eq!(gather.duplicates(), 2);
    }

    #[test]
    fn who_is_late_is_not_waited_for_but_counts() {
        let mut gather = Gather::default();
        gather.expect(["a".to_owned()]);
        gather.give_up();
        gather.expect(["b".to_owned()]);
        assert_eq!(gather.waiting(), 1);
        assert_eq!(gather.accept("a"), Arrival::Expected);
        assert_eq!((gather.waiting(), gather.answered()), (1, 1));
        assert_eq!(gather.missing(), ["b"]);
    }

    #[test]
    fn senders_that_nobody_asked_cannot_fill_the_memory() {
        let mut gather = Gather::default();
        for number in 0..MAX_UNEXPECTED + 10 {
            gather.accept(&format!("n{number}"));
        }
        assert_eq!(gather.unexpected().len(), MAX_UNEXPECTED);
    }

    proptest! {
        #[test]
        fn answered_and_missing_make_up_the_asked(asked in 0u8..30, replies in prop::collection::vec(0u8..60, 0..100)) {
            let mut gather = Gather::default();
            gather.expect((0..asked).map(|n| n.to_string()));
            for reply in &replies {
                gather.accept(&reply.to_string());
            }
            prop_assert_eq!(gather.answered() + gather.missing().len(), usize::from(asked));
            prop_assert_eq!(gather.waiting(), gather.missing().len());
            let counted = gather.answered() + gather.unexpected().len();
            prop_assert_eq!(counted as u64 + gather.duplicates(), replies.len() as u64);
        }
    }
}
