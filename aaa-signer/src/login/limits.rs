//! How often somebody may try: rates by source and by name, and the lock of a name after wrong passwords. Pure.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// When a name is locked, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lockout {
    /// So many wrong passwords cost nothing.
    pub free: u32,
    /// The next one locks the name for so long, and each further one for twice as long...
    pub first: Duration,
    /// ...but never for longer than this.
    pub longest: Duration,
    /// All is forgotten when nothing went wrong for so long.
    pub forget: Duration,
}

/// What went wrong for a name so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failures {
    /// Wrong passwords in a row.
    #[serde(rename = "n")]
    pub count: u32,
    /// The name is locked until this second of Unix time.
    pub until: i64,
}

impl Lockout {
    /// One more wrong password, at `now`.
    pub(crate) fn failed(&self, before: Failures, now: i64) -> Failures {
        let count = before.count.saturating_add(1);
        Failures {
            count,
            until: now.saturating_add(seconds(self.delay(count))),
        }
    }

    /// For how long `count` wrong passwords lock a name.
    pub(crate) fn delay(&self, count: u32) -> Duration {
        let Some(over) = count.checked_sub(self.free).filter(|over| *over > 0) else {
            return Duration::ZERO;
        };
        let factor = 1_u32.checked_shl(over - 1).unwrap_or(u32::MAX);
        self.first.saturating_mul(factor).min(self.longest)
    }

    /// How long failures are remembered from `now` on.
    pub(crate) fn remembered(&self, failures: Failures, now: i64) -> Duration {
        let locked = u64::try_from(failures.until.saturating_sub(now)).unwrap_or_default();
        self.forget + Duration::from_secs(locked)
    }
}

impl Failures {
    /// Whether the name is locked at `now`.
    pub(crate) fn is_locked(self, now: i64) -> bool {
        now < self.until
    }
}

fn seconds(span: Duration) -> i64 {
    let whole = i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
    if span.subsec_nanos() > 0 {
        whole.saturating_add(1)
    } else {
        whole
    }
}

/// Slots of a table of rates; a power of two.
const SLOTS: usize = 1 << 14;

/// So many attempts a minute for each of many, in memory that does not grow: who falls into the same slot shares it, and nobody
/// can choose the slot, whose hash is keyed.
#[derive(Debug)]
pub(crate) struct Rates {
    per_minute: u32,
    burst: u32,
    slots: Mutex<HashMap<usize, Slot>>,
    key: RandomState,
}

/// Parts of an attempt: in each millisecond as many come back as attempts are allowed in a minute.
const ATTEMPT: u64 = 60_000;

#[derive(Debug, Clone, Copy)]
struct Slot {
    /// Attempts left, each of [`ATTEMPT`] parts.
    left: u64,
    /// When that was so, in milliseconds.
    at: u64,
}

impl Rates {
    /// `per_minute` attempts for each, as many of them at once; 0: no limit.
    pub(crate) fn new(per_minute: u32) -> Self {
        Self::with_burst(per_minute, per_minute)
    }

    /// `per_minute` attempts for each, `burst` of them at once; 0 a minute: no limit.
    pub(crate) fn with_burst(per_minute: u32, burst: u32) -> Self {
        Self {
            per_minute,
            burst,
            slots: Mutex::default(),
            key: RandomState::new(),
        }
    }

    /// Takes one attempt of `who` at `now_ms`, a time in milliseconds that never runs backwards.
    pub(crate) fn take(&self, who: impl Hash, now_ms: u64) -> bool {
        if self.per_minute == 0 {
            return true;
        }
        let full = u64::from(self.burst) * ATTEMPT;
        let mask = u64::try_from(SLOTS - 1).unwrap_or_default();
        let index = usize::try_from(self.key.hash_one(who) & mask).unwrap_or_default();
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = slots.entry(index).or_insert(Slot {
            left: full,
            at: now_ms,
        });
        let passed = now_ms.saturating_sub(slot.at);
        let back = passed.saturating_mul(u64::from(self.per_minute));
        slot.left = slot.left.saturating_add(back).min(full);
        slot.at = now_ms;
        match slot.left.checked_sub(ATTEMPT) {
            Some(left) => {
                slot.left = left;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LOCKOUT: Lockout = Lockout {
        free: 5,
        first: Duration::from_secs(1),
        longest: Duration::from_secs(300),
        forget: Duration::from_secs(900),
    };

    #[test]
    fn a_lock_grows_and_is_bounded() {
        let mut failures = Failures::default();
        for expected in [0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
            failures = LOCKOUT.failed(failures, 1000);
            assert_eq!(failures.until - 1000, expected, "{failures:?}");
            assert_eq!(failures.is_locked(1000), expected > 0);
            assert!(!failures.is_locked(1000 + expected));
        }
        let many = Failures {
            count: u32::MAX,
            until: 0,
        };
        assert_eq!(LOCKOUT.failed(many, 1000).until, 1300);
        assert_eq!(LOCKOUT.remembered(many, 1000), LOCKOUT.forget);
    }

    #[test]
    fn so_many_a_minute_and_no_more() {
        let rates = Rates::new(3);
        let taken = |now: u64| rates.take("192.0.2.1", now);
        assert_eq!([0, 0, 0, 0].map(taken), [true, true, true, false]);
        assert!(!taken(19_999));
        assert!(taken(20_001));
        assert!(!taken(20_002));
        assert!(rates.take("192.0.2.2", 20_002));
        assert!(Rates::new(0).take("x", 0));
        let burst = Rates::with_burst(60, 2);
        let taken = |now: u64| burst.take("x", now);
        assert_eq!(
            [0, 0, 0, 999, 1000, 1000].map(taken),
            [true, true, false, false, true, false]
        );
    }

    proptest! {
        #[test]
        fn nobody_gets_more_than_burst_and_rate(steps in prop::collection::vec(0_u64..5_000, 1..400)) {
            let rates = Rates::new(30);
            let mut now = 0;
            let mut taken = 0_u64;
            for step in steps {
                now += step;
                taken += u64::from(rates.take("one", now));
            }
            prop_assert!(taken <= 30 + now * 30 / 60_000 + 1);
        }
    }
}
