//! Replaces this program by another version, from a repository as Choria's updater lays them out:
//! `REPOSITORY/VERSION/OS/ARCHITECTURE/release.json` names a program packed with bzip2 and its SHA-256 sum.
//!
//! ```text
//! fetch beside the program ── sum, signature ── try it ── copy the old one ── rename into its place
//! ```
//!
//! The last step is one: at any moment the old program is there or the new one.

mod fetch;

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use overlay_tokens::PublicKey;
use serde::Deserialize;

use self::fetch::Fetched;

/// The longest that a new program may take to say its version.
const TRIAL: Duration = Duration::from_secs(10);

/// Why the program is the one that it was.
#[derive(Debug, thiserror::Error)]
pub enum UpdateError {
    /// The request lacks something; the text is that of Choria's updater.
    #[error("invalid updater configuration: {0}")]
    Request(&'static str),
    /// The repository does not describe the version.
    #[error("release {version} not found: {why}")]
    NotFound {
        /// The version.
        version: String,
        /// Why.
        why: String,
    },
    /// The program could not be fetched.
    #[error("download failed: {0}")]
    Download(String),
    /// It is not the one that the repository describes.
    #[error("downloaded file had an invalid checksum")]
    Checksum,
    /// It is not signed by the key that this node is configured with.
    #[error("downloaded file is not signed by `provisioning.release_key`")]
    Signature,
    /// It does not run here.
    #[error("downloaded file does not run on this node: {0}")]
    Trial(String),
    /// The old one could not be kept.
    #[error("could not create backup: {0}")]
    Backup(io::Error),
    /// The new one could not be put into its place.
    #[error("could not replace the program: {0}")]
    Swap(io::Error),
}

/// What is replaced, and on whose word.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The program.
    pub program: &'a Path,
    /// The key that must have signed what comes instead.
    pub key: Option<&'a PublicKey>,
}

/// `release.json`.
#[derive(Debug, Deserialize)]
struct Release {
    binary: String,
    hash: String,
    #[serde(default)]
    signature: String,
}

/// Replaces the program; takes as long as the download does.
///
/// # Errors
///
/// [`UpdateError`]; the program is then the one that it was.
pub fn update(repository: &str, version: &str, target: Target<'_>) -> Result<(), UpdateError> {
    if repository.is_empty() {
        return Err(UpdateError::Request(
            "no source repo given, please use SourceRepo()",
        ));
    }
    if version.is_empty() {
        return Err(UpdateError::Request(
            "no version given, please use Version()",
        ));
    }
    let not_found = |why: String| UpdateError::NotFound {
        version: version.to_owned(),
        why,
    };
    if !is_plain(version) {
        return Err(not_found("this is no version".to_owned()));
    }
    let base = format!(
        "{}/{version}/{}/{}",
        repository.trim_end_matches('/'),
        std::env::consts::OS,
        architecture()
    );
    let agent = fetch::agent();
    let description = fetch::small(&agent, &format!("{base}/release.json"))
        .map_err(|why| not_found(format!("could not download release spec: {why}")))?;
    let release: Release = serde_json::from_slice(&description)
        .map_err(|error| not_found(format!("could not parse spec: {error}")))?;
    if !is_plain(&release.binary) {
        return Err(not_found("the name of the program is none".to_owned()));
    }
    let fresh = beside(target.program, ".new");
    let done = fetch::program(&agent, &format!("{base}/{}", release.binary), &fresh)
        .map_err(UpdateError::Download)
        .and_then(|fetched| judge(&release, version, &fetched, target.key))
        .and_then(|()| swap(target.program, &fresh));
    if done.is_err() {
        drop(fs::remove_file(&fresh));
    }
    done
}

/// What a release's signature is over, in text.
pub fn signed_text(version: &str, sum: &str) -> String {
    format!(
        "overlay-release.{version}.{}.{}.{sum}",
        std::env::consts::OS,
        architecture()
    )
}

fn judge(
    release: &Release,
    version: &str,
    fetched: &Fetched,
    key: Option<&PublicKey>,
) -> Result<(), UpdateError> {
    let sum = release.hash.to_lowercase();
    if fetched.sum != sum {
        return Err(UpdateError::Checksum);
    }
    let Some(key) = key else { return Ok(()) };
    let signature = bytes(&release.signature).ok_or(UpdateError::Signature)?;
    if key.verify(signed_text(version, &sum).as_bytes(), &signature) {
        Ok(())
    } else {
        Err(UpdateError::Signature)
    }
}

fn swap(program: &Path, fresh: &Path) -> Result<(), UpdateError> {
    let mode = fs::metadata(program)
        .map_err(UpdateError::Swap)?
        .permissions()
        .mode();
    fs::set_permissions(fresh, fs::Permissions::from_mode(mode & 0o7777 | 0o500))
        .map_err(UpdateError::Swap)?;
    try_out(fresh)?;
    let backup = beside(program, ".backup");
    drop(fs::remove_file(&backup));
    fs::copy(program, &backup).map_err(UpdateError::Backup)?;
    fs::rename(fresh, program).map_err(UpdateError::Swap)?;
    if let Some(dir) = program.parent() {
        drop(fs::File::open(dir).and_then(|dir| dir.sync_all()));
    }
    Ok(())
}

/// A program that cannot even say its version must not take the place of one that works.
fn try_out(program: &Path) -> Result<(), UpdateError> {
    let failed = |error: &dyn std::fmt::Display| UpdateError::Trial(error.to_string());
    let mut child = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| failed(&error))?;
    let pause = Duration::from_millis(20);
    let mut waited = Duration::ZERO;
    while waited < TRIAL {
        match child.try_wait().map_err(|error| failed(&error))? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => return Err(failed(&status)),
            None => std::thread::sleep(pause),
        }
        waited += pause;
    }
    drop(child.kill());
    drop(child.wait());
    Err(failed(&"it does not end"))
}

/// One name of letters, digits and few signs: nothing that leads elsewhere.
fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 128
        && !name.starts_with('.')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._+~-".contains(&byte))
}

/// The name that repositories have for this architecture.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    }
}

fn beside(program: &Path, ending: &str) -> PathBuf {
    let mut name = program.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    if !hex.is_ascii() || !hex.len().is_multiple_of(2) {
        return None;
    }
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok())
        .collect()
}

#[cfg(test)]
mod tests;
