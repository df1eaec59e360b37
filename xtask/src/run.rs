//! Running other programs, and the one place that prints.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// Prints one line for the person at the terminal.
#[expect(clippy::print_stdout, reason = "this is the task runner's one output")]
pub(crate) fn say(line: &str) {
    println!("{line}");
}

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// The directory that cargo builds into.
#[expect(
    clippy::disallowed_methods,
    reason = "the environment is read here, at the edge"
)]
pub(crate) fn target_dir() -> PathBuf {
    match std::env::var("CARGO_TARGET_DIR") {
        Ok(dir) if !dir.is_empty() => root().join(dir),
        _ => root().join("target"),
    }
}

/// Whether `CI=true`: then nothing may be skipped.
#[expect(
    clippy::disallowed_methods,
    reason = "the environment is read here, at the edge"
)]
pub(crate) fn in_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true")
}

/// Whether the caller has set this variable.
pub(crate) fn is_given(variable: &str) -> bool {
    std::env::var_os(variable).is_some()
}

/// A cargo command in the workspace's root.
pub(crate) fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO"));
    command.args(args).current_dir(root());
    command
}

/// How programs are built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    Debug,
    Release,
}

/// Builds every program and tells where they are; always with the same features, so that nothing is built anew that was
/// built before.
pub(crate) fn build(profile: Profile) -> Result<PathBuf> {
    let mut command = cargo(&["build", "--workspace", "--bins", "--locked", "--quiet"]);
    let (more, directory) = match profile {
        // As the tests need it: examples bring features of what only tests see.
        Profile::Debug => ("--examples", "debug"),
        Profile::Release => ("--release", "release"),
    };
    check(command.arg(more))?;
    Ok(target_dir().join(directory))
}

/// Runs a command with its output on the terminal; an exit code other than 0 is an error.
pub(crate) fn check(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("start {}", shown(command)))?;
    if !status.success() {
        bail!("{} ended with {status}", shown(command));
    }
    Ok(())
}

/// Runs a command and gives back what it wrote on standard output.
pub(crate) fn read(command: &mut Command) -> Result<String> {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("start {}", shown(command)))?;
    if !output.status.success() {
        bail!("{} ended with {}", shown(command), output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("read {}", shown(command)))
}

/// The command as a person would type it.
pub(crate) fn shown(command: &Command) -> String {
    let mut text = command.get_program().to_string_lossy().into_owned();
    for arg in command.get_args() {
        text.push(' ');
        text.push_str(&arg.to_string_lossy());
    }
    text
}

/// A duration as `1m 02s` or `3.4s`.
pub(crate) fn took(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds >= 60 {
        format!("{}m {:02}s", seconds / 60, seconds % 60)
    } else {
        format!("{:.1}s", duration.as_secs_f64())
    }
}
