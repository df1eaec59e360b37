//! Points in time and the spans between them, in nanoseconds: small, and as exact as what the original keeps.

use std::fmt;
use std::time::{Duration, SystemTime};

use time::OffsetDateTime;

/// A point in time, in nanoseconds since 1970; from 1677 to 2262.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Nanos(i64);

/// What lies between two points in time, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Span(i64);

impl Nanos {
    pub(crate) fn of(time: SystemTime) -> Self {
        match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => Self(Span::of(after).0),
            Err(before) => Self(Span::of(before.duration()).0.saturating_neg()),
        }
    }

    pub(crate) fn of_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// From the form of documents; nothing outside of the range.
    pub(crate) fn of_date(date: OffsetDateTime) -> Option<Self> {
        i64::try_from(date.unix_timestamp_nanos()).ok().map(Self)
    }

    /// The form of documents.
    pub(crate) fn date(self) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0))
            .unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }

    pub(crate) fn to_be_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }

    /// As a number, for files.
    pub(crate) fn number(self) -> i64 {
        self.0
    }

    pub(crate) fn of_number(nanos: i64) -> Self {
        Self(nanos)
    }

    /// Whole seconds since 1970.
    pub(crate) fn unix_seconds(self) -> i64 {
        self.0.div_euclid(1_000_000_000)
    }

    pub(crate) fn system_time(self) -> SystemTime {
        let span = Duration::from_nanos(self.0.unsigned_abs());
        let time = if self.0 < 0 {
            SystemTime::UNIX_EPOCH.checked_sub(span)
        } else {
            SystemTime::UNIX_EPOCH.checked_add(span)
        };
        time.unwrap_or(SystemTime::UNIX_EPOCH)
    }

    /// What lies between `earlier` and this; negative when `earlier` is later.
    pub(crate) fn since(self, earlier: Self) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }

    pub(crate) fn plus(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.0))
    }

    pub(crate) fn minus(self, span: Span) -> Self {
        Self(self.0.saturating_sub(span.0))
    }
}

impl Span {
    /// The shortest: what must be longer than a limit is so from there on.
    pub(crate) const INSTANT: Self = Self(1);

    pub(crate) fn of(duration: Duration) -> Self {
        Self(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX))
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    pub(crate) fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// Twice as long.
    pub(crate) fn double(self) -> Self {
        self.plus(self)
    }

    /// A part of it, from 0 to 1.
    pub(crate) fn part(self, part: f64) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            reason = "spans of years are exact to microseconds, and a part of one is no longer than it"
        )]
        let nanos = (self.0 as f64 * part) as i64;
        Self(nanos)
    }

    /// Whole seconds, rounded.
    pub(crate) fn seconds(self) -> i64 {
        self.0.saturating_add(500_000_000).div_euclid(1_000_000_000)
    }
}

impl fmt::Display for Span {
    /// Writes for people, to two digits or so.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.div_euclid(1_000_000_000) {
            seconds @ ..=119 => write!(f, "{seconds} s"),
            seconds @ 120..=7_199 => write!(f, "{} min", seconds / 60),
            seconds @ 7_200..=172_799 => write!(f, "{} h", seconds / 3_600),
            seconds => write!(f, "{} d", seconds / 86_400),
        }
    }
}
