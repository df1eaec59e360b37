//! Arithmetic with points in time.

use std::time::Duration;

use overlay_tokens::UnixTime;

const NANOS: u32 = 1_000_000_000;

/// The instant so long after another; the last that there is when the sum is beyond it.
pub(crate) fn after(from: UnixTime, span: Duration) -> UnixTime {
    let nanos = from.nanos.saturating_add(span.subsec_nanos());
    let seconds = i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
    UnixTime {
        secs: from
            .secs
            .saturating_add(seconds)
            .saturating_add(i64::from(nanos / NANOS)),
        nanos: nanos % NANOS,
    }
}

/// How long it is from one instant to another; nothing when that is over.
pub(crate) fn until(now: UnixTime, then: UnixTime) -> Duration {
    if then <= now {
        return Duration::ZERO;
    }
    let (seconds, nanos) = match then.nanos.checked_sub(now.nanos) {
        Some(nanos) => (then.secs.saturating_sub(now.secs), nanos),
        None => (
            then.secs.saturating_sub(now.secs).saturating_sub(1),
            (NANOS + then.nanos).saturating_sub(now.nanos),
        ),
    };
    Duration::new(u64::try_from(seconds).unwrap_or_default(), nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_and_differences_carry_the_nanoseconds() {
        let start = UnixTime {
            secs: 10,
            nanos: 700_000_000,
        };
        let end = after(start, Duration::from_millis(1500));
        assert_eq!(
            end,
            UnixTime {
                secs: 12,
                nanos: 200_000_000
            }
        );
        assert_eq!(until(start, end), Duration::from_millis(1500));
        assert_eq!(until(end, start), Duration::ZERO);
        assert_eq!(after(start, Duration::MAX).secs, i64::MAX);
    }
}
