//! A whole cell on one machine, driven as a user drives it: the released programs, the files of `overlay cell init`.

use std::path::Path;

use anyhow::Result;

/// Starts the cell and shows what it does.
///
/// # Errors
///
/// When a part can't be started; with `once` also when anything shown fell short.
pub(crate) fn run(once: bool, dir: Option<&Path>) -> Result<()> {
    anyhow::bail!("no cell to show yet (once: {once}, dir: {dir:?})")
}
