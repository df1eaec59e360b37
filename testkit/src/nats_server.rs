//! Finds a nats-server program.
//!
//! In this order: `OVERLAY_NATS_SERVER` (a path), `nats-server` of the `PATH` when it is new enough,
//! the newest of `target/nats-server/<version>/nats-server`.

use std::cmp::Ordering;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The oldest version that the workspace supports.
pub const OLDEST: Version = Version {
    major: 2,
    minor: 12,
    patch: 0,
};

/// A version of nats-server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// Major version.
    pub major: u32,
    /// Minor version.
    pub minor: u32,
    /// Patch level.
    pub patch: u32,
}

/// A nats-server program and the version that it names itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NatsServer {
    /// The program.
    pub path: PathBuf,
    /// Its version.
    pub version: Version,
}

/// Says that no suitable nats-server was found, where it was looked for, and what helps.
#[derive(Debug)]
pub struct NotFound {
    wanted: String,
    looked_at: Vec<String>,
}

impl Version {
    /// Reads `2.12.8`, with or without a `v` and a pre-release suffix.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim().trim_start_matches('v');
        let release = text.split(['-', '+']).next()?;
        let mut parts = release.split('.').map(str::parse);
        let version = Self {
            major: parts.next()?.ok()?,
            minor: parts.next()?.ok()?,
            patch: parts.next().unwrap_or(Ok(0)).ok()?,
        };
        parts.next().is_none().then_some(version)
    }

    /// Whether this is a `wanted` such as `2.12` or `2.12.8`.
    pub fn is_a(&self, wanted: &str) -> bool {
        let own = self.to_string();
        own == wanted || own.starts_with(&format!("{wanted}."))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl fmt::Display for NotFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "no nats-server {}; run `cargo xtask tools`, or set OVERLAY_NATS_SERVER to the path of one (looked at: {})",
            self.wanted,
            self.looked_at.join("; ")
        )
    }
}

impl std::error::Error for NotFound {}

/// Finds the nats-server to test with, [`OLDEST`] or newer.
///
/// # Errors
///
/// When there is none; the text names the remedy.
pub fn locate() -> Result<NatsServer, NotFound> {
    let wanted = format!("{OLDEST} or newer");
    if let Some(path) = crate::env::var("OVERLAY_NATS_SERVER") {
        // A path that was given is used or refused, never silently replaced.
        return probe(Path::new(&path), |version| version >= OLDEST)
            .map_err(|reason| NotFound::one(wanted, format!("OVERLAY_NATS_SERVER: {reason}")));
    }
    let mut looked_at = Vec::new();
    match probe_path(|version| version >= OLDEST) {
        Ok(found) => return Ok(found),
        Err(reason) => looked_at.push(reason),
    }
    newest_in_target(|version| version >= OLDEST, &mut looked_at)
        .ok_or(NotFound { wanted, looked_at })
}

/// Finds the newest nats-server of a line such as `2.12`.
///
/// # Errors
///
/// When there is none; the text names the remedy.
pub fn locate_version(wanted: &str) -> Result<NatsServer, NotFound> {
    let mut looked_at = Vec::new();
    let is_wanted = |version: Version| version.is_a(wanted);
    if let Some(found) = newest_in_target(is_wanted, &mut looked_at) {
        return Ok(found);
    }
    let given = crate::env::var("OVERLAY_NATS_SERVER").map(PathBuf::from);
    for candidate in given
        .map(|path| probe(&path, is_wanted))
        .into_iter()
        .chain([probe_path(is_wanted)])
    {
        match candidate {
            Ok(found) => return Ok(found),
            Err(reason) => looked_at.push(reason),
        }
    }
    Err(NotFound {
        wanted: wanted.to_owned(),
        looked_at,
    })
}

impl NotFound {
    fn one(wanted: String, reason: String) -> Self {
        Self {
            wanted,
            looked_at: vec![reason],
        }
    }
}

fn probe(path: &Path, suits: impl Fn(Version) -> bool) -> Result<NatsServer, String> {
    let shown = path.display();
    let output = Command::new(path)
        .arg("--version")
        .output()
        .map_err(|error| format!("run {shown}: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text
        .rsplit(' ')
        .next()
        .and_then(Version::parse)
        .ok_or_else(|| format!("{shown} --version says {text:?}"))?;
    if suits(version) {
        Ok(NatsServer {
            path: path.to_owned(),
            version,
        })
    } else {
        Err(format!("{shown} is {version}"))
    }
}

fn probe_path(suits: impl Fn(Version) -> bool) -> Result<NatsServer, String> {
    probe(Path::new("nats-server"), suits).map_err(|reason| format!("PATH: {reason}"))
}

fn newest_in_target(
    suits: impl Fn(Version) -> bool,
    looked_at: &mut Vec<String>,
) -> Option<NatsServer> {
    let dir = crate::env::target_dir().join("nats-server");
    let mut versions: Vec<(Version, PathBuf)> = std::fs::read_dir(&dir)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let version = Version::parse(&entry.file_name().to_string_lossy())?;
            Some((version, entry.path().join("nats-server")))
        })
        .filter(|(version, _)| suits(*version))
        .collect();
    versions.sort_by(|(a, _), (b, _)| b.cmp(a));
    for (named, path) in versions {
        match probe(&path, |version| version.cmp(&named) == Ordering::Equal) {
            Ok(found) => return Some(found),
            Err(reason) => looked_at.push(reason),
        }
    }
    looked_at.push(format!("nothing suitable in {}", dir.display()));
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_versions() {
        let version = |major, minor, patch| Version {
            major,
            minor,
            patch,
        };
        assert_eq!(Version::parse("v2.12.8"), Some(version(2, 12, 8)));
        assert_eq!(Version::parse("2.15.0-RC.1\n"), Some(version(2, 15, 0)));
        assert_eq!(Version::parse("2.12"), Some(version(2, 12, 0)));
        assert_eq!(Version::parse("2.12.8.1"), None);
        assert_eq!(Version::parse("nats"), None);
    }

    #[test]
    fn orders_versions_by_number() {
        assert!(Version::parse("2.9.25") < Version::parse("2.12.0"));
    }

    #[test]
    fn a_line_is_matched_by_whole_numbers() {
        let version = Version::parse("2.12.8").unwrap();
        assert!(version.is_a("2.12") && version.is_a("2.12.8") && version.is_a("2"));
        assert!(!version.is_a("2.1") && !version.is_a("2.12.80"));
    }

    #[test]
    fn what_is_missing_comes_with_the_remedy() {
        let text = locate_version("1.0").unwrap_err().to_string();
        assert!(text.contains("cargo xtask tools"), "{text}");
    }
}
