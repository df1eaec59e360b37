//! Heartbeats: messages that measure how far behind copies of a stream are.

use std::collections::BTreeMap;

/// Header with the name of the host that sent a heartbeat.
pub const ORIGINATOR_HEADER: &str = "Choria-SR-Originator";

/// Header with the subject that a heartbeat was sent to, whatever it becomes in copies.
pub const SUBJECT_HEADER: &str = "Choria-SR-Subject";

/// The headers of a heartbeat, sorted by name as on the original's wire: those that are configured, then who and where.
///
/// A configured header that has the name of one of the two keeps its value as the first one.
pub fn heartbeat_headers<'a>(
    originator: &'a str,
    subject: &'a str,
    configured: &'a [(String, String)],
) -> Vec<(&'a str, &'a str)> {
    let mut headers: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let configured = configured
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    let own = [(ORIGINATOR_HEADER, originator), (SUBJECT_HEADER, subject)];
    for (name, value) in configured.chain(own) {
        headers.entry(name).or_default().push(value);
    }
    headers
        .into_iter()
        .flat_map(|(name, values)| values.into_iter().map(move |value| (name, value)))
        .collect()
}

/// The body of a heartbeat that is sent at this time: Unix seconds in decimal digits.
pub fn heartbeat_body(unix_seconds: i64) -> String {
    unix_seconds.to_string()
}

/// When a heartbeat was sent, in Unix seconds, read from its body.
pub fn heartbeat_time(body: &[u8]) -> Option<i64> {
    std::str::from_utf8(body).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_groups_of_headers_are_sorted_by_name() {
        let configured = [
            ("who".to_owned(), "subject".to_owned()),
            (ORIGINATOR_HEADER.to_owned(), "mine".to_owned()),
            ("site".to_owned(), "east".to_owned()),
        ];
        assert_eq!(
            heartbeat_headers("h1", "hb.a", &configured),
            [
                (ORIGINATOR_HEADER, "mine"),
                (ORIGINATOR_HEADER, "h1"),
                (SUBJECT_HEADER, "hb.a"),
                ("site", "east"),
                ("who", "subject"),
            ]
        );
    }

    #[test]
    fn a_body_is_a_time_in_seconds() {
        assert_eq!(heartbeat_body(1_795_213_070), "1795213070");
        assert_eq!(heartbeat_time(b"1795213070\n"), Some(1_795_213_070));
        for body in ["", "now", "1.5", "99999999999999999999"] {
            assert_eq!(heartbeat_time(body.as_bytes()), None);
        }
    }
}
