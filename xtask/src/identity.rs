//! Who tells who people are, for the login tests: a certified OpenID provider, and a directory server.
//!
//! The provider is an npm package, pinned with all that it needs by the lock file of the tests. Without either the tests
//! concerned say that they are skipped; nothing else needs them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::run::{check, root, say, target_dir};
use crate::system::{NODE, NPM, SLAPD};

/// What names the package and all that it needs.
const FILES: [&str; 2] = ["package.json", "package-lock.json"];

/// Makes sure that both are there, or says what is missing.
pub(crate) fn ensure() {
    match provider() {
        Ok(directory) => say(&format!("OpenID provider: {}", directory.display())),
        Err(error) => say(&format!("no OpenID provider: {error:#}")),
    }
    match SLAPD.ensure() {
        Ok(()) => say("directory server: slapd"),
        Err(error) => say(&format!("no directory server: {error:#}")),
    }
}

/// The directory with the provider, fetched when it is not there as the lock file has it.
fn provider() -> Result<PathBuf> {
    let pinned = root().join("aaa-signer/tests/provider");
    let directory = target_dir().join("oidc-provider");
    if is_current(&pinned, &directory) {
        return Ok(directory);
    }
    NODE.ensure()?;
    NPM.ensure()?;
    say("fetching the OpenID provider (npm package oidc-provider)");
    fs::create_dir_all(&directory).with_context(|| format!("make {}", directory.display()))?;
    for file in FILES {
        let (from, to) = (pinned.join(file), directory.join(file));
        fs::copy(&from, &to)
            .with_context(|| format!("copy {} to {}", from.display(), to.display()))?;
    }
    let marker = directory.join(DONE);
    if marker.exists() {
        fs::remove_file(&marker).with_context(|| format!("remove {}", marker.display()))?;
    }
    check(
        Command::new("npm")
            .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
            .current_dir(&directory)
            .stdin(Stdio::null())
            .stdout(Stdio::null()),
    )?;
    fs::write(&marker, "").with_context(|| format!("write {}", marker.display()))?;
    Ok(directory)
}

/// Written when everything is in place: half of an installation has none.
const DONE: &str = ".complete";

fn is_current(pinned: &Path, directory: &Path) -> bool {
    let same = |file: &str| {
        let wanted = fs::read(pinned.join(file));
        let found = fs::read(directory.join(file));
        matches!((wanted, found), (Ok(wanted), Ok(found)) if wanted == found)
    };
    directory.join(DONE).is_file() && FILES.into_iter().all(same)
}
