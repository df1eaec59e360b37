//! Counts per file, printed and reported.
#![expect(
    clippy::print_stdout,
    reason = "the counts are what a person runs the replay for"
)]

use std::io::Write as _;
use std::path::Path;

use serde_json::json;

use super::Outcome;

/// Failures printed per file; the report holds them all.
const PRINTED_FAILURES: usize = 10;

/// What became of all files of a crate.
#[derive(Clone, Debug)]
pub struct Summary {
    crate_name: String,
    handles: Vec<String>,
    files: Vec<FileResult>,
}

/// What became of one file.
#[derive(Clone, Debug)]
pub struct FileResult {
    /// The file's key, for example `tokens/valid.json`.
    pub key: String,
    /// Counts and failures.
    pub outcome: Outcome,
}

impl Summary {
    pub(super) fn new<'a>(crate_name: String, keys: impl Iterator<Item = &'a str>) -> Self {
        Self {
            crate_name,
            handles: keys.map(str::to_owned).collect(),
            files: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, key: &str, outcome: Outcome) {
        self.files.push(FileResult {
            key: key.to_owned(),
            outcome,
        });
    }

    /// The files that were replayed.
    pub fn files(&self) -> &[FileResult] {
        &self.files
    }

    /// Number of cases that passed, over all files.
    pub fn passed(&self) -> usize {
        self.files.iter().map(|file| file.outcome.passed).sum()
    }

    /// Number of cases that failed, over all files.
    pub fn failed(&self) -> usize {
        self.files
            .iter()
            .map(|file| file.outcome.failed.len())
            .sum()
    }

    /// Asserts that no case failed.
    ///
    /// # Panics
    ///
    /// When one did; the message holds the first failures of each file.
    #[track_caller]
    pub fn assert_passed(&self) {
        let failed = self.failed();
        assert!(
            failed == 0,
            "{failed} vector cases failed, {} passed\n{}",
            self.passed(),
            self.lines().join("\n")
        );
    }

    pub(super) fn print(&self) {
        for line in self.lines() {
            println!("{line}");
        }
    }

    fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for FileResult { key, outcome } in &self.files {
            lines.push(format!(
                "vectors {key}: {} passed, {} failed",
                outcome.passed,
                outcome.failed.len()
            ));
            let shown = outcome.failed.iter().take(PRINTED_FAILURES);
            lines.extend(shown.map(|failure| format!("  {failure}")));
            if outcome.failed.len() > PRINTED_FAILURES {
                lines.push(format!(
                    "  and {} more",
                    outcome.failed.len() - PRINTED_FAILURES
                ));
            }
        }
        lines
    }

    pub(super) fn append_to(&self, report: &Path) {
        let mut text = String::new();
        for FileResult { key, outcome } in &self.files {
            let line = json!({
                "crate": self.crate_name,
                "key": key,
                "passed": outcome.passed,
                "failed": outcome.failed.len(),
                "failures": outcome.failed,
            });
            text.push_str(&format!("{line}\n"));
        }
        let handles = json!({ "crate": self.crate_name, "handles": self.handles });
        text.push_str(&format!("{handles}\n"));
        // One write in append mode, so that crates whose tests run at once do not mix lines.
        let written = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(report)
            .and_then(|mut file| file.write_all(text.as_bytes()));
        if let Err(error) = written {
            panic!(
                "OVERLAY_VECTORS_REPORT: write {}: {error}",
                report.display()
            );
        }
    }
}
