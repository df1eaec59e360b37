//! Values as the original's users know them.

use std::fmt::Write as _;
use std::time::Duration;

use overlay_protocol::replication::TrackedItem;
use time::macros::format_description;
use time::{OffsetDateTime, UtcOffset};

use crate::duration::Text;
use crate::text;

/// A list in one line of JSON, with the members of the state's files.
pub(super) fn json(items: &[TrackedItem]) -> String {
    let items: Vec<_> = items
        .iter()
        .map(|item| String::from_utf8_lossy(&item.encode()).into_owned())
        .collect();
    format!("[{}]", items.join(","))
}

/// Five lines for each value.
pub(super) fn entries(items: &[TrackedItem], now: OffsetDateTime) -> String {
    let mut shown = String::new();
    for item in items {
        writeln!(shown, "           Value: {}", text::visible(&item.value)).ok();
        writeln!(shown, "       Seen Time: {}", moment(item.seen, now)).ok();
        writeln!(shown, "     Copied Time: {}", moment(item.copied, now)).ok();
        writeln!(shown, "    Payload Size: {}", item.size).ok();
        writeln!(shown, "         Advised: {}\n", item.advised).ok();
    }
    shown
}

fn moment(at: Option<OffsetDateTime>, now: OffsetDateTime) -> String {
    let Some(at) = at else {
        return "never".to_owned();
    };
    format!("{} ({})", written(at), age(now - at))
}

/// How long ago, in whole seconds.
fn age(span: time::Duration) -> String {
    let sign = if span.is_negative() { "-" } else { "" };
    let span = span.unsigned_abs() + Duration::from_millis(500);
    format!("{sign}{}", Text(Duration::from_secs(span.as_secs())))
}

/// A time as Go's programs print it.
fn written(at: OffsetDateTime) -> String {
    let second = format_description!("[year]-[month]-[day] [hour]:[minute]:[second]");
    let mut written = at.format(second).unwrap_or_default();
    if at.nanosecond() > 0 {
        let fraction = format!("{:09}", at.nanosecond());
        write!(written, ".{}", fraction.trim_end_matches('0')).ok();
    }
    let offset = at.offset();
    let hours = offset.whole_hours().unsigned_abs();
    let minutes = offset.minutes_past_hour().unsigned_abs();
    let sign = if offset.is_negative() { '-' } else { '+' };
    let offset_text = format!("{sign}{hours:02}{minutes:02}");
    let zone = if offset == UtcOffset::UTC {
        "UTC"
    } else {
        &offset_text
    };
    write!(written, " {offset_text} {zone}").ok();
    written
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn times_read_as_in_go() {
        assert_eq!(
            written(datetime!(2026-11-20 22:18:02.9247 UTC)),
            "2026-11-20 22:18:02.9247 +0000 UTC"
        );
        assert_eq!(
            written(datetime!(2026-11-20 22:18:02 +1:30)),
            "2026-11-20 22:18:02 +0130 +0130"
        );
        assert_eq!(age(time::Duration::milliseconds(19_540)), "20s");
        assert_eq!(age(time::Duration::milliseconds(-61_000)), "-1m1s");
        assert_eq!(moment(None, OffsetDateTime::UNIX_EPOCH), "never");
    }
}
