//! How long to wait for replies of unknown number.
//!
//! Waiting ends at a limit, or earlier once it has been quiet for much longer than the replies so
//! far were apart: a fleet that answers within 20 ms does not cost its operator two seconds.

use std::time::Duration;

/// Quiet of this length never ends the waiting.
const SHORTEST_QUIET: Duration = Duration::from_millis(300);

/// The state of waiting. All times are spans since the request left.
#[derive(Debug, Clone)]
pub struct Window {
    limit: Duration,
    /// None: always wait for the whole limit.
    shortest_quiet: Option<Duration>,
    first: Option<Duration>,
    latest: Duration,
    longest_gap: Duration,
}

impl Window {
    /// Waits for the whole of `limit`.
    #[must_use]
    pub fn fixed(limit: Duration) -> Self {
        Self {
            limit,
            shortest_quiet: None,
            first: None,
            latest: Duration::ZERO,
            longest_gap: Duration::ZERO,
        }
    }

    /// Waits for `limit`, or until it is quiet.
    #[must_use]
    pub fn adaptive(limit: Duration) -> Self {
        Self {
            shortest_quiet: Some(SHORTEST_QUIET),
            ..Self::fixed(limit)
        }
    }

    /// Notes a reply that came at `now`.
    pub fn replied(&mut self, now: Duration) {
        if self.first.is_none() {
            self.first = Some(now);
        } else {
            self.longest_gap = self.longest_gap.max(now.saturating_sub(self.latest));
        }
        self.latest = self.latest.max(now);
    }

    /// When the waiting ends, unless another reply comes before.
    #[must_use]
    pub fn end(&self) -> Duration {
        let (Some(shortest), Some(first)) = (self.shortest_quiet, self.first) else {
            return self.limit;
        };
        // A slow first reply tells of a slow fleet or road, a long gap of stragglers.
        let quiet = shortest.max(first * 3).max(self.longest_gap * 4);
        self.limit.min(self.latest + quiet)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(2);

    fn ms(value: u64) -> Duration {
        Duration::from_millis(value)
    }

    #[test]
    fn without_replies_the_limit_is_waited_for() {
        assert_eq!(Window::adaptive(LIMIT).end(), LIMIT);
    }

    #[test]
    fn a_fast_fleet_is_not_waited_for_long() {
        let mut window = Window::adaptive(LIMIT);
        for at in 5..25 {
            window.replied(ms(at));
        }
        assert_eq!(window.end(), ms(324));
    }

    #[test]
    fn stragglers_make_it_patient() {
        let mut window = Window::adaptive(LIMIT);
        window.replied(ms(10));
        window.replied(ms(250));
        assert_eq!(window.end(), ms(250 + 4 * 240));
    }

    #[test]
    fn a_fixed_window_is_not_shortened() {
        let mut window = Window::fixed(LIMIT);
        window.replied(ms(1));
        assert_eq!(window.end(), LIMIT);
    }

    proptest! {
        #[test]
        fn the_limit_is_never_passed_and_quiet_is_never_shorter(
            mut replies in prop::collection::vec(0u64..2000, 1..50)
        ) {
            replies.sort_unstable();
            let mut window = Window::adaptive(LIMIT);
            for at in replies {
                window.replied(ms(at));
                prop_assert!(window.end() <= LIMIT);
                prop_assert!(window.end() >= LIMIT.min(ms(at) + SHORTEST_QUIET));
            }
        }
    }
}
