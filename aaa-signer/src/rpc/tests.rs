use overlay_protocol::envelope::Limits;
use overlay_protocol::envelope::v2::{
    INSECURE_SIGNATURE, Reply, Request, SecureReply, SecureRequest, Transport,
};
use overlay_protocol::filter::Filter;
use overlay_protocol::id::Collective;
use overlay_protocol::rpc::RpcReply;
use overlay_tokens::UnixTime;
use proptest::prelude::*;
use serde_json::Value;

use super::{Answer, Asked, Dropped, Face};

const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);
const REPLY: &str = "choria.reply.72dc525f8fe0064c0372c1fb3d729560.3MOB6lsV0Sh1DSTVCPBKbcU4yZ6";

fn face() -> Face {
    Face {
        identity: "aaa-1.example.net".to_owned(),
        collectives: vec![Collective::new("choria").unwrap()],
        limits: Limits::default(),
    }
}

fn message(reply: Option<&str>, body: &str, change: impl FnOnce(&mut Request)) -> Vec<u8> {
    let mut request = Request {
        message: body.as_bytes().to_vec(),
        id: "3MOB6lsV0Sh1DSTVCPBKbcU4yZ6".to_owned(),
        sender: "client.example.net".to_owned(),
        caller: "up=bob".to_owned(),
        collective: "choria".to_owned(),
        agent: "aaa_signer".to_owned(),
        ttl: std::time::Duration::from_secs(60),
        time_ns: NOW.as_nanos(),
        filter: Some(Filter::default()),
    };
    change(&mut request);
    let secure = SecureRequest {
        request: request.encode(),
        signature: INSECURE_SIGNATURE.to_vec(),
        caller: "x.y.z".to_owned(),
        signer: None,
    };
    let mut transport = Transport::new(secure.encode());
    transport.reply = reply.map(str::to_owned);
    transport.encode()
}

fn body(answer: &[u8]) -> RpcReply {
    let limits = Limits::default();
    let transport = Transport::decode(answer, &limits).unwrap();
    let secure = SecureReply::decode(&transport.data, &limits).unwrap();
    let reply = Reply::decode(&secure.reply, &limits).unwrap();
    RpcReply::decode(&reply.message, &limits).unwrap()
}

#[test]
fn aaa_case_41_every_answer_has_secure_request_as_text() {
    for (text, code) in [
        (r#"{"agent":"aaa_signer","action":"sign","data":{}}"#, 1),
        (r#"{"agent":"aaa_signer","action":"sign"}"#, 1),
        (r#"{"agent":"aaa_signer","action":"login","data":{}}"#, 2),
        (r#"{"agent":"aaa_signer","action":"","data":{}}"#, 2),
        ("{}", 2),
        ("hello", 4),
        ("[]", 4),
        (r#"{"agent":"aaa_signer","action":"sign","data":[]}"#, 4),
        (
            r#"{"agent":"aaa_signer","action":"sign","data":{"request":{}}}"#,
            4,
        ),
        (
            r#"{"agent":"aaa_signer","action":"sign","data":{"token":null}}"#,
            4,
        ),
    ] {
        let face = face();
        let question = face.read(&message(Some(REPLY), text, |_| {}), NOW).unwrap();
        let reply = body(&face.answer(&question, Answer::Denied, None, NOW));
        assert_eq!(reply.data["secure_request"], Value::from(""), "{text}");
        assert_eq!(
            serde_json::to_value(reply.statuscode).unwrap(),
            code,
            "{text}"
        );
    }
}

#[test]
fn answers_go_to_replies_and_nowhere_else() {
    let text = r#"{"agent":"aaa_signer","action":"sign","data":{}}"#;
    for reply in [
        None,
        Some(""),
        Some("choria.reply."),
        Some("choria.reply"),
        Some("choria.reply.*"),
        Some("choria.reply.x.>"),
        Some("choria.reply.x y"),
        Some("other.reply.x.y"),
        Some("choria.node.n1.example.net"),
        Some("choria.broadcast.agent.rpcutil"),
        Some("choria.broadcast.reply.x"),
        Some("$JS.API.STREAM.DELETE.X"),
        Some("overlay.audit.aaa.x"),
    ] {
        let read = face().read(&message(reply, text, |_| {}), NOW);
        assert_eq!(read.unwrap_err(), Dropped::Reply, "{reply:?}");
    }
}

#[test]
fn what_is_for_others_or_of_another_time_is_not_answered() {
    let text = r#"{"agent":"aaa_signer","action":"sign","data":{}}"#;
    let dropped = |change: fn(&mut Request)| {
        face()
            .read(&message(Some(REPLY), text, change), NOW)
            .unwrap_err()
    };
    assert_eq!(
        dropped(|request| request.agent = "rpcutil".to_owned()),
        Dropped::Agent
    );
    assert_eq!(
        dropped(|request| request.collective = "other".to_owned()),
        Dropped::Collective
    );
    assert_eq!(
        dropped(|request| request.time_ns -= 61_000_000_000),
        Dropped::Time
    );
    assert_eq!(
        dropped(|request| {
            request.filter = Some(Filter {
                identity: vec!["aaa-2.example.net".to_owned()],
                ..Filter::default()
            });
        }),
        Dropped::Filter
    );
}

#[test]
fn aaa_case_42_nobody_signs_the_messages_to_the_agent() {
    let text = r#"{"agent":"aaa_signer","action":"sign","data":{"request":"r","token":"t","signature":"s"}}"#;
    let question = face()
        .read(&message(Some(REPLY), text, |_| {}), NOW)
        .unwrap();
    let Asked::Sign(sign) = question.asked else {
        panic!("{:?}", question.asked);
    };
    assert_eq!(
        (
            sign.request.as_str(),
            sign.token.expose(),
            sign.signature.as_str()
        ),
        ("r", "t", "s")
    );
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512), text in "\\PC{0,200}") {
        let face = face();
        prop_assert!(face.read(&bytes, NOW).is_err());
        let question = face.read(&message(Some(REPLY), &text, |_| {}), NOW);
        if !text.is_empty() {
            let reply = body(&face.answer(&question.unwrap(), Answer::Denied, None, NOW));
            prop_assert_eq!(&reply.data["secure_request"], &Value::from(""));
        }
    }
}
