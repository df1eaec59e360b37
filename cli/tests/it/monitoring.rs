//! Dashboards and alerts: they parse, and every metric that they ask for exists.
#![allow(
    clippy::unwrap_used,
    reason = "a helper that fails is a test that fails"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;
use serde_json::Value;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn monitoring(name: &str) -> String {
    fs::read_to_string(repository().join("overlays/base/monitoring").join(name)).unwrap()
}

/// The source text that names the metrics of a crate.
fn sources(directory: &str) -> String {
    let mut text = String::new();
    let mut open = vec![repository().join(directory)];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        } else {
            text.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
    text
}

/// The metrics that an expression names.
fn metrics(expression: &str) -> Vec<String> {
    let name = Regex::new(r"\b(?:overlay|choria)_[a-z0-9_]+").unwrap();
    let found = name.find_iter(expression);
    found.map(|found| found.as_str().to_owned()).collect()
}

#[track_caller]
fn all_exist<'a>(expressions: impl IntoIterator<Item = &'a str>) {
    let replicator = sources("stream-replicator/src/metrics");
    let others = sources("runtime/src/nats") + &sources("broker-auth/src");
    let mut names = BTreeSet::new();
    for expression in expressions {
        names.extend(metrics(expression));
    }
    assert!(!names.is_empty());
    for name in names {
        let base = name.trim_end_matches("_bucket");
        let short = base
            .strip_prefix("overlay_stream_replicator_")
            .or_else(|| base.strip_prefix("choria_stream_replicator_"));
        let exists = match short {
            Some(short) => {
                replicator.contains(&format!("\"{short}\""))
                    || replicator.contains(&format!("\"{base}\""))
            }
            None => others.contains(&format!("\"{base}\"")),
        };
        assert!(exists, "nobody exposes {name}");
    }
}

#[test]
fn the_dashboard_asks_for_metrics_that_exist() {
    let board: Value =
        serde_json::from_str(&monitoring("stream-replicator.dashboard.json")).unwrap();
    let panels = board["panels"].as_array().unwrap();
    let mut ids: Vec<u64> = panels
        .iter()
        .map(|panel| panel["id"].as_u64().unwrap())
        .collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), panels.len(), "a panel's number is there twice");
    let targets = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let mut expressions: Vec<&str> = targets
        .map(|target| target["expr"].as_str().unwrap())
        .collect();
    for expression in &expressions {
        let balanced =
            |open, close| expression.matches(open).count() == expression.matches(close).count();
        assert!(
            balanced('(', ')') && balanced('{', '}') && balanced('[', ']'),
            "{expression}"
        );
    }
    let variables = board["templating"]["list"].as_array().unwrap();
    expressions.extend(
        variables
            .iter()
            .filter_map(|one| one["query"]["query"].as_str()),
    );
    all_exist(expressions);
}

#[test]
fn alerts_ask_for_metrics_that_exist_and_say_what_to_do() {
    let rules: Value = serde_saphyr::from_str(&monitoring("stream-replicator.rules.yml")).unwrap();
    let rules = rules["groups"][0]["rules"].as_array().unwrap().clone();
    assert!(rules.len() > 5);
    let mut names = BTreeSet::new();
    for rule in &rules {
        let name = rule["alert"].as_str().unwrap();
        assert!(names.insert(name), "{name} is there twice");
        for part in ["summary", "description"] {
            assert!(
                rule["annotations"][part].as_str().unwrap().len() > 10,
                "{name}"
            );
        }
        assert!(rule["labels"]["severity"].is_string(), "{name}");
    }
    all_exist(rules.iter().map(|rule| rule["expr"].as_str().unwrap()));
}
