//! Checks what `overlays/` ships: every component's file by the component itself, every unit by systemd where it is.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::run::{root, say};
use crate::skips;
use crate::system::SYSTEMD_ANALYZE;
use crate::test::Counts;

/// Runs `systemd-analyze verify` over the units, with our programs' paths replaced by one that exists.
///
/// # Errors
///
/// When a unit has a fault. Where systemd is missing and cannot be installed, the check is skipped by name.
pub(crate) fn run() -> Result<Counts> {
    let units = files("overlays/base/systemd", "service")?;
    if units.is_empty() {
        bail!("overlays/base/systemd holds no unit");
    }
    if let Err(error) = SYSTEMD_ANALYZE.ensure() {
        skips::note(
            "overlays: the units pass systemd-analyze",
            &format!("{error:#}"),
            &SYSTEMD_ANALYZE.install(),
        )?;
        return Ok(Counts::default());
    }
    let scratch = crate::run::target_dir().join("units");
    fs::create_dir_all(&scratch).context("make a directory for the units")?;
    let mut faults = 0;
    for unit in &units {
        let text = fs::read_to_string(unit).with_context(|| format!("read {}", unit.display()))?;
        let name = unit.file_name().context("a unit has a name")?;
        let copy = scratch.join(name);
        fs::write(&copy, with_programs_that_exist(&text))
            .with_context(|| format!("write {}", copy.display()))?;
        let output = Command::new("systemd-analyze")
            .args(["verify", "--man=no", "--recursive-errors=no"])
            .arg(&copy)
            .output()
            .context("start systemd-analyze")?;
        let said = String::from_utf8_lossy(&output.stderr);
        let about_us = said
            .lines()
            .filter(|line| line.contains(&*name.to_string_lossy()));
        for line in about_us {
            say(&format!("overlays: {line}"));
            faults += 1;
        }
    }
    if faults > 0 {
        bail!("{faults} faults in the units");
    }
    say(&format!(
        "overlays: {} units pass systemd-analyze",
        units.len()
    ));
    let judged = judge_exposure(&scratch, &units)?;
    Ok(Counts {
        passed: 1 + u64::from(judged),
        failed: 0,
    })
}

/// Asks systemd how much of the machine each unit leaves to its program, and tells whether it could say.
///
/// # Errors
///
/// When a unit leaves more than it may.
fn judge_exposure(scratch: &Path, units: &[PathBuf]) -> Result<bool> {
    let mut open = Vec::new();
    for unit in units {
        let name = unit.file_name().context("a unit has a name")?;
        let most = most_exposed(&name.to_string_lossy());
        let output = Command::new("systemd-analyze")
            .args(["security", "--offline=true", "--no-pager"])
            .arg(format!("--threshold={most}"))
            .arg(scratch.join(name))
            .output()
            .context("start systemd-analyze")?;
        let said = String::from_utf8_lossy(&output.stderr);
        if said.contains("unrecognized option") {
            skips::note(
                "overlays: the units leave their programs little of the machine",
                "systemd before 250 judges only what is installed",
                "systemd 250 or newer",
            )?;
            return Ok(false);
        }
        if !output.status.success() {
            let shown = String::from_utf8_lossy(&output.stdout);
            let verdict = shown.lines().last().unwrap_or_default();
            open.push(format!("at most {most} tenths are allowed: {verdict}"));
        }
    }
    for line in &open {
        say(&format!("overlays: {line}"));
    }
    if !open.is_empty() {
        bail!("{} units leave too much of the machine open", open.len());
    }
    say("overlays: the units leave their programs little of the machine");
    Ok(true)
}

/// The highest exposure in tenths, from 0 (nothing) to 100 (everything), by systemd's own scale.
fn most_exposed(unit: &str) -> u32 {
    match unit {
        // What operators do to a machine is done by this one.
        "overlay-server.service" => 70,
        _ => 20,
    }
}

/// `systemd-analyze` refuses programs that are not installed; the first word of each Exec line is not its subject.
fn with_programs_that_exist(text: &str) -> String {
    let line = |line: &str| match line.split_once('=') {
        Some((key, value)) if key.starts_with("Exec") => {
            let rest = value.split_once(' ').map_or("", |(_, rest)| rest);
            format!("{key}=/bin/true {rest}\n")
        }
        _ => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

fn files(directory: &str, extension: &str) -> Result<Vec<PathBuf>> {
    let path = root().join(directory);
    let entries = fs::read_dir(&path).with_context(|| format!("read {}", path.display()))?;
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
