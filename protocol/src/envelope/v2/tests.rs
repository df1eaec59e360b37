use std::time::Duration;

use proptest::prelude::*;

use super::{Federation, Reply, Request, SecureReply, SecureRequest, Transport};
use crate::error::DecodeError;
use crate::filter::Filter;
use crate::json::Limits;

fn limits() -> Limits {
    Limits::default()
}

fn request() -> Request {
    Request {
        message: b"{}".to_vec(),
        id: "2ecvzXAzWRTIbJ5YMQTXGLJmC8V".to_owned(),
        sender: "client.example.net".to_owned(),
        caller: "up=bob".to_owned(),
        collective: "choria".to_owned(),
        agent: "rpcutil".to_owned(),
        ttl: Duration::from_secs(60),
        time_ns: 1_700_000_000_000_000_000,
        filter: Some(Filter::default()),
    }
}

/// Replaces one piece of the encoded request and decodes it.
fn altered(from: &str, to: &str) -> Result<Request, DecodeError> {
    let text = String::from_utf8(request().encode()).unwrap();
    assert!(text.contains(from), "{from} is not in {text}");
    Request::decode(text.replacen(from, to, 1).as_bytes(), &limits())
}

#[test]
fn a_request_is_written_with_members_in_the_order_of_the_protocol() {
    assert_eq!(
        String::from_utf8(request().encode()).unwrap(),
        concat!(
            r#"{"protocol":"io.choria.protocol.v2.request","message":"e30=","id":"2ecvzXAzWRTIbJ5YMQTXGLJmC8V","#,
            r#""sender":"client.example.net","caller":"up=bob","collective":"choria","agent":"rpcutil","ttl":60,"#,
            r#""time":1700000000000000000,"filter":{"fact":[],"cf_class":[],"agent":[],"identity":[],"compound":[]}}"#
        )
    );
}

#[test]
fn every_member_of_a_request_but_the_filter_is_needed() {
    for member in [
        "message",
        "id",
        "sender",
        "caller",
        "collective",
        "agent",
        "ttl",
        "time",
    ] {
        let error = altered(&format!("\"{member}\":"), &format!("\"x{member}\":")).unwrap_err();
        assert!(
            matches!(error, DecodeError::Missing { member: found, .. } if found == member),
            "{error}"
        );
    }
    assert!(matches!(
        altered("\"protocol\":", "\"x\":"),
        Err(DecodeError::Protocol { .. })
    ));
    assert!(matches!(
        altered("v2.request", "v2.reply"),
        Err(DecodeError::Protocol { .. })
    ));
}

#[test]
fn numbers_of_a_request_are_whole_positive_and_in_range() {
    for (from, to) in [
        (":60", ":0"),
        (":60", ":-1"),
        (":60", ":60.0"),
        (":60", ":6e1"),
        (":60", ":\"60\""),
        (":60", ":null"),
        (":60", ":9223372037"),
        ("1700000000000000000", "0"),
        ("1700000000000000000", "-1"),
        ("1700000000000000000", "9223372036854775808"),
        ("1700000000000000000", "\"1\""),
    ] {
        assert!(
            matches!(altered(from, to), Err(DecodeError::Member { .. })),
            "{to}"
        );
    }
    assert_eq!(
        altered(":60", ":9223372036").unwrap().ttl.as_secs(),
        9_223_372_036
    );
}

#[test]
fn a_broken_filter_is_refused() {
    for to in [
        r#""filter":null"#,
        r#""filter":[]"#,
        r#""filter":{"fact":null,"cf_class":[],"identity":[],"compound":[]}"#,
        r#""filter":{"fact":[],"cf_class":[],"identity":[]}"#,
        r#""filter":{"fact":[],"cf_class":[],"identity":[],"compound":["x"]}"#,
        r#""filter":{"fact":[{"fact":"a","operator":"~","value":"b"}],"cf_class":[],"identity":[],"compound":[]}"#,
        r#""filter":{"fact":[{"fact":"","operator":"==","value":"b"}],"cf_class":[],"identity":[],"compound":[]}"#,
    ] {
        let from = r#""filter":{"fact":[],"cf_class":[],"agent":[],"identity":[],"compound":[]}"#;
        assert!(altered(from, to).is_err(), "{to}");
    }
}

#[test]
fn a_request_is_live_strictly_within_its_time() {
    let request = request();
    let (time, ttl) = (request.time_ns, 60_000_000_000);
    for (now, live) in [
        (time, true),
        (time - ttl, false),
        (time - ttl + 1, true),
        (time + ttl, false),
        (time + ttl - 1, true),
        (0, false),
        (i64::MAX, false),
        (i64::MIN, false),
    ] {
        assert_eq!(request.is_live(now), live, "{now}");
    }
}

#[test]
fn a_payload_that_is_base64_is_decoded_once_more() {
    for (message, payload) in [
        ("cGluZw==", "ping".as_bytes()),
        ("c\r\nGluZw==", b"ping"),
        ("ping", &[0xa6, 0x29, 0xe0]),
        (r#"{"a":1}"#, br#"{"a":1}"#),
        ("Y0dsdVp3PT0=", b"cGluZw=="),
        ("", b""),
    ] {
        let request = Request {
            message: message.as_bytes().to_vec(),
            ..request()
        };
        assert_eq!(request.payload(), payload, "{message}");
    }
}

#[test]
fn headers_may_be_missing_or_empty_but_not_null_or_a_list() {
    let with = |headers: &str| {
        let text =
            format!(r#"{{"protocol":"io.choria.protocol.v2.transport","data":"e30="{headers}}}"#);
        Transport::decode(text.as_bytes(), &limits())
    };
    assert_eq!(with("").unwrap(), Transport::new(b"{}".to_vec()));
    assert_eq!(
        with(r#","headers":{}"#).unwrap(),
        Transport::new(b"{}".to_vec())
    );
    assert_eq!(
        with(r#","headers":{"reply":null,"sender":""}"#).unwrap(),
        Transport::new(b"{}".to_vec())
    );
    for bad in [
        "null",
        "[]",
        "1",
        r#"{"reply":1}"#,
        r#"{"trace":[["a"]]}"#,
        r#"{"federation":[]}"#,
    ] {
        assert!(with(&format!(r#","headers":{bad}"#)).is_err(), "{bad}");
    }
}

#[test]
fn a_transport_of_another_protocol_or_without_data_is_refused() {
    for text in [
        r#"{"protocol":"choria:transport:1","data":"e30=","headers":{}}"#,
        r#"{"protocol":"io.choria.protocol.v3.transport","data":"e30="}"#,
        r#"{"data":"e30="}"#,
        r#"{"protocol":1,"data":"e30="}"#,
        r#"{"protocol":"io.choria.protocol.v2.transport"}"#,
        r#"{"protocol":"io.choria.protocol.v2.transport","data":""}"#,
        r#"{"protocol":"io.choria.protocol.v2.transport","data":null}"#,
        r#"{"protocol":"io.choria.protocol.v2.transport","data":"!"}"#,
        r#"{"protocol":"io.choria.protocol.v2.transport","data":{}}"#,
        "pong",
        "null",
        "",
    ] {
        assert!(
            Transport::decode(text.as_bytes(), &limits()).is_err(),
            "{text}"
        );
    }
}

#[test]
fn surrounding_white_space_of_a_token_is_dropped() {
    let text = r#"{"protocol":"io.choria.protocol.v2.secure_request","request":"e30=","signature":"e30=","caller":"a.b.c\n"}"#;
    let secure = SecureRequest::decode(text.as_bytes(), &limits()).unwrap();
    assert_eq!(secure.caller, "a.b.c");
    assert_eq!(secure.signer, None);
    let blank = text.replace("a.b.c", " ");
    assert!(SecureRequest::decode(blank.as_bytes(), &limits()).is_err());
}

#[test]
fn debug_output_of_secure_layers_has_no_token() {
    let secure = SecureRequest {
        request: b"{}".to_vec(),
        signature: vec![1; 64],
        caller: "eyJsecret".to_owned(),
        signer: Some("eyJsecret".to_owned()),
    };
    let reply = SecureReply {
        sender: Some("eyJsecret".to_owned()),
        ..SecureReply::new(b"{}".to_vec())
    };
    assert!(!format!("{secure:?} {reply:?}").contains("secret"));
}

#[test]
fn a_reply_may_lack_anything_and_say_any_protocol() {
    assert_eq!(Reply::decode(b"{}", &limits()).unwrap(), Reply::default());
    assert!(
        Reply::decode(
            br#"{"protocol":"io.choria.protocol.v2.request"}"#,
            &limits()
        )
        .is_ok()
    );
    for bad in [
        r#"{"message":"!"}"#,
        r#"{"time":"1"}"#,
        r#"{"sender":1}"#,
        "null",
    ] {
        assert!(Reply::decode(bad.as_bytes(), &limits()).is_err(), "{bad}");
    }
}

fn text() -> impl Strategy<Value = String> {
    "[\\PC<>&\"\\\\\u{2028}]{1,20}"
}

proptest! {
    #[test]
    fn a_transport_reads_back(
        data in proptest::collection::vec(any::<u8>(), 1..200),
        reply in proptest::option::of(text()),
        sender in proptest::option::of(text()),
        trace in proptest::collection::vec([text(), text(), text()], 0..3),
        federation in proptest::option::of((text(), text(), proptest::collection::vec(text(), 0..3))),
    ) {
        let federation = federation.map(|(request, reply, targets)| Federation { request, reply, targets });
        let transport = Transport { data, reply, sender, trace, federation };
        prop_assert_eq!(Transport::decode(&transport.encode(), &limits()).unwrap(), transport);
    }

    #[test]
    fn a_request_reads_back(
        message in proptest::collection::vec(any::<u8>(), 1..200),
        names in [text(), text(), text(), text(), text()],
        ttl in 1_u64..9_223_372_036,
        time_ns in 1_i64..,
        filtered in any::<bool>(),
    ) {
        let [id, sender, caller, collective, agent] = names;
        let filter = filtered.then(Filter::default);
        let ttl = Duration::from_secs(ttl);
        let request = Request { message, id, sender, caller, collective, agent, ttl, time_ns, filter };
        prop_assert_eq!(Request::decode(&request.encode(), &limits()).unwrap(), request);
    }

    #[test]
    fn secure_layers_read_back(
        bytes in proptest::collection::vec(any::<u8>(), 1..200),
        signature in proptest::collection::vec(any::<u8>(), 1..80),
        token in "[!-~]{1,40}",
        other in proptest::option::of("[!-~]{1,40}"),
    ) {
        let secure = SecureRequest {
            request: bytes.clone(), signature: signature.clone(), caller: token, signer: other.clone(),
        };
        prop_assert_eq!(SecureRequest::decode(&secure.encode(), &limits()).unwrap(), secure);
        let reply = SecureReply { signature: Some(signature), sender: other, ..SecureReply::new(bytes) };
        prop_assert_eq!(SecureReply::decode(&reply.encode(), &limits()).unwrap(), reply);
    }

    #[test]
    fn arbitrary_and_flipped_bytes_never_panic(
        noise in proptest::collection::vec(any::<u8>(), 0..300),
        at in 0_usize..400,
        flip in 1_u8..,
    ) {
        let mut encoded = request().encode();
        if let Some(byte) = encoded.get_mut(at) {
            *byte ^= flip;
        }
        for bytes in [noise, encoded] {
            drop(Transport::decode(&bytes, &limits()));
            drop(SecureRequest::decode(&bytes, &limits()));
            drop(Request::decode(&bytes, &limits()).map(|request| request.payload()));
            drop(SecureReply::decode(&bytes, &limits()));
            drop(Reply::decode(&bytes, &limits()));
        }
    }
}
