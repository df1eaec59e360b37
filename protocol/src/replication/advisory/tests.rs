use proptest::prelude::*;

use super::*;

fn advisory(event: AdvisoryEvent) -> Advisory {
    Advisory {
        event_id: "26QSY17sb9aJL6UPPG6MLOVjIrE".parse().unwrap(),
        inspect_field: "sender".to_owned(),
        age: 660,
        seen: 1_767_323_045,
        replicator: "US-EAST".to_owned(),
        timestamp: 1_767_323_705,
        event,
        value: "h1.example.net".to_owned(),
    }
}

#[test]
fn the_document_has_the_originals_members_in_their_order() {
    let text = String::from_utf8(advisory(AdvisoryEvent::Timeout).encode()).unwrap();
    assert_eq!(
        text,
        r#"{"protocol":"io.choria.sr.v2.age_advisory","event_id":"26QSY17sb9aJL6UPPG6MLOVjIrE","inspect_field":"sender","age":660,"seen":1767323045,"replicator":"US-EAST","timestamp":1767323705,"event":"timeout","value":"h1.example.net"}"#
    );
}

#[test]
fn each_event_comes_back_from_its_document() {
    for event in [
        AdvisoryEvent::New,
        AdvisoryEvent::Timeout,
        AdvisoryEvent::Recover,
        AdvisoryEvent::Expire,
        AdvisoryEvent::Shutdown,
    ] {
        let advisory = advisory(event);
        let again = Advisory::decode(&advisory.encode(), &Limits::default()).unwrap();
        assert_eq!(again, advisory);
    }
}

#[test]
fn the_subject_names_event_and_value() {
    let subject = |template, value| advisory_subject(template, AdvisoryEvent::New, value);
    assert_eq!(
        subject("adv.%s.%v", "h1.example.net"),
        "adv.new.h1.example.net"
    );
    assert_eq!(subject("adv", "h1"), "adv");
    assert_eq!(subject("%v.%s.%v", "a"), "a.new.a");
    assert_eq!(subject("adv.%v", "%s"), "adv.%s");
}

#[test]
fn a_value_never_leaves_its_place_in_the_subject() {
    let subject = |value| advisory_subject("adv.%s.%v", AdvisoryEvent::New, value);
    assert_eq!(subject("two words"), "adv.new.two_words");
    assert_eq!(subject("a..b"), "adv.new.a._.b");
    assert_eq!(subject(".a."), "adv.new._.a._");
    assert_eq!(subject("*.>"), "adv.new._._");
    assert_eq!(subject("line\nend\r"), "adv.new.line_end_");
    let first = advisory_subject("%v.%s", AdvisoryEvent::New, "$JS.API.STREAM.DELETE.X");
    assert_eq!(first, "_JS.API.STREAM.DELETE.X.new");
}

proptest! {
    #[test]
    fn every_value_makes_a_subject_that_can_be_published_on(value in "\\PC{1,40}|[ -~\\s]{1,40}") {
        let subject = advisory_subject("adv.%s.%v", AdvisoryEvent::Expire, &value);
        prop_assert!(subject::is_valid(&subject), "{subject:?}");
        prop_assert!(subject.starts_with("adv.expire."));
    }

    #[test]
    fn foreign_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Advisory::decode(&bytes, &Limits::default()).is_err());
    }
}
