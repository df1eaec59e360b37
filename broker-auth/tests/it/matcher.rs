//! What a broker makes of permission lists: a small model of nats-server's rules, checked against recorded verdicts.

use overlay_broker_auth::{Permissions, Side};

/// Whether `subject` may be published.
pub(crate) fn may_publish(permissions: &Permissions, subject: &str) -> bool {
    passes(&permissions.publish, subject)
}

/// Whether `subject`, which may have wildcards and a queue group after a blank, may be subscribed to.
pub(crate) fn may_subscribe(permissions: &Permissions, subject: &str) -> bool {
    let subject = subject.split(' ').next().unwrap_or_default();
    passes(&permissions.subscribe, subject)
}

fn passes(side: &Side, subject: &str) -> bool {
    let allowed =
        side.allow().is_empty() || side.allow().iter().any(|allow| covers(allow, subject));
    allowed && !side.deny().iter().any(|deny| covers(deny, subject))
}

/// Whether everything that `subject` can match is matched by `pattern`.
pub(crate) fn covers(pattern: &str, subject: &str) -> bool {
    let mut subject = subject.split('.');
    for token in pattern.split('.') {
        match (token, subject.next()) {
            (">", Some(_)) => return true,
            (_, None) | ("*", Some(">")) => return false,
            ("*", Some(_)) => {}
            (literal, Some(given)) if literal == given => {}
            (_, Some(_)) => return false,
        }
    }
    subject.next().is_none()
}

#[test]
fn a_pattern_covers_what_it_matches() {
    for (pattern, subject) in [
        (">", "a"),
        (">", ">"),
        ("a.*", "a.b"),
        ("a.*", "a.*"),
        ("a.>", "a.b.c"),
        ("a.>", "a.>"),
    ] {
        assert!(covers(pattern, subject), "{pattern} {subject}");
    }
    for (pattern, subject) in [
        ("a.>", "a"),
        ("a.*", "a.>"),
        ("a.*", "a.b.c"),
        ("a.b", "a.*"),
        ("a.b", "a.>"),
    ] {
        assert!(!covers(pattern, subject), "{pattern} {subject}");
    }
}
