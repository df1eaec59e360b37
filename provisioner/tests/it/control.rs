//! Operators: pause and resume, quarantine and release, retry, lists, and who may.

use std::time::Duration;

use overlay_protocol::rpc::StatusCode;
use overlay_testkit::emulated::{Fault, Step};
use overlay_testkit::eventually;
use serde_json::json;

use crate::cell::{Cell, OFTEN, Provisioner, SOON, all_enrolled_once, leaving};
use crate::operator::Operator;

const NODE: &str = "n00000.example.net";
/// Nothing comes within this where nothing may come.
const QUIET: Duration = Duration::from_millis(1500);

/// Waits until a node that announced itself after all others is done: what was announced before was taken by then.
async fn a_later_one_is_enrolled(cell: &Cell, provisioner: &Provisioner) {
    let later = cell.nodes().names(["later.example.net"]).start().await;
    later.announce().await;
    all_enrolled_once(&later, provisioner).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_holds_for_all_instances_and_ends_with_a_scan() {
    let cell = Cell::start().await;
    let (one, two) = (cell.provisioner(""), cell.provisioner(""));
    let operator = Operator::new(&cell, &["provisioner.*"]).await;
    let done = operator
        .done("pause", json!({"reason": "change freeze"}))
        .await;
    assert!(done["message"].is_string());
    eventually(SOON, OFTEN, || async {
        !one.is_active() && !two.is_active()
    })
    .await;
    let status = operator.done("status", json!({})).await;
    assert_eq!(status["paused"], true);
    assert_eq!(status["pause"]["by"], "up=rip");
    assert_eq!(status["pause"]["reason"], "change freeze");
    eventually(SOON, OFTEN, || async {
        let status = operator.done("status", json!({})).await;
        let instances = status["instances"].as_array().unwrap().clone();
        let all = instances.len() == 2 && instances.iter().all(|one| one["mode"] == "paused");
        if all {
            Ok(())
        } else {
            Err(format!("{instances:?}"))
        }
    })
    .await;

    let fleet = cell.nodes().count(5).start().await;
    fleet.announce().await;
    // A third instance that starts now is paused as well, and was from its first word on.
    let three = cell.provisioner("");
    eventually(SOON, OFTEN, || async {
        let status = operator.done("status", json!({})).await;
        let instances = status["instances"].as_array().unwrap().clone();
        let all = instances.len() == 3 && instances.iter().all(|one| one["mode"] == "paused");
        if all {
            Ok(())
        } else {
            Err(format!("{instances:?}"))
        }
    })
    .await;
    assert!(!three.is_active());
    assert_eq!(
        fleet.names_where(|seen| !seen.order.is_empty()),
        Vec::<String>::new()
    );

    operator.done("resume", json!({})).await;
    all_enrolled_once(&fleet, &one).await;
    let kinds: Vec<_> = cell
        .audit()
        .await
        .iter()
        .map(|record| record.kind.to_string())
        .collect();
    assert_eq!(&kinds[..2], ["paused", "resumed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_keeps_failing_is_left_alone_until_it_is_released() {
    let cell = Cell::start().await;
    let fleet = cell
        .nodes()
        .count(1)
        .behaviour(leaving().fault_times(Fault::WrongSignature, 2))
        .start()
        .await;
    let more = "[quarantine]\nfailures = 2\n[retry]\nfirst = \"200ms\"\nlongest = \"1s\"\n";
    let provisioner = cell.provisioner(more);
    fleet.announce().await;
    let operator = Operator::new(&cell, &["*"]).await;
    eventually(SOON, OFTEN, || async {
        let record = cell.record(NODE).await.ok_or("no record")?;
        if record.state.as_str() == "quarantined" {
            Ok(())
        } else {
            Err(record.state.as_str())
        }
    })
    .await;
    let tries = fleet.node(NODE).calls_of(Step::Gen25519);
    assert_eq!(fleet.node(NODE).configured, 0);
    let reply = operator.ask("retry", json!({"identity": NODE})).await;
    assert_eq!(reply.statuscode, StatusCode::Aborted);
    fleet.announce().await;
    a_later_one_is_enrolled(&cell, &provisioner).await;
    assert_eq!(fleet.node(NODE).calls_of(Step::Gen25519), tries);

    let shown = operator.done("node", json!({"identity": NODE})).await;
    assert_eq!(shown["record"]["state"], "quarantined");
    assert!(!shown["audit"].as_array().unwrap().is_empty());
    let listed = operator
        .done("nodes", json!({"state": "quarantined"}))
        .await;
    assert_eq!(
        (&listed["total"], &listed["nodes"][0]["identity"]),
        (&json!(1), &json!(NODE))
    );

    operator
        .done("release", json!({"identity": NODE, "reason": "fixed"}))
        .await;
    all_enrolled_once(&fleet, &provisioner).await;
    let kinds = cell.audit_of(NODE).await;
    assert!(
        kinds.contains(&"quarantined".to_owned()) && kinds.contains(&"released".to_owned()),
        "{kinds:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_stops_the_enrolment_of_a_node_and_lets_it_go_on() {
    let cell = Cell::start().await;
    let provisioner = cell.provisioner("");
    let operator = Operator::new(&cell, &["provisioner.*"]).await;
    operator
        .done("quarantine", json!({"identity": NODE, "reason": "stolen"}))
        .await;
    let fleet = cell.nodes().count(2).start().await;
    fleet.announce().await;
    eventually(SOON, OFTEN, || async {
        fleet.node("n00001.example.net").restarts == 1
    })
    .await;
    a_later_one_is_enrolled(&cell, &provisioner).await;
    assert_eq!(fleet.node(NODE).configured, 0);
    operator.done("release", json!({"identity": NODE})).await;
    all_enrolled_once(&fleet, &provisioner).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn provision_case_30_a_deferred_node_comes_again_and_at_once_when_an_operator_says_so() {
    let cell = Cell::start().await;
    let provisioner = cell.provisioner("[retry]\ndefer_first = \"1h\"\n");
    let fleet = cell.nodes().names(["defer-1.example.net"]).start().await;
    fleet.announce().await;
    provisioner.wait_for_outcome("deferred", 1.0).await;
    let record = cell.record("defer-1.example.net").await.unwrap();
    assert_eq!(record.state.as_str(), "deferred");
    assert_eq!(
        record
            .message
            .as_deref()
            .map(|text| text.contains("come again")),
        Some(true)
    );
    assert_eq!(fleet.node("defer-1.example.net").configured, 0);
    let operator = Operator::new(&cell, &["provisioner.retry"]).await;
    operator
        .done("retry", json!({"identity": "defer-1.example.net"}))
        .await;
    provisioner.wait_for_outcome("deferred", 2.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_is_told_so_and_who_is_nobody_is_not_answered() {
    let cell = Cell::start().await;
    let provisioner = cell.provisioner("");
    let reader = Operator::new(&cell, &["provisioner.status", "provisioner.nodes"]).await;
    reader.done("status", json!({})).await;
    for action in ["pause", "resume", "release", "quarantine"] {
        let reply = reader.ask(action, json!({"identity": NODE})).await;
        assert_eq!(reply.statuscode, StatusCode::Aborted);
        assert_eq!(
            reply.statusmsg,
            "You are not authorized to call this agent or action"
        );
    }
    let none = Operator::new(&cell, &[]).await;
    assert_eq!(
        none.ask("status", json!({})).await.statuscode,
        StatusCode::Aborted
    );
    let all = Operator::new(&cell, &["*"]).await;
    assert_eq!(
        all.ask("explode", json!({})).await.statuscode,
        StatusCode::UnknownAction
    );
    let reply = all.ask("node", json!({"identity": "not a name"})).await;
    assert_eq!(
        reply.statuscode,
        StatusCode::InvalidData,
        "{}",
        reply.statusmsg
    );
    assert_eq!(
        all.ask("node", json!({})).await.statuscode,
        StatusCode::InvalidData
    );

    // Signed by nobody, too old, for somebody else, or a copy.
    let forged = all
        .send("pause", json!({}), |request, secure| {
            secure.request = request.encode();
            secure.signature = vec![7; 64];
        })
        .await;
    let old = all
        .send("pause", json!({}), |request, _| {
            request.time_ns -= 120_000_000_000
        })
        .await;
    let other = all
        .send("pause", json!({}), |request, _| {
            request.agent = "rpcutil".to_owned()
        })
        .await;
    let mut copied = all.send("status", json!({}), |_, _| ()).await;
    assert!(copied.reply(SOON).await.is_some());
    all.publish(&copied.payload).await;
    all.publish(b"nonsense").await;
    let dropped = "overlay_provisioner_dropped_total{what=\"request\"}";
    provisioner.wait_for(dropped, 5.0).await;
    // A further answer comes after all that was said before.
    all.done("status", json!({})).await;
    for mut sent in [forged, old, other, copied] {
        assert!(sent.reply(Duration::ZERO).await.is_none());
    }
    assert!(provisioner.is_active());
    assert_eq!(provisioner.metric(dropped), 5.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_a_request_changes_nothing_whichever_instance_gets_it() {
    let cell = Cell::start().await;
    let _instances = [
        cell.provisioner(""),
        cell.provisioner(""),
        cell.provisioner(""),
    ];
    let operator = Operator::new(&cell, &["*"]).await;
    let mut sent = operator
        .send("retry", json!({"identity": NODE}), |_, _| ())
        .await;
    assert_eq!(sent.reply(SOON).await.unwrap().statuscode, StatusCode::Ok);
    for _ in 0..12 {
        operator.publish(&sent.payload).await;
    }
    while let Some(reply) = sent.reply(QUIET).await {
        assert_eq!(reply.statuscode, StatusCode::Aborted);
    }
    assert_eq!(cell.audit_of(NODE).await, ["retried"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_operators_said_of_thousands_of_nodes_holds_up_no_start_and_a_second_start_changes_nothing()
 {
    use overlay_protocol::provisioning::{NodeRecord, NodeState};
    let cell = Cell::start().await;
    drop(cell.provisioner(""));
    let witness = cell.witness().await;
    let mut last = None;
    for index in 0..1500 {
        let name = format!("q{index:05}.example.net");
        let mut record = NodeRecord::new(name.parse().unwrap(), 1);
        record.state = NodeState::Quarantined;
        record.operator = Some("up=rip".to_owned());
        let subject = format!("$KV.PROVISIONING_NODES.{name}");
        last = Some(
            witness
                .publish(subject, record.encode().into())
                .await
                .unwrap(),
        );
    }
    last.unwrap().await.unwrap();
    let provisioner = cell.provisioner("");
    assert!(
        !provisioner.process.stderr().contains("stream changed"),
        "{}",
        provisioner.process.stderr()
    );
    let operator = Operator::new(&cell, &["*"]).await;
    let listed = operator
        .done("nodes", json!({"state": "quarantined", "offset": 1400}))
        .await;
    assert_eq!(
        (&listed["total"], listed["nodes"].as_array().unwrap().len()),
        (&json!(1500), 100)
    );
    let fleet = cell.nodes().count(1).start().await;
    fleet.announce().await;
    all_enrolled_once(&fleet, &provisioner).await;
}
