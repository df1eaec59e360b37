//! Who runs a cell: the lock and the state file that `up` leaves for `down` and `status`.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde::{Deserialize, Serialize};

use super::layout::{CLOSED_DIR, Layout, RUN, SECRET};
use super::write::{self, Existing};
use crate::error::Failure;

const STATE: &str = "run/up.json";
const LOCK: &str = "run/up.lock";

/// What a running `up` says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    #[serde(flatten)]
    pub(super) process: Identity,
    /// Unix seconds.
    pub(super) since: i64,
    pub(super) processes: Vec<Child>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Child {
    pub(super) name: String,
    /// Absent while it does not run.
    #[serde(flatten)]
    pub(super) process: Option<Identity>,
    pub(super) restarts: u32,
}

/// A process, told apart from a later one with the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    pub(super) pid: i32,
    /// When it started, in the kernel's ticks since boot.
    started: u64,
}

impl Identity {
    /// The process with this number, if there is one.
    pub(super) fn of(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in parentheses may hold anything; the start time is the 20th field after it.
        let (_, fields) = stat.rsplit_once(')')?;
        let mut fields = fields.split_ascii_whitespace();
        if fields.next() == Some("Z") {
            return None;
        }
        let started = fields.nth(18)?.parse().ok()?;
        Some(Self { pid, started })
    }

    pub(super) fn is_alive(&self) -> bool {
        Self::of(self.pid) == Some(*self)
    }

    pub(super) fn signal(&self, signal: Signal) {
        if let Some(pid) = Pid::from_raw(self.pid).filter(|_| self.is_alive()) {
            // It may end at this very moment, which is what was wanted.
            kill_process(pid, signal).ok();
        }
    }

    /// Whether this process may be told to stop by us.
    pub(super) fn is_ours(&self) -> bool {
        Pid::from_raw(self.pid).is_some_and(|pid| test_kill_process(pid).is_ok())
    }

    /// Waits until it has ended.
    pub(super) async fn ended(&self, limit: Duration) -> bool {
        let end = now() + limit;
        while self.is_alive() {
            if now() > end {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        true
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the edge: a limit on waiting for another process"
)]
fn now() -> Instant {
    Instant::now()
}

/// The right to run a cell; given back when dropped, or when the process dies.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    pub(super) fn take(layout: &Layout) -> Result<Self, Failure> {
        write::directory(&layout.path(RUN), CLOSED_DIR)?;
        let path = layout.path(LOCK);
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(SECRET)
            .open(&path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { _file: file }),
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let by = State::load(layout)
                    .ok()
                    .flatten()
                    .map_or_else(String::new, |state| {
                        format!(" (process {})", state.process.pid)
                    });
                let shown = layout.root().display();
                Err(
                    Failure::new(format!("the cell in {shown} is up already{by}"))
                        .hint(format!("look at it with `overlay cell status {shown}`"))
                        .hint(format!("stop it with `overlay cell down {shown}`")),
                )
            }
            Err(error) => Err(anyhow::Error::new(error)
                .context(format!("cannot lock {}", path.display()))
                .into()),
        }
    }
}

impl State {
    /// What the last `up` left, whether or not it still runs.
    pub(super) fn load(layout: &Layout) -> anyhow::Result<Option<Self>> {
        let path = layout.path(STATE);
        write::read_if_there(&path)?
            .map(|text| {
                serde_json::from_slice(&text)
                    .with_context(|| format!("cannot read {}", path.display()))
            })
            .transpose()
    }

    pub(super) fn save(&self, layout: &Layout) -> anyhow::Result<()> {
        let text = serde_json::to_vec_pretty(self)?;
        write::file(&layout.path(STATE), SECRET, &text, Existing::Replace)
    }

    pub(super) fn remove(layout: &Layout) -> anyhow::Result<()> {
        let path = layout.path(STATE);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", path.display()))
            }
            _ => Ok(()),
        }
    }
}
