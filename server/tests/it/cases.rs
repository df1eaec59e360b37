//! Conformance cases of the RPC protocol that concern a node, without a broker.

use std::sync::Arc;
use std::time::Duration;

use overlay_protocol::envelope::v2::SecureRequest;
use overlay_protocol::filter::Filter;
use overlay_protocol::rpc::StatusCode;
use overlay_server::agent::{Agent, Call, Metadata, Outcome, Running};
use overlay_server::agents::Agents;
use overlay_server::authorise::Stage;
use overlay_server::node::Node;
use overlay_tokens::UnixTime;
use overlay_tokens::claims::ClientPermissions;
use overlay_tokens::request::sign_request;
use serde_json::{Value, json};

use crate::support::{Cell, PLAIN, read, transport};

const REPLY: &str = "choria.reply.x.1";

fn stage(cell: &Cell, bytes: &[u8]) -> Option<Stage> {
    stage_at(cell, bytes, cell.now)
}

fn stage_at(cell: &Cell, bytes: &[u8], now: UnixTime) -> Option<Stage> {
    cell.rig("")
        .take(bytes, now)
        .err()
        .map(|refused| refused.stage())
}

fn ping(cell: &Cell) -> Vec<u8> {
    cell.signed(&cell.rpc("rpcutil", "ping", &json!({})), REPLY)
}

/// The outermost layer with one member changed.
fn changed(bytes: &[u8], change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut value: Value = serde_json::from_slice(bytes).unwrap();
    change(&mut value);
    serde_json::to_vec(&value).unwrap()
}

#[test]
fn rpc_case_02_reserialised_bytes_do_not_verify() {
    let cell = Cell::new();
    let request = cell.rpc("rpcutil", "ping", &json!({}));
    let mut secure = sign_request(request.encode(), &cell.caller, &cell.client_token(|_| {}));
    assert_eq!(stage(&cell, &transport(&secure, REPLY)), None);
    let value: Value = serde_json::from_slice(&secure.request).unwrap();
    secure.request = serde_json::to_vec(&value).unwrap();
    assert_eq!(
        stage(&cell, &transport(&secure, REPLY)),
        Some(Stage::SecureRequest)
    );
}

#[test]
fn rpc_case_03_a_v1_transport_is_dropped() {
    let cell = Cell::new();
    let bytes = changed(&ping(&cell), |value| {
        value["protocol"] = "choria:transport:1".into()
    });
    assert_eq!(stage(&cell, &bytes), Some(Stage::Transport));
}

#[test]
fn rpc_case_04_headers_may_be_absent_and_not_null() {
    let cell = Cell::new();
    let absent = changed(&ping(&cell), |value| {
        value.as_object_mut().unwrap().remove("headers");
    });
    let accepted = cell.rig("").take(&absent, cell.now).unwrap();
    assert_eq!(accepted.reply_to, None);
    let null = changed(&ping(&cell), |value| value["headers"] = Value::Null);
    assert!(stage(&cell, &null).is_some());
}

#[test]
fn rpc_case_05_a_secure_request_lacks_nothing() {
    let cell = Cell::new();
    let request = cell.rpc("rpcutil", "ping", &json!({}));
    let good = sign_request(request.encode(), &cell.caller, &cell.client_token(|_| {}));
    for broken in [
        SecureRequest {
            caller: String::new(),
            ..good.clone()
        },
        SecureRequest {
            signature: Vec::new(),
            ..good.clone()
        },
        SecureRequest {
            request: Vec::new(),
            ..good
        },
    ] {
        assert_eq!(
            stage(&cell, &transport(&broken, REPLY)),
            Some(Stage::SecureRequest)
        );
    }
}

#[test]
fn rpc_case_06_no_filter_matches_and_null_lists_are_refused() {
    let cell = Cell::new();
    let request = cell.rpc("rpcutil", "ping", &json!({}));
    assert_eq!(stage(&cell, &cell.signed(&request, REPLY)), None);
    let mut value: Value = serde_json::from_slice(&request.encode()).unwrap();
    value["filter"] =
        json!({"fact": null, "cf_class": [], "agent": [], "identity": [], "compound": []});
    let bytes = serde_json::to_vec(&value).unwrap();
    let secure = sign_request(bytes, &cell.caller, &cell.client_token(|_| {}));
    assert_eq!(
        stage(&cell, &transport(&secure, REPLY)),
        Some(Stage::SecureRequest)
    );
}

#[test]
fn rpc_case_07_a_ttl_of_zero_is_refused() {
    let cell = Cell::new();
    let request = cell.rpc("rpcutil", "ping", &json!({}));
    let mut value: Value = serde_json::from_slice(&request.encode()).unwrap();
    value["ttl"] = json!(0);
    let bytes = serde_json::to_vec(&value).unwrap();
    let secure = sign_request(bytes, &cell.caller, &cell.client_token(|_| {}));
    assert_eq!(
        stage(&cell, &transport(&secure, REPLY)),
        Some(Stage::SecureRequest)
    );
}

fn by(cell: &Cell, token: &str) -> Option<Stage> {
    let request = cell.rpc("rpcutil", "ping", &json!({}));
    let secure = sign_request(request.encode(), &cell.caller, token);
    stage(cell, &transport(&secure, REPLY))
}

#[test]
fn rpc_case_11_12_13_22_the_callers_token_decides() {
    let cell = Cell::new();
    assert_eq!(by(&cell, &cell.client_token(|_| {})), None);
    let no = Some(Stage::SecureRequest);
    assert_eq!(
        by(
            &cell,
            &cell.client_token(|token| token.ou = "nobody".to_owned())
        ),
        no
    );
    let signed_only = cell.client_token(|token| {
        token.permissions = Some(ClientPermissions {
            fleet_management: true,
            signed_fleet_management: true,
            ..ClientPermissions::default()
        });
    });
    assert_eq!(by(&cell, &signed_only), no);
    let short = cell.client_token(|token| token.validity = Duration::from_secs(10));
    let request = cell.rpc("rpcutil", "ping", &json!({}));
    let bytes = transport(&sign_request(request.encode(), &cell.caller, &short), REPLY);
    let later = UnixTime::from_secs(cell.now.secs + 11);
    assert_eq!(stage_at(&cell, &bytes, later), no);
    let before = UnixTime::from_secs(cell.now.secs - 1);
    assert_eq!(stage_at(&cell, &bytes, before), no);
}

#[test]
fn rpc_case_19_20_the_caller_is_the_client_of_the_token() {
    let cell = Cell::new();
    let mut request = cell.rpc("rpcutil", "ping", &json!({}));
    request.caller = "up=root".to_owned();
    assert_eq!(
        stage(&cell, &cell.signed(&request, REPLY)),
        Some(Stage::SecureRequest)
    );
    let server = cell.write_node_files("n1.example.net", Duration::from_secs(60));
    request.caller = "n1.example.net".to_owned();
    let secure = sign_request(request.encode(), &cell.node, &server);
    assert_eq!(
        stage(&cell, &transport(&secure, REPLY)),
        Some(Stage::SecureRequest)
    );
}

#[test]
fn rpc_case_23_time_is_within_ttl_strictly_on_both_sides() {
    let cell = Cell::new();
    let second = 1_000_000_000;
    for (shift, refused) in [
        (-60 * second, true),
        (-60 * second + 1, false),
        (60 * second - 1, false),
        (60 * second, true),
        (-61 * second, true),
        (61 * second, true),
    ] {
        let mut request = cell.rpc("rpcutil", "ping", &json!({}));
        request.time_ns += shift;
        let found = stage(&cell, &cell.signed(&request, REPLY));
        assert_eq!(found, refused.then_some(Stage::Ttl), "{shift}");
    }
}

#[test]
fn a_request_may_not_live_longer_than_the_maximum() {
    let cell = Cell::new();
    let mut request = cell.rpc("rpcutil", "ping", &json!({}));
    request.ttl = Duration::from_secs(5 * 3600);
    assert_eq!(stage(&cell, &cell.signed(&request, REPLY)), None);
    request.ttl += Duration::from_secs(1);
    assert_eq!(
        stage(&cell, &cell.signed(&request, REPLY)),
        Some(Stage::Ttl)
    );
}

#[test]
fn rpc_case_24_other_collectives_are_refused() {
    let cell = Cell::new();
    let mut request = cell.rpc("rpcutil", "ping", &json!({}));
    request.collective = "other".to_owned();
    assert_eq!(
        stage(&cell, &cell.signed(&request, REPLY)),
        Some(Stage::Message)
    );
}

#[test]
fn a_filter_that_does_not_match_is_no_fault() {
    let cell = Cell::new();
    let mut request = cell.rpc("rpcutil", "ping", &json!({}));
    request.filter = Some(Filter {
        identity: vec!["/^n[2-9]/".to_owned()],
        ..Filter::default()
    });
    assert_eq!(
        stage(&cell, &cell.signed(&request, REPLY)),
        Some(Stage::Filter)
    );
    request.filter = Some(Filter {
        identity: vec!["/^n1/".to_owned()],
        cf_class: vec!["role::web".to_owned()],
        agent: vec!["rpcutil".to_owned()],
        ..Filter::default()
    });
    assert_eq!(stage(&cell, &cell.signed(&request, REPLY)), None);
}

#[tokio::test]
async fn rpc_case_25_the_signed_agent_is_called_and_the_same_bytes_once() {
    let cell = Cell::new();
    let mut rig = cell.rig("");
    let bytes = ping(&cell);
    assert_eq!(rig.reply(&bytes, cell.now).await.statuscode, StatusCode::Ok);
    let again = rig
        .take(&bytes, cell.now)
        .err()
        .map(|refused| refused.stage());
    assert_eq!(again, Some(Stage::Replay));
    // A further batch has the same id and another time.
    let mut request = cell.rpc("rpcutil", "ping", &json!({}));
    request.time_ns += 1;
    let batch = cell.signed(&request, REPLY);
    assert_eq!(rig.reply(&batch, cell.now).await.statuscode, StatusCode::Ok);
    // The check can be switched off.
    let mut rig = cell.rig("[rpc]\nreplay_entries = 0");
    assert!(rig.take(&bytes, cell.now).is_ok());
    assert!(rig.take(&bytes, cell.now).is_ok());
}

#[tokio::test]
async fn rpc_case_34_unknown_actions_and_broken_bodies_are_answered() {
    let cell = Cell::new();
    let mut rig = cell.rig("");
    let unknown = cell.signed(&cell.rpc("rpcutil", "nosuch", &json!({})), REPLY);
    let reply = rig.reply(&unknown, cell.now).await;
    assert_eq!(reply.statuscode, StatusCode::UnknownAction);
    assert_eq!(reply.statusmsg, "Unknown action nosuch for agent rpcutil");
    let broken = cell.signed(&cell.request("rpcutil", b"{"), REPLY);
    let reply = rig.reply(&broken, cell.now).await;
    assert_eq!(reply.statuscode, StatusCode::InvalidData);
    assert!(reply.statusmsg.starts_with("Could not process request: "));
    assert_eq!(reply.action, "");
    assert_eq!(reply.data, json!({}));
}

#[tokio::test]
async fn rpc_case_35_37_38_who_may_not_call_is_told_so() {
    let cell = Cell::new();
    let words = "You are not authorized to call this agent or action";
    for (agents, rego, allowed) in [
        (vec!["rpcutil.ping"], None, true),
        (vec!["rpcutil.inventory"], None, false),
        (vec!["rpcutil"], None, false),
        (vec![], None, false),
        (vec!["*"], Some("package io.choria.aaasvc"), false),
        (vec![], Some("package io.choria.aaasvc"), false),
    ] {
        let token = cell.client_token(|token| {
            token.agents = agents.iter().map(|&entry| entry.to_owned()).collect();
            token.opa_policy = rego.map(str::to_owned);
        });
        let request = cell.rpc("rpcutil", "ping", &json!({}));
        let bytes = transport(&sign_request(request.encode(), &cell.caller, &token), REPLY);
        let mut rig = cell.rig("[authorization]\nmode = \"caller_token\"");
        let reply = rig.reply(&bytes, cell.now).await;
        if allowed {
            assert_eq!(reply.statuscode, StatusCode::Ok, "{agents:?}");
        } else {
            assert_eq!(reply.statuscode, StatusCode::Aborted, "{agents:?}");
            assert_eq!(reply.statusmsg, words);
            assert_eq!(rig.dispatcher.node.stats.snapshot().denied, 1);
        }
        // Without authorisation none of this matters.
        let reply = cell.rig("").reply(&bytes, cell.now).await;
        assert_eq!(reply.statuscode, StatusCode::Ok);
    }
}

#[tokio::test]
async fn a_policy_this_node_cannot_judge_denies_calls_and_not_discovery() {
    let cell = Cell::new();
    for mode in ["action_policy", "rego_policy"] {
        let mut rig = cell.rig(&format!("[authorization]\nmode = \"{mode}\""));
        assert_eq!(
            rig.reply(&ping(&cell), cell.now).await.statuscode,
            StatusCode::Aborted
        );
        let bytes = cell.signed(&cell.request("discovery", b"cGluZw=="), REPLY);
        assert_eq!(rig.body(&bytes, cell.now).await.unwrap().bytes, b"pong");
    }
}

#[tokio::test]
async fn rpc_case_36_discovery_answers_a_payload_with_ping_in_it() {
    let cell = Cell::new();
    let mut rig = cell.rig("");
    for (payload, answer) in [
        (&b"cGluZw=="[..], Some(&b"pong"[..])),
        (b"xx ping yy", Some(b"pong")),
        (b"ping", None),
        (b"PING!", None),
        (b"hello", None),
    ] {
        let bytes = cell.signed(&cell.request("discovery", payload), REPLY);
        let body = rig.body(&bytes, cell.now).await;
        assert_eq!(
            body.map(|body| body.bytes).as_deref(),
            answer,
            "{payload:?}"
        );
    }
}

#[tokio::test]
async fn an_agent_that_is_not_here_answers_nothing() {
    let cell = Cell::new();
    let bytes = cell.signed(&cell.rpc("nosuch", "ping", &json!({})), REPLY);
    assert_eq!(cell.rig("").body(&bytes, cell.now).await, None);
}

#[tokio::test]
async fn allowed_calls_are_audited_and_denied_ones_are_not() {
    let cell = Cell::new();
    let log = cell.path("audit.log");
    let audit = format!("[audit]\nfile = {log:?}\n");
    let mut rig = cell.rig(&audit);
    let data = json!({"fact": "os.family"});
    let bytes = cell.signed(&cell.rpc("rpcutil", "get_fact", &data), REPLY);
    rig.reply(&bytes, cell.now).await;
    let line: Value = serde_json::from_str(read(&log).trim_end()).unwrap();
    assert_eq!(line["caller"], "up=bob");
    assert_eq!(line["action"], "get_fact");
    assert_eq!(line["data"], data);
    let mut strict = cell.rig(&format!("{audit}[authorization]\nmode = \"caller_token\""));
    strict.reply(&bytes, cell.now).await;
    assert_eq!(read(&log).lines().count(), 1);
}

/// Sleeps, or panics.
#[derive(Debug)]
struct Moody(Metadata);

impl Moody {
    fn agents() -> Agents {
        let mut agents = Agents::builtin();
        agents.add(Arc::new(Self(Metadata {
            name: "moody".to_owned(),
            description: "Has its moods".to_owned(),
            author: "tests".to_owned(),
            license: "Apache-2.0".to_owned(),
            version: "1.0".to_owned(),
            url: "https://example.net".to_owned(),
            timeout: 1,
            provider: None,
            service: false,
        })));
        agents
    }
}

impl Agent for Moody {
    fn metadata(&self) -> &Metadata {
        &self.0
    }

    fn has_action(&self, _action: &str) -> bool {
        true
    }

    fn run<'a>(&'a self, call: Call<'a>, _node: &'a Node) -> Running<'a> {
        assert_ne!(call.action, "panic", "this is its mood");
        Box::pin(async move {
            tokio::time::sleep(Duration::from_secs(3600)).await;
            Outcome::Silence
        })
    }
}

#[tokio::test]
async fn an_action_out_of_time_and_one_that_panics_are_answered() {
    let cell = Cell::new();
    let config = cell.config("", PLAIN, "");
    let mut rig = cell.rig_with(&config, Moody::agents());
    for (action, words) in [
        ("sleep", "moody#sleep did not finish within 1 s"),
        ("panic", "moody#panic failed inside of the node"),
    ] {
        let bytes = cell.signed(&cell.rpc("moody", action, &json!({})), REPLY);
        let reply = rig.reply(&bytes, cell.now).await;
        assert_eq!(reply.statuscode, StatusCode::UnknownError);
        assert_eq!(reply.statusmsg, words);
        assert_eq!(reply.action, action);
    }
    assert_eq!(rig.dispatcher.node.stats.snapshot().timed_out, 1);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(300))]

    #[test]
    fn no_change_of_a_byte_passes_for_another_request(at in 0usize..100_000, by in 1u8..=255) {
        let (cell, good) = changed_message();
        let mut bytes = good.clone();
        let at = at % bytes.len();
        bytes[at] ^= by;
        if let Ok(accepted) = cell.rig("").take(&bytes, cell.now) {
            // Only what is not signed may differ: the headers, and blanks around the layers.
            let wanted = cell.rig("").take(good, cell.now).unwrap();
            assert_eq!(accepted.request, wanted.request);
            assert_eq!(accepted.payload, wanted.payload);
        }
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
        let (cell, _) = changed_message();
        assert!(cell.rig("").take(&bytes, cell.now).is_err());
    }
}

/// One cell and one good message for all cases of a property.
fn changed_message() -> &'static (Cell, Vec<u8>) {
    static ONE: std::sync::OnceLock<(Cell, Vec<u8>)> = std::sync::OnceLock::new();
    ONE.get_or_init(|| {
        let cell = Cell::new();
        let bytes = ping(&cell);
        (cell, bytes)
    })
}
