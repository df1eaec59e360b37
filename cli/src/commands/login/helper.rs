//! Another program that logs in: what `choria-login` is to `choria login`.

use std::path::Path;

use anyhow::Context as _;

use crate::error::Failure;

/// Runs it with this command's arguments and streams; how it ends is how this command ends.
pub(super) async fn run(program: &Path) -> Result<(), Failure> {
    let arguments = std::env::args_os().skip_while(|argument| argument != "login");
    let status = tokio::process::Command::new(program)
        .args(arguments)
        .status()
        .await
        .with_context(|| format!("cannot run {}", program.display()))?;
    if status.success() {
        return Ok(());
    }
    let shown = program.display();
    Err(Failure::new(match status.code() {
        Some(code) => format!("{shown}: exit status {code}"),
        None => format!("{shown}: {status}"),
    }))
}
