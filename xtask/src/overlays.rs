//! Checks what `overlays/` ships: every component's file by the component itself, every unit by systemd where it is.

use std::fs;
use std::path::PathBuf;
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
    Ok(Counts {
        passed: 1,
        failed: 0,
    })
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
