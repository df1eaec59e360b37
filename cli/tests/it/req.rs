//! `overlay req`.

use std::time::Duration;

use overlay_testkit::eventually_blocking;
use serde_json::{Value, json};

use crate::desk::{Desk, assert_shown};
use crate::fleet::{self, Habit, node};

fn two() -> Desk {
    Desk::new(vec![node("ginkgo.example.net"), node("n2.example.net")])
}

#[test]
fn replies_are_shown_as_the_description_says() {
    let desk = two();
    let shown = |args: &[&str]| desk.run(args).ok().stdout;
    assert_shown!("req_ping", shown(&["req", "rpcutil", "ping", "--sort"]));
    assert_shown!(
        "req_ping_verbose",
        shown(&["req", "rpcutil", "ping", "--sort", "-v"])
    );
    assert_shown!(
        "req_get_fact",
        shown(&["req", "rpcutil", "get_fact", "fact=os.family", "--sort"])
    );
    let failed = ["req", "rpcutil", "get_config_item", "item=nosuch", "--sort"];
    assert_shown!("req_get_config_item_failed", shown(&failed));
    assert_shown!(
        "req_collective_info",
        shown(&["req", "rpcutil", "collective_info", "--sort"])
    );
    let table = ["req", "rpcutil", "collective_info", "--sort", "--table"];
    assert_shown!("req_collective_info_table", shown(&table));
    let none = [
        "req",
        "rpcutil",
        "get_fact",
        "fact=site",
        "--display",
        "none",
    ];
    assert_shown!("req_display_none", shown(&none));
    let silent = ["req", "rpcutil", "ping", "--sort", "--silent"];
    assert_shown!("req_silent", shown(&silent));
}

#[test]
fn rpc_case_39_json_has_the_keys_that_choria_has() {
    let desk = two();
    let run = desk
        .run(&[
            "req",
            "rpcutil",
            "get_fact",
            "fact=os.family",
            "--json",
            "--sort",
        ])
        .ok();
    assert_shown!("req_json", run.stdout);
    let json = run.json();
    let stats = &json["request_stats"];
    for key in [
        "publish_time",
        "request_time",
        "discover_time",
        "discovered",
        "ok",
        "failed",
    ] {
        assert!(stats[key].is_u64(), "{key} in {stats}");
    }
    assert_eq!(json["summaries"], json!({"value": {"RedHat": 2}}));
    let missing = desk
        .run(&["req", "rpcutil", "get_fact", "fact=no.such", "--json"])
        .ok()
        .json();
    assert_eq!(missing["summaries"], json!({"value": {"null": 2}}));
}

#[test]
fn lines_of_json_tell_what_happens() {
    let desk = Desk::new(vec![node("ginkgo.example.net")]);
    let run = desk.run(&["req", "rpcutil", "ping", "--jsonl"]).ok();
    let lines: Vec<Value> = run
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let kinds: Vec<&str> = lines.iter().filter_map(|line| line["k"].as_str()).collect();
    assert_eq!(
        kinds,
        ["discovery", "discovery", "result", "summaries", "stats"]
    );
    assert_eq!(lines[1]["count"], 1);
    assert_eq!(lines[2]["pr"]["protocol"], "io.choria.protocol.v2.reply");
    assert_eq!(lines[2]["rr"]["sender"], "ginkgo.example.net");
    assert_eq!(lines[4]["stat"]["ok"], 1);
    let run = desk
        .run(&["req", "rpcutil", "ping", "--jsonl", "-F", "a=b"])
        .ok();
    assert!(
        run.stdout
            .ends_with("{\"k\":\"error\",\"err\":\"did not discover any nodes\"}\n"),
        "{run:?}"
    );
}

#[test]
fn senders_are_those_where_it_went_well() {
    let desk = two();
    let run = desk
        .run(&["req", "rpcutil", "ping", "--senders", "--sort"])
        .ok();
    assert_eq!(run.stdout, "ginkgo.example.net\nn2.example.net\n");
    let run = desk
        .run(&["req", "rpcutil", "ping", "--senders", "--json", "--sort"])
        .ok();
    assert_eq!(run.json(), json!(["ginkgo.example.net", "n2.example.net"]));
    let run = desk
        .run(&["req", "rpcutil", "get_config_item", "item=x", "--senders"])
        .ok();
    assert_eq!(run.stdout, "");
}

#[test]
fn who_does_not_answer_is_named() {
    let desk = Desk::new(vec![node("a"), node("b").habit(Habit::Silent)]);
    let run = desk
        .run(&["req", "rpcutil", "ping", "--timeout", "0.5"])
        .ok();
    assert_shown!("req_missing", run.stdout);
    let json = desk.run(&[
        "req",
        "rpcutil",
        "ping",
        "-I",
        "a",
        "-I",
        "x",
        "--timeout",
        "0.3",
        "-j",
    ]);
    let stats = &json.ok().json()["request_stats"];
    assert_eq!(
        (&stats["no_responses"], &stats["discovered"]),
        (&json!(["x"]), &json!(2))
    );
}

#[test]
fn replies_that_are_not_proved_are_told() {
    let desk = Desk::new(vec![
        node("a").habit(Habit::Unsigned),
        node("b").habit(Habit::Garbage),
    ]);
    let run = desk.run(&["req", "rpcutil", "ping", "--json"]).ok();
    assert!(run.stderr.contains("a: the reply is not signed"), "{run:?}");
    assert!(
        run.stderr.contains("b: reply signature is invalid"),
        "{run:?}"
    );
    let doubtful = &run.json()["request_stats"]["doubtful_responses"];
    assert_eq!(doubtful["a"], "the reply is not signed");
}

#[test]
fn rpc_case_27_a_node_named_outright_costs_one_message() {
    let desk = two();
    desk.run(&["req", "rpcutil", "ping", "-I", "n2.example.net"])
        .ok();
    let seen = desk.fleet.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].subject, "choria.node.n2.example.net");
}

#[test]
fn rpc_case_31_reply_to_prints_the_id_and_ends() {
    let desk = two();
    let run = desk
        .run(&[
            "req",
            "rpcutil",
            "ping",
            "--reply-to",
            "choria.reply.jobs.1",
        ])
        .ok();
    let limit = Duration::from_secs(20);
    let direct = eventually_blocking(limit, Duration::from_millis(10), || {
        let seen = desk.fleet.seen();
        let direct: Vec<_> = seen
            .into_iter()
            .filter(|seen| seen.agent == "rpcutil")
            .collect();
        if direct.len() == 2 {
            Ok(direct)
        } else {
            Err(format!("{} requests", direct.len()))
        }
    });
    assert_eq!(run.stdout.trim(), direct[0].id);
    assert_eq!(direct[0].reply_to, "choria.reply.jobs.1");
}

#[test]
fn rpc_case_41_wrong_inputs_do_not_leave_this_machine() {
    let desk = two();
    let long = format!("fact={}", "x".repeat(513));
    for (args, text) in [
        (
            ["get_fact", "fact=a", "other=b"].as_slice(),
            "input 'other' has not been declared",
        ),
        (&["get_fact", &long], "is longer than 512 characters"),
        (&["get_fact"], "input 'fact' is required"),
        (&["nosuch"], "has no action `nosuch`"),
    ] {
        desk.run(&[&["req", "rpcutil"], args].concat())
            .fails(1, text);
    }
    desk.run(&["req", "rpcutil", "get_fact", "fact"])
        .fails(2, "write key=value");
    desk.run(&["req", "nosuch", "ping"])
        .fails(1, "could not resolve nosuch DDL in any resolver");
    assert!(desk.fleet.seen().is_empty());
}

#[test]
fn rpc_case_42_batches_are_one_request() {
    let desk = Desk::new(fleet::nodes(5));
    let args = [
        "req",
        "rpcutil",
        "ping",
        "--batch",
        "2",
        "--batch-sleep",
        "0.05",
        "--json",
    ];
    let json = desk.run(&args).ok().json();
    assert_eq!(json["request_stats"]["ok"], 5);
    let mut ids: Vec<String> = desk
        .fleet
        .seen()
        .into_iter()
        .filter(|s| s.agent == "rpcutil")
        .map(|s| s.id)
        .collect();
    assert_eq!(ids.len(), 5);
    ids.dedup();
    assert_eq!(ids, [json["request_stats"]["requestid"].as_str().unwrap()]);
}

#[test]
fn limits_choose_some_and_never_hang() {
    let desk = Desk::new(fleet::nodes(4));
    let count = |limit: &[&str]| {
        let args = [
            ["req", "rpcutil", "ping", "--senders", "--sort"].as_slice(),
            limit,
        ]
        .concat();
        desk.run(&args).ok().stdout
    };
    assert_eq!(count(&["--limit", "1"]), "n00000.example.net\n");
    assert_eq!(count(&["--limit", "50%"]).lines().count(), 2);
    assert_eq!(count(&["--limit", "100"]).lines().count(), 4);
    let seeded = ["--limit", "2", "--limit-seed", "7"];
    assert_eq!(count(&seeded), count(&seeded));
    desk.run(&["req", "rpcutil", "ping", "--limit", "10%"])
        .fails(1, "no targets left after applying target limits of '10%'");
    desk.run(&["req", "rpcutil", "ping", "--limit", "abc"])
        .fails(1, "could not parse limit as either number or percent");
}

#[test]
fn results_can_go_to_a_file() {
    let desk = two();
    let run = desk
        .run(&["req", "rpcutil", "ping", "--json", "-o", "out.json"])
        .ok();
    assert_eq!(run.stdout, "");
    let text = std::fs::read_to_string(desk.dir().join("out.json")).unwrap();
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["request_stats"]["ok"], 2);
    desk.run(&["req", "rpcutil", "ping", "-o", "no/such/dir"])
        .fails(1, "failed to create output-file");
}

#[test]
fn nobody_found_is_a_failure() {
    let desk = two();
    for more in [[].as_slice(), &["--json"]] {
        let args = [
            ["req", "rpcutil", "ping", "-F", "os.family=debian"].as_slice(),
            more,
        ]
        .concat();
        let run = desk.run(&args).fails(1, "did not discover any nodes");
        assert_eq!(run.stdout, "");
    }
}

#[test]
fn replies_can_be_filtered() {
    let desk = Desk::new(vec![node("a"), node("b").fact("site", "ams")]);
    let args = [
        "req",
        "rpcutil",
        "get_fact",
        "fact=site",
        "--json",
        "--filter-replies",
    ];
    let filtered = |expression| desk.run(&[args.as_slice(), &[expression]].concat());
    let json = filtered("ok() && data('value') == 'ams'").ok().json();
    assert_eq!(json["replies"][0]["sender"], "b");
    assert_eq!(json["replies"].as_array().map(Vec::len), Some(1));
    assert_eq!(json["request_stats"]["ok"], 2);
    assert_eq!(json["summaries"], json!({"value": {"ams": 1}}));
    let json = filtered("data('value') == 'x'").ok().json();
    assert_eq!(
        (&json["replies"], &json["summaries"]),
        (&json!([]), &json!({"value": {}}))
    );
    filtered("nosuch()").fails(1, "could not parse the reply filter");
}
