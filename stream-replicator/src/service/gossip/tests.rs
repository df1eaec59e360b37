use overlay_protocol::envelope::Limits;
use time::macros::datetime;

use super::*;

fn item(text: &str) -> TrackedItem {
    TrackedItem::decode(text.as_bytes(), &Limits::default()).unwrap()
}

#[test]
fn of_two_words_about_a_value_the_newer_counts_with_the_later_copy() {
    let now = Nanos::of_date(datetime!(2026-11-20 23:00:00 UTC)).unwrap();
    let newer = item(
        r#"{"seen":"2026-11-20T22:00:02Z","copied":"2026-11-20T21:00:00Z","size":2,"value":"a"}"#,
    );
    let older = item(
        r#"{"seen":"2026-11-20T22:00:01Z","copied":"2026-11-20T21:30:00Z","size":1,"value":"a"}"#,
    );
    for order in [[&newer, &older], [&older, &newer]] {
        let mut heard = Heard::default();
        for item in order {
            heard.take_in(item.clone(), now);
        }
        let known = &heard.items["a"];
        assert_eq!((known.seen, known.size), (newer.seen, 2));
        assert_eq!((known.copied, known.copied_size), (older.copied, Some(1)));
    }
}

#[test]
fn what_says_nothing_or_comes_from_the_future_is_not_heard() {
    let now = Nanos::of_date(datetime!(2026-11-20 23:00:00 UTC)).unwrap();
    let mut heard = Heard::default();
    for text in [
        r#"{"seen":"2026-11-20T22:00:02Z","value":""}"#,
        r#"{"value":"a"}"#,
        r#"{"seen":"2026-11-21T22:00:02Z","value":"a"}"#,
    ] {
        heard.take_in(item(text), now);
    }
    let mut long = item(r#"{"seen":"2026-11-20T22:00:02Z"}"#);
    long.value = "x".repeat(MAX_VALUE + 1);
    heard.take_in(long, now);
    assert!(heard.items.is_empty());
    let tomorrow = r#"{"seen":"2026-11-20T22:00:02Z","copied":"2026-11-21T22:00:00Z","stopped":"2026-11-21T22:00:00Z","value":"a"}"#;
    heard.take_in(item(tomorrow), now);
    let known = &heard.items["a"];
    assert_eq!((known.copied, known.stopped), (None, None));
}

/// What is published is published with our rights: an answer that goes wherever the question says could pause workers.
#[test]
fn only_who_asks_from_an_inbox_of_this_site_is_answered() {
    let heard = Arc::<Mutex<Heard>>::default();
    let ear = Ear {
        heard: Arc::clone(&heard),
        state: "state".into(),
        inboxes: "choria.reply.site.".to_owned(),
        time: SourceTime::new(overlay_runtime::Clock::system()),
    };
    for reply in [
        Some("$KV.OVERLAY_REPLICATION.pause"),
        Some("choria.reply.others.1"),
        Some("nodes.data"),
        None,
        Some("choria.reply.site.1"),
    ] {
        ear.hear(&Message {
            subject: "state".into(),
            reply: reply.map(Subject::from),
            payload: "".into(),
            headers: None,
            status: None,
            description: None,
            length: 0,
        });
    }
    let askers = lock(&heard).askers.clone();
    assert_eq!(askers, [Subject::from("choria.reply.site.1")]);
}
