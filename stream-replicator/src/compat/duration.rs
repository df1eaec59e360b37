//! Spans of time as the original writes them: Go's, or days, weeks, months and years in whole hours.

use std::time::Duration;

use overlay_protocol::go_duration::{self, GoDurationError};

const HOUR: f64 = 3600.0;
/// The longest that the original can count: 292 years.
const LONGEST: Duration = Duration::from_nanos(i64::MAX.unsigned_abs());

/// Why a text is no span of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// The last letter is none that is known.
    #[error("invalid time unit {0}")]
    Unit(char),
    /// What stands before it is no number.
    #[error("{0:?} is not a number")]
    Number(String),
    /// Hours, minutes and seconds that are none of Go's.
    #[error("{0:?} is not such as 1h30m, 90s or 500ms")]
    Go(String),
    /// Below nothing: the original takes it, and means something else.
    #[error("{0:?} is negative")]
    Negative(String),
    /// More than 292 years: the original counts on from below nothing.
    #[error("{0:?} is longer than 292 years")]
    TooLong(String),
}

/// Reads a span; white space around it is no fault, and an empty text is none. The last letter decides how the rest is
/// read.
///
/// # Errors
///
/// What is wrong with the text; negative and endless ones, which the original takes, are refused.
pub fn duration(text: &str) -> Result<Duration, DurationError> {
    let text = text.trim();
    let Some(unit) = text.chars().last() else {
        return Ok(Duration::ZERO);
    };
    let hours = match unit {
        's' | 'S' | 'm' | 'h' | 'H' => return go(text),
        'd' | 'D' => 24.0,
        'w' | 'W' => 7.0 * 24.0,
        'M' => 30.0 * 24.0,
        'y' | 'Y' => 365.0 * 24.0,
        other => return Err(DurationError::Unit(other)),
    };
    let number = text.strip_suffix(unit).unwrap_or_default();
    // The original reads 32 bits of it, and drops what is no whole hour.
    let number: f32 = number
        .parse()
        .ok()
        .filter(|number: &f32| number.is_finite())
        .ok_or_else(|| DurationError::Number(number.to_owned()))?;
    if number < 0.0 {
        return Err(DurationError::Negative(text.to_owned()));
    }
    Duration::try_from_secs_f64((f64::from(number) * hours).trunc() * HOUR)
        .ok()
        .filter(|span| *span <= LONGEST)
        .ok_or_else(|| DurationError::TooLong(text.to_owned()))
}

fn go(text: &str) -> Result<Duration, DurationError> {
    let nanos = go_duration::parse(text).map_err(|error| match error {
        GoDurationError::Syntax => DurationError::Go(text.to_owned()),
        GoDurationError::Range => DurationError::TooLong(text.to_owned()),
    })?;
    let nanos = u64::try_from(nanos).map_err(|_below| DurationError::Negative(text.to_owned()))?;
    Ok(Duration::from_nanos(nanos))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sr_case_05_the_last_letter_decides() {
        let hours = |hours: u64| Ok(Duration::from_secs(hours * 3600));
        assert_eq!(duration("1M"), hours(720));
        assert_eq!(duration("1m"), Ok(Duration::from_secs(60)));
        assert_eq!(duration("0.5d"), hours(12));
        assert_eq!(
            duration("wrong").unwrap_err().to_string(),
            "invalid time unit g"
        );
    }

    #[test]
    fn spans_below_nothing_and_without_end_are_refused() {
        for text in [
            "2562047h47m16.854775808s",
            "300y",
            "99999999999999999999999h",
        ] {
            assert!(
                matches!(duration(text), Err(DurationError::TooLong(_))),
                "{text}"
            );
        }
        for text in ["-1h", "-1d"] {
            assert!(
                matches!(duration(text), Err(DurationError::Negative(_))),
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".*") {
            drop(duration(&text));
        }

        #[test]
        fn go_spans_add_up(h in 0u64..1000, m in 0u64..60, ms in 0u64..1000) {
            let text = format!("{h}h{m}m{ms}ms");
            let sum = Duration::from_millis((h * 3600 + m * 60) * 1000 + ms);
            prop_assert!(!text.ends_with('s') || duration(&text) == Ok(sum));
        }
    }
}
