use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::action::{
    ConfigureRequest, Gen25519Reply, GencsrRequest, JwtReply, JwtRequest, MessageReply,
    RestartRequest,
};
use super::audit::{Details, HelperFacts, Kind, Record};
use super::control::{NodeReply, NodeRequest, NodesRequest, StatusReply};
use super::{
    DataError, InventoryReply, Issued, NodeRecord, NodeState, TokenFacts, action, control,
    identity_of_key, record_key,
};
use crate::SecretText;
use crate::id::Identity;
use crate::json::Limits;
use crate::rpc;
use crate::rpc::ddl::builtin;

fn object(value: Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

fn n1() -> Identity {
    Identity::new("n1.example.net").unwrap()
}

#[test]
fn requests_are_written_as_original_provisioners_write_them() {
    let token = SecretText::from("s3cret");
    let jwt = JwtRequest {
        token: token.clone(),
        nonce: None,
    };
    assert_eq!(jwt.to_data(), object(json!({"token": "s3cret"})));
    let restart = RestartRequest {
        token: token.clone(),
        splay: 1,
    };
    assert_eq!(
        restart.to_data(),
        object(json!({"token": "s3cret", "splay": 1}))
    );
    let configure = ConfigureRequest {
        token,
        config: SecretText::from("{\"identity\":\"n1\"}"),
        action_policies: BTreeMap::from([("rpcutil.policy".to_owned(), "x".to_owned())]),
        ..ConfigureRequest::default()
    };
    assert_eq!(
        configure.to_data(),
        object(json!({
            "token": "s3cret", "config": "{\"identity\":\"n1\"}", "certificate": "", "ca": "", "ssldir": "", "key": "",
            "ecdh_public": "", "action_policies": {"rpcutil.policy": "x"}, "opa_policies": {}, "server_jwt": ""
        }))
    );
}

#[test]
fn data_is_read_as_nodes_read_it() {
    let read = |value: Value| GencsrRequest::from_data(object(value));
    let request = read(json!({"token": null, "C": "NL", "ST": "", "extra": 1})).unwrap();
    assert!(request.token.is_empty());
    assert_eq!(
        (request.country.as_deref(), request.state),
        (Some("NL"), None)
    );
    let policies = json!({"action_policies": {"a.policy": null}});
    let request = ConfigureRequest::from_data(object(policies)).unwrap();
    assert_eq!(request.action_policies["a.policy"], "");
    assert_eq!(
        JwtRequest::from_data(object(json!({"token": 7}))),
        Err(DataError::Type {
            member: "token",
            expected: "a text"
        })
    );
    for splay in [json!(1.5), json!("1"), json!(u64::MAX), json!(true)] {
        let error = RestartRequest::from_data(object(json!({"splay": splay}))).unwrap_err();
        assert_eq!(error.to_string(), "splay is not a whole number");
    }
    assert_eq!(
        RestartRequest::from_data(object(json!({"splay": -5})))
            .unwrap()
            .splay,
        -5
    );
}

#[test]
fn replies_that_lack_members_are_told_and_never_taken_for_whole() {
    assert_eq!(JwtReply::from_value(json!([])), Err(DataError::NoObject));
    let reply = Gen25519Reply::from_value(json!({"public_key": "aa", "directory": "/"})).unwrap();
    assert_eq!(
        reply.complete(),
        Err(DataError::Missing {
            member: "signature"
        })
    );
    assert_eq!(
        MessageReply::from_value(json!({})).unwrap(),
        MessageReply::default()
    );
    let reply = JwtReply::from_value(json!({"jwt": "a.b.c\r\n"})).unwrap();
    assert_eq!(reply.token_text(), "a.b.c");
    let inventory = InventoryReply::from_value(json!({
        "version": 7, "upgradable": "yes", "facts": [], "agents": ["rpcutil", 1, null]
    }))
    .unwrap();
    assert_eq!(inventory.version(), None);
    assert!(!inventory.upgradable());
    assert_eq!(inventory.facts(), None);
    assert_eq!(inventory.agents().collect::<Vec<_>>(), ["rpcutil"]);
    assert!(InventoryReply::from_value(json!("x")).is_err());
}

#[test]
fn secrets_are_not_shown() {
    let request = ConfigureRequest {
        token: SecretText::from("hidden1"),
        config: SecretText::from("hidden2"),
        key: SecretText::from("hidden3"),
        server_jwt: SecretText::from("hidden4"),
        ..ConfigureRequest::default()
    };
    let reply = JwtReply {
        jwt: SecretText::from("hidden5"),
        ..JwtReply::default()
    };
    let shown = format!("{request:?} {reply:?}");
    assert!(!shown.contains("hidden"), "{shown}");
    let error = JwtRequest::from_data(object(json!({"token": ["hidden"]}))).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hidden"));
}

#[test]
fn inputs_above_the_described_limits_are_named() {
    let data = object(json!({"token": "x".repeat(129), "config": "y".repeat(2048)}));
    let excesses = action::excesses(action::name::CONFIGURE, &data);
    assert_eq!(
        excesses.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["token of 129 bytes is above the described limit of 128"]
    );
    assert!(action::excesses("nothing", &data).is_empty());
}

#[test]
fn the_description_of_the_agent_has_the_members_that_are_written() {
    let configure = ConfigureRequest::default().to_data();
    let described = &builtin(super::AGENT)
        .unwrap()
        .action(action::name::CONFIGURE)
        .unwrap()
        .input;
    assert_eq!(
        configure.keys().collect::<Vec<_>>(),
        described.keys().collect::<Vec<_>>()
    );
    let csr = GencsrRequest {
        token: SecretText::from("t"),
        cn: Some("n1".to_owned()),
        country: Some("NL".to_owned()),
        locality: Some("Delft".to_owned()),
        organisation: Some("Org".to_owned()),
        unit: Some("Unit".to_owned()),
        state: Some("ZH".to_owned()),
    };
    let gencsr = builtin(super::AGENT)
        .unwrap()
        .action(action::name::GENCSR)
        .unwrap();
    gencsr.validate(&csr.to_data()).unwrap();
    assert_eq!(csr.to_data().len(), gencsr.input.len());
    assert_eq!(GencsrRequest::from_data(csr.to_data()).unwrap(), csr);
}

#[test]
fn the_service_is_described_as_it_is_spoken() {
    let ddl = builtin(super::SERVICE).unwrap();
    assert!(ddl.metadata.service);
    let nodes = ddl.action(control::name::NODES).unwrap();
    let request = NodesRequest {
        state: Some(NodeState::Quarantined),
        offset: 400,
        limit: 0,
    };
    nodes.validate(&rpc::to_data(&request)).unwrap();
    assert_eq!(request.page(), control::MAX_NODES);
    let states: Vec<&str> = NodeState::ALL.iter().map(|state| state.as_str()).collect();
    assert_eq!(nodes.input["state"].list, states);
    let node = NodeRequest {
        identity: n1(),
        reason: String::new(),
    };
    let described = ddl.action(control::name::NODE).unwrap();
    described.validate(&rpc::to_data(&node)).unwrap();
    assert_eq!(
        rpc::from_data::<NodeRequest>(rpc::to_data(&node)).unwrap(),
        node
    );
    assert!(rpc::from_data::<NodeRequest>(object(json!({"identity": "a.>"}))).is_err());
    for (action, data) in [
        (control::name::STATUS, rpc::to_data(&StatusReply::default())),
        (control::name::NODE, rpc::to_data(&NodeReply::default())),
    ] {
        let outputs = &ddl.action(action).unwrap().output;
        assert!(
            data.keys().all(|name| outputs.contains_key(name)),
            "{action}"
        );
    }
}

#[test]
fn states_count_in_a_reply() {
    let reply = StatusReply {
        nodes: BTreeMap::from([(NodeState::Member, 3), (NodeState::Failed, 1)]),
        ..StatusReply::default()
    };
    let data = rpc::to_data(&reply);
    assert_eq!(data["nodes"], json!({"member": 3, "failed": 1}));
    assert_eq!(rpc::from_data::<StatusReply>(data).unwrap(), reply);
}

#[test]
fn records_read_back_and_stay_bounded() {
    let mut record = NodeRecord::new(n1(), 1_795_210_700);
    for at in 0..40 {
        record.note_enrolment(at);
    }
    record.set_reason("nonce_signature", &"é".repeat(4000));
    assert_eq!(record.enrolments, (24..40).collect::<Vec<i64>>());
    let limits = Limits::default();
    assert_eq!(
        NodeRecord::decode(&record.encode(), &limits).unwrap(),
        record
    );
    assert!(record.encode().len() < 4096);
    let least = br#"{"identity":"n1","state":"member","of_a_later_version":1}"#;
    assert_eq!(
        NodeRecord::decode(least, &limits).unwrap().state,
        NodeState::Member
    );
    for bad in [
        &b"{}"[..],
        br#"{"identity":"a.*","state":"member"}"#,
        br#"{"identity":"n1","state":"lost"}"#,
        b"[]",
        b"\xff",
    ] {
        assert!(NodeRecord::decode(bad, &limits).is_err());
    }
}

#[test]
fn what_is_said_at_length_is_kept_in_short() {
    // each of these is six characters in JSON
    let long = || Some("\u{1}".repeat(40_000));
    let issued = Issued {
        collectives: vec!["\u{1}".repeat(1000); 1000],
        ..Issued::default()
    };
    let token = TokenFacts {
        id: long(),
        organisation: long(),
        issuer: long(),
        ..TokenFacts::default()
    };
    let record = NodeRecord {
        reason: long(),
        message: long(),
        site: long(),
        version: long(),
        placement: long(),
        issued: Some(issued.clone()),
        token: Some(token.clone()),
        ..NodeRecord::new(n1(), 1)
    };
    assert!(record.encode().len() < 60 * 1024);
    let kept = NodeRecord::decode(&record.encode(), &Limits::default()).unwrap();
    assert_eq!(kept.version.unwrap().len(), 255);
    assert_eq!(kept.issued.unwrap().collectives.len(), 16);
    let details = Details {
        message: long(),
        reason: long(),
        version: long(),
        helper: Some(HelperFacts {
            message: long(),
            ..HelperFacts::default()
        }),
        token: Some(token),
        issued: Some(issued),
        ..Details::default()
    };
    let record = Record::new("1", Kind::Failed, Some(n1()), 1, details);
    assert!(record.to_cloudevent_json().len() < 80 * 1024);
    let none = Record::new("1", Kind::Failed, Some(n1()), 1, Details::default());
    assert_eq!(none.details, Details::default());
}

fn enrolled() -> Record {
    Record::new(
        "3MO9PRAtYVvE5Rkv5TSEQv67GT3",
        Kind::Enrolled,
        Some(n1()),
        1_795_210_700,
        Details {
            provisioner: "p1.example.net".to_owned(),
            instance: "a1b2".to_owned(),
            message: Some("x".repeat(5000)),
            ..Details::default()
        },
    )
}

#[test]
fn an_audit_record_is_a_cloud_event_under_the_name_of_its_node() {
    let record = enrolled();
    assert_eq!(
        record.subject(),
        "overlay.audit.provisioning.enrolled.n1.example.net"
    );
    let json: Value = serde_json::from_slice(&record.to_cloudevent_json()).unwrap();
    assert_eq!(json["type"], "io.overlay.provisioning.v1.enrolled");
    assert_eq!(json["time"], "2026-11-20T21:38:20Z");
    assert_eq!(json["subject"], "n1.example.net");
    assert_eq!(json["data"]["message"].as_str().unwrap().len(), 2048);
    let event: cloudevents::Event = serde_json::from_value(json).unwrap();
    assert_eq!(
        cloudevents::AttributesReader::id(&event),
        "3MO9PRAtYVvE5Rkv5TSEQv67GT3"
    );
    assert_eq!(
        Record::decode(&record.to_cloudevent_json(), &Limits::default()).unwrap(),
        record
    );
    let paused = Record::new("1", Kind::Paused, None, 0, Details::default());
    assert_eq!(paused.subject(), "overlay.audit.provisioning.paused");
}

#[test]
fn what_is_no_audit_record_is_refused() {
    let good: Value = serde_json::from_slice(&enrolled().to_cloudevent_json()).unwrap();
    for (member, value) in [
        ("specversion", json!("0.3")),
        ("source", json!("io.choria.lifecycle")),
        ("type", json!("io.overlay.provisioning.v1.lost")),
        ("type", json!("io.overlay.provisioning.v2.enrolled")),
        ("time", json!("yesterday")),
        ("id", json!("")),
        ("subject", json!("a.>")),
        ("data", json!([])),
    ] {
        let mut bad = good.clone();
        bad[member] = value;
        let bytes = serde_json::to_vec(&bad).unwrap();
        assert!(
            Record::decode(&bytes, &Limits::default()).is_err(),
            "{member}"
        );
    }
}

#[test]
fn words_read_back() {
    for state in NodeState::ALL {
        assert_eq!(state.as_str().parse::<NodeState>().unwrap(), state);
        assert_eq!(json!(state), json!(state.as_str()));
    }
    for kind in Kind::ALL {
        assert_eq!(kind.as_str().parse::<Kind>().unwrap(), kind);
    }
    assert!("lost".parse::<NodeState>().is_err());
    assert!("lost".parse::<Kind>().is_err());
}

#[test]
fn keys_are_those_of_one_identity_only() {
    for (identity, key) in [
        ("n1.example.net", "n1.example.net"),
        ("N-1", "N-1"),
        ("a_b", "a_5fb"),
        ("up=bob", "up_3dbob"),
        ("é", "_c3_a9"),
    ] {
        let identity = Identity::new(identity).unwrap();
        assert_eq!(record_key(&identity), key);
        assert_eq!(identity_of_key(key), Some(identity));
    }
    for key in [
        "", "a_", "a_5", "a_5F", "a_61", "a_ff", "a b", "a..b", "a_zz", "_2a",
    ] {
        assert_eq!(identity_of_key(key), None, "{key}");
    }
}

proptest! {
    #[test]
    fn every_identity_has_a_key_that_a_bucket_takes(text in "\\PC{1,40}") {
        if let Ok(identity) = Identity::new(text) {
            let key = record_key(&identity);
            prop_assert!(key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)));
            prop_assert!(!key.starts_with('.') && !key.ends_with('.'));
            prop_assert_eq!(identity_of_key(&key), Some(identity));
        }
    }

    #[test]
    fn foreign_keys_never_panic(key in "\\PC{0,40}") {
        if let Some(identity) = identity_of_key(&key) {
            prop_assert_eq!(record_key(&identity), key);
        }
    }
}
