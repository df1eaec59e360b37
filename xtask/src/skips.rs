//! What could not be checked on this machine, by name: one JSON line each, written by tests and by the steps themselves.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::run::{say, target_dir};

/// Where the lines go.
pub(crate) fn file() -> PathBuf {
    target_dir().join("skipped.jsonl")
}

/// Notes that `test` was left out because of `why`; the shell line `install` brings what it lacks.
pub(crate) fn note(test: &str, why: &str, install: &str) -> Result<()> {
    say(&format!("SKIPPED {test}: {why}; install with: {install}"));
    let path = file();
    let line = json!({ "test": test, "why": why, "install": install });
    fs::create_dir_all(target_dir()).context("make the target directory")?;
    fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()))
        .with_context(|| format!("write {}", path.display()))
}

/// What was left out, one line for a person each.
pub(crate) fn read() -> Result<Vec<String>> {
    let path = file();
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    Ok(text.lines().map(shown).collect())
}

fn shown(line: &str) -> String {
    let value: Value = serde_json::from_str(line).unwrap_or_default();
    let part = |key: &str| value[key].as_str().unwrap_or("?").to_owned();
    format!(
        "skipped {}: {}; install with: {}",
        part("test"),
        part("why"),
        part("install")
    )
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn a_line_names_test_reason_and_remedy() {
        let line = r#"{"test":"units","why":"no systemd","install":"apt-get install systemd"}"#;
        assert_eq!(
            shown(line),
            "skipped units: no systemd; install with: apt-get install systemd"
        );
        assert_eq!(shown("half a li"), "skipped ?: ?; install with: ?");
    }
}
