use cloudevents::AttributesReader as _;
use proptest::prelude::*;

use super::{COMPONENT_BROKER_AUTH, Event, EventKind, Refusal, SOURCE};
use crate::error::DecodeError;
use crate::json::Limits;

fn decode(text: &str) -> Result<Event, DecodeError> {
    Event::decode(text.as_bytes(), &Limits::default())
}

fn refusal() -> Event {
    Event::new(
        "01e72410-d734-4611-9485-8c6a2dd2579b",
        "n1.example.net",
        COMPONENT_BROKER_AUTH,
        1_535_106_973,
        EventKind::Refused(Refusal {
            reason: "token_expired".to_owned(),
            message: "the token expired at 2018-08-24T10:00:00Z".to_owned(),
            purpose: Some("choria_server".to_owned()),
            client_host: Some("10.0.0.1".to_owned()),
            server_name: Some("broker1".to_owned()),
            ..Refusal::default()
        }),
    )
}

#[test]
fn a_startup_is_written_as_the_original_writes_it() {
    let event = Event::new(
        "01e72410-d734-4611-9485-8c6a2dd2579b",
        "n1.example.net",
        "server",
        1_535_106_973,
        EventKind::Startup {
            version: "1.2.3".to_owned(),
        },
    );
    assert_eq!(
        String::from_utf8(event.to_cloudevent_json()).unwrap(),
        concat!(
            r#"{"specversion":"1.0","id":"01e72410-d734-4611-9485-8c6a2dd2579b","source":"io.choria.lifecycle","#,
            r#""type":"io.choria.lifecycle.v1.startup","subject":"n1.example.net","datacontenttype":"application/json","#,
            r#""time":"2018-08-24T10:36:13Z","data":{"protocol":"io.choria.lifecycle.v1.startup","#,
            r#""id":"01e72410-d734-4611-9485-8c6a2dd2579b","identity":"n1.example.net","component":"server","#,
            r#""timestamp":1535106973,"version":"1.2.3"}}"#
        )
    );
}

#[test]
fn what_is_written_is_a_cloud_event_to_the_library() {
    for event in [
        refusal(),
        Event {
            identity: String::new(),
            ..refusal()
        },
    ] {
        let parsed: cloudevents::Event =
            serde_json::from_slice(&event.to_cloudevent_json()).unwrap();
        assert_eq!(parsed, event.to_cloudevent().unwrap());
        assert_eq!(parsed.source().to_string(), SOURCE);
        assert_eq!(parsed.subject().is_some(), !event.identity.is_empty());
    }
}

#[test]
fn a_refusal_goes_where_refusals_go_and_says_why() {
    let event = refusal();
    assert_eq!(event.subject().as_deref(), Some(crate::subject::REFUSALS));
    assert_eq!(
        event.to_string(),
        "[refused] n1.example.net: login refused: the token expired at 2018-08-24T10:00:00Z (token_expired) \
         from 10.0.0.1 at broker1"
    );
    assert_eq!(
        Event::decode(&event.to_cloudevent_json(), &Limits::default()).unwrap(),
        event
    );
}

#[test]
fn events_inside_of_each_other_are_unwrapped_but_not_for_ever() {
    let mut text = String::from_utf8(refusal().to_plain_json()).unwrap();
    for wraps in 1..8 {
        text = format!(r#"{{"specversion":"1.0","source":"io.choria.lifecycle","data":{text}}}"#);
        assert_eq!(decode(&text).is_ok(), wraps <= 4, "{wraps}");
    }
}

#[test]
fn a_time_outside_of_the_calendar_is_kept_as_a_number() {
    let event = Event {
        timestamp: i64::MAX,
        ..refusal()
    };
    assert_eq!(event.time(), None);
    assert_eq!(
        Event::decode(&event.to_cloudevent_json(), &Limits::default()).unwrap(),
        event
    );
    let ancient = Event {
        timestamp: -100_000_000_000,
        ..refusal()
    };
    assert!(ancient.to_cloudevent().is_ok());
    assert!(!ancient.to_cloudevent_json().is_empty());
}

#[test]
fn unknown_protocols_are_named() {
    let error = decode(r#"{"protocol":"io.choria.lifecycle.v1.unknown"}"#).unwrap_err();
    assert_eq!(
        error.to_string(),
        "event has protocol \"io.choria.lifecycle.v1.unknown\""
    );
}

proptest! {
    #[test]
    fn every_kind_reads_back_in_both_forms(
        texts in [".{0,20}", ".{0,20}", ".{0,20}", ".{1,20}", ".{0,20}"],
        timestamp in any::<i64>(),
        sequence in any::<u64>(),
        which in 0..7,
    ) {
        let [id, identity, component, a, b] = texts;
        let kind = match which {
            0 => EventKind::Startup { version: a },
            1 => EventKind::Shutdown,
            2 => EventKind::Alive { version: a },
            3 => EventKind::Provisioned,
            4 => EventKind::Upgraded { version: a, new_version: b },
            5 => EventKind::Governor { governor: a, sequence, stage: b },
            _ => EventKind::Refused(Refusal { reason: a, message: b, ..Refusal::default() }),
        };
        let event = Event::new(id, identity, component, timestamp, kind);
        prop_assert_eq!(&Event::decode(&event.to_cloudevent_json(), &Limits::default()).unwrap(), &event);
        prop_assert_eq!(&Event::decode(&event.to_plain_json(), &Limits::default()).unwrap(), &event);
        prop_assert!(!event.to_string().is_empty());
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        drop(Event::decode(&bytes, &Limits::default()));
    }
}
