//! `overlay cell up`, `status` and `down`, with the real programs.
#![allow(
    clippy::unwrap_used,
    reason = "a helper that fails is a test that fails"
)]

use std::fs;
use std::net::TcpListener;
use std::time::Duration;

use overlay_testkit::{Process, eventually_blocking};
use serde_json::Value;

use crate::cell_support::{Place, fails, has, overlay, succeeds, text};

const PROGRAMS: [&str; 4] = [
    "overlay-aaa-signer",
    "overlay-broker-auth",
    "overlay-provisioner",
    "overlay-server",
];
const PERIOD: Duration = Duration::from_millis(50);
const UP: Duration = Duration::from_secs(60);
const DOWN: Duration = Duration::from_secs(60);

pub(crate) fn up(place: &Place, flags: &[&str]) -> Process {
    let mut builder = Process::builder(env!("CARGO_BIN_EXE_overlay"))
        .args(["cell", "up"])
        .arg(&place.root)
        .args(flags);
    for (key, value) in overlay().get_envs() {
        if let Some(value) = value {
            builder = builder.env(key, value);
        }
    }
    builder.start()
}

fn state(place: &Place) -> Value {
    serde_json::from_str(&place.read("run/up.json")).expect("the state is JSON")
}

fn pids(place: &Place) -> Vec<(String, u64)> {
    state(place)["processes"]
        .as_array()
        .expect("processes")
        .iter()
        .filter_map(|process| {
            let name = process["name"].as_str()?.to_owned();
            Some((name, process["pid"].as_u64()?))
        })
        .collect()
}

fn pid(place: &Place, name: &str) -> Option<u64> {
    pids(place)
        .into_iter()
        .find(|(found, _)| found == name)
        .map(|(_, pid)| pid)
}

/// Whether the process is there, and not only its remains.
fn runs(pid: u64) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .ok()
        .and_then(|stat| Some(!stat.rsplit_once(')')?.1.trim_start().starts_with('Z')))
        .unwrap_or(false)
}

fn kill(pid: u64) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

#[test]
fn a_cell_comes_up_is_healthy_and_goes_down() {
    if !has("a_cell_comes_up_is_healthy_and_goes_down", &PROGRAMS) {
        return;
    }
    let place = Place::new();
    succeeds(&place.init(&["--nodes", "2"]));
    let mut process = up(&place, &[]);
    process.wait_for_line("ready: cell test is up", UP);

    let said = fails(&place.cell("up", &[]), 1);
    assert!(said.contains("is up already"), "{said}");

    eventually_blocking(UP, PERIOD, || {
        let output = place.cell("status", &["--json"]);
        if output.status.success() {
            Ok(())
        } else {
            Err(text(&output.stdout))
        }
    });
    let status: Value = serde_json::from_slice(&place.cell("status", &["--json"]).stdout).unwrap();
    assert_eq!(status["healthy"], true);
    assert_eq!(status["connections"]["nodes"], 2);
    assert_eq!(status["signers"][0]["ready"], true);
    assert_eq!(status["nodes"].as_array().unwrap().len(), 2);
    assert!(
        status["streams"].as_array().unwrap().len() >= 5,
        "{status:#}"
    );
    assert!(
        !status["elections"].as_array().unwrap().is_empty(),
        "{status:#}"
    );
    let said = succeeds(&place.cell("status", &[]));
    assert!(said.contains("healthy") && said.contains("node2"), "{said}");

    let children = pids(&place);
    assert_eq!(children.len(), 6);
    succeeds(&place.cell("down", &[]));
    assert!(process.wait(DOWN).success());
    assert!(children.iter().all(|(_, pid)| !runs(*pid)));
    assert!(!place.path("run/up.json").exists());
    let said = succeeds(&place.cell("down", &[]));
    assert!(said.contains("nothing to stop"), "{said}");
    let said = fails(&place.cell("status", &[]), 1);
    assert!(said.contains("not healthy"), "{said}");
}

#[test]
fn no_child_outlives_a_killed_up() {
    if !has("no_child_outlives_a_killed_up", &PROGRAMS) {
        return;
    }
    let place = Place::new();
    succeeds(&place.init(&["--nodes", "1"]));
    let mut process = up(&place, &[]);
    process.wait_for_line("ready: cell test is up", UP);
    let children = pids(&place);
    assert_eq!(children.len(), 5);
    kill(process.pid().into());
    process.wait(DOWN);
    eventually_blocking(DOWN, PERIOD, || {
        let left: Vec<_> = children.iter().filter(|(_, pid)| runs(*pid)).collect();
        if left.is_empty() {
            Ok(())
        } else {
            Err(format!("{left:?}"))
        }
    });
    // What it left behind is no hindrance.
    succeeds(&place.cell("down", &[]));
    let mut again = up(&place, &["--no-nodes"]);
    again.wait_for_line("ready: cell test is up", UP);
    assert!(again.stop(DOWN).success());
}

#[test]
fn a_child_that_dies_is_started_again() {
    if !has("a_child_that_dies_is_started_again", &PROGRAMS) {
        return;
    }
    let place = Place::new();
    succeeds(&place.init(&[]));
    let mut process = up(&place, &[]);
    process.wait_for_line("ready: cell test is up", UP);
    let first = pid(&place, "broker-auth-1").unwrap();
    kill(first);
    process.wait_for_line("DIED with signal: 9", UP);
    eventually_blocking(UP, PERIOD, || {
        pid(&place, "broker-auth-1").is_some_and(|pid| pid != first)
    });
    assert!(process.stop(DOWN).success());
}

#[test]
fn a_child_that_keeps_dying_is_given_up() {
    if !has("a_child_that_keeps_dying_is_given_up", &PROGRAMS) {
        return;
    }
    let place = Place::new();
    succeeds(&place.init(&[]));
    place.write("broker/nats-server.conf", "nonsense: true\n");
    let mut process = up(&place, &[]);
    assert_eq!(process.wait(UP).code(), Some(1));
    let said = process.stderr();
    assert!(said.contains("nats-server died 6 times"), "{said}");
    assert!(!place.path("run/up.json").exists());
}

#[test]
fn a_child_that_refuses_its_configuration_is_not_tried_again() {
    let test = "a_child_that_refuses_its_configuration_is_not_tried_again";
    if !has(test, &PROGRAMS) {
        return;
    }
    let place = Place::new();
    succeeds(&place.init(&[]));
    place.write("broker-auth/broker-auth.toml", "nonsense = true\n");
    let mut process = up(&place, &[]);
    assert_eq!(process.wait(UP).code(), Some(1));
    let said = process.stderr();
    assert!(
        said.contains("broker-auth-1 does not take its configuration"),
        "{said}"
    );
    assert!(!process.stdout().contains("DIED"), "{}", process.stdout());
}

#[test]
fn only_what_was_asked_for_is_started() {
    if !has("only_what_was_asked_for_is_started", &PROGRAMS) {
        return;
    }
    let place = Place::new();
    succeeds(&place.init(&["--nodes", "1"]));
    let said = fails(&place.cell("up", &["--only", "nats-server,other"]), 2);
    assert!(
        said.contains("\"other\"") && said.contains("broker-auth-1"),
        "{said}"
    );
    let mut process = up(&place, &["--only", "nats-server"]);
    process.wait_for_line("ready: cell test is up", UP);
    assert_eq!(pids(&place).len(), 1);
    // Nobody can log in, and that is told.
    let status = place.cell("status", &[]);
    let said = text(&status.stdout);
    assert_eq!(status.status.code(), Some(1));
    assert!(
        said.contains("NOT HEALTHY") && said.contains("the login service on port"),
        "{said}"
    );
    assert!(said.contains("node1 is not connected"), "{said}");
    assert!(process.stop(DOWN).success());
}

#[test]
fn a_port_that_is_taken_is_named() {
    if !has("a_port_that_is_taken_is_named", &PROGRAMS) {
        return;
    }
    let place = Place::new();
    succeeds(&place.init(&[]));
    let port = place.monitor_port();
    let _taken = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let said = fails(&place.cell("up", &[]), 1);
    assert!(
        said.contains(&port.to_string()) && said.contains("--monitor-port"),
        "{said}"
    );
}
