//! `overlay policy`: what is good, what would be decided, and the exit codes.
#![allow(clippy::unwrap_used, reason = "helper of tests")]

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

const POLICY: &str = "package io.choria.aaasvc

default allow := false

allow if {
  input.agent == \"rpcutil\"
  input.action in {\"ping\", \"inventory\"}
}

allow if {
  input.agent == \"puppet\"
  requires_fact_filter(\"country=mt\")
  input.claims.user_properties.group == \"admins\"
  input.collective == \"production\"
  input.data.force == true
}
";

struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

fn overlay(dir: &Path, args: &[&str]) -> Ran {
    let output = Command::new(env!("CARGO_BIN_EXE_overlay"))
        .current_dir(dir)
        .env_remove("OVERLAY_USERS")
        .arg("policy")
        .args(args)
        .output()
        .unwrap();
    Ran {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn desk() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write("good.rego", POLICY);
    write(
        "bad.rego",
        "package io.choria.aaasvc\n\nallow if { frobnicate(1) }\nallow if { http.send({}) }\n",
    );
    write(
        "claims.json",
        &json!({"callerid": "up=ann", "agents": ["rpcutil.*", "puppet.status"], "tenant": "blue"})
            .to_string(),
    );
    write(
        "users.json",
        &json!([
            {"username": "bob", "password": "x", "opa_policy_file": "good.rego", "properties": {"group": "admins"}},
            {"UserName": "eve", "acls_file": "eve.acls"},
            {"username": "two", "acls": ["*"], "opa_policy": POLICY},
        ])
        .to_string(),
    );
    write("eve.acls", "# what eve may do\nrpcutil.ping # look\n\n");
    dir
}

#[test]
fn a_good_policy_is_described_and_a_bad_one_is_taken_apart() {
    let dir = desk();
    let good = overlay(dir.path(), &["check", "good.rego"]);
    assert_eq!(good.code, Some(0), "{}", good.stderr);
    assert!(good.stdout.contains("good, Rego v1"), "{}", good.stdout);
    assert!(
        good.stdout.contains("line   3  default allow"),
        "{}",
        good.stdout
    );

    let bad = overlay(dir.path(), &["check", "bad.rego"]);
    assert_eq!(bad.code, Some(1));
    assert!(
        bad.stdout
            .contains("bad.rego:3: there is no function frobnicate"),
        "{}",
        bad.stdout
    );
    assert!(
        bad.stdout
            .contains("bad.rego:4: the function http.send is not offered"),
        "{}",
        bad.stdout
    );

    let both = overlay(dir.path(), &["check", "--json", "good.rego", "bad.rego"]);
    assert_eq!(both.code, Some(1));
    let both: Value = serde_json::from_str(&both.stdout).unwrap();
    assert_eq!(both[0]["ok"], true);
    assert_eq!(both[0]["policy"]["dialect"], "v1");
    assert_eq!(both[1]["faults"][0]["line"], 3);

    assert_eq!(overlay(dir.path(), &["check", "absent.rego"]).code, Some(2));
}

#[test]
fn a_user_of_the_users_file_is_decided_by_what_a_login_would_put_into_the_token() {
    let dir = desk();
    let puppet = [
        "explain",
        "--users",
        "users.json",
        "--user",
        "bob",
        "--agent",
        "puppet",
        "--action",
        "disable",
        "-F",
        "country=mt",
        "--collective",
        "production",
        "--data",
    ];
    let ask = |data: &str| {
        let args: Vec<&str> = puppet.iter().copied().chain([data, "--json"]).collect();
        let ran = overlay(dir.path(), &args);
        let shown: Value = serde_json::from_str(&ran.stdout).unwrap();
        (ran.code, shown)
    };
    let (code, shown) = ask("{\"force\": true}");
    assert_eq!(code, Some(0), "{shown}");
    assert_eq!(shown["verdict"], "allow");
    assert!(
        shown["why"]["rule"].as_str().unwrap().ends_with("line 10"),
        "{shown}"
    );

    let (code, shown) = ask("{\"force\": false}");
    assert_eq!(code, Some(1), "{shown}");
    assert_eq!(shown["verdict"], "deny");
    assert_eq!(shown["rules"][1]["state"], "fails");
    assert_eq!(shown["rules"][1]["at"], 15);
    assert_eq!(shown["rules"][1]["statement"], "input.data.force == true");
    assert_eq!(shown["input"]["claims"]["callerid"], "up=bob");
}

#[test]
fn lists_and_tokens_without_a_clear_policy_are_explained_too() {
    let dir = desk();
    let ask = |who: &[&str], action: &str| {
        let args: Vec<&str> = ["explain", "--agent", "rpcutil", "--action", action]
            .into_iter()
            .chain(who.iter().copied())
            .collect();
        overlay(dir.path(), &args)
    };
    let ann = ask(&["--claims", "claims.json"], "ping");
    assert_eq!(ann.code, Some(0), "{}", ann.stderr);
    assert!(
        ann.stdout.contains("allowed: rpcutil.ping for up=ann"),
        "{}",
        ann.stdout
    );
    assert!(ann.stdout.contains("agents[0] rpcutil.*"), "{}", ann.stdout);
    assert!(ann.stdout.contains("tenant  blue"), "{}", ann.stdout);

    let eve = ["--users", "users.json", "--user", "eve"];
    assert_eq!(ask(&eve, "ping").code, Some(0));
    let denied = ask(&eve, "inventory");
    assert_eq!(denied.code, Some(1));
    assert!(
        denied
            .stderr
            .contains("none of 1 elements names rpcutil.inventory"),
        "{}",
        denied.stderr
    );

    let two = ask(&["--users", "users.json", "--user", "two"], "ping");
    assert_eq!(two.code, Some(1));
    assert!(
        two.stderr.contains("an action list and a policy in Rego"),
        "{}",
        two.stderr
    );

    let policy = ask(
        &["--policy", "good.rego", "--claims", "claims.json"],
        "inventory",
    );
    assert_eq!(policy.code, Some(0), "{}", policy.stderr);
    let absent = ask(&["--users", "users.json", "--user", "nobody"], "ping");
    assert_eq!(absent.code, Some(2), "{}", absent.stderr);
}
