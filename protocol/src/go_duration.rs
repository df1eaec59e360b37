//! Spans of time as Go's programs write them: numbers with units, one after the other, such as `1h30m` or `-1.5s`.

const SECOND: u128 = 1_000_000_000;

/// Why a text is no span of Go's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GoDurationError {
    /// It is not written like one.
    #[error("not such as 1h30m, 90s or 500ms")]
    Syntax,
    /// It is longer than Go can count.
    #[error("longer than 292 years")]
    Range,
}

/// Reads a span in nanoseconds, as `time.ParseDuration` of Go does; what is below a nanosecond is dropped.
///
/// # Errors
///
/// What is wrong with the text. Go counts up to 292 years, in either direction.
pub fn parse(text: &str) -> Result<i64, GoDurationError> {
    let (is_negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(GoDurationError::Syntax);
    }
    let mut nanos: u128 = 0;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let letters = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let unit = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => SECOND,
            "m" => 60 * SECOND,
            "h" => 3600 * SECOND,
            _ => return Err(GoDurationError::Syntax),
        };
        nanos = nanos.saturating_add(scaled(number, unit).ok_or(GoDurationError::Syntax)?);
        rest = after;
    }
    let nanos = i64::try_from(nanos).map_err(|_too_long| GoDurationError::Range)?;
    Ok(if is_negative { -nanos } else { nanos })
}

/// A decimal number times a unit; what is below a nanosecond is dropped.
fn scaled(number: &str, unit: u128) -> Option<u128> {
    /// Digits after the point that can count: the largest unit has 3.6e12 nanoseconds.
    const PLACES: usize = 18;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    // So many digits are too long a span in any unit.
    let whole: u128 = match whole.trim_start_matches('0') {
        "" => 0,
        digits if digits.len() > 20 => u128::from(u64::MAX),
        digits => digits.parse().ok()?,
    };
    let kept = fraction.get(..fraction.len().min(PLACES))?;
    let part: u128 = if kept.is_empty() {
        0
    } else {
        kept.parse().ok()?
    };
    let scale = 10_u128.checked_pow(u32::try_from(kept.len()).ok()?)?;
    Some(
        whole
            .saturating_mul(unit)
            .saturating_add(part.saturating_mul(unit) / scale),
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn spans_are_exact_to_the_nanosecond() {
        for (text, nanos) in [
            ("0", 0),
            ("-0", 0),
            ("1h30m", 5_400_000_000_000),
            ("-1.5s", -1_500_000_000),
            ("+90000ms", 90_000_000_000),
            ("9007199254740993ns", 9_007_199_254_740_993),
            ("1.000000001s", 1_000_000_001),
            (".5us", 500),
            ("1.s", 1_000_000_000),
            ("1.9ns", 1),
            ("2562047h47m16.854775807s", i64::MAX),
        ] {
            assert_eq!(parse(text), Ok(nanos), "{text}");
        }
        for text in ["2562047h47m16.854775808s", "99999999999999999999999h"] {
            assert_eq!(parse(text), Err(GoDurationError::Range), "{text}");
        }
        for text in [
            "", "-", "+", "1", "1d", "1x", "h", ".", ".s", "1 h", "1.2.3s", "--1s",
        ] {
            assert_eq!(parse(text), Err(GoDurationError::Syntax), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".*") {
            let parsed = parse(&text);
            prop_assert!(parsed.is_err() || !text.is_empty());
        }

        #[test]
        fn parts_add_up(h in 0i64..1000, m in 0i64..60, ms in 0i64..1000) {
            let sum = ((h * 3600 + m * 60) * 1000 + ms) * 1_000_000;
            prop_assert_eq!(parse(&format!("{h}h{m}m{ms}ms")), Ok(sum));
            prop_assert_eq!(parse(&format!("-{h}h{m}m{ms}ms")), Ok(-sum));
        }
    }
}
