//! Which entry is to be looked at next, and when.
//!
//! An entry has one place here. Seeing its value does not move it: it is looked at when its old time comes and put where
//! it belongs then, so that a value costs a look in each warning time and not in each message.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::time::Nanos;

/// Places that may be stale before they are swept out, beside as many as there are entries.
const SLACK: usize = 1_024;

/// An entry's slot, and which of its successive holders is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) slot: u32,
    pub(super) serial: u32,
}

/// Entries by the time at which they are to be looked at.
#[derive(Debug, Default)]
pub(super) struct Index {
    heap: BinaryHeap<Reverse<(Nanos, Place)>>,
}

impl Index {
    pub(super) fn put(&mut self, due: Nanos, place: Place) {
        self.heap.push(Reverse((due, place)));
    }

    /// Takes the next one whose time has come.
    pub(super) fn take(&mut self, now: Nanos) -> Option<(Nanos, Place)> {
        let Reverse((due, _)) = self.heap.peek()?;
        if *due > now {
            return None;
        }
        self.heap.pop().map(|Reverse(next)| next)
    }

    /// Whether sweeping out what is stale is worth it with so many entries.
    pub(super) fn is_stale(&self, entries: usize) -> bool {
        self.heap.len() > entries.saturating_mul(2).saturating_add(SLACK)
    }

    /// Puts everything anew.
    pub(super) fn rebuild(&mut self, places: impl Iterator<Item = (Nanos, Place)>) {
        self.heap = places.map(Reverse).collect();
    }
}
