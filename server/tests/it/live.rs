//! A node on a real broker.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt;
use overlay_protocol::envelope::Limits;
use overlay_protocol::envelope::v2::Federation;
use overlay_protocol::filter::Filter;
use overlay_protocol::lifecycle::{Event, EventKind};
use overlay_protocol::rpc::{RpcReply, StatusCode};
use overlay_server::agent::{Agent, Answer, Call, Metadata, Outcome, Running};
use overlay_server::node::Node;
use overlay_testkit::eventually;
use overlay_tokens::Issuers;
use overlay_tokens::request::{ReplyTrust, sign_request, verify_reply};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::support::live::{Stage, WITHIN};
use crate::support::{Cell, IDENTITY, open, read, transport};

/// Waits for leave, answers at length, or counts.
#[derive(Debug)]
struct Patient {
    metadata: Metadata,
    leave: Arc<Semaphore>,
}

impl Patient {
    fn new(leave: &Arc<Semaphore>) -> Arc<Self> {
        Arc::new(Self {
            metadata: Metadata {
                name: "patient".to_owned(),
                description: "Waits for leave".to_owned(),
                author: "tests".to_owned(),
                license: "Apache-2.0".to_owned(),
                version: "1.0".to_owned(),
                url: "https://example.net".to_owned(),
                timeout: 60,
                provider: None,
                service: false,
            },
            leave: Arc::clone(leave),
        })
    }
}

impl Agent for Patient {
    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn has_action(&self, _action: &str) -> bool {
        true
    }

    fn run<'a>(&'a self, call: Call<'a>, _node: &'a Node) -> Running<'a> {
        Box::pin(async move {
            if call.action == "talk" {
                return Outcome::Reply(Answer::ok(json!({ "said": "x".repeat(1_200_000) })));
            }
            self.leave.acquire().await.unwrap().forget();
            Outcome::Reply(Answer::ok(json!({ "waited": true })))
        })
    }
}

#[tokio::test]
async fn a_node_answers_on_its_own_subject_and_on_broadcasts() {
    let stage = Stage::new("", "");
    let client = stage.client().await;
    let node = stage.node().await;
    let cell = &stage.cell;
    for subject in [
        format!("choria.node.{IDENTITY}"),
        "choria.broadcast.agent.rpcutil".to_owned(),
        // The signed request names the agent, not the subject.
        "choria.broadcast.agent.choria_util".to_owned(),
    ] {
        let reply_to = stage.reply_subject();
        let bytes = cell.signed(
            &stage.fresh(cell.rpc("rpcutil", "ping", &json!({}))),
            &reply_to,
        );
        let answer = stage.ask(&client, &subject, &reply_to, bytes).await;
        let (transport, secure, reply) = open(&answer.payload);
        assert!(answer.headers.is_none());
        assert!(answer.reply.is_none());
        assert_eq!(transport.sender.as_deref(), Some(IDENTITY));
        assert_eq!(transport.trace.len(), 1);
        assert_eq!(transport.trace[0][1], IDENTITY);
        assert_eq!(reply["agent"], "rpcutil");
        assert_eq!(reply["sender"], IDENTITY);
        assert_eq!(reply["request"], "2ecvzXAzWRTIbJ5YMQTXGLJmC8V");
        let issuers = Issuers::new([("choria".to_owned(), cell.org.public())]).unwrap();
        let verified = verify_reply(&secure, &issuers, cell.now, &Limits::default(), None).unwrap();
        assert!(
            matches!(&verified.trust, ReplyTrust::Signed { identity } if identity == IDENTITY),
            "{:?}",
            verified.trust
        );
        let body = RpcReply::decode(&verified.reply.message, &Limits::default()).unwrap();
        assert_eq!(body.statuscode, StatusCode::Ok);
        assert!(body.data["pong"].is_i64());
    }
    node.stop().await;
}

#[tokio::test]
async fn unknown_actions_are_answered_and_other_nodes_requests_are_not() {
    let stage = Stage::new("", "");
    let client = stage.client().await;
    let node = stage.node().await;
    let cell = &stage.cell;
    let subject = format!("choria.node.{IDENTITY}");
    let mut filtered = stage.fresh(cell.rpc("rpcutil", "ping", &json!({})));
    filtered.filter = Some(Filter {
        identity: vec!["other.example.net".to_owned()],
        ..Filter::default()
    });
    let silent = stage.reply_subject();
    let mut heard = client.subscribe(silent.clone()).await.unwrap();
    let bytes = cell.signed(&filtered, &silent);
    client.publish(subject.clone(), bytes.into()).await.unwrap();

    let reply_to = stage.reply_subject();
    let request = stage.fresh(cell.rpc("rpcutil", "nosuch", &json!({})));
    let answer = stage
        .ask(
            &client,
            &subject,
            &reply_to,
            cell.signed(&request, &reply_to),
        )
        .await;
    let reply = stage.body(&answer.payload);
    assert_eq!(reply.statuscode, StatusCode::UnknownAction);
    // The filtered one came first, so its answer would be here by now.
    assert!(futures_util::poll!(heard.next()).is_pending());
    let status = stage
        .status_where(|status| status["stats"]["filtered"] == 1)
        .await;
    assert_eq!(status["stats"]["total"], 2);
    assert_eq!(status["stats"]["valid"], 1);
    node.stop().await;
}

#[tokio::test]
async fn replies_carry_the_federation_header_and_no_signature_when_told_so() {
    let stage = Stage::new("", "[rpc]\nsign_replies = false");
    let client = stage.client().await;
    let node = stage.node().await;
    let cell = &stage.cell;
    let reply_to = stage.reply_subject();
    let bytes = cell.signed(
        &stage.fresh(cell.request("discovery", b"cGluZw==")),
        &reply_to,
    );
    let mut value: Value = serde_json::from_slice(&bytes).unwrap();
    value["headers"]["federation"] =
        json!({"request": "R", "reply": "orig.reply", "targets": ["a"]});
    let bytes = serde_json::to_vec(&value).unwrap();
    let subject = "choria.broadcast.agent.discovery";
    let answer = stage.ask(&client, subject, &reply_to, bytes).await;
    let (transport, secure, reply) = open(&answer.payload);
    assert_eq!(
        transport.federation,
        Some(Federation {
            request: "R".to_owned(),
            reply: "orig.reply".to_owned(),
            targets: vec!["a".to_owned()],
        })
    );
    assert_eq!((secure.signature, secure.sender), (None, None));
    assert_eq!(reply["message"], STANDARD.encode("pong"));
    node.stop().await;
}

#[tokio::test]
async fn no_malformed_message_ends_the_node() {
    let stage = Stage::new("", "");
    let client = stage.client().await;
    let node = stage.node().await;
    let cell = &stage.cell;
    let subject = format!("choria.node.{IDENTITY}");
    let file = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/vectors/rpc/requests-refused.json"
    );
    let refused: Value = serde_json::from_str(&read(file.as_ref())).unwrap();
    let mut sent = 0_u64;
    for case in refused["cases"].as_array().unwrap() {
        let bytes = STANDARD
            .decode(case["transport_b64"].as_str().unwrap())
            .unwrap();
        client.publish(subject.clone(), bytes.into()).await.unwrap();
        sent += 1;
    }
    let good = cell.signed(
        &stage.fresh(cell.rpc("rpcutil", "ping", &json!({}))),
        "choria.reply.x.1",
    );
    for cut in (0..good.len()).step_by(97) {
        client
            .publish(subject.clone(), good[..cut].to_vec().into())
            .await
            .unwrap();
        sent += 1;
    }
    let large = vec![b'{'; 1_000_000];
    client.publish(subject.clone(), large.into()).await.unwrap();
    sent += 1;

    let reply_to = stage.reply_subject();
    let bytes = cell.signed(
        &stage.fresh(cell.rpc("rpcutil", "daemon_stats", &json!({}))),
        &reply_to,
    );
    let answer = stage.ask(&client, &subject, &reply_to, bytes).await;
    let stats = stage.body(&answer.payload).data;
    assert_eq!(stats["total"], sent + 1);
    assert_eq!(stats["unvalidated"], sent);
    node.stop().await;
}

#[tokio::test]
async fn a_reply_too_large_for_the_broker_becomes_an_error_reply() {
    let stage = Stage::new("", "");
    let client = stage.client().await;
    let leave = Arc::new(Semaphore::new(0));
    let node = stage.node_with(Patient::new(&leave)).await;
    let cell = &stage.cell;
    let reply_to = stage.reply_subject();
    let bytes = cell.signed(
        &stage.fresh(cell.rpc("patient", "talk", &json!({}))),
        &reply_to,
    );
    let subject = format!("choria.node.{IDENTITY}");
    let answer = stage.ask(&client, &subject, &reply_to, bytes).await;
    let reply = stage.body(&answer.payload);
    assert_eq!(reply.statuscode, StatusCode::UnknownError);
    assert!(
        reply.statusmsg.contains("bytes on the wire"),
        "{}",
        reply.statusmsg
    );
    assert_eq!(reply.action, "talk");
    let status = stage
        .status_where(|status| status["overlay"]["stats"]["oversized"] == 1)
        .await;
    assert_eq!(status["stats"]["replies"], 1);
    node.stop().await;
}

#[tokio::test]
async fn a_full_queue_drops_and_counts_and_the_rest_is_answered() {
    let stage = Stage::new("", "[rpc]\nworkers = 1\nqueue = 1");
    let client = stage.client().await;
    let leave = Arc::new(Semaphore::new(0));
    let node = stage.node_with(Patient::new(&leave)).await;
    let cell = &stage.cell;
    let subject = format!("choria.node.{IDENTITY}");
    let reply_to = stage.reply_subject();
    let mut answers = client.subscribe(reply_to.clone()).await.unwrap();
    for _ in 0..6 {
        let request = stage.fresh(cell.rpc("patient", "wait", &json!({})));
        let bytes = cell.signed(&request, &reply_to);
        client.publish(subject.clone(), bytes.into()).await.unwrap();
    }
    let all = |status: &Value| {
        let count = |value: &Value| value.as_u64().unwrap();
        count(&status["stats"]["valid"]) + count(&status["overlay"]["stats"]["dropped"]) == 6
    };
    let status = stage.status_where(all).await;
    let dropped = status["overlay"]["stats"]["dropped"].as_u64().unwrap();
    assert!((3..=4).contains(&dropped), "{dropped}");
    leave.add_permits(6);
    for _ in dropped..6 {
        tokio::time::timeout(WITHIN, answers.next())
            .await
            .unwrap()
            .unwrap();
    }
    node.stop().await;
}

#[tokio::test]
async fn the_stop_takes_nothing_new_and_finishes_what_runs() {
    let stage = Stage::new("", "");
    let client = stage.client().await;
    let mut events = client.subscribe("choria.lifecycle.event.>").await.unwrap();
    client.flush().await.unwrap();
    let leave = Arc::new(Semaphore::new(0));
    let mut node = stage.node_with(Patient::new(&leave)).await;
    let event = async |events: &mut async_nats::Subscriber| {
        let message = tokio::time::timeout(WITHIN, events.next())
            .await
            .unwrap()
            .unwrap();
        let event = Event::decode(&message.payload, &Limits::default()).unwrap();
        assert_eq!(event.identity, IDENTITY);
        assert_eq!(event.component, "server");
        (message.subject.to_string(), event.kind)
    };
    let (subject, kind) = event(&mut events).await;
    assert_eq!(subject, "choria.lifecycle.event.startup.server");
    assert!(matches!(kind, EventKind::Startup { version } if version == env!("CARGO_PKG_VERSION")));

    let cell = &stage.cell;
    let node_subject = format!("choria.node.{IDENTITY}");
    let reply_to = stage.reply_subject();
    let mut answers = client.subscribe(reply_to.clone()).await.unwrap();
    let request = stage.fresh(cell.rpc("patient", "wait", &json!({})));
    let bytes = cell.signed(&request, &reply_to);
    client
        .publish(node_subject.clone(), bytes.into())
        .await
        .unwrap();
    stage
        .status_where(|status| status["stats"]["valid"] == 1)
        .await;

    node.shutdown();
    leave.add_permits(1);
    let answer = tokio::time::timeout(WITHIN, answers.next())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(stage.body(&answer.payload).data, json!({"waited": true}));
    let (subject, kind) = event(&mut events).await;
    assert_eq!(subject, "choria.lifecycle.event.shutdown.server");
    assert_eq!(kind, EventKind::Shutdown);
    node.ended().await;
}

#[tokio::test]
async fn an_action_that_never_ends_does_not_hold_the_stop_for_ever() {
    let stage = Stage::new("", "");
    let client = stage.client().await;
    let leave = Arc::new(Semaphore::new(0));
    let mut node = stage.node_with(Patient::new(&leave)).await;
    let cell = &stage.cell;
    let request = stage.fresh(cell.rpc("patient", "wait", &json!({})));
    let bytes = cell.signed(&request, "choria.reply.x.1");
    client
        .publish(format!("choria.node.{IDENTITY}"), bytes.into())
        .await
        .unwrap();
    stage
        .status_where(|status| status["stats"]["valid"] == 1)
        .await;
    node.shutdown();
    node.ended().await;
}

#[tokio::test]
async fn a_node_that_may_not_hear_says_so() {
    let deny = "subscribe: { deny: \"choria.node.>\" }";
    let stage = Stage::new(deny, "");
    let node = stage.node().await;
    let status = stage
        .status_where(|status| {
            !status["overlay"]["refused_subjects"]
                .as_array()
                .unwrap()
                .is_empty()
        })
        .await;
    assert_eq!(
        status["overlay"]["refused_subjects"],
        json!([format!("choria.node.{IDENTITY}")])
    );
    node.stop().await;
}

#[tokio::test]
async fn alive_events_come_with_an_id_and_a_time_of_their_own() {
    let stage = Stage::new("", "[lifecycle]\nalive_interval = \"1s\"");
    let client = stage.client().await;
    let mut events = client
        .subscribe("choria.lifecycle.event.alive.server")
        .await
        .unwrap();
    client.flush().await.unwrap();
    let node = stage.node().await;
    let mut ids = Vec::new();
    for _ in 0..2 {
        let message = tokio::time::timeout(WITHIN, events.next())
            .await
            .unwrap()
            .unwrap();
        let json: Value = serde_json::from_slice(&message.payload).unwrap();
        assert_eq!(json["specversion"], "1.0");
        assert_eq!(json["subject"], IDENTITY);
        ids.push(json["id"].as_str().unwrap().to_owned());
    }
    assert_ne!(ids[0], ids[1]);
    node.stop().await;
}

#[tokio::test]
async fn the_status_file_has_what_choria_reads() {
    let stage = Stage::new("", "");
    let node = stage.node().await;
    let status = stage
        .status_where(|status| !status["connected_server"].as_str().unwrap().is_empty())
        .await;
    assert_eq!(status["identity"], IDENTITY);
    assert_eq!(status["provisioning_mode"], false);
    assert_eq!(status["certificate_expires"], "0001-01-01T00:00:00Z");
    assert!(status["token_expires"].as_str().unwrap().starts_with("20"));
    let members = [
        "events",
        "filtered",
        "invalid",
        "passed",
        "replies",
        "total",
        "ttlexpired",
        "valid",
    ];
    let found = status["stats"]
        .as_object()
        .unwrap()
        .keys()
        .collect::<Vec<_>>();
    assert_eq!(found, members);
    node.stop().await;
}

#[tokio::test]
async fn a_token_of_another_node_does_not_start() {
    let cell = Cell::new();
    cell.write_node_files("n2.example.net", Duration::from_secs(60));
    let stage = Stage::of(cell, "", "");
    let error = stage.refused_start().await;
    assert!(
        error.contains("the token is for `n2.example.net`"),
        "{error}"
    );
}

#[tokio::test]
async fn facts_that_change_are_seen_by_the_next_request() {
    let stage = Stage::new("", "");
    let client = stage.client().await;
    let node = stage.node().await;
    let cell = &stage.cell;
    let subject = format!("choria.node.{IDENTITY}");
    let facts = cell.path("facts.json");
    std::fs::write(&facts, r#"{"site":"ams1"}"#).unwrap();
    let site = async || {
        let reply_to = stage.reply_subject();
        let request = stage.fresh(cell.rpc("rpcutil", "get_fact", &json!({"fact": "site"})));
        let bytes = cell.signed(&request, &reply_to);
        let answer = stage.ask(&client, &subject, &reply_to, bytes).await;
        stage.body(&answer.payload).data["value"].clone()
    };
    assert_eq!(site().await, "ams1");
    std::fs::write(&facts, r#"{"site":"#).unwrap();
    assert_eq!(site().await, "ams1");
    std::fs::write(&facts, r#"{"site":"cdg-2"}"#).unwrap();
    eventually(WITHIN, Duration::from_millis(20), async || {
        site().await == "cdg-2"
    })
    .await;
    node.stop().await;
}

#[tokio::test]
async fn rpc_case_31_replies_go_where_the_request_says() {
    let stage = Stage::new("", "");
    let client = stage.client().await;
    let node = stage.node().await;
    let cell = &stage.cell;
    let reply_to = "choria.reply.jobs.1";
    let request = stage.fresh(cell.rpc("rpcutil", "ping", &json!({})));
    let bytes = cell.signed(&request, reply_to);
    let subject = format!("choria.node.{IDENTITY}");
    let answer = stage.ask(&client, &subject, reply_to, bytes).await;
    assert_eq!(answer.subject.as_str(), reply_to);
    node.stop().await;
}

#[tokio::test]
async fn rpc_case_26_30_32_the_permissions_of_a_server_token_are_enough_and_bound_it() {
    let uid = overlay_protocol::id::md5_hex(IDENTITY);
    let permissions = format!(
        "subscribe: {{ allow: [\"choria.broadcast.agent.>\", \"choria.node.{IDENTITY}\", \"choria.reply.{uid}.>\"] }}
         publish: {{ allow: [\"choria.lifecycle.>\", \"choria.machine.transition\", \"choria.machine.watcher.>\",
                             \"choria.reply.>\", \"choria.broadcast.agent.registration\",
                             \"choria.federation.choria.collective\"] }}"
    );
    let stage = Stage::new(&permissions, "");
    let client = stage.client().await;
    let node = stage.node().await;
    stage.pong().await;
    let status = stage
        .status_where(|status| status["stats"]["events"] == 1)
        .await;
    assert_eq!(status["overlay"]["refused_subjects"], json!([]));

    let cell = &stage.cell;
    let mut denied = client.subscribe("foo.bar").await.unwrap();
    let request = stage.fresh(cell.rpc("rpcutil", "ping", &json!({})));
    let bytes = cell.signed(&request, "foo.bar");
    client
        .publish(format!("choria.node.{IDENTITY}"), bytes.into())
        .await
        .unwrap();
    // The next request is answered, so the one before was, too: into the void.
    stage.pong().await;
    assert!(futures_util::poll!(denied.next()).is_pending());
    node.stop().await;
}

#[tokio::test]
async fn a_burst_of_quick_requests_is_answered_completely() {
    let stage = Stage::new("", "");
    let client = stage.client().await;
    let node = stage.node().await;
    let cell = &stage.cell;
    let reply_to = stage.reply_subject();
    let mut answers = client.subscribe(reply_to.clone()).await.unwrap();
    let subject = format!("choria.node.{IDENTITY}");
    // More than the queue and the workers hold together.
    let burst = 500;
    let token = cell.client_token(|_| {});
    let messages = (0..burst)
        .map(|_| {
            let request = stage.fresh(cell.rpc("rpcutil", "ping", &json!({})));
            transport(
                &sign_request(request.encode(), &cell.caller, &token),
                &reply_to,
            )
        })
        .collect::<Vec<_>>();
    for bytes in messages {
        client.publish(subject.clone(), bytes.into()).await.unwrap();
    }
    for _ in 0..burst {
        tokio::time::timeout(WITHIN, answers.next())
            .await
            .unwrap()
            .unwrap();
    }
    let status = stage
        .status_where(|status| status["stats"]["replies"] == burst)
        .await;
    assert_eq!(status["overlay"]["stats"]["dropped"], 0);
    node.stop().await;
}
