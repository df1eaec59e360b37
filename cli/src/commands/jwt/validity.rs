//! How long a token shall be good, as people write it: `1h`, `90d`, `1y`, `1h30m`.

use std::time::Duration;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// Reads a span of time; nothing (`0s`) stands for the default of the kind of token. Whole numbers, each with `s`, `m`, `h`, `d`, `w`, `M` (30 days) or `y` (365 days).
pub(in crate::commands) fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no span of time such as 1h, 90d, 1y or 1h30m");
    let mut seconds: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at(digits);
        let number: u64 = number.parse().map_err(|_no_number| wrong())?;
        let mut units = after.chars();
        let unit = match units.next() {
            Some('s') => 1,
            Some('m') => MINUTE,
            Some('h') => HOUR,
            Some('d' | 'D') => DAY,
            Some('w' | 'W') => 7 * DAY,
            Some('M') => 30 * DAY,
            Some('y' | 'Y') => 365 * DAY,
            Some(_) | None => return Err(wrong()),
        };
        rest = units.as_str();
        seconds = number
            .checked_mul(unit)
            .and_then(|part| seconds.checked_add(part))
            .ok_or_else(wrong)?;
    }
    // 200 years: more is a slip, and does not fit the clocks of all readers.
    if text.is_empty() || seconds > 200 * 365 * DAY {
        return Err(wrong());
    }
    Ok(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read() {
        for (text, seconds) in [
            ("1h", 3600),
            ("1h30m", 5400),
            ("90d", 90 * DAY),
            ("1y", 8760 * HOUR),
            ("2w1s", 14 * DAY + 1),
            ("1M", 30 * DAY),
            ("175320h", 175_320 * HOUR),
            ("0s", 0),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "soon",
            "1",
            "h",
            "-1h",
            "1.5h",
            "1x",
            "99999999999999y",
            "300y",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
