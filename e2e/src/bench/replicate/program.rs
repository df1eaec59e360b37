//! The programs that are measured, each a process of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use overlay_testkit::free_port;
use tempfile::TempDir;

use super::super::cell::programs;
use super::super::process::{Running, cpu_seconds, peak_mib, resident_mib};
use super::brokers::{SOURCE, TARGET};

/// Which program, and how it is told to copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Program {
    /// Ours, as delivered.
    Ours,
    /// Ours, with nothing written at the source.
    OursTargetInitiated,
    /// The original as delivered.
    Peer(PathBuf),
    /// The original's other engine.
    PeerTargetInitiated(PathBuf),
    /// Ours, from a file of our own form.
    OursWith(&'static str, &'static str),
}

/// What `sr.yaml` says besides the defaults.
#[derive(Debug, Clone, Default)]
pub(super) struct Job {
    pub(super) source: String,
    pub(super) target: String,
    /// Further lines of the stream's entry.
    pub(super) more: String,
}

/// A program that runs.
#[derive(Debug)]
pub(super) struct Replicator {
    process: Running,
    pub(super) monitor_port: u16,
    dir: PathBuf,
}

/// Processor time and memory of a program.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spent {
    pub(super) cpu_s: f64,
    pub(super) resident_mib: f64,
    pub(super) peak_mib: f64,
}

impl Program {
    pub(super) fn name(&self) -> String {
        match self {
            Self::Ours => "Overlay".to_owned(),
            Self::OursTargetInitiated => "Overlay, target-initiated".to_owned(),
            Self::Peer(_) => "original, source-initiated".to_owned(),
            Self::PeerTargetInitiated(_) => "original, target-initiated".to_owned(),
            Self::OursWith(name, _) => format!("Overlay, {name}"),
        }
    }

    pub(super) fn is_peer(&self) -> bool {
        matches!(self, Self::Peer(_) | Self::PeerTargetInitiated(_))
    }

    fn command(&self) -> Result<Command> {
        Ok(match self {
            Self::Peer(program) | Self::PeerTargetInitiated(program) => {
                let mut command = Command::new(program);
                command.arg("replicate");
                command
            }
            Self::Ours | Self::OursTargetInitiated | Self::OursWith(..) => {
                Command::new(programs()?.join("overlay-stream-replicator"))
            }
        })
    }

    /// The configuration file of this program, with its name.
    fn config(&self, job: &Job, dir: &Path, monitor_port: u16) -> (PathBuf, String) {
        let state = dir.join("state");
        let state = state.display();
        let Job {
            source,
            target,
            more,
        } = job;
        if let Self::OursWith(_, stanza) = self {
            let text = format!(
                "name = \"BENCH\"\nstate_dir = \"{state}\"\n[log]\nlevel = \"warn\"\n[admin]\nlisten = \"127.0.0.1:{monitor_port}\"\n\
                 [source]\nservers = [\"{source}\"]\n[target]\nservers = [\"{target}\"]\n\
                 [[streams]]\nstream = \"{SOURCE}\"\ntarget_stream = \"{TARGET}\"\nprefix = \"copy\"\n{stanza}"
            );
            return (dir.join("replicator.toml"), text);
        }
        let initiated = match self {
            Self::OursTargetInitiated | Self::PeerTargetInitiated(_) => {
                "   target_initiated: true\n   filter_subject: BENCH.>\n"
            }
            Self::Ours | Self::Peer(_) | Self::OursWith(..) => "",
        };
        let text = format!(
            "name: BENCH\nprofiling: false\nloglevel: warn\nstate_store: {state}\nmonitor_port: {monitor_port}\nstreams:\n \
             - stream: {SOURCE}\n   target_stream: {TARGET}\n   target_subject_prefix: copy\n   source_url: {source}\n   \
             target_url: {target}\n{initiated}{more}"
        );
        (dir.join("sr.yaml"), text)
    }

    /// Starts it with a directory of its own in `scratch`.
    pub(super) fn start(&self, job: &Job, scratch: &TempDir, label: &str) -> Result<Replicator> {
        let dir = scratch.path().join(label);
        fs::create_dir_all(dir.join("state")).context("make a directory")?;
        let monitor_port = free_port();
        let (path, text) = self.config(job, &dir, monitor_port);
        fs::write(&path, text).context("write the configuration")?;
        let mut command = self.command()?;
        command.arg("--config").arg(&path);
        let process = Running::start(&mut command, &dir.join("log"))?;
        Ok(Replicator {
            process,
            monitor_port,
            dir,
        })
    }
}

impl Replicator {
    pub(super) fn spent(&self) -> Result<Spent> {
        let pid = self.process.pid();
        Ok(Spent {
            cpu_s: cpu_seconds(pid)?,
            resident_mib: resident_mib(pid)?,
            peak_mib: peak_mib(pid)?,
        })
    }

    /// Asks it to end, and waits until it has.
    pub(super) async fn stop(mut self) -> Result<()> {
        self.process.terminate();
        for _ in 0..1500 {
            if self.process.has_ended() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        anyhow::bail!("the replicator still runs after 30 s\n{}", self.log())
    }

    pub(super) fn terminate(&self) {
        self.process.terminate();
    }

    pub(super) fn kill(&mut self) {
        self.process.kill();
    }

    /// The last of what it wrote.
    pub(super) fn log(&self) -> String {
        let text = fs::read_to_string(self.dir.join("log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let from = lines.len().saturating_sub(20);
        lines.get(from..).unwrap_or_default().join("\n")
    }
}

/// The machine's load averages.
pub(super) fn load() -> String {
    fs::read_to_string("/proc/loadavg")
        .unwrap_or_default()
        .trim()
        .to_owned()
}
