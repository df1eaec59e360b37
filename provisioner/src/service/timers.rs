//! What falls due when.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use tokio::time::Instant;

/// Things with a time each; what is no longer of interest is passed over by whoever takes it out.
#[derive(Debug)]
pub(super) struct Timers<K> {
    heap: BinaryHeap<Reverse<(Instant, K)>>,
    /// How many there were after the last tidying.
    kept: usize,
}

/// So few are not worth a look.
const FEW: usize = 1024;

impl<K: Ord> Timers<K> {
    pub(super) fn new() -> Self {
        Self {
            heap: BinaryHeap::new(),
            kept: 0,
        }
    }

    /// Drops what is no longer of interest, once there are twice as many as after the last time.
    pub(super) fn tidy(&mut self, keep: impl Fn(Instant, &K) -> bool) {
        if self.heap.len() < 2 * self.kept.max(FEW) {
            return;
        }
        self.heap.retain(|Reverse((at, what))| keep(*at, what));
        self.kept = self.heap.len();
        self.heap.shrink_to(2 * self.kept);
    }

    pub(super) fn add(&mut self, at: Instant, what: K) {
        self.heap.push(Reverse((at, what)));
    }

    /// When the next is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes out one that is due, with its time.
    pub(super) fn take(&mut self, now: Instant) -> Option<(Instant, K)> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse(due)| due)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_no_longer_of_interest_goes_before_its_time() {
        let mut timers = Timers::new();
        let start = Instant::now();
        for number in 0..3000_u64 {
            timers.add(start + Duration::from_secs(number), number);
            timers.tidy(|_, number| number % 100 == 0);
        }
        assert!(timers.heap.len() <= 2 * FEW, "{}", timers.heap.len());
        let later = start + Duration::from_secs(3000);
        let taken: Vec<_> = std::iter::from_fn(|| timers.take(later))
            .map(|(_, number)| number)
            .collect();
        assert!((0..30).all(|hundred| taken.contains(&(100 * hundred))));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_due_comes_in_order_and_not_before() {
        let mut timers = Timers::new();
        let start = Instant::now();
        for second in [3, 1, 2] {
            timers.add(start + Duration::from_secs(second), second);
        }
        assert_eq!(timers.take(start), None);
        assert_eq!(timers.next(), Some(start + Duration::from_secs(1)));
        let (sooner, later) = (
            start + Duration::from_secs(1),
            start + Duration::from_secs(2),
        );
        assert_eq!(timers.take(later), Some((sooner, 1)));
        assert_eq!(timers.take(later), Some((later, 2)));
        assert_eq!(timers.take(later), None);
    }
}
