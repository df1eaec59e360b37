//! What falls due when.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use tokio::time::Instant;

/// Things with a time each; what is no longer of interest is passed over by whoever takes it out.
#[derive(Debug)]
pub(super) struct Timers<K> {
    heap: BinaryHeap<Reverse<(Instant, K)>>,
}

impl<K: Ord> Timers<K> {
    pub(super) fn new() -> Self {
        Self {
            heap: BinaryHeap::new(),
        }
    }

    pub(super) fn add(&mut self, at: Instant, what: K) {
        self.heap.push(Reverse((at, what)));
    }

    /// When the next is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes out one that is due.
    pub(super) fn take(&mut self, now: Instant) -> Option<K> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse((_, what))| what)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_due_comes_in_order_and_not_before() {
        let mut timers = Timers::new();
        let start = Instant::now();
        for second in [3, 1, 2] {
            timers.add(start + Duration::from_secs(second), second);
        }
        assert_eq!(timers.take(start), None);
        assert_eq!(timers.next(), Some(start + Duration::from_secs(1)));
        let later = start + Duration::from_secs(2);
        assert_eq!((timers.take(later), timers.take(later)), (Some(1), Some(2)));
        assert_eq!(timers.take(later), None);
    }
}
