//! `overlay ping` and `overlay find`.

use crate::desk::{Desk, assert_shown};
use crate::fleet::{self, node};

/// Lines of nodes come in any order.
fn sorted(text: &str) -> String {
    let (mut lines, rest): (Vec<&str>, Vec<&str>) = text.lines().partition(|l| l.contains("time="));
    lines.sort_unstable();
    [lines, rest].concat().join("\n")
}

fn two() -> Desk {
    Desk::new(vec![
        node("ginkgo.example.net"),
        node("n2.example.net").fact("site", "ams"),
    ])
}

#[test]
fn ping_shows_who_answers_and_how_fast() {
    let desk = two();
    let run = desk.run(&["ping"]).ok();
    assert_shown!("ping", sorted(&run.stdout));
    assert_eq!(run.stderr, "");
    let run = desk.run(&["ping", "--graph", "--silent"]).ok();
    assert!(
        run.stdout
            .starts_with("---- ping statistics ----\n2 replies max: "),
        "{run:?}"
    );
    assert!(run.stdout.contains("Responses per 50ms"), "{run:?}");
    let run = desk.run(&["ping", "--expect", "1", "--workers", "3"]).ok();
    assert!(run.stdout.contains("\n1 replies max: "), "{run:?}");
}

#[test]
fn ping_can_be_read_by_programs() {
    let desk = two();
    let run = desk.run(&["ping", "--names", "-F", "site=ams"]).ok();
    assert_eq!(run.stdout, "n2.example.net\n");
    let json = desk.run(&["ping", "--json"]).ok().json();
    assert_eq!(json["statistics"]["replies"], 2);
    assert!(json["statistics"]["avg"].is_u64());
    assert_eq!(json["replies"].as_array().map(Vec::len), Some(2));
}

#[test]
fn ping_names_each_known_node_that_does_not_answer() {
    let desk = two();
    let run = desk
        .run(&["ping", "-I", "n2.example.net", "-I", "nosuch.example.net"])
        .ok();
    assert!(
        run.stdout
            .ends_with("\nNo Responses from: 1\n\n    nosuch.example.net\n"),
        "{run:?}"
    );
    desk.file("web.txt", "ginkgo.example.net\nnosuch.example.net # gone\n");
    let json = desk
        .run(&["ping", "--nodes", "web.txt", "--json"])
        .ok()
        .json();
    assert_eq!(
        json["no_responses"],
        serde_json::json!(["nosuch.example.net"])
    );
    let run = desk.run(&["ping", "--names", "--nodes", "web.txt"]).ok();
    assert_eq!(run.stdout, "ginkgo.example.net\n");
    assert!(run.stderr.contains("nosuch.example.net"), "{run:?}");
}

#[test]
fn rpc_case_40_nobody_is_a_failure_for_ping_and_an_answer_for_find() {
    let desk = Desk::new(vec![]);
    let run = desk.run(&["ping"]).fails(1, "no responses received");
    assert!(
        run.stdout.ends_with("---- ping statistics ----\n"),
        "{run:?}"
    );
    desk.run(&["ping", "--names"]).ok();
    assert_eq!(desk.run(&["discover", "--json"]).ok().stdout, "[]\n");
    assert_eq!(desk.run(&["find"]).ok().stdout, "");
}

#[test]
fn find_lists_nodes_by_filters() {
    let desk = two();
    let all = "ginkgo.example.net\nn2.example.net\n";
    assert_eq!(desk.run(&["find"]).ok().stdout, all);
    assert_eq!(
        desk.run(&["find", "-C", "/ROLE/", "-F", "cpus>=4"])
            .ok()
            .stdout,
        all
    );
    assert_eq!(
        desk.run(&["find", "-W", "apache site=ams"]).ok().stdout,
        "n2.example.net\n"
    );
    assert_eq!(
        desk.run(&["find", "-I", "/^gin/"]).ok().stdout,
        "ginkgo.example.net\n"
    );
    let select = "with('apache') && fact('site') == 'lhr'";
    assert_eq!(
        desk.run(&["find", "-S", select]).ok().stdout,
        "ginkgo.example.net\n"
    );
    assert_eq!(desk.run(&["find", "-T", "other"]).ok().stdout, "");
    let run = desk.run(&["find", "-v"]).ok();
    assert!(
        run.stderr
            .contains("Discovered 2 nodes using the mc method in"),
        "{run:?}"
    );
    desk.run(&["find", "-F", "nonsense"])
        .fails(1, "could not parse filters");
}

#[test]
fn nodes_named_outright_are_not_asked() {
    let desk = two();
    assert_eq!(
        desk.run(&["find", "-I", "b", "-I", "a"]).ok().stdout,
        "a\nb\n"
    );
    assert!(desk.fleet.seen().is_empty());
}

#[test]
fn nodes_come_from_files_and_from_standard_input() {
    let desk = two();
    desk.file("nodes.json", r#"["b", "a", "a"]"#);
    desk.file("nodes.yaml", "- a\n- c\n");
    desk.file(
        "inventory.json",
        r#"{"nodes":[{"name":"x","collectives":["choria"],"facts":{"site":"lhr"},"agents":["rpcutil"]}]}"#,
    );
    assert_eq!(
        desk.run(&["find", "--nodes", "nodes.json"]).ok().stdout,
        "a\nb\n"
    );
    assert_eq!(
        desk.run(&["find", "--dm", "flatfile", "--do", "file=nodes.yaml"])
            .ok()
            .stdout,
        "a\nc\n"
    );
    let inventory = [
        "find",
        "--dm",
        "inventory",
        "--do",
        "file=inventory.json",
        "-F",
        "site=lhr",
    ];
    assert_eq!(desk.run(&inventory).ok().stdout, "x\n");
    let results = desk
        .run(&["req", "rpcutil", "ping", "-F", "site=ams", "--json"])
        .ok()
        .stdout;
    assert_eq!(
        desk.run_with_input(&["find"], &results).ok().stdout,
        "n2.example.net\n"
    );
    let all = "ginkgo.example.net\nn2.example.net\n";
    assert_eq!(desk.run_with_input(&["find"], "not json").ok().stdout, all);
    desk.run(&["find", "--nodes", "nosuch"])
        .fails(1, "cannot read nosuch");
    desk.run(&["find", "--nodes", "nodes.json", "-F", "a=b"])
        .fails(1, "only identity filters");
    desk.run(&["find", "--dm", "puppetdb"])
        .fails(2, "not available");
}

#[test]
fn a_thousand_nodes_answer_completely() {
    let desk = Desk::new(fleet::nodes(1_000));
    let run = desk
        .run(&["find", "--discovery-timeout", "5", "--discovery-window"])
        .ok();
    assert_eq!(run.stdout.lines().count(), 1_000);
}
