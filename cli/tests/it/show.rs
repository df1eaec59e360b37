//! `overlay inventory`, `facts`, `events`, `plugin`, `completion`, and help.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use overlay_protocol::lifecycle::{Event, EventKind, Refusal};

use crate::desk::{self, Desk, assert_shown};
use crate::fleet::node;

fn two() -> Desk {
    Desk::new(vec![
        node("ginkgo.example.net"),
        node("n2.example.net").fact("site", "ams"),
    ])
}

#[test]
fn inventory_tells_what_a_node_is() {
    let desk = two();
    let run = desk.run(&["inventory", "ginkgo.example.net"]).ok();
    assert_shown!("inventory", run.stdout);
    let json = desk
        .run(&["inventory", "ginkgo.example.net", "--json"])
        .ok()
        .json();
    assert_eq!(json["inventory"]["facts"]["site"], "lhr");
    assert_eq!(json["daemon_stats"]["pid"], 42);
    let run = desk
        .run(&["inventory", "ginkgo.example.net", "--no-facts"])
        .ok();
    assert!(!run.stdout.contains("Facts:"), "{run:?}");
    desk.run(&["inventory", "nosuch.example.net"])
        .fails(1, "no inventory received");
    desk.run(&["inventory"])
        .fails(1, "please specify a node to retrieve inventory for");
    assert_shown!(
        "inventory_collectives",
        desk.run(&["inventory", "--collectives"]).ok().stdout
    );
}

#[test]
fn facts_counts_values() {
    let desk = two();
    let shown = |args: &[&str]| desk.run(args).ok().stdout;
    assert_shown!("facts", shown(&["facts", "os.family"]));
    assert_shown!("facts_nodes", shown(&["facts", "site", "--show-nodes"]));
    assert_shown!("facts_missing", shown(&["facts", "nosuch"]));
    assert_shown!("facts_table", shown(&["facts", "os.family", "--table"]));
    assert_shown!("facts_json", shown(&["facts", "os.family", "--json"]));
    desk.run(&["facts", "site", "-F", "a=b"])
        .fails(1, "did not discover any nodes");
}

#[test]
fn events_are_shown_as_they_come() {
    let desk = Desk::new(vec![]);
    let mut command = desk::command(desk.dir());
    command.args(["events", "--type", "refused", "--count", "1", "--json"]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let refusal = Refusal {
        reason: "token_expired".to_owned(),
        message: "the token has expired".to_owned(),
        ..Refusal::default()
    };
    let url = desk.broker.url();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let nats = async_nats::connect(url).await.unwrap();
        let events = [
            Event::new("1", "n1", "server", 1_767_225_600, EventKind::Shutdown),
            Event::new(
                "2",
                "n2",
                "broker_auth",
                1_767_225_600,
                EventKind::Refused(refusal),
            ),
        ];
        // The watcher subscribes in its own time.
        while child.try_wait().unwrap().is_none() {
            for event in &events {
                let payload = event.to_cloudevent_json().into();
                nats.publish(event.subject().unwrap(), payload)
                    .await
                    .unwrap();
            }
            nats.flush().await.unwrap();
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    });
    let line = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .next()
        .unwrap()
        .unwrap();
    let event: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(event["subject"], "n2");
    assert_eq!(event["data"]["reason"], "token_expired");
    assert!(child.wait().unwrap().success());
}

#[test]
fn agents_are_described_without_any_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let run = desk::run(dir.path(), &["plugin", "list"], None).ok();
    assert!(run.stdout.contains("rpcutil: "), "{run:?}");
    let run = desk::run(dir.path(), &["plugin", "doc", "rpcutil"], None).ok();
    assert!(run.stdout.contains("rpcutil get_fact"), "{run:?}");
    assert!(run.stdout.contains("at most 512 bytes"), "{run:?}");
    let run = desk::run(
        dir.path(),
        &["plugin", "doc", "agent/rpcutil", "--json"],
        None,
    )
    .ok();
    assert_eq!(run.json()["metadata"]["name"], "rpcutil");
    let run = desk::run(
        dir.path(),
        &["plugin", "doc", "rpcutil", "--markdown"],
        None,
    )
    .ok();
    assert!(run.stdout.starts_with("# rpcutil agent\n"), "{run:?}");
    desk::run(dir.path(), &["plugin", "doc", "nosuch"], None).fails(1, "no description of agent");
}

#[test]
fn shells_get_a_script() {
    let dir = tempfile::tempdir().unwrap();
    for (shell, text) in [
        ("bash", "complete -F"),
        ("zsh", "#compdef overlay"),
        ("fish", "complete -c overlay"),
    ] {
        let run = desk::run(dir.path(), &["completion", shell], None).ok();
        assert!(run.stdout.contains(text), "{shell}");
        for known in ["inventory", "status", "--config", "--event-viewer"] {
            let option = known.trim_start_matches('-');
            assert!(run.stdout.contains(option), "{shell} {known}");
        }
        for hidden in ["exec-child", "help-markdown"] {
            assert!(!run.stdout.contains(hidden), "{shell} {hidden}");
        }
    }
    desk::run(dir.path(), &["completion"], None).fails(2, "for which shell?");
}

#[test]
fn help_has_examples_for_every_noun() {
    let dir = tempfile::tempdir().unwrap();
    for noun in [
        "ping",
        "find",
        "req",
        "inventory",
        "facts",
        "events",
        "completion",
    ] {
        let run = desk::run(dir.path(), &[noun, "--help"], None).ok();
        assert!(run.stdout.contains("Examples:"), "{noun}");
    }
    let run = desk::run(dir.path(), &["--version"], None).ok();
    assert!(run.stdout.starts_with("overlay "), "{run:?}");
}
