//! Replays the test vectors: those in the tree, or those that somebody brings.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::run::{Profile, build, cargo, check, say, target_dir};
use crate::test::Counts;

/// The crates whose test suites hold handlers.
const CRATES: &[&str] = &[
    "overlay-protocol",
    "overlay-tokens",
    "overlay-policy",
    "overlay-broker-auth",
    "overlay-provisioner",
    "overlay-aaa-signer",
    "overlay-stream-replicator",
    "overlay-server",
    "overlay-client",
    "overlay-cli",
];

/// Where handlers report, one JSON line for each file.
pub(crate) fn report_file() -> PathBuf {
    target_dir().join("vectors.jsonl")
}

/// Runs the handlers alone and closes with `N passed, M failed`.
///
/// # Errors
///
/// When a case failed, or when a file under `dir` has no handler.
pub(crate) fn run(dir: Option<&Path>) -> Result<()> {
    let dir = dir
        .map(|dir| {
            dir.canonicalize()
                .with_context(|| format!("find {}", dir.display()))
        })
        .transpose()?;
    let report = report_file();
    if report.exists() {
        fs::remove_file(&report).with_context(|| format!("remove {}", report.display()))?;
    }
    build(Profile::Debug)?;
    let mut command = cargo(&["test", "--quiet", "--no-fail-fast", "--test", "it"]);
    for name in CRATES {
        command.args(["--package", name]);
    }
    command
        .arg("vectors::")
        .env("OVERLAY_VECTORS_REPORT", &report);
    if let Some(dir) = &dir {
        command.env("OVERLAY_VECTORS", dir);
    }
    let ended = check(&mut command);
    let summary = Summary::read(&report)?;
    let mut counts = summary.show();
    for file in dir
        .as_deref()
        .map(|dir| summary.strangers(dir))
        .transpose()?
        .unwrap_or_default()
    {
        say(&format!("vectors {file}: no handler knows this file"));
        counts.failed += 1;
    }
    say(&format!(
        "{} passed, {} failed",
        counts.passed, counts.failed
    ));
    if counts.failed > 0 {
        bail!("not every vector passed");
    }
    ended
}

/// What the handlers reported during the test step: shown, and counted only if a case failed there unseen.
pub(crate) fn last() -> Result<Counts> {
    let counts = Summary::read(&report_file())?.show();
    say(&format!(
        "vectors: {} cases passed, {} failed",
        counts.passed, counts.failed
    ));
    if counts.passed == 0 {
        bail!("no vector was replayed");
    }
    Ok(Counts {
        passed: 1,
        failed: 0,
    })
}

#[derive(Debug, Default)]
struct Summary {
    files: BTreeMap<String, Counts>,
    failures: Vec<String>,
    known: BTreeSet<String>,
}

impl Summary {
    fn read(report: &Path) -> Result<Self> {
        let mut summary = Self::default();
        if !report.exists() {
            return Ok(summary);
        }
        let text =
            fs::read_to_string(report).with_context(|| format!("read {}", report.display()))?;
        for line in text.lines() {
            let value: Value =
                serde_json::from_str(line).context("parse a line of the vectors' report")?;
            for key in value["handles"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
            {
                summary.known.insert(key.to_owned());
            }
            let Some(key) = value["key"].as_str() else {
                continue;
            };
            summary.known.insert(key.to_owned());
            let counts = summary.files.entry(key.to_owned()).or_default();
            counts.passed += value["passed"].as_u64().unwrap_or_default();
            counts.failed += value["failed"].as_u64().unwrap_or_default();
            for failure in value["failures"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
            {
                summary.failures.push(format!("{key}: {failure}"));
            }
        }
        Ok(summary)
    }

    fn show(&self) -> Counts {
        let mut total = Counts::default();
        for (file, counts) in &self.files {
            say(&format!(
                "vectors {file}: {} passed, {} failed",
                counts.passed, counts.failed
            ));
            total.passed += counts.passed;
            total.failed += counts.failed;
        }
        for failure in self.failures.iter().take(50) {
            say(&format!("  {failure}"));
        }
        total
    }

    /// The JSON files under `dir` that no handler knows.
    fn strangers(&self, dir: &Path) -> Result<Vec<String>> {
        let mut found = Vec::new();
        let mut left = vec![dir.to_path_buf()];
        while let Some(next) = left.pop() {
            for entry in fs::read_dir(&next).with_context(|| format!("read {}", next.display()))? {
                let path = entry?.path();
                if path.is_dir() {
                    left.push(path);
                    continue;
                }
                let key = path
                    .strip_prefix(dir)
                    .unwrap_or(&path)
                    .to_string_lossy()
                    .into_owned();
                if key.ends_with(".json") && !self.knows(&key) {
                    found.push(key);
                }
            }
        }
        found.sort();
        Ok(found)
    }

    /// A known key may have one `*`, for any text without a slash.
    fn knows(&self, key: &str) -> bool {
        let fits = |known: &String| {
            let (before, after) = known.split_once('*')?;
            let name = key.strip_prefix(before)?.strip_suffix(after)?;
            (!name.contains('/')).then_some(())
        };
        self.known.contains(key) || self.known.iter().any(|known| fits(known).is_some())
    }
}
