//! A cell with its provisioner, and a node that arrives with nothing but a token: the real programs.
#![allow(
    clippy::unwrap_used,
    reason = "a helper that fails is a test that fails"
)]

use std::fs;
use std::process::Output;
use std::time::Duration;

use overlay_testkit::{Process, eventually_blocking};
use serde_json::Value;

use crate::cell_run::up;
use crate::cell_support::{Place, has, overlay, succeeds, text};

const PROGRAMS: [&str; 4] = [
    "overlay-aaa-signer",
    "overlay-broker-auth",
    "overlay-provisioner",
    "overlay-server",
];
const LIMIT: Duration = Duration::from_secs(60);
const PERIOD: Duration = Duration::from_millis(200);
const NODE: &str = "new.example.net";

fn operator(place: &Place, command: &str) -> Output {
    let mut overlay = overlay();
    overlay
        .arg("--config")
        .arg(place.path("operator/client.toml"))
        .args(command.split_ascii_whitespace());
    overlay.output().unwrap()
}

/// What a command says, which must be believed without a word on standard error.
#[track_caller]
fn said(place: &Place, command: &str) -> String {
    let output = operator(place, command);
    assert_eq!(text(&output.stderr), "", "{command}");
    succeeds(&output)
}

fn is_member(place: &Place) -> bool {
    let listed = operator(place, "provision nodes list --state member --names");
    text(&listed.stdout).lines().any(|name| name == NODE)
}

#[test]
fn a_bare_node_becomes_a_member_and_is_looked_after() {
    if !has(
        "a_bare_node_becomes_a_member_and_is_looked_after",
        &PROGRAMS,
    ) {
        return;
    }
    let place = Place::new();
    succeeds(&place.init(&[]));
    let mut cell = up(&place, &[]);
    cell.wait_for_line("ready: cell test is up", LIMIT);

    let directory = place.path("bare");
    fs::create_dir(&directory).unwrap();
    fs::copy(
        place.path("provisioner/provisioning.jwt"),
        directory.join("provisioning.jwt"),
    )
    .unwrap();
    let server = Process::locate("overlay-server").unwrap();
    let node = Process::builder(server)
        .arg("--config")
        .arg(directory.join("server.conf"))
        .env("OVERLAY_SERVER__IDENTITY", NODE)
        .start();
    eventually_blocking(LIMIT, PERIOD, || is_member(&place));

    let ping = said(&place, "ping --names");
    assert_eq!(ping.trim(), NODE);
    let shown: Value = serde_json::from_str(&said(
        &place,
        &format!("provision nodes show {NODE} --json"),
    ))
    .unwrap();
    assert_eq!(shown["record"]["state"], "member");
    assert!(shown["audit"].to_string().contains("enrolled"), "{shown}");
    let status: Value = serde_json::from_str(&said(&place, "provision status --json")).unwrap();
    assert_eq!(status["nodes"]["member"], 1);
    let cell_status = place.cell("status", &["--json"]);
    let cell_status: Value = serde_json::from_slice(&cell_status.stdout).unwrap();
    assert_eq!(cell_status["healthy"], true, "{cell_status:#}");
    assert_eq!(cell_status["provisioners"][0]["enrolled"], 1);

    said(&place, "provision pause --reason trial");
    assert!(said(&place, "provision status").contains("PAUSED (1 instance): by up=operator"));
    said(&place, "provision resume");
    said(
        &place,
        &format!("provision nodes quarantine {NODE} --reason trial"),
    );
    let listed = said(&place, "provision nodes list --state quarantined");
    assert!(
        listed.contains(NODE) && listed.contains("trial"),
        "{listed}"
    );
    said(&place, &format!("provision nodes release {NODE}"));
    for verb in ["show", "release"] {
        let unknown = operator(
            &place,
            &format!("provision nodes {verb} nobody.example.net"),
        );
        assert_eq!(unknown.status.code(), Some(1), "{verb}");
    }

    drop(node);
    drop(cell);
}

#[test]
fn a_member_is_sent_back_and_returns() {
    if !has("a_member_is_sent_back_and_returns", &PROGRAMS) {
        return;
    }
    let place = Place::new();
    succeeds(&place.init(&[]));
    let mut cell = up(&place, &[]);
    cell.wait_for_line("ready: cell test is up", LIMIT);
    let directory = place.path("bare");
    fs::create_dir(&directory).unwrap();
    fs::copy(
        place.path("provisioner/provisioning.jwt"),
        directory.join("provisioning.jwt"),
    )
    .unwrap();
    let server = Process::locate("overlay-server").unwrap();
    let node = Process::builder(server)
        .arg("--config")
        .arg(directory.join("server.conf"))
        .env("OVERLAY_SERVER__IDENTITY", NODE)
        .start();
    eventually_blocking(LIMIT, PERIOD, || is_member(&place));
    let before = fs::read(directory.join("server.jwt")).unwrap();

    let secret = place.path("provisioner/node.secret");
    let back = operator(
        &place,
        &format!(
            "reprovision -I {NODE} --token-file {} --yes",
            secret.display()
        ),
    );
    let back = succeeds(&back);
    assert!(
        back.contains("1 of 1 nodes go to be enrolled anew"),
        "{back}"
    );
    eventually_blocking(LIMIT, PERIOD, || {
        fs::read(directory.join("server.jwt")).is_ok_and(|token| token != before)
    });
    eventually_blocking(LIMIT, PERIOD, || {
        text(&operator(&place, "ping --names").stdout).trim() == NODE
    });
    drop(node);
    drop(cell);
}
