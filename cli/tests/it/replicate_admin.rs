//! Replays what the original's administrators saw of state files.
#![allow(clippy::unwrap_used, reason = "tests")]

use overlay_testkit::vectors::{Loader, Outcome, for_cases};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A command of the original's as one of ours, when it reads state files; nothing for others.
fn ours(command: &str) -> Option<Vec<String>> {
    let mut words = command
        .split_ascii_whitespace()
        .skip_while(|word| *word != "admin")
        .skip(1);
    if words.next() != Some("state") {
        return None;
    }
    let mut args = vec!["replicate".to_owned(), "state".to_owned()];
    let mut path = None;
    while let Some(word) = words.next() {
        match word {
            "--value" | "--since" => {
                args.push(word.to_owned());
                args.push(words.next()?.to_owned());
            }
            flag if flag.starts_with("--") => args.push(flag.to_owned()),
            other => path = Some(other.to_owned()),
        }
    }
    // Without a path ours asks a replicator, the original fails.
    args.extend(["--file".to_owned(), path?]);
    Some(args)
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
    for_cases(file, |case| {
        let Some(args) = ours(case["name"].as_str().ok_or("no name")?) else {
            return Ok(());
        };
        let mut args: Vec<String> = args
            .iter()
            .map(|arg| match arg.strip_prefix("DIR") {
                Some(rest) => format!("{}{rest}", dir.path().display()),
                None => arg.clone(),
            })
            .collect();
        args.extend(["--at".to_owned(), at.clone()]);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let run = crate::desk::run(dir.path(), &args, None);
        let expect = &case["expect"];
        let failed = expect["exit_code"] != 0;
        if failed != (run.code != 0) {
            return Err(format!("ends with {run:?}"));
        }
        let stdout = expect["stdout"].as_str().unwrap_or_default();
        if !failed && run.stdout != stdout {
            return Err(format!("prints {}, not {stdout}", run.stdout));
        }
        Ok(())
    })
}
