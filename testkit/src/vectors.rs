//! Replays vector files through one handler per file.
//!
//! A vector file is JSON with a list `cases`. Its key is its path below the vectors' root, for
//! example `tokens/valid.json`. By default the copies in the crate's `tests/vectors` are replayed:
//! each handler needs its file there, and each `.json` file there needs a handler.
//! `OVERLAY_VECTORS=DIR` makes the same handlers replay `DIR/<key>`; a file that is absent there is
//! skipped. A relative `DIR` is taken from the root of the workspace.
//!
//! Some files cannot be kept in the tree. Their handlers are given to [`replay_with_brought`]: they replay what
//! is under `OVERLAY_VECTORS`, and nothing without it. Their keys may have one `*`, as `rpc/ddl/*.json`.
//!
//! `OVERLAY_VECTORS_REPORT=FILE` appends one JSON line per file
//! (`{"crate","key","passed","failed","failures"}`) and one with all keys of the crate
//! (`{"crate","handles"}`), so that a caller can sum up over crates and find unhandled files.

mod loader;
mod summary;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use serde_json::Value;

pub use loader::{LoadError, Loader};
pub use summary::{FileResult, Summary};

/// Checks one vector file: its whole content, and access to the files it refers to.
pub type Handler = fn(&Value, &Loader) -> Outcome;

/// What became of the cases of one file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Number of cases that passed.
    pub passed: usize,
    /// One line per case that failed, beginning with the case's name.
    pub failed: Vec<String>,
}

impl Outcome {
    /// Counts one more case.
    pub fn record(&mut self, name: &str, verdict: Result<(), String>) {
        match verdict {
            Ok(()) => self.passed += 1,
            Err(reason) => self.failed.push(format!("{name}: {reason}")),
        }
    }

    /// Runs one more case and counts it; a panic inside it is a failure.
    pub fn run(&mut self, name: &str, case: impl FnOnce() -> Result<(), String>) {
        let verdict = catch_unwind(AssertUnwindSafe(case))
            .unwrap_or_else(|panic| Err(panic_text(panic.as_ref())));
        self.record(name, verdict);
    }

    /// Adds the counts of a further part of the same file.
    pub fn merge(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed.extend(other.failed);
    }
}

/// Runs `check` on every element of the file's `cases`, by its `name` or its index.
///
/// A file without `cases` is one failure.
pub fn for_cases(file: &Value, check: impl FnMut(&Value) -> Result<(), String>) -> Outcome {
    for_cases_of(file, "cases", check)
}

/// Runs `check` on every element of the file's list `member`, by its `name` or its index.
pub fn for_cases_of(
    file: &Value,
    member: &str,
    mut check: impl FnMut(&Value) -> Result<(), String>,
) -> Outcome {
    let mut outcome = Outcome::default();
    let Some(cases) = file.get(member).and_then(Value::as_array) else {
        outcome.record(member, Err("the file has no such list".to_owned()));
        return outcome;
    };
    for (index, case) in cases.iter().enumerate() {
        let name = match case.get("name").and_then(Value::as_str) {
            Some(name) => format!("[{index}] {name}"),
            None => format!("[{index}]"),
        };
        outcome.run(&name, || check(case));
    }
    outcome
}

/// Replays the vectors of a crate; `root` is its `tests/vectors` directory.
///
/// The environment chooses where the files are and whether a report is written (see the module).
/// The caller asserts with [`Summary::assert_passed`].
///
/// # Panics
///
/// When `OVERLAY_VECTORS` is not a directory, or the report cannot be written.
pub fn replay(root: impl AsRef<Path>, handlers: &[(&str, Handler)]) -> Summary {
    replay_with_brought(root, handlers, &[])
}

/// Replays as [`replay`] does, and files that are only ever brought with `OVERLAY_VECTORS`.
///
/// A key of `brought` may have one `*`, which stands for any text without a slash.
///
/// # Panics
///
/// As [`replay`].
pub fn replay_with_brought(
    root: impl AsRef<Path>,
    handlers: &[(&str, Handler)],
    brought: &[(&str, Handler)],
) -> Summary {
    let overlay =
        crate::env::var("OVERLAY_VECTORS").map(|dir| crate::env::workspace_root().join(dir));
    let summary = replay_from(root.as_ref(), overlay.as_deref(), handlers, brought);
    summary.print();
    if let Some(report) = crate::env::var("OVERLAY_VECTORS_REPORT") {
        summary.append_to(&crate::env::workspace_root().join(report));
    }
    summary
}

/// Replays as [`replay_with_brought`] does, without looking at the environment or printing.
///
/// # Panics
///
/// When `overlay` is given and is not a directory.
pub fn replay_from(
    root: &Path,
    overlay: Option<&Path>,
    handlers: &[(&str, Handler)],
    brought: &[(&str, Handler)],
) -> Summary {
    if let Some(dir) = overlay {
        assert!(
            dir.is_dir(),
            "OVERLAY_VECTORS: {} is not a directory",
            dir.display()
        );
    }
    let keys = handlers.iter().chain(brought).map(|(key, _)| *key);
    let mut summary = Summary::new(crate_name(root), keys);
    for (key, handler) in handlers {
        let file = overlay.unwrap_or(root).join(key);
        if overlay.is_some() && !file.exists() {
            continue;
        }
        let loader = Loader::new(root, overlay, key);
        summary.add(key, replay_file(&file, *handler, &loader));
    }
    match overlay {
        Some(dir) if !brought.is_empty() => {
            for key in json_files(dir) {
                let handler = brought.iter().find(|(pattern, _)| covers(pattern, &key));
                if let Some((_, handler)) = handler {
                    let loader = Loader::new(root, overlay, &key);
                    summary.add(&key, replay_file(&dir.join(&key), *handler, &loader));
                }
            }
        }
        Some(_) => {}
        None => {
            for key in json_files(root) {
                if !handlers.iter().any(|(handled, _)| *handled == key) {
                    summary.add(&key, fault("the file has no handler".to_owned()));
                }
            }
        }
    }
    summary
}

/// Whether a handler's key, perhaps with one `*`, covers the key of a file.
fn covers(pattern: &str, key: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == key,
        Some((before, after)) => key
            .strip_prefix(before)
            .and_then(|rest| rest.strip_suffix(after))
            .is_some_and(|name| !name.contains('/')),
    }
}

fn replay_file(file: &Path, handler: Handler, loader: &Loader) -> Outcome {
    let content = match loader::read_json(file) {
        Ok(content) => content,
        Err(error) => return fault(error.to_string()),
    };
    match catch_unwind(AssertUnwindSafe(|| handler(&content, loader))) {
        Ok(outcome) if outcome == Outcome::default() => {
            fault("the handler checked nothing".to_owned())
        }
        Ok(outcome) => outcome,
        Err(panic) => fault(panic_text(panic.as_ref())),
    }
}

fn fault(reason: String) -> Outcome {
    Outcome {
        passed: 0,
        failed: vec![format!("file: {reason}")],
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panicked: {}", text.unwrap_or("with no text"))
}

/// `.../tokens/tests/vectors` belongs to `tokens`.
fn crate_name(root: &Path) -> String {
    root.ancestors()
        .nth(2)
        .and_then(Path::file_name)
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

fn json_files(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![PathBuf::new()];
    while let Some(below) = open.pop() {
        let Ok(entries) = std::fs::read_dir(root.join(&below)) else {
            continue;
        };
        for entry in entries.flatten() {
            let path = below.join(entry.file_name());
            if entry.path().is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|ext| ext == "json") {
                found.push(path.to_string_lossy().into_owned());
            }
        }
    }
    found.sort();
    found
}

#[cfg(test)]
mod tests;
