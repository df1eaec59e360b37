//! What two commands print, made comparable.
//!
//! Times, ids and large counters differ from run to run, and nodes answer in any order: the first are
//! replaced by their kind, and lines and lists are sorted. Blank lines are not compared.
#![allow(clippy::unwrap_used, reason = "helper of tests")]

use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Map, Value, json};

use super::Checked;

/// What stands in place of a text that differs from run to run, in this order.
static MASKS: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    [
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[^ \x22]*", "[TIMESTAMP]"),
        (r"\btime=\d+ ms", "time=[SPAN]"),
        (r"\b(\d+h)?(\d+m)?\d+(\.\d+)?(ns|µs|ms|s)\b", "[SPAN]"),
        (r"\b\d{10}\b", "[SECONDS]"),
        (r"\b[0-9A-Za-z]{27}\b", "[ID]"),
        // tables are as wide as their content
        (r" *│ *", "│"),
        (r"─+", "─"),
    ]
    .into_iter()
    .map(|(pattern, kind)| (Regex::new(pattern).unwrap(), kind))
    .collect()
});

/// What the original prints on standard output and we on standard error, for people only.
static PROGRESS: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = r"^(\x1b\[\d*[A-Z])*(Discovering nodes using the .*|Discovered \d+ nodes? using the .*|\d+ / \d+ +\S+ +\[[=>-]+\] +\d+%)$";
    Regex::new(pattern).unwrap()
});

/// Numbers from here on are times and counters.
const LARGE: f64 = 1e9;

/// Compares all that is printed.
pub(super) fn same(args: &[&str], ours: &str, theirs: &str) -> Checked {
    // known nodes that do not answer are named by our ping only
    let ours = match ours.split_once("\nNo Responses from:") {
        Some((ours, _)) if args[0] == "ping" => ours,
        _ => ours,
    };
    // which nodes a limit chooses is chance
    let (ours, theirs) = if args.contains(&"--limit") {
        (without_nodes(ours), without_nodes(theirs))
    } else {
        (ours.to_owned(), theirs.to_owned())
    };
    match (documents(&ours), documents(&theirs)) {
        (Some(ours), Some(theirs)) => equal(&masked(&ours), &masked(&theirs)),
        _ => equal(&lines(&ours), &lines(&theirs)),
    }
}

/// Compares what is printed, without data of replies and values of summaries.
pub(super) fn same_frame(args: &[&str], ours: &str, theirs: &str) -> Checked {
    let bare = |documents: &[Value]| {
        let documents: Vec<Value> = documents.iter().map(without_data).collect();
        masked(&documents)
    };
    let headings = |text| {
        let mut lines = lines(text);
        lines.retain(|line| line.ends_with(':') || line.starts_with("Finished "));
        lines
    };
    match (documents(ours), documents(theirs)) {
        (Some(ours), Some(theirs)) => equal(&bare(&ours), &bare(&theirs)),
        _ if args.contains(&"--table") => equal(&lines(ours).len(), &lines(theirs).len()),
        _ => equal(&headings(ours), &headings(theirs)),
    }
}

/// Compares the labels, `label: value` or alone on a line.
pub(super) fn same_labels(ours: &str, theirs: &str) -> Checked {
    let is_label = |label: &&str| label.starts_with(|c: char| c.is_alphabetic() || c == '"');
    let labels = |text| -> Vec<String> {
        lines(text)
            .iter()
            .map(|line| line.trim())
            .filter_map(|line| match line.split_once(": ") {
                Some((label, _)) => Some(label),
                None => line.strip_suffix(':'),
            })
            .filter(is_label)
            .map(str::to_owned)
            .collect()
    };
    equal(&labels(ours), &labels(theirs))
}

fn equal<T: PartialEq + std::fmt::Debug>(ours: &T, theirs: &T) -> Checked {
    if ours == theirs {
        Ok(())
    } else {
        Err(format!("ours {ours:?}, theirs {theirs:?}"))
    }
}

/// The text as JSON: one document, or one for each line.
fn documents(text: &str) -> Option<Vec<Value>> {
    if let Ok(document) = serde_json::from_str(text) {
        return Some(vec![document]);
    }
    let lines: Result<Vec<Value>, _> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(serde_json::from_str)
        .collect();
    lines.ok().filter(|lines| !lines.is_empty())
}

/// The lines of a text, sorted, without progress and blank ones.
fn lines(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines().map(str::trim_end) {
        match lines.last_mut() {
            // the original breaks lists in a row of a table over many lines
            Some(row) if row.starts_with('│') && !row.ends_with('│') => {
                row.push_str(line.trim_start());
            }
            _ if line.is_empty() || PROGRESS.is_match(line) => {}
            _ => lines.push(line.to_owned()),
        }
    }
    for line in &mut lines {
        for (pattern, kind) in MASKS.iter() {
            *line = pattern.replace_all(line, *kind).into_owned();
        }
    }
    lines.sort_unstable();
    lines
}

fn without_nodes(text: &str) -> String {
    text.split_inclusive(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-')))
        .map(|word| {
            let name = word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
            if name.ends_with(".example.net") {
                word.replacen(name, "[NODE]", 1)
            } else {
                word.to_owned()
            }
        })
        .collect()
}

/// Documents with sorted lists, and with the kind of what differs from run to run.
fn masked(documents: &[Value]) -> Value {
    mask("", &Value::Array(documents.to_vec()))
}

fn mask(member: &str, value: &Value) -> Value {
    let is_time = member.ends_with("_time") || matches!(member, "dt" | "time");
    let is_id = member.ends_with("_utc") || matches!(member, "requestid" | "request" | "message");
    match value {
        Value::Number(number) if is_time || number.as_f64() >= Some(LARGE) => json!("[NUMBER]"),
        Value::String(_) if is_id => json!("[TEXT]"),
        Value::Array(list) => {
            let mut list: Vec<Value> = list.iter().map(|value| mask("", value)).collect();
            list.sort_by_key(Value::to_string);
            Value::Array(list)
        }
        Value::Object(object) => object
            .iter()
            .map(|(name, value)| (name.clone(), mask(name, value)))
            .collect::<Map<_, _>>()
            .into(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

fn without_data(value: &Value) -> Value {
    match value {
        Value::Array(list) => list.iter().map(without_data).collect(),
        Value::Object(object) => object
            .iter()
            .map(|(name, value)| match name.as_str() {
                "data" | "agg" | "summaries" => (name.clone(), Value::Null),
                _ => (name.clone(), without_data(value)),
            })
            .collect::<Map<_, _>>()
            .into(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}
