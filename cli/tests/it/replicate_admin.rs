//! Replays what the original's administrators saw of state files.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;

use overlay_testkit::vectors::{Loader, Outcome};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A command of the original's that reads state files as one of ours; nothing for those that the file gives nothing to run
/// with: advisories and gossip are in streams that it does not hold, and without a path ours asks a replicator.
fn ours(command: &str) -> Result<Option<Vec<String>>, String> {
    let mut words = command
        .split_ascii_whitespace()
        .skip_while(|word| *word != "admin")
        .skip(1);
    match words.next() {
        Some("state") => {}
        Some("advisories" | "adv" | "gossip") => return Ok(None),
        other => return Err(format!("command {other:?} is not known here")),
    }
    let mut args = vec!["replicate".to_owned(), "state".to_owned()];
    let mut path = None;
    while let Some(word) = words.next() {
        match word {
            "--value" | "--since" => {
                let value = words.next().ok_or_else(|| format!("{word} has no value"))?;
                args.extend([word.to_owned(), value.to_owned()]);
            }
            flag if flag.starts_with("--") => args.push(flag.to_owned()),
            other => path = Some(other.to_owned()),
        }
    }
    Ok(path.map(|path| {
        args.extend(["--file".to_owned(), path]);
        args
    }))
}

/// Only where the original did what it was asked is its text compared; failures have words of our own.
pub(crate) fn replay(file: &Value, _: &Loader) -> Outcome {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    std::fs::create_dir(&state).unwrap();
    for (name, document) in file["state_file"].as_object().unwrap() {
        std::fs::write(state.join(name), document.to_string()).unwrap();
    }
    let now = file["state_now"].as_f64().unwrap();
    #[expect(clippy::cast_possible_truncation, reason = "a time of this century")]
    let at = OffsetDateTime::from_unix_timestamp_nanos((now * 1e9) as i128).unwrap();
    let at = at.format(&Rfc3339).unwrap();
    // What is not run is not counted as passed either.
    let mut outcome = Outcome::default();
    for case in file["cases"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        match ours(name) {
            Ok(None) => {}
            Ok(Some(args)) => {
                let expect = &case["expect"];
                outcome.run(name, || run(dir.path(), &args, &at, expect));
            }
            Err(reason) => outcome.record(name, Err(reason)),
        }
    }
    outcome
}

fn run(dir: &Path, args: &[String], at: &str, expect: &Value) -> Result<(), String> {
    let mut args: Vec<String> = args
        .iter()
        .map(|arg| match arg.strip_prefix("DIR") {
            Some(rest) => format!("{}{rest}", dir.display()),
            None => arg.clone(),
        })
        .collect();
    args.extend(["--at".to_owned(), at.to_owned()]);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let run = crate::desk::run(dir, &args, None);
    let failed = expect["exit_code"] != 0;
    if failed != (run.code != 0) {
        return Err(format!("ends with {run:?}"));
    }
    let stdout = expect["stdout"].as_str().unwrap_or_default();
    if !failed && run.stdout != stdout {
        return Err(format!("prints {}, not {stdout}", run.stdout));
    }
    Ok(())
}

#[test]
fn ten_recorded_commands_are_run_and_eleven_left_out() {
    let text = include_str!("../vectors/stream-replicator/admin.json");
    let file: Value = serde_json::from_str(text).unwrap();
    let cases = file["cases"].as_array().unwrap();
    let known = cases
        .iter()
        .map(|case| ours(case["name"].as_str().unwrap()).unwrap());
    let run = known.filter(Option::is_some).count();
    assert_eq!((run, cases.len() - run), (10, 11));
    assert!(ours("stream-replicator admin explode").is_err());
}
