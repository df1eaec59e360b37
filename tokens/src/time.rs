//! A point in time as tokens see it: Unix seconds, with the nanoseconds that decide at the very edge.

use std::time::{SystemTime, UNIX_EPOCH};

/// A Unix time with nanosecond resolution; always handed in, never read from a clock here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixTime {
    /// Whole seconds since 1970, rounded down.
    pub secs: i64,
    /// Nanoseconds within the second, below 1,000,000,000.
    pub nanos: u32,
}

impl UnixTime {
    /// The instant at which `secs` begins.
    pub const fn from_secs(secs: i64) -> Self {
        Self { secs, nanos: 0 }
    }

    /// Nanoseconds since 1970, clamped to what 64 bits hold (the years 1677 to 2262).
    pub fn as_nanos(self) -> i64 {
        self.secs
            .saturating_mul(1_000_000_000)
            .saturating_add(i64::from(self.nanos))
    }

    /// Tells whether this instant lies strictly before the second `secs`.
    pub const fn is_before(self, secs: i64) -> bool {
        self.secs < secs
    }

    /// Tells whether this instant lies after the beginning of the second `secs`, be it by a nanosecond.
    pub const fn is_past(self, secs: i64) -> bool {
        self.secs > secs || (self.secs == secs && self.nanos > 0)
    }
}

impl From<SystemTime> for UnixTime {
    fn from(time: SystemTime) -> Self {
        match time.duration_since(UNIX_EPOCH) {
            Ok(since) => Self {
                secs: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
                nanos: since.subsec_nanos(),
            },
            Err(before) => {
                let before = before.duration();
                let secs = i64::try_from(before.as_secs()).unwrap_or(i64::MAX);
                match before.subsec_nanos() {
                    0 => Self {
                        secs: -secs,
                        nanos: 0,
                    },
                    nanos => Self {
                        secs: -secs - 1,
                        nanos: 1_000_000_000 - nanos,
                    },
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_before_1970_round_down() {
        let time = UNIX_EPOCH - Duration::from_millis(1500);
        assert_eq!(
            UnixTime::from(time),
            UnixTime {
                secs: -2,
                nanos: 500_000_000
            }
        );
        assert_eq!(
            UnixTime::from(UNIX_EPOCH - Duration::from_secs(3)),
            UnixTime::from_secs(-3)
        );
    }

    #[test]
    fn the_edge_is_decided_by_nanoseconds() {
        let edge = UnixTime::from_secs(10);
        assert!(!edge.is_past(10) && !edge.is_before(10));
        assert!(UnixTime { secs: 10, nanos: 1 }.is_past(10));
        assert!(
            UnixTime {
                secs: 9,
                nanos: 999_999_999
            }
            .is_before(10)
        );
    }
}
