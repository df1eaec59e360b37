//! The `fuzz` workspace on the stable compiler: its checks, and the replay of its corpora.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::run::{check, root, say, shown, target_dir};
use crate::test::Counts;

/// Runs a command of cargo in the `fuzz` workspace, which the checks of the main one do not reach.
///
/// # Errors
///
/// When it fails.
pub(crate) fn checked(args: &[&str]) -> Result<Counts> {
    check(&mut cargo(args))?;
    Ok(Counts {
        passed: 1,
        failed: 0,
    })
}

/// Runs the replay program of the `fuzz` workspace, with `mutate` more inputs a target.
///
/// # Errors
///
/// When an input makes a target fail, or when there was none.
pub(crate) fn run(mutate: u64) -> Result<Counts> {
    let mut command = cargo(&["run", "--quiet", "--locked", "--bin", "replay", "--"]);
    if mutate > 0 {
        command.args(["--mutate", &mutate.to_string()]);
    }
    let output = command
        .output()
        .with_context(|| format!("start {}", shown(&command)))?;
    let text = String::from_utf8_lossy(&output.stdout);
    say(text.trim_end());
    if !output.status.success() {
        bail!(
            "replay ended with {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    let inputs = text
        .lines()
        .last()
        .and_then(|line| line.split(' ').next())
        .and_then(|number| number.parse().ok())
        .context("read the replay's last line")?;
    if inputs == 0 {
        bail!("the corpora are empty");
    }
    Ok(Counts {
        passed: inputs,
        failed: 0,
    })
}

/// A cargo command in the `fuzz` workspace, which shares what the main one builds.
fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO"));
    command
        .args(args)
        .current_dir(root().join("fuzz"))
        .env("CARGO_TARGET_DIR", target_dir());
    command
}
