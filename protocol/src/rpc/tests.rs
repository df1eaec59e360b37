use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::{RpcReply, RpcRequest, StatusCode};
use crate::json::Limits;

fn request(text: &str) -> Result<RpcRequest, crate::DecodeError> {
    RpcRequest::decode(text.as_bytes(), &Limits::default())
}

#[test]
fn missing_parts_of_a_request_are_empty() {
    assert_eq!(request("{}").unwrap(), RpcRequest::default());
    assert_eq!(
        request(r#"{"action":"ping","data":null}"#).unwrap().data,
        Map::new()
    );
}

#[test]
fn what_ruby_clients_add_is_dropped() {
    let decoded =
        request(r#"{"agent":"a","action":"b","data":{"process_results":true,"x":1}}"#).unwrap();
    assert_eq!(Value::Object(decoded.data), json!({"x": 1}));
}

#[test]
fn members_of_wrong_type_are_refused() {
    for text in [
        "{",
        "[]",
        r#"{"action":1}"#,
        r#"{"data":[1]}"#,
        r#"{"data":"{}"}"#,
        r#"{"time":1}"#,
        r#"{"time":"yesterday"}"#,
        r#"{"callerid":1}"#,
        r#"{"ttl":"60"}"#,
    ] {
        assert!(request(text).is_err(), "{text}");
    }
    assert!(request(r#"{"callerid":"up=root","ttl":1,"time":"2026-11-20T22:00:00Z"}"#).is_ok());
}

#[test]
fn a_body_is_written_as_the_original_writes_it() {
    let mut data = Map::new();
    data.insert("fact".to_owned(), json!("a<b>&c"));
    let body = RpcRequest {
        agent: "rpcutil".to_owned(),
        action: "get_fact".to_owned(),
        data,
    };
    assert_eq!(
        String::from_utf8(body.encode()).unwrap(),
        r#"{"agent":"rpcutil","action":"get_fact","data":{"fact":"a\u003cb\u003e\u0026c"}}"#
    );
    assert_eq!(
        String::from_utf8(RpcReply::failed("x", StatusCode::Aborted, "no").encode()).unwrap(),
        r#"{"action":"x","statuscode":1,"statusmsg":"no","data":{}}"#
    );
}

#[test]
fn replies_of_odd_agents_are_read() {
    let reply = RpcReply::decode(br#"{"statuscode":77,"data":"{}"}"#, &Limits::default()).unwrap();
    assert_eq!(reply.statuscode, StatusCode::UnknownError);
    assert_eq!(reply.data, json!("{}"));
    assert!(RpcReply::decode(br#"{"statuscode":-1}"#, &Limits::default()).is_err());
}

proptest! {
    #[test]
    fn bodies_read_back(action in ".*", text in ".*", code in 0_u64..6) {
        let mut data = Map::new();
        data.insert(text.clone(), json!([text, 1, null]));
        data.remove("process_results");
        let body = RpcRequest { agent: text.clone(), action: action.clone(), data: data.clone() };
        prop_assert_eq!(RpcRequest::decode(&body.encode(), &Limits::default()).unwrap(), body);
        let statuscode = StatusCode::from_wire(code);
        let reply = RpcReply { action, statuscode, statusmsg: text, data: Value::Object(data) };
        prop_assert_eq!(RpcReply::decode(&reply.encode(), &Limits::default()).unwrap(), reply);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        drop(RpcRequest::decode(&bytes, &Limits::default()));
        drop(RpcReply::decode(&bytes, &Limits::default()));
        drop(super::ddl::decode(&bytes, &Limits::default()));
    }
}
