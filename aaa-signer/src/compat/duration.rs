//! Times as Go writes them: numbers with units, one after the other, such as `1h30m`.

use std::time::Duration;

use overlay_protocol::go_duration;

/// Reads a time of Go's; nothing when it is none, or negative.
pub(super) fn read(text: &str) -> Option<Duration> {
    let nanos = go_duration::parse(text).ok()?;
    u64::try_from(nanos).ok().map(Duration::from_nanos)
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
