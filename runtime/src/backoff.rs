//! How long to wait between attempts: growing to a ceiling, with jitter.

use std::time::Duration;

/// A delay that grows linearly over a number of steps and then stays.
///
/// The figures of [`Backoff::RECONNECT`] and [`Backoff::CONNECT`] are those that Choria's programs
/// use towards the same brokers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// Delay before the first retry, without jitter.
    pub first: Duration,
    /// Delay from step `steps` on, without jitter.
    pub last: Duration,
    /// Number of steps from `first` to `last`.
    pub steps: u32,
}

impl Backoff {
    /// For a connection that was lost: 0.5 s to 20 s over 44 steps.
    pub const RECONNECT: Self = Self {
        first: Duration::from_millis(500),
        last: Duration::from_secs(20),
        steps: 44,
    };

    /// For the first connection: 0.75 s to 5 s.
    pub const CONNECT: Self = Self {
        first: Duration::from_millis(750),
        last: Duration::from_secs(5),
        steps: 17,
    };

    /// The delay before retry number `attempt` (the first is 0), without jitter.
    pub fn base(&self, attempt: usize) -> Duration {
        let step = u32::try_from(attempt).unwrap_or(u32::MAX).min(self.steps);
        let grown = self.last.saturating_sub(self.first) * step / self.steps.max(1);
        (self.first + grown).min(self.last.max(self.first))
    }

    /// The delay with jitter: `chance` from 0 to 1 gives half to one and a half of the base.
    pub fn delay(&self, attempt: usize, chance: f64) -> Duration {
        self.base(attempt).mul_f64(0.5 + chance.clamp(0.0, 1.0))
    }

    /// The delay with jitter from the system's randomness.
    pub fn jittered(&self, attempt: usize) -> Duration {
        self.delay(attempt, chance())
    }
}

/// A number from 0 to 1; without randomness, the middle.
pub(crate) fn chance() -> f64 {
    getrandom::u32().map_or(0.5, |number| f64::from(number) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn grows_from_the_first_to_the_last_delay_and_stays() {
        let backoff = Backoff::RECONNECT;
        assert_eq!(backoff.base(0), Duration::from_millis(500));
        assert_eq!(backoff.base(44), Duration::from_secs(20));
        assert_eq!(backoff.base(usize::MAX), Duration::from_secs(20));
        assert!(backoff.base(1) > backoff.base(0));
    }

    #[test]
    fn jitter_is_half_to_one_and_a_half() {
        let backoff = Backoff::CONNECT;
        assert_eq!(backoff.delay(0, 0.0), Duration::from_millis(375));
        assert_eq!(backoff.delay(0, 1.0), Duration::from_millis(1125));
        assert_eq!(backoff.delay(1000, 1.0), Duration::from_millis(7500));
    }

    proptest! {
        #[test]
        fn never_shrinks_and_never_leaves_its_bounds(
            first in 0u64..60_000, more in 0u64..60_000, steps in 0u32..100,
            attempt in 0usize..200, chance in -1.0f64..2.0,
        ) {
            let backoff = Backoff {
                first: Duration::from_millis(first),
                last: Duration::from_millis(first + more),
                steps,
            };
            prop_assert!(backoff.base(attempt) <= backoff.base(attempt + 1));
            prop_assert!(backoff.base(attempt) >= backoff.first);
            prop_assert!(backoff.base(attempt) <= backoff.last);
            let delay = backoff.delay(attempt, chance);
            prop_assert!(delay <= backoff.last * 3 / 2 + Duration::from_nanos(1));
        }
    }
}
