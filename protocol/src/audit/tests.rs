use serde_json::value::RawValue;

use super::*;

fn data() -> Data {
    Data {
        protocol: SIGNATURE_PROTOCOL.to_owned(),
        callerid: "up=bob".to_owned(),
        action: Some(Decision::Allow),
        site: "lhr".to_owned(),
        time: 1_795_212_651,
        request: RawValue::from_string(r#"{"id":"x"}"#.to_owned()).ok(),
        ..Data::default()
    }
}

#[test]
fn a_line_reads_back_as_it_was_written() {
    let line = write_line(
        "aaa-1.lhr",
        Head::START,
        Kind::Signature,
        "up=bob",
        1_795_212_651_123_456_789,
        &data().to_json(),
    );
    let text = String::from_utf8(line.clone()).unwrap();
    assert!(!text.contains('\n'));
    let record = Record::decode(&line).unwrap();
    assert_eq!(record.kind, Kind::Signature);
    assert_eq!(record.chain, "aaa-1.lhr");
    assert_eq!(record.sequence, 1);
    assert_eq!(record.previous, LineHash::NONE);
    assert_eq!(record.subject.as_deref(), Some("up=bob"));
    assert_eq!(record.time, "2026-11-20T22:10:51.123456Z");
    assert_eq!(record.data.request.unwrap().get(), r#"{"id":"x"}"#);
    let event: cloudevents::Event = serde_json::from_slice(&line).unwrap();
    let sequence = cloudevents::AttributesReader::ty(&event).to_owned();
    assert_eq!(sequence, "io.overlay.aaa.v1.signature");
    assert_eq!(
        event.extension("sequence").map(ToString::to_string),
        Some("000000000001".to_owned())
    );
}

#[test]
fn the_six_members_of_the_original_come_first_and_in_its_order() {
    let text = String::from_utf8(data().to_json()).unwrap();
    assert_eq!(
        text,
        r#"{"protocol":"io.choria.signer.v1.signature_audit","callerid":"up=bob","action":"allow","site":"lhr","time":1795212651,"request":{"id":"x"}}"#
    );
}

#[test]
fn what_is_no_record_is_refused() {
    let line = write_line("c", Head::START, Kind::Login, "", 0, b"{}");
    let good = String::from_utf8(line).unwrap();
    assert!(Record::decode(good.as_bytes()).is_ok());
    for (from, to) in [
        ("000000000001\",\"prev", "1\",\"prev"),
        ("000000000001\",\"prev", "-00000000001\",\"prev"),
        ("000000000001\",\"prev", "000000000000\",\"prev"),
        ("v1.login", "v1.logon"),
        ("v1.login", "v2.login"),
        ("aaa-signer/c", "aaa-signer/d"),
        ("\"1.0\"", "\"0.3\""),
        ("0000\",\"data", "000\",\"data"),
        ("0000\",\"data", "000A\",\"data"),
        (":{}}", ":[]}"),
        (":{}}", ":{}}}"),
        ("\"chain\":", "\"chain\":\"c\",\"chain\":"),
    ] {
        assert!(good.contains(from), "{from}");
        let bad = good.replacen(from, to, 1);
        assert!(Record::decode(bad.as_bytes()).is_err(), "{bad}");
    }
}

#[test]
fn long_texts_of_others_are_cut() {
    let long = "é".repeat(5000);
    let mut data = Data {
        callerid: long.clone(),
        decision: Some(Reasons {
            message: long.clone(),
            rule: Some(long.clone()),
            ..Reasons::default()
        }),
        token: Some(TokenFacts {
            jti: long,
            ..TokenFacts::default()
        }),
        ..Data::default()
    };
    data.bound();
    assert!(data.to_json().len() < MAX_MESSAGE_BYTES + 4 * MAX_WORD_BYTES + 512);
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes: Vec<u8>) {
        Record::decode(&bytes).ok();
    }

    #[test]
    fn any_names_make_one_readable_line(chain in "\\PC{0,40}", subject in "\\PC{0,40}", sequence in 0..u64::MAX / 2, time: i64) {
        let head = Head { sequence, hash: LineHash::of(chain.as_bytes()) };
        let line = write_line(&chain, head, Kind::Login, &subject, time, b"{}");
        let read = Envelope::decode(&line);
        proptest::prop_assert!(!line.contains(&b'\n'));
        let read = read.unwrap();
        proptest::prop_assert_eq!(read.chain, chain);
        proptest::prop_assert_eq!(read.sequence, sequence + 1);
        proptest::prop_assert_eq!(read.previous, head.hash);
        proptest::prop_assert_eq!(read.subject.unwrap_or_default(), subject);
    }
}
