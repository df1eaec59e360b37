//! Times as the original writes them: Go's, or days, weeks, months and years.

use std::time::Duration;

use overlay_protocol::go_duration;

use super::OriginalError;

const DAY: f64 = 86_400.0;

/// Reads a time in seconds; an empty text is none. The last letter decides how the rest is read.
pub(super) fn span(key: &'static str, text: &str) -> Result<f64, OriginalError> {
    let wrong = |problem: &str| OriginalError::Duration {
        key,
        problem: problem.to_owned(),
    };
    let Some(unit) = text.chars().last() else {
        return Ok(0.0);
    };
    let days = match unit {
        's' | 'm' | 'h' => {
            return go_seconds(text).ok_or_else(|| wrong("it is not a time of Go's"));
        }
        'd' | 'D' => 1.0,
        'w' | 'W' => 7.0,
        'M' => 30.0,
        'y' | 'Y' => 365.0,
        _ => return Err(wrong("its unit is not known")),
    };
    let number = text.strip_suffix(unit).unwrap_or_default();
    let number: f64 = number
        .parse()
        .ok()
        .filter(|number: &f64| number.is_finite())
        .ok_or_else(|| wrong("its number is none"))?;
    Ok(number * days * DAY)
}

/// Go's times in seconds, negative ones too.
fn go_seconds(text: &str) -> Option<f64> {
    let nanos = go_duration::parse(text).ok()?;
    let seconds = Duration::from_nanos(nanos.unsigned_abs()).as_secs_f64();
    Some(if nanos < 0 { -seconds } else { seconds })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_last_letter_decides() {
        for (text, seconds) in [
            ("90s", 90.0),
            ("1h30m", 5400.0),
            ("90000ms", 90.0),
            ("1.5h", 5400.0),
            ("1d", DAY),
            ("2W", 14.0 * DAY),
            ("1M", 30.0 * DAY),
            ("1m", 60.0),
            ("1.5y", 547.5 * DAY),
            ("-5m", -300.0),
            ("", 0.0),
        ] {
            assert_eq!(span("interval", text), Ok(seconds), "{text}");
        }
        for text in [
            "1d12h", "1H", "5", "soon", "d", "m", "1.2.3s", "infy", "1 h", "-",
        ] {
            assert!(span("interval", text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".*") {
            drop(span("interval", &text));
        }
    }
}
