//! Spans of time as Choria's programs print them.

use std::fmt;
use std::time::Duration;

/// Prints `1h2m3.5s`, `2.015s`, `14ms`, `993.551µs`, `12ns`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Text(pub(crate) Duration);

impl Text {
    /// Rounded to milliseconds.
    pub(crate) fn rounded(duration: Duration) -> Self {
        let millis = (duration.as_nanos() + 500_000) / 1_000_000;
        Self(Duration::from_millis(
            u64::try_from(millis).unwrap_or(u64::MAX),
        ))
    }
}

impl fmt::Display for Text {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        if nanos == 0 {
            return formatter.write_str("0s");
        }
        if nanos < 1_000 {
            return write!(formatter, "{nanos}ns");
        }
        if nanos < 1_000_000 {
            return write!(formatter, "{}µs", fraction(nanos, 1_000, 3));
        }
        if nanos < 1_000_000_000 {
            return write!(formatter, "{}ms", fraction(nanos, 1_000_000, 6));
        }
        let minutes = self.0.as_secs() / 60;
        let hours = minutes / 60;
        if hours > 0 {
            write!(formatter, "{hours}h")?;
        }
        if minutes > 0 {
            write!(formatter, "{}m", minutes % 60)?;
        }
        let rest = nanos % 60_000_000_000;
        write!(formatter, "{}s", fraction(rest, 1_000_000_000, 9))
    }
}

/// `nanos` in `unit`s, without trailing zeros.
fn fraction(nanos: u128, unit: u128, digits: usize) -> String {
    let text = format!("{}.{:0digits$}", nanos / unit, nanos % unit);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Reads a span as Choria's programs do, `1h30m`, `1.5s`, `250ms`, and days and weeks, `2d`, `1w`.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    const UNITS: [(&str, f64); 9] = [
        ("ns", 1e-9),
        ("us", 1e-6),
        ("µs", 1e-6),
        ("ms", 1e-3),
        ("s", 1.0),
        ("m", 60.0),
        ("h", 3600.0),
        ("d", 86_400.0),
        ("w", 604_800.0),
    ];
    let wrong = || format!("expected a span of time such as 90s, 5m or 1h30m, not {text:?}");
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(wrong());
    }
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.');
        let (number, behind) = rest.split_at(digits.ok_or_else(wrong)?);
        let end = behind.find(|c: char| c.is_ascii_digit() || c == '.');
        let (unit, behind) = behind.split_at(end.unwrap_or(behind.len()));
        let number: f64 = number.parse().map_err(|_| wrong())?;
        let unit = UNITS.iter().find(|(name, _)| *name == unit);
        seconds += number * unit.ok_or_else(wrong)?.1;
        rest = behind;
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| wrong())
}

/// Nanoseconds as JSON carries them.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_as_they_are_written() {
        for (text, millis) in [
            ("5s", 5_000),
            ("1h2m3.5s", 3_723_500),
            ("250ms", 250),
            ("2d", 172_800_000),
            ("1w", 604_800_000),
            (" 1.5m ", 90_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for wrong in [
            "",
            "5",
            "s",
            "5 s",
            "-5s",
            "5x",
            "1..2s",
            "1e400h",
            "9999999999999999999999w",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn spans_read_as_in_choria() {
        let text = |nanos| Text(Duration::from_nanos(nanos)).to_string();
        assert_eq!(text(0), "0s");
        assert_eq!(text(12), "12ns");
        assert_eq!(text(993_551), "993.551µs");
        assert_eq!(text(11_210_531), "11.210531ms");
        assert_eq!(text(2_001_092_675), "2.001092675s");
        assert_eq!(text(60_000_000_000), "1m0s");
        assert_eq!(text(3_723_500_000_000), "1h2m3.5s");
        assert_eq!(
            Text::rounded(Duration::from_nanos(2_014_500_000)).to_string(),
            "2.015s"
        );
        assert_eq!(Text::rounded(Duration::from_micros(200)).to_string(), "0s");
    }
}
