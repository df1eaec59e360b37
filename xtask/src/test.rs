//! Everything that CI runs, in one order, with counts at the end.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::run::{Profile, build, cargo, check, in_ci, is_given, say, shown, target_dir, took};
use crate::{deps, docs, fuzz, overlays, skips, tools, vectors};

/// What a step counted.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
}

type Step = (&'static str, fn() -> Result<Counts>);

/// The order is that of cost: what fails cheaply fails first.
const STEPS: &[Step] = &[
    ("fetch", || checked(&["fetch", "--locked"])),
    ("format", || checked(&["fmt", "--all", "--check"])),
    ("deps", || deps::run().map(|()| PASSED)),
    ("clippy", || {
        checked(&[
            "clippy",
            "--workspace",
            "--all-targets",
            "--locked",
            "--",
            "-D",
            "warnings",
        ])
    }),
    ("tools", tools::for_tests),
    ("build", || build(Profile::Debug).map(|_| PASSED)),
    ("tests", || {
        tests(&[
            "test",
            "--workspace",
            "--tests",
            "--locked",
            "--no-fail-fast",
        ])
    }),
    ("doc tests", || {
        tests(&["test", "--workspace", "--doc", "--locked", "--no-fail-fast"])
    }),
    ("vectors", vectors::last),
    ("fuzz corpora", || fuzz::run(0)),
    ("reference", || docs::run(true).map(|()| PASSED)),
    ("overlays", overlays::run),
    ("documentation", documentation),
];

const PASSED: Counts = Counts {
    passed: 1,
    failed: 0,
};

/// Runs every step whose name contains `only`, all of them without it.
///
/// # Errors
///
/// When a step failed, when a test failed, or when a test was skipped under `CI=true`.
#[expect(
    clippy::disallowed_methods,
    reason = "how long a step took is for the person who waits"
)]
pub(crate) fn run(only: Option<&str>) -> Result<()> {
    let begin = Instant::now();
    fs::create_dir_all(target_dir()).context("make the target directory")?;
    for file in [skips::file(), vectors::report_file()] {
        if file.exists() {
            fs::remove_file(&file).with_context(|| format!("remove {}", file.display()))?;
        }
    }
    let mut total = Counts::default();
    let mut broken = Vec::new();
    for (name, step) in STEPS
        .iter()
        .filter(|(name, _)| only.is_none_or(|text| name.contains(text)))
    {
        let start = Instant::now();
        say(&format!("==> {name}"));
        match step() {
            Ok(counts) => {
                total.passed += counts.passed;
                total.failed += counts.failed;
                if counts.failed > 0 {
                    broken.push(*name);
                }
            }
            Err(error) => {
                say(&format!("{name}: {error:#}"));
                total.failed += 1;
                broken.push(*name);
            }
        }
        say(&format!("==> {name}: {}", took(start.elapsed())));
    }
    let skipped = skips::read()?;
    for line in &skipped {
        say(line);
    }
    say(&format!("took {}", took(begin.elapsed())));
    if !broken.is_empty() {
        say(&format!("failed steps: {}", broken.join(", ")));
    }
    say(&format!(
        "{} passed, {} failed, {} skipped",
        total.passed,
        total.failed,
        skipped.len()
    ));
    if total.failed > 0 {
        bail!("not everything passed");
    }
    if in_ci() && !skipped.is_empty() {
        bail!("with CI=true nothing may be skipped");
    }
    Ok(())
}

fn checked(args: &[&str]) -> Result<Counts> {
    check(&mut cargo(args)).map(|()| PASSED)
}

fn documentation() -> Result<Counts> {
    let mut command = cargo(&[
        "doc",
        "--workspace",
        "--no-deps",
        "--document-private-items",
        "--locked",
        "--quiet",
    ]);
    check(command.env("RUSTDOCFLAGS", "-D warnings")).map(|()| PASSED)
}

/// Runs cargo's test runner, shows what it prints, and adds up its result lines.
fn tests(args: &[&str]) -> Result<Counts> {
    let mut command = cargo(args);
    command
        .env("OVERLAY_SKIPS", skips::file())
        .env("OVERLAY_VECTORS_REPORT", vectors::report_file())
        .stdout(Stdio::piped());
    if !is_given("RUST_TEST_THREADS") {
        // Tests wait for brokers and processes more than they compute.
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        command.env("RUST_TEST_THREADS", (cores + 1).to_string());
    }
    if let Some(path) = tools::given() {
        // Tests run in their crates' directories: a relative path would lead nowhere.
        command.env("OVERLAY_NATS_SERVER", path);
    }
    let mut child = command
        .spawn()
        .with_context(|| format!("start {}", shown(&command)))?;
    let mut counts = Counts::default();
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines() {
            let line = line.context("read the test runner's output")?;
            if let Some(result) = line.strip_prefix("test result: ") {
                counts.passed += number_before(result, " passed");
                counts.failed += number_before(result, " failed");
            }
            if !line.ends_with("... ok") && !line.is_empty() {
                say(&line);
            }
        }
    }
    let status = child.wait().context("wait for the test runner")?;
    if !status.success() && counts.failed == 0 {
        bail!(
            "{} ended with {status} before any test failed",
            shown(&command)
        );
    }
    Ok(counts)
}

fn number_before(text: &str, word: &str) -> u64 {
    let before = text.split(word).next().unwrap_or_default();
    before
        .rsplit(' ')
        .next()
        .and_then(|number| number.parse().ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::number_before;

    #[test]
    fn reads_the_counts_of_a_result_line() {
        let line =
            "ok. 12 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s";
        assert_eq!(number_before(line, " passed"), 12);
        assert_eq!(number_before(line, " failed"), 3);
    }
}
