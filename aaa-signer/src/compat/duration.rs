//! Times as Go writes them: numbers with units, one after the other, such as `1h30m`.

use std::time::Duration;

/// Reads a time of Go's; nothing when it is none, or negative.
pub(super) fn read(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    let mut seconds = 0.0_f64;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let number: f64 = match number {
            "" | "." => return None,
            number => number.parse().ok()?,
        };
        let letters = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        seconds += number
            * match unit {
                "ns" => 1e-9,
                "us" | "µs" | "μs" => 1e-6,
                "ms" => 1e-3,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                _ => return None,
            };
        rest = after;
    }
    Duration::try_from_secs_f64(seconds).ok()
}

/// A time as our files write it.
pub(super) fn write(time: Duration) -> String {
    format!("{}ms", time.as_millis())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_of_go_are_read_and_no_others() {
        for (text, seconds) in [
            ("1h30m", 5400),
            ("90s", 90),
            ("0s", 0),
            ("0", 0),
            ("1.5h", 5400),
            ("200000h", 720_000_000),
        ] {
            assert_eq!(read(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "1d", "1x", "1", "-1h", "h", "1 h", "."] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".*") {
            let read = read(&text);
            prop_assert!(read.is_none() || !text.is_empty());
        }
    }
}
