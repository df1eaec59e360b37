//! `overlay reprovision`.
#![allow(clippy::unwrap_used, reason = "tests")]

use overlay_protocol::provisioning::control::DoneReply;
use overlay_protocol::rpc::{RpcReply, StatusCode, to_data};
use serde_json::Value;

use crate::desk::{Desk, Run};
use crate::fleet::{Habit, node, nodes};
use crate::provisioner::{Proof, Provisioner};

fn provisioner(desk: &Desk) -> Provisioner {
    Provisioner::start(desk, Proof::Own, |action, data| {
        if data["identity"] == "kept.example.net" {
            return RpcReply::failed(action, StatusCode::Aborted, "it is quarantined");
        }
        if data["identity"] == "byhand.example.net" {
            let said = "Nothing is known of byhand.example.net";
            return RpcReply::failed(action, StatusCode::Aborted, said);
        }
        let message = "released".to_owned();
        RpcReply::ok(action, Value::Object(to_data(&DoneReply { message })))
    })
}

fn run(desk: &Desk, command: &str) -> Run {
    let args: Vec<&str> = command.split_ascii_whitespace().collect();
    desk.run(&args)
}

#[test]
fn names_are_released_before_nodes_go_in_batches() {
    let desk = Desk::new(nodes(5));
    desk.file("secret", "s3cret\n");
    let provisioner = provisioner(&desk);
    let done = run(
        &desk,
        "reprovision --token-file secret --batch 2 --batch-sleep 0 --yes",
    )
    .ok();
    assert_eq!(
        done.stdout.matches("Restarting after 2s").count(),
        5,
        "{done:?}"
    );
    assert!(
        done.stdout.contains("5 of 5 nodes go to be enrolled anew"),
        "{done:?}"
    );
    let released: Vec<String> = provisioner
        .seen()
        .iter()
        .map(|(action, data)| format!("{action} {}", data["identity"].as_str().unwrap()))
        .collect();
    assert_eq!(released.len(), 5);
    assert_eq!(released[0], "release n00000.example.net");
    let requests = desk.fleet.seen();
    let asked: Vec<&str> = requests
        .iter()
        .filter(|seen| seen.agent == "choria_provision")
        .map(|seen| seen.id.as_str())
        .collect();
    assert_eq!(asked.len(), 5);
    assert_eq!(asked[0], asked[1], "a batch is one request");
    assert_ne!(asked[1], asked[2]);
}

#[test]
fn each_node_that_did_not_go_is_named_with_its_reason() {
    let desk = Desk::new(vec![
        node("a.example.net"),
        node("byhand.example.net"),
        node("kept.example.net"),
        node("silent.example.net").habit(Habit::Silent),
    ]);
    desk.file("secret", "s3cret");
    let _provisioner = provisioner(&desk);
    let run = run(
        &desk,
        "reprovision --token-file secret --yes --timeout 0.5 --json",
    );
    assert_eq!(run.code, 1, "{run:?}");
    let json = run.json();
    assert_eq!(
        (&json["sent_back"], &json["failed"]),
        (&Value::from(2), &Value::from(2))
    );
    let message = |name: &str| {
        let all = json["nodes"].as_array().unwrap();
        let fate = all.iter().find(|fate| fate["identity"] == name).unwrap();
        fate["message"].as_str().unwrap().to_owned()
    };
    assert_eq!(message("a.example.net"), "Restarting after 2s");
    assert_eq!(message("byhand.example.net"), "Restarting after 2s");
    assert!(message("kept.example.net").contains("it is quarantined"));
    assert_eq!(message("silent.example.net"), "no answer");
    assert!(
        desk.fleet
            .seen()
            .iter()
            .all(|seen| !seen.subject.ends_with("kept.example.net"))
    );
}

#[test]
fn nodes_with_another_secret_stay() {
    let desk = Desk::new(nodes(1));
    desk.file("secret", "wrong");
    let _provisioner = provisioner(&desk);
    let run =
        run(&desk, "reprovision --token-file secret --yes").fails(1, "1 of 1 nodes did not go");
    assert!(
        run.stdout.contains("Incorrect provision token supplied"),
        "{run:?}"
    );
}

#[test]
fn nobody_goes_unasked_or_without_a_provisioner() {
    let desk = Desk::new(nodes(2));
    desk.file("secret", "s3cret");
    run(&desk, "reprovision --token-file secret").fails(2, "nobody can be asked");
    run(&desk, "reprovision --token-file secret --yes --timeout 0.3")
        .fails(1, "the names cannot be released, so no node was sent back");
    run(&desk, "reprovision --token-file nowhere --yes").fails(1, "cannot read the secret");
    let sent = |seen: &crate::fleet::Seen| seen.agent == "choria_provision";
    assert!(!desk.fleet.seen().iter().any(sent));
    run(
        &desk,
        "reprovision --token-file secret --yes -I nobody.example.net --timeout 0.3 --no-release",
    )
    .fails(1, "1 of 1 nodes did not go");
    let done = run(&desk, "reprovision --token-file secret --yes --no-release").ok();
    assert!(done.stdout.contains("2 of 2 nodes"), "{done:?}");
}
