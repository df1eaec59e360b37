//! Tests that cannot run on this machine, told by name.
#![expect(
    clippy::print_stdout,
    reason = "a skipped test must be seen by whoever runs it"
)]

use std::io::Write as _;

use serde_json::json;

/// Says that test `name` cannot run because of `why`, and which line installs what it lacks; the
/// test returns afterwards.
///
/// With `OVERLAY_SKIPS=FILE` a JSON line `{"test","why","install"}` is appended to the file, so that
/// a caller can count.
///
/// # Panics
///
/// With `CI=true`, where nothing may be skipped; or when the file cannot be written.
#[track_caller]
pub fn skip(name: &str, why: &str, install: &str) {
    let text = format!("SKIPPED {name}: {why}; install with: {install}");
    assert!(
        crate::env::var("CI").as_deref() != Some("true"),
        "{text} (with CI=true nothing may be skipped)"
    );
    println!("{text}");
    let Some(report) = crate::env::var("OVERLAY_SKIPS") else {
        return;
    };
    let path = crate::env::workspace_root().join(report);
    let line = json!({ "test": name, "why": why, "install": install });
    let written = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
    if let Err(error) = written {
        panic!("OVERLAY_SKIPS: write {}: {error}", path.display());
    }
}
