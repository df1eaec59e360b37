//! Numbered cases of the protocol that the codec alone decides.

use base64::Engine as _;
use ed25519_dalek::{Signature, VerifyingKey};
use overlay_protocol::DecodeError;
use overlay_protocol::envelope::Limits;
use overlay_protocol::envelope::v2::{Reply, Request, SecureReply, SecureRequest, Transport};
use overlay_protocol::filter::{Filter, NodeView};
use overlay_protocol::id::{Collective, Identity, md5_hex, sha256_hex};
use overlay_protocol::lifecycle::{COMPONENT_PROVISIONER, Event, EventKind};
use overlay_protocol::rpc::ddl::builtin;
use overlay_protocol::rpc::{RpcReply, RpcRequest, StatusCode};
use overlay_protocol::subject::{self, RequestKind, permission};
use serde_json::{Value, json};

const PUBLIC: &str = "03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8";
const REQUEST: &str = r#"{"protocol":"io.choria.protocol.v2.request","message":"eyJhZ2VudCI6InJwY3V0aWwiLCJhY3Rpb24iOiJwaW5nIiwiZGF0YSI6e319","id":"2ecvzXAzWRTIbJ5YMQTXGLJmC8V","sender":"client.example.net","caller":"up=bob","collective":"choria","agent":"rpcutil","ttl":60,"time":1700000000000000000,"filter":{"fact":[],"cf_class":[],"agent":["rpcutil"],"identity":[],"compound":[]}}"#;
const REQUEST_SIGNATURE: &str =
    "VBzaQQ0KINYnhb4EjnSCCgJW3oHdjJsBIe1OYZUA1r2J0KFhjGaVnoloBTcONuCyaccjD95VfJfkWJzrqB6cBw==";
const REPLY: &str = r#"{"protocol":"io.choria.protocol.v2.reply","message":"eyJhY3Rpb24iOiJwaW5nIiwic3RhdHVzY29kZSI6MCwic3RhdHVzbXNnIjoiT0siLCJkYXRhIjp7InBvbmciOjE3MDAwMDAwMDB9fQ==","request":"2ecvzXAzWRTIbJ5YMQTXGLJmC8V","sender":"n1.example.net","agent":"rpcutil","time":1700000000500000000}"#;
const REPLY_HASH: &str = "a2fNAiMo2LPNH+BZHovPg7ucWf7XIK4R2vjHwmbLkGc=";
const REPLY_SIGNATURE: &str =
    "qVEVn8oUd21D3jtym2HDH5IGzvf1Crd/bg0OVowGKgTalalb4b4PSehdB4UDk7IBdcWWZqzYvSwR6W8yyJMOAQ==";

fn limits() -> Limits {
    Limits::default()
}

fn b64(text: &str) -> Vec<u8> {
    base64::engine::general_purpose::STANDARD
        .decode(text)
        .unwrap()
}

fn verifies(bytes: &[u8], signature: &[u8]) -> bool {
    let key: [u8; 32] = hex::decode(PUBLIC).unwrap().try_into().unwrap();
    let signature = Signature::from_slice(signature).unwrap();
    VerifyingKey::from_bytes(&key)
        .unwrap()
        .verify_strict(bytes, &signature)
        .is_ok()
}

fn secure_request() -> Value {
    let encoded = SecureRequest {
        request: REQUEST.as_bytes().to_vec(),
        signature: b64(REQUEST_SIGNATURE),
        caller: "a.b.c".to_owned(),
        signer: None,
    }
    .encode();
    serde_json::from_slice(&encoded).unwrap()
}

fn secure_reply() -> Value {
    let mut reply = SecureReply::new(REPLY.as_bytes().to_vec());
    reply.signature = Some(b64(REPLY_SIGNATURE));
    reply.sender = Some("a.b.c".to_owned());
    serde_json::from_slice(&reply.encode()).unwrap()
}

fn altered(document: Value, member: &str, value: Option<Value>) -> Vec<u8> {
    let mut object = document.as_object().unwrap().clone();
    match value {
        Some(value) => object.insert(member.to_owned(), value),
        None => object.remove(member),
    };
    serde_json::to_vec(&object).unwrap()
}

fn request_with(member: &str, value: Option<Value>) -> Result<Request, DecodeError> {
    Request::decode(
        &altered(serde_json::from_str(REQUEST).unwrap(), member, value),
        &limits(),
    )
}

#[test]
fn rpc_case_01_the_known_request_keeps_its_bytes_and_signature() {
    let transport = Transport::new(serde_json::to_vec(&secure_request()).unwrap());
    let transport = Transport::decode(&transport.encode(), &limits()).unwrap();
    let secure = SecureRequest::decode(&transport.data, &limits()).unwrap();
    assert_eq!(secure.request, REQUEST.as_bytes());
    assert!(verifies(&secure.request, &secure.signature));
    let request = Request::decode(&secure.request, &limits()).unwrap();
    assert_eq!(String::from_utf8(request.encode()).unwrap(), REQUEST);
    let body = RpcRequest::decode(&request.payload(), &limits()).unwrap();
    assert_eq!(
        (body.agent.as_str(), body.action.as_str()),
        ("rpcutil", "ping")
    );

    for at in 0..secure.request.len() {
        let mut bytes = secure.request.clone();
        bytes[at] ^= 1;
        assert!(!verifies(&bytes, &secure.signature), "byte {at}");
    }
}

#[test]
fn rpc_case_02_a_request_serialised_again_has_another_signature() {
    let reordered: std::collections::BTreeMap<String, Value> =
        serde_json::from_str(REQUEST).unwrap();
    let reordered = serde_json::to_vec(&reordered).unwrap();
    let theirs = Request::decode(REQUEST.as_bytes(), &limits()).unwrap();
    assert_eq!(Request::decode(&reordered, &limits()).unwrap(), theirs);
    assert!(!verifies(&reordered, &b64(REQUEST_SIGNATURE)));
}

#[test]
fn rpc_case_03_a_transport_of_version_1_is_refused() {
    let error = Transport::decode(
        br#"{"protocol":"choria:transport:1","data":"e30=","headers":{}}"#,
        &limits(),
    );
    assert_eq!(
        error.unwrap_err().to_string(),
        "transport has protocol \"choria:transport:1\""
    );
}

#[test]
fn rpc_case_04_missing_headers_are_empty_and_null_ones_are_refused() {
    let without = br#"{"protocol":"io.choria.protocol.v2.transport","data":"e30="}"#;
    assert_eq!(Transport::decode(without, &limits()).unwrap().reply, None);
    let null = br#"{"protocol":"io.choria.protocol.v2.transport","data":"e30=","headers":null}"#;
    assert!(matches!(
        Transport::decode(null, &limits()),
        Err(DecodeError::Member {
            member: "headers",
            ..
        })
    ));
}

#[test]
fn rpc_case_05_a_secure_request_without_caller_signature_or_request_is_refused() {
    for (member, value) in [
        ("caller", Some(json!(""))),
        ("caller", None),
        ("signature", None),
        ("signature", Some(json!(""))),
        ("request", Some(json!(""))),
        ("request", None),
    ] {
        let error = SecureRequest::decode(&altered(secure_request(), member, value), &limits())
            .unwrap_err();
        assert!(
            matches!(error, DecodeError::Missing { member: found, .. } if found == member),
            "{error}"
        );
    }
    assert!(SecureRequest::decode(b"null", &limits()).is_err());
}

#[test]
fn rpc_case_06_a_request_without_filter_means_all_and_a_null_list_is_refused() {
    let facts = json!({});
    let node = NodeView {
        identity: "n1.example.net",
        agents: &[],
        classes: &[],
        facts: &facts,
    };
    assert_eq!(request_with("filter", None).unwrap().filter, None);
    assert!(Filter::default().matches(&node));
    let null = json!({"fact": null, "cf_class": [], "agent": [], "identity": [], "compound": []});
    assert!(matches!(
        request_with("filter", Some(null)),
        Err(DecodeError::Member {
            member: "filter",
            ..
        })
    ));
}

#[test]
fn rpc_case_07_a_ttl_of_0_is_refused() {
    assert!(matches!(
        request_with("ttl", Some(json!(0))),
        Err(DecodeError::Member { member: "ttl", .. })
    ));
    assert!(request_with("ttl", Some(json!(1))).is_ok());
}

#[test]
fn rpc_case_08_a_wrong_or_hex_hash_is_refused_and_a_garbage_signature_is_kept_for_the_verifier() {
    let hex = hex::encode(b64(REPLY_HASH));
    for hash in [json!(hex), json!("AAAA"), json!(""), json!(null)] {
        let bytes = altered(secure_reply(), "hash", Some(hash.clone()));
        assert!(SecureReply::decode(&bytes, &limits()).is_err(), "{hash}");
    }
    let bytes = altered(secure_reply(), "reply", Some(json!("e30=")));
    assert!(matches!(
        SecureReply::decode(&bytes, &limits()),
        Err(DecodeError::Hash)
    ));

    let good =
        SecureReply::decode(&serde_json::to_vec(&secure_reply()).unwrap(), &limits()).unwrap();
    assert_eq!(good.hash.as_slice(), b64(REPLY_HASH));
    assert!(verifies(&good.reply, good.signature.as_deref().unwrap()));
    let garbage = altered(secure_reply(), "signature", Some(json!("AAAA")));
    let garbage = SecureReply::decode(&garbage, &limits()).unwrap();
    assert_eq!(garbage.signature.as_deref(), Some(&[0, 0, 0][..]));
}

#[test]
fn rpc_case_09_an_unsigned_reply_is_taken_as_unsigned() {
    let encoded = SecureReply::new(REPLY.as_bytes().to_vec()).encode();
    assert!(
        !String::from_utf8(encoded.clone())
            .unwrap()
            .contains("signature")
    );
    let decoded = SecureReply::decode(&encoded, &limits()).unwrap();
    assert_eq!((&decoded.signature, &decoded.sender), (&None, &None));
    assert_eq!(
        Reply::decode(&decoded.reply, &limits()).unwrap().sender,
        "n1.example.net"
    );
    assert!(SecureReply::decode(b"null", &limits()).is_err());
}

#[test]
fn rpc_case_10_an_unknown_fact_operator_is_refused() {
    let filter = |operator: &str| json!({"fact": [{"fact": "a", "operator": operator, "value": "b"}], "cf_class": [], "identity": [], "compound": []});
    assert!(request_with("filter", Some(filter("~"))).is_err());
    assert!(request_with("filter", Some(filter("=~"))).is_ok());
}

#[test]
fn rpc_case_26_replies_are_bound_to_the_hash_of_the_caller() {
    assert_eq!(
        permission::any_collective_reply(&md5_hex("up=bob")),
        "*.reply.72dc525f8fe0064c0372c1fb3d729560.>"
    );
    assert_eq!(
        permission::any_collective_reply(&sha256_hex("up=bob")),
        "*.reply.a49a21f8923940b1a0d4044bdeda660a5e083b5159b84ba4355abbe6fdf94d78.>"
    );
    let collective = Collective::new("choria").unwrap();
    assert_eq!(
        subject::reply(
            &collective,
            &md5_hex("up=bob"),
            "2ecvzXAzWRTIbJ5YMQTXGLJmC8V"
        ),
        "choria.reply.72dc525f8fe0064c0372c1fb3d729560.2ecvzXAzWRTIbJ5YMQTXGLJmC8V"
    );
}

#[test]
fn rpc_case_27_a_direct_request_goes_to_the_subject_of_the_node() {
    let agent = "rpcutil".parse().unwrap();
    let node: Identity = "n1.example.net".parse().unwrap();
    let collective = "choria".parse().unwrap();
    let subject = subject::target(RequestKind::Direct, &collective, &agent, Some(&node)).unwrap();
    assert_eq!(subject, "choria.node.n1.example.net");
}

#[test]
fn rpc_case_34_the_words_for_an_unknown_action_travel_as_status_2() {
    let reply = RpcReply::failed(
        "x",
        StatusCode::UnknownAction,
        "Unknown action x for agent rpcutil",
    );
    let reply = RpcReply::decode(&reply.encode(), &limits()).unwrap();
    assert_eq!((reply.statuscode.as_u8(), reply.data), (2, json!({})));
    assert!(RpcRequest::decode(b"{", &limits()).is_err());
}

#[test]
fn rpc_case_36_discovery_sends_what_decodes_to_ping_once_more() {
    let message = |message: &[u8]| {
        let mut request = Request::decode(REQUEST.as_bytes(), &limits()).unwrap();
        request.message = message.to_vec();
        request.payload()
    };
    assert_eq!(message(overlay_protocol::rpc::DISCOVERY_PING), b"ping");
    assert_ne!(message(b"ping"), b"ping");
}

#[test]
fn rpc_case_39_the_body_of_a_reply_has_the_members_that_clients_print() {
    let reply = Reply::decode(REPLY.as_bytes(), &limits()).unwrap();
    let body = RpcReply::decode(&reply.message, &limits()).unwrap();
    let printed: Value = serde_json::from_slice(&body.encode()).unwrap();
    assert_eq!(
        printed,
        json!({"action": "ping", "statuscode": 0, "statusmsg": "OK", "data": {"pong": 1_700_000_000}})
    );
    assert_eq!(reply.time_ns, 1_700_000_000_500_000_000);
}

#[test]
fn rpc_case_41_inputs_are_checked_before_they_are_sent() {
    let action = builtin("rpcutil").unwrap().action("get_fact").unwrap();
    let convert = |name: &str, text: &str| {
        action
            .convert_inputs(&[(name.to_owned(), text.to_owned())])
            .map(Value::Object)
            .map_err(|error| error.to_string())
    };
    assert_eq!(
        convert("FACT", "os.family"),
        Ok(json!({"fact": "os.family"}))
    );
    let long = "x".repeat(513);
    assert_eq!(
        convert("fact", &long).unwrap_err(),
        "invalid value for 'fact': is longer than 512 characters"
    );
    assert_eq!(
        convert("other", "b").unwrap_err(),
        "input 'other' has not been declared"
    );
    assert_eq!(
        action.convert_inputs(&[]).unwrap_err().to_string(),
        "input 'fact' is required"
    );
}

#[test]
fn provision_case_40_a_startup_event_of_an_original_provisioner_is_read_though_it_is_no_cloud_event()
 {
    let bare = br#"{"protocol":"io.choria.lifecycle.v1.startup","id":"a49ce496-58e1-445e-88a7-7f7c2d4ade7e","identity":"provisioner.example.net","component":"provisioner","timestamp":1795210697,"version":"0.0.0"}"#;
    let event = Event::decode(bare, &limits()).unwrap();
    assert_eq!(event.component, COMPONENT_PROVISIONER);
    assert_eq!(
        event.kind,
        EventKind::Startup {
            version: "0.0.0".to_owned()
        }
    );
    assert_eq!(event.subject(), subject::provisioner_event("startup"));
    let wrapped = event.to_cloudevent_json();
    assert_eq!(Event::decode(&wrapped, &limits()).unwrap(), event);
    assert_eq!(event.to_plain_json(), bare);
}
