//! Processor time and memory of a process, read from the kernel.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

/// The kernel's clock ticks a second as `/proc` shows them: fixed on Linux for all architectures we run on.
const TICKS_PER_SECOND: f64 = 100.0;

/// User and system time of a process so far, in seconds.
pub(crate) fn cpu_seconds(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let after_name = text.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let field = |index: usize| {
        after_name
            .split(' ')
            .nth(index)
            .and_then(|text| text.parse::<f64>().ok())
    };
    let user = field(11).context("read user time")?;
    let system = field(12).context("read system time")?;
    Ok((user + system) / TICKS_PER_SECOND)
}

/// Resident memory of a process in MiB.
pub(crate) fn resident_mib(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let line = text
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .context("find VmRSS")?;
    let kib: f64 = line
        .split_whitespace()
        .nth(1)
        .context("read VmRSS")?
        .parse()
        .context("parse VmRSS")?;
    Ok(kib / 1024.0)
}

/// A child that ends with this value.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
}

impl Running {
    /// Starts a program with its output in a file.
    pub(crate) fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let file = fs::File::create(log).with_context(|| format!("create {}", log.display()))?;
        let errors = file.try_clone().context("share the log file")?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(errors)
            .spawn()
            .with_context(|| format!("start {}", command.get_program().to_string_lossy()))?;
        Ok(Self { child })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.child.kill().is_ok() {
            drop(self.child.wait());
        }
    }
}
