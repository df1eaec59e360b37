//! Requests and what comes of them.

use std::time::Duration;

use overlay_client::{Answer, Batches, Call, CallError, Fleet, Outcome, Target, Trust};
use overlay_protocol::envelope::Limits;
use overlay_protocol::filter::Filter;
use overlay_protocol::rpc::{RpcRequest, StatusCode};
use overlay_testkit::Broker;
use overlay_testkit::mint::Organisation;
use overlay_tokens::claims::ClientPermissions;
use overlay_tokens::issue::ClientToken;
use serde_json::Map;
use tokio::time::Instant;

use crate::cell::{self, Cell};
use crate::fleet::{self, Habit, node};

const TIMEOUT: Duration = Duration::from_secs(20);

fn ping(names: &[&str]) -> Call {
    Call {
        request: RpcRequest {
            agent: "rpcutil".into(),
            action: "ping".into(),
            data: Map::new(),
        },
        collective: None,
        target: Target::Nodes(names.iter().map(|name| name.parse().unwrap()).collect()),
        filter: Filter::default(),
        timeout: TIMEOUT,
        batches: None,
    }
}

async fn run(fleet: &Fleet, call: &Call) -> (Vec<Answer>, Outcome) {
    let mut answers = Vec::new();
    let outcome = fleet
        .call(call, |answer| answers.push(answer.clone()))
        .await
        .unwrap();
    (answers, outcome)
}

#[tokio::test]
async fn rpc_case_27_a_node_named_outright_gets_one_message_and_nobody_else_is_asked() {
    let cell = Cell::start(vec![node("a"), node("b")]);
    let fleet = cell.connect().await;
    let (answers, outcome) = run(&fleet, &ping(&["a"])).await;
    assert_eq!(answers.len(), 1);
    assert_eq!((outcome.asked, outcome.answered), (1, 1));
    let seen = cell.nodes.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].subject, "choria.node.a");
    assert_eq!(seen[0].filter_agents, ["rpcutil"]);
    let body = answers[0].body(&Limits::default()).unwrap();
    assert_eq!(body.statuscode, StatusCode::Ok);
    assert_eq!(answers[0].trust, Trust::Verified);
}

#[tokio::test]
async fn a_call_ends_when_all_have_answered() {
    let cell = Cell::start(fleet::nodes(50));
    let fleet = cell.connect().await;
    let names: Vec<String> = fleet::nodes(50).into_iter().map(|node| node.name).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let started = Instant::now();
    let (answers, outcome) = run(&fleet, &ping(&names)).await;
    assert_eq!(answers.len(), 50);
    assert!(outcome.missing.is_empty());
    assert!(started.elapsed() < TIMEOUT / 2, "it waited for the timeout");
}

#[tokio::test]
async fn who_is_silent_and_who_was_not_asked_is_named_and_nobody_counts_twice() {
    let cell = Cell::start(vec![
        node("silent").habit(Habit::Silent),
        node("twice").habit(Habit::Twice),
        node("loud").habit(Habit::Intruder),
    ]);
    let fleet = cell.connect().await;
    let mut call = ping(&["silent", "twice", "loud", "nosuch"]);
    call.timeout = Duration::from_secs(3);
    let (answers, outcome) = run(&fleet, &call).await;
    assert_eq!(answers.len(), 2);
    assert_eq!(outcome.missing, ["nosuch", "silent"]);
    assert_eq!(outcome.unexpected, ["other.example.net"]);
    assert_eq!((outcome.asked, outcome.answered, outcome.strays), (4, 2, 1));
}

#[tokio::test]
async fn rpc_case_08_a_wrong_hash_is_no_reply_and_a_wrong_signature_is_flagged() {
    let cell = Cell::start(vec![
        node("hash").habit(Habit::WrongHash),
        node("garbage").habit(Habit::Garbage),
        node("impostor").habit(Habit::Impostor),
    ]);
    let fleet = cell.connect().await;
    let mut call = ping(&["hash", "garbage", "impostor"]);
    call.timeout = Duration::from_secs(3);
    let (answers, outcome) = run(&fleet, &call).await;
    assert_eq!(outcome.missing, ["hash"]);
    assert_eq!(outcome.strays, 1);
    assert_eq!(answers.len(), 2);
    assert!(
        answers
            .iter()
            .all(|answer| matches!(answer.trust, Trust::Bad(_)))
    );
    assert_eq!(outcome.doubtful["garbage"], "reply signature is invalid");
    assert!(
        outcome.doubtful["impostor"].contains("other.example.net"),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn rpc_case_09_an_unsigned_reply_is_accepted_and_flagged_when_issuers_are_known() {
    let cell = Cell::start(vec![node("a").habit(Habit::Unsigned), node("b")]);
    let fleet = cell.connect().await;
    let started = Instant::now();
    let (answers, outcome) = run(&fleet, &ping(&["a", "b"])).await;
    assert_eq!(answers.len(), 2);
    assert_eq!(outcome.doubtful["a"], "the reply is not signed");
    assert!(outcome.missing.is_empty());
    assert!(
        started.elapsed() < TIMEOUT / 2,
        "doubt took as long as silence"
    );

    let unchecked = cell::load(cell.dir.path(), &cell.broker.url(), "");
    let fleet = Fleet::connect(unchecked, "test").await.unwrap();
    let (answers, outcome) = run(&fleet, &ping(&["a", "b"])).await;
    assert!(
        answers
            .iter()
            .all(|answer| answer.trust == Trust::Unchecked)
    );
    assert!(outcome.doubtful.is_empty());
}

#[tokio::test]
async fn a_forged_reply_does_not_displace_the_true_one() {
    let cell = Cell::start(vec![node("a").habit(Habit::ImpostorFirst)]);
    let fleet = cell.connect().await;
    let (answers, outcome) = run(&fleet, &ping(&["a"])).await;
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0].trust, Trust::Verified);
    assert!(outcome.doubtful.is_empty());
}

#[tokio::test]
async fn rpc_case_42_batches_share_one_request_id_and_one_reply_subject() {
    let cell = Cell::start(["a", "b", "c", "d", "e"].map(node).to_vec());
    let fleet = cell.connect().await;
    let mut call = ping(&["a", "b", "c", "d", "e"]);
    let pause = Duration::from_millis(50);
    call.batches = Some(Batches { size: 2, pause });
    let (answers, outcome) = run(&fleet, &call).await;
    assert_eq!(answers.len(), 5);
    assert!(outcome.request_time >= pause * 2);
    let seen = cell.nodes.seen();
    assert_eq!(seen.len(), 5);
    assert!(
        seen.iter()
            .all(|request| request.id == outcome.id.to_string())
    );
    assert!(
        seen.iter()
            .all(|request| request.reply_to == seen[0].reply_to)
    );
    let mut times: Vec<i64> = seen.iter().map(|request| request.time_ns).collect();
    times.dedup();
    assert_eq!(times.len(), 3, "each batch is signed anew");
}

#[tokio::test]
async fn a_late_node_of_an_earlier_batch_still_counts() {
    let cell = Cell::start(vec![node("a").habit(Habit::Late(3500)), node("b")]);
    let fleet = cell.connect().await;
    let mut call = ping(&["a", "b"]);
    call.timeout = Duration::from_secs(2);
    call.batches = Some(Batches {
        size: 1,
        pause: Duration::from_secs(6),
    });
    let (answers, outcome) = run(&fleet, &call).await;
    assert_eq!(answers.len(), 2);
    assert!(outcome.missing.is_empty());
}

#[tokio::test]
async fn rpc_case_31_replies_go_where_they_are_sent() {
    use futures_util::StreamExt;
    let cell = Cell::start(vec![node("a")]);
    let fleet = cell.connect().await;
    let subject = "choria.reply.jobs.1";
    let mut replies = fleet
        .connection()
        .subscribe(subject.to_owned())
        .await
        .unwrap();
    let id = fleet.send(&ping(&["a"]), subject).await.unwrap();
    let reply = tokio::time::timeout(TIMEOUT, replies.next())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(reply.subject.as_str(), subject);
    assert_eq!(cell.nodes.seen()[0].id, id.to_string());
    let wrong = fleet.send(&ping(&["a"]), "choria.*").await;
    assert!(matches!(wrong, Err(CallError::ReplyTo(_))));
}

#[tokio::test]
async fn rpc_case_29_a_caller_who_may_not_publish_gets_no_replies_and_the_reason() {
    let users = r#"authorization { users = [
        {user: node, password: node},
        {user: bob, password: secret, permissions: {publish: "nothing", subscribe: "*.reply.>"}}
    ] }"#;
    let broker = Broker::builder()
        .max_control_line(65_536)
        .config(users)
        .start();
    let organisation = Organisation::new();
    let dir = tempfile::tempdir().unwrap();
    cell::operator(&organisation).write(dir.path(), "client");
    std::fs::write(dir.path().join("password"), "secret\n").unwrap();
    let more = "user = \"bob\"\npassword_file = \"password\"\n";
    let config = cell::load(dir.path(), &broker.url(), more);
    let fleet = Fleet::connect(config, "test").await.unwrap();
    let mut call = ping(&["x"]);
    call.timeout = Duration::from_secs(3);
    let (answers, outcome) = run(&fleet, &call).await;
    assert!(answers.is_empty());
    assert_eq!(outcome.missing, ["x"]);
    let refusals = outcome.notices.refusals.join("\n");
    assert!(refusals.contains("choria.node.x"), "{refusals}");
}

#[tokio::test]
async fn who_must_be_signed_for_is_told_so() {
    let broker = Broker::plain();
    let organisation = Organisation::new();
    let dir = tempfile::tempdir().unwrap();
    let permissions = ClientPermissions {
        signed_fleet_management: true,
        ..ClientPermissions::default()
    };
    let token = ClientToken {
        permissions: Some(permissions),
        ..ClientToken::new("up=bob")
    };
    organisation.client(token).write(dir.path(), "client");
    let config = cell::load(dir.path(), &broker.url(), "");
    let fleet = Fleet::connect(config, "test").await.unwrap();
    let result = fleet.call(&ping(&["a"]), |_| {}).await;
    assert!(matches!(result, Err(CallError::NeedsSigner(caller)) if caller == "up=bob"));
}

#[tokio::test]
async fn a_stopped_call_returns_what_has_come() {
    let cell = Cell::start(vec![node("a"), node("b").habit(Habit::Silent)]);
    let fleet = cell.connect().await;
    let stop = fleet.stop();
    let call = ping(&["a", "b"]);
    let outcome = fleet.call(&call, |_| stop.stop()).await.unwrap();
    assert_eq!(
        (outcome.answered, outcome.missing),
        (1, vec!["b".to_owned()])
    );
}

#[tokio::test]
async fn rpc_case_28_one_reply_of_a_service_is_enough() {
    let cell = Cell::start(vec![node("a"), node("b"), node("c")]);
    let fleet = cell.connect().await;
    let call = Call {
        target: Target::Service,
        ..ping(&[])
    };
    let started = Instant::now();
    let (answers, outcome) = run(&fleet, &call).await;
    assert_eq!(answers.len(), 1);
    assert_eq!((outcome.asked, outcome.answered), (1, 1));
    assert!(started.elapsed() < TIMEOUT / 2);
    let seen = cell.nodes.seen();
    assert_eq!(seen[0].subject, "choria.broadcast.service.rpcutil");
    assert!(seen[0].filter_agents.is_empty());
}
