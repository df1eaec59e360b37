//! The replay of the fuzz corpora on the stable compiler.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::run::{Profile, build, say, shown};
use crate::test::Counts;

/// Runs the replay program, with `mutate` more inputs a target.
///
/// # Errors
///
/// When an input makes a target fail, or when there was none.
pub(crate) fn run(mutate: u64) -> Result<Counts> {
    let mut command = Command::new(build(Profile::Debug)?.join("replay"));
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
