//! Lifecycle events.

use overlay_protocol::json::Limits;
use overlay_protocol::lifecycle::Event;

/// Decodes an event and writes it again in both forms.
///
/// Holds: an event that is written again, in either form, is the same; a subject stays where events belong.
pub fn events(data: &[u8]) {
    let limits = Limits::default();
    let Ok(event) = Event::decode(data, &limits) else {
        return;
    };
    let roomy = Limits {
        max_bytes: limits.max_bytes * 8,
        ..limits
    };
    for written in [event.to_cloudevent_json(), event.to_plain_json()] {
        let again = Event::decode(&written, &roomy).expect("what we write decodes");
        assert_eq!(again, event, "an event changes when written");
    }
    if let Some(subject) = event.subject() {
        assert!(
            subject.starts_with("choria.lifecycle.event.")
                && overlay_protocol::subject::is_valid(&subject),
            "an event leaves its subjects: {subject}"
        );
    }
    drop(event.to_string());
    drop(event.to_cloudevent());
}
