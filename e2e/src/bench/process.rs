//! Processor time and memory of a process, read from the kernel.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use overlay_testkit::http_get;
use rustix::process::{Pid, Signal, kill_process};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

/// How long a program may take to start, on a machine that does other things as well.
pub(crate) const START_LIMIT: Duration = Duration::from_secs(30);

/// The kernel's clock ticks a second as `/proc` shows them: fixed on Linux for all architectures we run on.
const TICKS_PER_SECOND: f64 = 100.0;

/// User and system time of a process so far, in seconds.
pub(crate) fn cpu_seconds(pid: u32) -> Result<f64> {
    Ok((stat_number(pid, 11)? + stat_number(pid, 12)?) / TICKS_PER_SECOND)
}

/// A number of a process's `stat`, counted from the one after its name.
fn stat_number(pid: u32, index: usize) -> Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let after_name = text.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let field = after_name.split(' ').nth(index);
    field
        .and_then(|text| text.parse().ok())
        .with_context(|| format!("read field {index} of {path}"))
}

/// User and system time of a process's children, those that have ended and those that live, in seconds.
pub(crate) fn helper_seconds(pid: u32) -> Result<f64> {
    let mut seconds = (stat_number(pid, 13)? + stat_number(pid, 14)?) / TICKS_PER_SECOND;
    for child in children(pid)? {
        // One that has just ended is counted by the parent.
        seconds += cpu_seconds(child).unwrap_or_default();
    }
    Ok(seconds)
}

fn children(pid: u32) -> Result<Vec<u32>> {
    let processes = fs::read_dir("/proc").context("read /proc")?;
    let children = processes.flatten().filter_map(|process| {
        let child = process.file_name().to_str()?.parse().ok()?;
        let parent = stat_number(child, 1).ok()?;
        (parent == f64::from(pid)).then_some(child)
    });
    Ok(children.collect())
}

/// Ends all children (SIGKILL) when this process is asked to end (SIGTERM), and then itself: nothing of a benchmark is
/// left to disturb the next one.
pub(crate) fn end_children_when_asked() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .context("start a runtime")?;
    let mut asked = {
        let _entered = runtime.enter();
        signal(SignalKind::terminate()).context("listen for SIGTERM")?
    };
    thread::spawn(move || {
        runtime.block_on(asked.recv());
        for child in children(std::process::id()).unwrap_or_default() {
            end(child, Signal::KILL);
        }
        end(std::process::id(), Signal::KILL);
    });
    Ok(())
}

fn end(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // One that has just ended by itself needs no signal.
        let _ended = kill_process(pid, signal);
    }
}

/// Resident memory of a process in MiB.
pub(crate) fn resident_mib(pid: u32) -> Result<f64> {
    status_mib(pid, "VmRSS:")
}

/// The most memory that a process ever had resident, in MiB.
pub(crate) fn peak_mib(pid: u32) -> Result<f64> {
    status_mib(pid, "VmHWM:")
}

/// How many files and sockets this process may have open.
pub(crate) fn descriptors() -> usize {
    let text = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("Max open files"));
    line.and_then(|line| line.split_whitespace().nth(3)?.parse().ok())
        .unwrap_or(1024)
}

fn status_mib(pid: u32, name: &str) -> Result<f64> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let line = text
        .lines()
        .find(|line| line.starts_with(name))
        .with_context(|| format!("find {name}"))?;
    let kib: f64 = line
        .split_whitespace()
        .nth(1)
        .with_context(|| format!("read {name}"))?
        .parse()
        .with_context(|| format!("parse {name}"))?;
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

    /// Waits until its admin listener answers `page` with 200; a failure tells what it wrote to its log.
    pub(crate) fn wait_until_ready(&mut self, admin: u16, page: &str, log: &Path) -> Result<()> {
        let limit = Instant::now() + START_LIMIT;
        while !http_get(admin, page).is_ok_and(|(status, _)| status == 200) {
            let has_ended = self.has_ended();
            if has_ended || Instant::now() > limit {
                let what = if has_ended { "ended" } else { "is not ready" };
                let said = fs::read_to_string(log).unwrap_or_default();
                bail!("the program of {} {what}; it said: {said}", log.display());
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Tells whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_some())
    }

    /// Asks it to end (SIGTERM) without waiting.
    pub(crate) fn terminate(&self) {
        end(self.child.id(), Signal::TERM);
    }

    /// Ends it (SIGKILL).
    pub(crate) fn kill(&mut self) {
        if self.child.kill().is_ok() {
            drop(self.child.wait());
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}
