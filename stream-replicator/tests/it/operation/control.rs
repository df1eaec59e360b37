//! Operators' requests over the home broker.

use std::time::Duration;

use async_nats::jetstream;
use overlay_protocol::rpc::StatusCode;
use overlay_testkit::eventually;
use serde_json::{Value, json};

use super::cell::{Cell, TARGET};
use super::operator::Operator;
use super::{LIMIT, PERIOD, QUIET};

const ALL: &[&str] = &["stream_replicator.*"];

fn workers(reply: &Value) -> &Vec<Value> {
    reply["workers"].as_array().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_replica_tells_its_status_and_the_leader_the_lag() {
    let cell = Cell::start().await;
    let _store = cell.bucket(Duration::from_secs(10)).await;
    let one = cell.replica(Some("sr1"));
    one.is_leader().await;
    let two = cell.replica(Some("sr2"));
    two.is_ready().await;
    cell.publish(0, 7).await;
    let operator = Operator::new(&cell, ALL).await;
    let status = operator
        .until("status", &json!({}), |found| {
            found.len() == 2
                && found
                    .iter()
                    .any(|reply| reply["workers"][0]["handled"] == 7)
                && found
                    .iter()
                    .any(|reply| reply["workers"][0]["phase"] == "standby")
        })
        .await;
    let leads = |reply: &&Value| reply["workers"][0]["election"]["leads"] == true;
    let leader = status.iter().find(leads).unwrap();
    assert_eq!(leader["replicator"], "SITE");
    assert_eq!(leader["workers"][0]["phase"], "copying");
    assert_eq!(leader["workers"][0]["election"]["key"], "SR_W1_NODES");
    assert_eq!(leader["workers"][0]["election"]["candidate"], "sr1");
    assert_eq!(leader["workers"][0]["target"], TARGET);
    assert_eq!(leader["workers"][0]["waiting"], 0);

    let lag = operator
        .until("lag", &json!({"stream": "NODES"}), |found| found.len() == 1)
        .await;
    assert_eq!(workers(&lag[0])[0]["handled"], 7);
    assert_eq!(lag[0]["instance"], leader["instance"]);
    let mut sent = operator.send("lag", json!({"stream": "OTHER"})).await;
    let none = operator.answer(&mut sent).await;
    assert!(none.is_none(), "{none:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_signed_with_the_token_that_systemd_hands_over() {
    let cell = Cell::start().await;
    let one = cell.replica_with_credentials();
    one.is_ready().await;
    let operator = Operator::new(&cell, ALL).await;
    // An answer that is not signed fails there.
    let status = operator
        .until("status", &json!({}), |found| found.len() == 1)
        .await;
    assert_eq!(status[0]["replicator"], "SITE");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_holds_in_all_replicas_and_over_restarts_until_it_is_resumed() {
    let cell = Cell::start().await;
    let mut one = cell.replica(None);
    one.is_ready().await;
    cell.publish(0, 3).await;
    cell.has_copied(3).await;
    let operator = Operator::new(&cell, ALL).await;
    let worker = json!({"stream": "NODES", "worker": "W1", "reason": "upgrade"});
    let paused = operator
        .until("pause", &worker, |found| found.len() == 1)
        .await;
    assert_eq!(paused[0]["workers"], json!(["NODES/W1"]));
    let is_paused =
        |found: &[Value]| found.len() == 1 && found[0]["workers"][0]["phase"] == "paused";
    let status = operator.until("status", &json!({}), is_paused).await;
    let worker = &status[0]["workers"][0];
    assert_eq!(worker["pause"]["by"], "up=rip");
    assert_eq!(worker["pause"]["reason"], "upgrade");
    // An operator wanted it so: that is no fault.
    one.is_ready().await;
    cell.publish(3, 6).await;
    tokio::time::sleep(QUIET).await;
    assert_eq!(cell.copied().await, 3);

    assert!(one.process.stop(LIMIT).success());
    let two = cell.replica(None);
    operator.until("status", &json!({}), is_paused).await;
    tokio::time::sleep(QUIET).await;
    assert_eq!(cell.copied().await, 3);
    let metric = r#"overlay_stream_replicator_worker_paused{replicator="SITE",stream="NODES",worker="W1"} 1"#;
    assert!(two.metrics().contains(metric));
    operator
        .until("resume", &json!({}), |found| found.len() == 1)
        .await;
    cell.has_copied(6).await;
    assert_eq!(cell.copies().await, (0..6).collect::<Vec<_>>());
    let stderr = two.process.stderr();
    assert!(
        stderr.contains("resumed") && stderr.contains("up=rip"),
        "{stderr}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_who_may_is_heard_and_a_copy_of_a_request_is_not() {
    let cell = Cell::start().await;
    let replica = cell.replica(None);
    replica.is_ready().await;
    let reader = Operator::new(&cell, &["stream_replicator.status"]).await;
    let status = reader
        .until("status", &json!({}), |found| found.len() == 1)
        .await;
    assert_eq!(workers(&status[0]).len(), 1);
    let denied = reader.ask("pause", json!({})).await;
    assert_eq!(denied.len(), 1);
    assert_eq!(denied[0].statuscode, StatusCode::Aborted);
    assert!(denied[0].statusmsg.contains("not authorized"));

    let operator = Operator::new(&cell, &["*"]).await;
    let unknown = operator.ask("explode", json!({})).await;
    assert_eq!(unknown[0].statuscode, StatusCode::UnknownAction);
    let invalid = operator.ask("trace", json!({"count": "many"})).await;
    assert_eq!(invalid[0].statuscode, StatusCode::InvalidData);

    let mut sent = operator.send("status", json!({})).await;
    assert!(operator.first(&mut sent).await.is_some());
    let payload = sent.payload.clone();
    operator.publish(&payload).await;
    assert!(operator.answer(&mut sent).await.is_none());

    let stranger = Cell::start().await;
    let stranger = Operator::new(&stranger, &["*"]).await;
    let home = async_nats::connect(cell.home.url()).await.unwrap();
    let forged = stranger.send("pause", json!({})).await;
    let subject = "choria.broadcast.service.stream_replicator";
    home.publish(subject, forged.payload.into()).await.unwrap();
    home.flush().await.unwrap();
    eventually(LIMIT, PERIOD, || async {
        let line =
            r#"overlay_stream_replicator_operations_total{action="unknown",outcome="dropped"} 2"#;
        replica.metrics().contains(line)
    })
    .await;
    cell.publish(0, 2).await;
    cell.has_copied(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trace_has_decisions_as_they_are_made() {
    let cell = Cell::start().await;
    let replica = cell.replica(None);
    replica.is_ready().await;
    cell.publish(0, 1).await;
    cell.has_copied(1).await;
    let operator = Operator::new(&cell, ALL).await;
    let request = json!({"stream": "NODES", "count": 3, "seconds": 20});
    let mut sent = operator.send("trace", request).await;
    // The listener is there before the messages: the status is answered after it.
    operator
        .until("status", &json!({}), |found| found.len() == 1)
        .await;
    cell.publish(1, 4).await;
    let answer = loop {
        if let Some(answer) = operator.answer(&mut sent).await {
            break answer;
        }
    };
    let decisions = answer.data["decisions"].as_array().unwrap().clone();
    assert_eq!(decisions.len(), 3, "{decisions:?}");
    assert_eq!(decisions[0]["sequence"], 2);
    assert_eq!(decisions[0]["subject"], "nodes.n1");
    assert_eq!(decisions[0]["target"], "copy.nodes.n1");
    assert_eq!(decisions[0]["copied"], true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_that_are_tracked_can_be_searched() {
    let cell = Cell::start().await;
    let sampling = "[streams.sampling]\nfield = \"sender\"\ninterval = \"1h\"\n";
    let replica = cell.replica_with(&cell.config(None, sampling, ""));
    replica.is_ready().await;
    let source = cell.at_source().await;
    for number in 0..30 {
        let body = json!({"sender": format!("h{}.example.net", number % 12)}).to_string();
        let sent = source.publish("nodes.x", body.into()).await.unwrap();
        sent.await.unwrap();
    }
    cell.has_copied(12).await;
    let operator = Operator::new(&cell, ALL).await;
    let all = operator
        .until("state", &json!({"stream": "NODES"}), |found| {
            found.len() == 1 && found[0]["total"] == 12
        })
        .await;
    let values = all[0]["values"].as_array().unwrap();
    assert_eq!(values[0]["value"], "h0.example.net");
    assert!(values[0]["seen_ns"].is_i64() && values[0]["copied_ns"].is_i64());
    let some = json!({"value": "^h1[01]", "limit": 1, "offset": 1});
    let found = operator
        .until("state", &some, |found| found.len() == 1)
        .await;
    assert_eq!(found[0]["total"], 2);
    assert_eq!(found[0]["values"][0]["value"], "h11.example.net");
    let wrong = operator.ask("state", json!({"value": "("})).await;
    assert_eq!(wrong[0].statuscode, StatusCode::InvalidData);
    let none = operator
        .until("state", &json!({"advised": true}), |found| found.len() == 1)
        .await;
    assert_eq!(none[0]["total"], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_that_were_kept_aside_are_shown_and_given_up() {
    let cell = Cell::start().await;
    let target = cell.at_target().await;
    let config = jetstream::stream::Config {
        name: TARGET.to_owned(),
        subjects: vec!["copy.nodes.>".to_owned()],
        max_message_size: 400,
        ..jetstream::stream::Config::default()
    };
    target.create_stream(config).await.unwrap();
    let replica = cell.replica(None);
    replica.is_ready().await;
    let source = cell.at_source().await;
    let large = "9".repeat(600);
    let bodies = ["1", large.as_str(), "2", large.as_str(), "3"];
    for body in bodies {
        let sent = source.publish("nodes.n1", body.to_owned().into());
        sent.await.unwrap().await.unwrap();
    }
    cell.has_copied(3).await;
    let operator = Operator::new(&cell, ALL).await;
    let listed = operator
        .until("deadletters", &json!({"stream": "NODES"}), |found| {
            found.len() == 1
                && found[0]["letters"]
                    .as_array()
                    .is_some_and(|all| all.len() == 2)
        })
        .await;
    let letters = listed[0]["letters"].as_array().unwrap();
    assert_eq!(letters[0]["sequence"], 2);
    assert_eq!(letters[0]["subject"], "nodes.n1");
    assert_eq!(letters[0]["bytes"], 600);
    assert_eq!(letters[1]["sequence"], 4);
    let one = json!({"stream": "NODES", "worker": "W1", "number": letters[0]["number"]});
    let shown = operator
        .until("deadletter", &one, |found| found.len() == 1)
        .await;
    assert_eq!(shown[0]["letter"]["sequence"], 2);

    let again = operator.ask("retry", one.clone()).await;
    assert_eq!(again[0].statuscode, StatusCode::Ok, "{again:?}");
    let listed = operator
        .until("deadletters", &json!({"stream": "NODES"}), |found| {
            found.len() == 1
                && found[0]["letters"].as_array().is_some_and(|all| {
                    all.iter()
                        .map(|letter| letter["sequence"].as_u64())
                        .eq([Some(4), Some(6)])
                })
        })
        .await;
    let mut other = json!(null);
    for letter in listed[0]["letters"].as_array().unwrap() {
        other = json!({"stream": "NODES", "worker": "W1", "number": letter["number"]});
        operator
            .until("drop", &other, |found| found.len() == 1)
            .await;
    }
    let left = operator
        .until("deadletters", &json!({}), |found| found.len() == 1)
        .await;
    assert_eq!(left[0]["letters"], json!([]));
    let sent = source.publish("nodes.n1", "4".into()).await.unwrap();
    sent.await.unwrap();
    cell.has_copied(4).await;
    let gone = operator.ask("drop", other).await;
    assert_eq!(gone[0].statuscode, StatusCode::Aborted);
}
