//! The one place that reads the process environment.

use std::path::{Path, PathBuf};

/// Reads a variable; empty counts as absent.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place where the tests' environment is read"
)]
pub(crate) fn var(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The root of the checkout that this crate was built from.
pub(crate) fn workspace_root() -> &'static Path {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own)
}

/// Cargo's target directory.
pub(crate) fn target_dir() -> PathBuf {
    match var("CARGO_TARGET_DIR") {
        Some(dir) => workspace_root().join(dir),
        None => workspace_root().join("target"),
    }
}
