//! Runs a benchmark in a release build. The benchmarks themselves are in `e2e`, which may see every component.

use std::process::Command;

use anyhow::{Context, Result};

use crate::run::{Profile, build, check, root, say, target_dir};
use crate::tools;

/// Builds everything for release and runs one benchmark, which prints figures and writes JSON under `target/bench`.
///
/// # Errors
///
/// When the build or the benchmark fails.
pub(crate) fn run(name: &str, flags: &[String]) -> Result<()> {
    let nats_server = tools::newest()?;
    let out = target_dir().join("bench");
    std::fs::create_dir_all(&out).with_context(|| format!("make {}", out.display()))?;
    say("building for release");
    let program = build(Profile::Release)?.join("overlay-bench");
    check(
        Command::new(program)
            .arg(name)
            .args(flags)
            .current_dir(root())
            .env("OVERLAY_NATS_SERVER_DEFAULT", nats_server)
            .env("OVERLAY_BENCH_OUT", out),
    )
}
