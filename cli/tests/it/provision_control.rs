//! `overlay provision nodes`, `pause`, `resume` and `status`.
#![allow(clippy::unwrap_used, reason = "tests")]

use overlay_protocol::provisioning::audit::{self, Details, Kind};
use overlay_protocol::provisioning::control::{
    DoneReply, InstanceStatus, NodeReply, NodesReply, Pause, StatusReply,
};
use overlay_protocol::provisioning::{NodeRecord, NodeState};
use overlay_protocol::rpc::{RpcReply, StatusCode, to_data};
use serde_json::{Map, Value};

use crate::desk::{Desk, Run, assert_shown};
use crate::fleet::node;
use crate::provisioner::{Proof, Provisioner};

const NOON: i64 = 1_767_225_600;

fn ok(action: &str, data: Map<String, Value>) -> RpcReply {
    RpcReply::ok(action, Value::Object(data))
}

fn record(name: &str, state: NodeState) -> NodeRecord {
    let mut record = NodeRecord::new(name.parse().unwrap(), NOON);
    record.state = state;
    record
}

fn status() -> StatusReply {
    let instance = InstanceStatus {
        id: "a1".to_owned(),
        site: "lhr".to_owned(),
        started: NOON,
        waiting: 7,
        enrolling: 3,
        enrolled: 90,
        failed: 2,
        ..InstanceStatus::default()
    };
    StatusReply {
        instances: vec![instance],
        nodes: [(NodeState::Member, 90), (NodeState::Failed, 2)].into(),
        ..StatusReply::default()
    }
}

fn run(desk: &Desk, command: &str) -> Run {
    let args: Vec<&str> = command.split_ascii_whitespace().collect();
    desk.run(&args)
}

#[test]
fn a_status_has_instances_nodes_and_who_paused() {
    let desk = Desk::new(vec![]);
    let provisioner = Provisioner::start(&desk, Proof::Own, |action, _| {
        let mut status = status();
        status.paused = true;
        status.pause = Some(Pause {
            by: "up=bob".to_owned(),
            reason: "maintenance".to_owned(),
            since: NOON,
        });
        ok(action, to_data(&status))
    });
    let shown = run(&desk, "provision status").ok();
    assert_eq!(
        shown.stderr, "",
        "a reply that is proved is believed without a word"
    );
    assert_shown!("provision_status", shown.stdout);
    let json = run(&desk, "provision status --json").ok().json();
    assert_eq!(json["pause"]["by"], "up=bob");
    assert_eq!(json["nodes"]["member"], 90);
    assert_eq!(provisioner.seen()[0].0, "status");
}

#[test]
fn watching_ends_when_nobody_is_on_the_way() {
    let desk = Desk::new(vec![]);
    let mut looks = 0;
    let provisioner = Provisioner::start(&desk, Proof::Own, move |action, _| {
        looks += 1;
        let mut status = status();
        if let Some(instance) = status.instances.first_mut() {
            instance.enrolled += looks * 10;
            if looks % 3 == 0 {
                (instance.waiting, instance.enrolling) = (0, 0);
            }
        }
        ok(action, to_data(&status))
    });
    let shown = run(
        &desk,
        "provision status --watch --wait --interval 0.05 --json",
    )
    .ok();
    let lines: Vec<Value> = shown
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 3, "{shown:?}");
    assert_eq!(lines[0]["rate"]["on_the_way"], 10);
    assert_eq!(lines[2]["rate"]["on_the_way"], 0);
    assert_eq!(lines[2]["rate"]["enrolled"], 20);
    assert!(lines[2]["rate"]["per_minute"].as_u64().unwrap() > 0);
    assert_eq!(provisioner.seen().len(), 3);
    let shown = run(&desk, "provision status --watch --wait --interval 0.05");
    assert!(
        shown.stdout.contains("10 on the way, 0 enrolled"),
        "{shown:?}"
    );
}

#[test]
fn nodes_are_listed_in_pages() {
    let desk = Desk::new(vec![]);
    let provisioner = Provisioner::start(&desk, Proof::Own, |action, data| {
        let number = |key: &str| data.get(key).and_then(Value::as_u64).unwrap_or_default();
        let (offset, limit) = (number("offset"), number("limit").min(200));
        let nodes = (offset..450.min(offset + limit))
            .map(|number| record(&format!("n{number:03}.example.net"), NodeState::Failed));
        let reply = NodesReply {
            nodes: nodes.collect(),
            total: 450,
        };
        ok(action, to_data(&reply))
    });
    let listed = run(&desk, "provision nodes list --names --state failed").ok();
    assert_eq!(listed.stdout.lines().count(), 450);
    let asked: Vec<Value> = provisioner
        .seen()
        .iter()
        .map(|(_, data)| data["offset"].clone())
        .collect();
    assert_eq!(asked, [0, 200, 400, 450].map(Value::from));
    assert!(
        provisioner
            .seen()
            .iter()
            .all(|(_, data)| data["state"] == "failed")
    );

    let few = run(&desk, "provision nodes list --limit 2").ok();
    assert!(few.stderr.contains("2 of 450 nodes shown"), "{few:?}");
    assert_shown!("provision_nodes_list", few.stdout);
    let json = run(&desk, "provision nodes list --limit 3 --json")
        .ok()
        .json();
    assert_eq!(json["nodes"].as_array().unwrap().len(), 3);
    assert_eq!(json["total"], 450);
    run(&desk, "provision nodes list --state lost").fails(2, "no state of a node");
}

#[test]
fn a_node_is_shown_with_the_decisions_about_it() {
    let desk = Desk::new(vec![]);
    let _provisioner = Provisioner::start(&desk, Proof::Own, |action, data| {
        if data["identity"] != "n1.example.net" {
            return ok(action, to_data(&NodeReply::default()));
        }
        let mut node = record("n1.example.net", NodeState::Refused);
        node.reason = Some("token_untrusted".to_owned());
        node.message = Some("the token is\u{1b}[31m signed by nobody known".to_owned());
        node.attempts = 3;
        node.site = Some("lhr".to_owned());
        let details = Details {
            step: Some("judge".to_owned()),
            reason: Some("token_untrusted".to_owned()),
            ..Details::default()
        };
        let identity = "n1.example.net".parse().ok();
        let audit = vec![audit::Record::new(
            "1",
            Kind::Refused,
            identity,
            NOON,
            details,
        )];
        let reply = NodeReply {
            record: Some(node),
            audit,
        };
        ok(action, to_data(&reply))
    });
    let shown = run(&desk, "provision nodes show n1.example.net").ok();
    assert!(!shown.stdout.contains('\u{1b}'));
    assert_shown!("provision_nodes_show", shown.stdout);
    let json = run(&desk, "provision nodes show n1.example.net --json")
        .ok()
        .json();
    assert_eq!(json["record"]["state"], "refused");
    run(&desk, "provision nodes show n2.example.net")
        .fails(1, "the provisioner does not know a node n2.example.net");
    run(&desk, "provision nodes show a*b").fails(2, "IDENTITY");
}

#[test]
fn nodes_are_retried_quarantined_and_released_one_by_one() {
    let desk = Desk::new(vec![]);
    let provisioner = Provisioner::start(&desk, Proof::Own, |action, data| {
        if data["identity"] == "unknown" {
            return RpcReply::failed(action, StatusCode::Aborted, "unknown node unknown");
        }
        let message = format!("{action}: done");
        ok(action, to_data(&DoneReply { message }))
    });
    let done = run(&desk, "provision nodes quarantine n1 n2 --reason broken").ok();
    assert_eq!(
        done.stdout,
        "✓ n1: quarantine: done\n✓ n2: quarantine: done\n"
    );
    let refused = run(&desk, "provision nodes release n1 unknown n3");
    let refused = refused.fails(1, "1 of 3 nodes: release was refused");
    assert_eq!(refused.stdout.lines().count(), 3);
    assert!(
        refused
            .stdout
            .contains("✗ unknown: the provisioner refused: unknown node")
    );
    let json = run(&desk, "provision nodes retry n1 unknown --json");
    assert_eq!(json.code, 1);
    assert_eq!(json.json()[1]["ok"], false);
    let seen = provisioner.seen();
    assert_eq!(seen[0].1["reason"], "broken");
    assert_eq!(
        seen.iter()
            .map(|(action, _)| action.as_str())
            .collect::<Vec<_>>(),
        [
            "quarantine",
            "quarantine",
            "release",
            "release",
            "release",
            "retry",
            "retry"
        ]
    );
}

#[test]
fn provisioning_is_paused_with_a_reason_and_resumed() {
    let desk = Desk::new(vec![]);
    let provisioner = Provisioner::start(&desk, Proof::Own, |action, _| {
        let message = format!("{action} it is");
        ok(action, to_data(&DoneReply { message }))
    });
    let mut args = vec!["provision", "pause", "--reason", "moving house"];
    assert_eq!(desk.run(&args).ok().stdout, "pause it is\n");
    args = vec!["provision", "resume", "--json"];
    assert_eq!(desk.run(&args).ok().json()["message"], "resume it is");
    assert_eq!(provisioner.seen()[0].1["reason"], "moving house");
}

#[test]
fn silence_and_refusals_say_what_to_do() {
    let desk = Desk::new(vec![]);
    let silent = run(&desk, "provision status --timeout 0.3");
    let silent = silent.fails(1, "no provisioner answers within 0.3 s");
    assert!(
        silent.stderr.contains("hint: is one running?"),
        "{silent:?}"
    );
    let _provisioner = Provisioner::start(&desk, Proof::Own, |action, _| match action {
        "pause" => RpcReply::failed(
            action,
            StatusCode::Aborted,
            "You are not authorized to call this agent or action",
        ),
        "resume" => RpcReply::failed(action, StatusCode::UnknownAction, "Unknown action"),
        _ => RpcReply::ok(action, Value::from("nonsense")),
    });
    let denied = run(&desk, "provision pause").fails(1, "not authorized");
    assert!(denied.stderr.contains("`provisioner.pause`"), "{denied:?}");
    run(&desk, "provision resume").fails(1, "has no action `resume`");
    run(&desk, "provision status").fails(1, "error");
}

#[test]
fn a_node_that_answers_for_the_provisioner_is_not_believed() {
    // The emulated nodes answer for every service, and before the provisioner does.
    let desk = Desk::new(vec![node("a.example.net"), node("b.example.net")]);
    let _provisioner = Provisioner::start(&desk, Proof::Own, |action, _| {
        std::thread::sleep(std::time::Duration::from_millis(50));
        ok(action, to_data(&status()))
    });
    let shown = run(&desk, "provision status").ok();
    assert!(
        shown.stdout.contains("Provisioning goes on: 1 instance"),
        "{shown:?}"
    );
    assert_eq!(shown.stderr, "");
}

#[test]
fn a_reply_that_is_not_the_provisioners_is_told() {
    for proof in [Proof::None, Proof::OtherName] {
        let desk = Desk::new(vec![]);
        let _provisioner =
            Provisioner::start(&desk, proof, |action, _| ok(action, to_data(&status())));
        let shown = run(&desk, "provision status").ok();
        assert!(
            shown
                .stderr
                .contains("not proved to be from whom they name"),
            "{proof:?}: {shown:?}"
        );
    }
}
