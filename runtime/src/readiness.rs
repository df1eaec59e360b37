//! Whether the process can do its work, and what it waits for.
//!
//! Latches are for the start: each part that must come up holds one, and releases it once. Parts
//! are for the time after: what can be lost and come back, such as the broker.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use tokio::sync::watch;

/// Knows all latches and parts of a process; clones share them.
#[derive(Clone, Debug)]
pub struct Readiness {
    report: Arc<watch::Sender<Report>>,
}

/// What readiness is made of at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Latches not yet released, with how many hold each.
    pub waiting_for: BTreeMap<&'static str, usize>,
    /// Status of each part that may come and go.
    pub parts: BTreeMap<String, Status>,
    /// Whether the process is on its way out.
    pub stopping: bool,
}

/// Status of a part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "status", content = "reason")]
pub enum Status {
    /// It works.
    Up,
    /// It does not, for this reason.
    Down(String),
}

/// Keeps the process from being ready until it is released.
///
/// Dropping it releases nothing: who died before coming up must not make the process ready.
#[derive(Debug)]
#[must_use = "a latch that is never released keeps the process from being ready"]
pub struct Latch {
    name: &'static str,
    readiness: Readiness,
}

/// Sets the status of one part.
#[derive(Clone, Debug)]
pub struct Part {
    name: String,
    readiness: Readiness,
}

impl Report {
    /// Whether all latches are released, all parts are up, and the process is not stopping.
    pub fn is_ready(&self) -> bool {
        self.has_started() && !self.stopping && self.parts.values().all(|s| *s == Status::Up)
    }

    /// Whether all latches are released.
    pub fn has_started(&self) -> bool {
        self.waiting_for.is_empty()
    }
}

impl Readiness {
    /// Begins with no latch and no part.
    pub fn new() -> Self {
        Self {
            report: Arc::new(watch::Sender::new(Report::default())),
        }
    }

    /// Adds a latch; the process is not ready before it is released.
    pub fn latch(&self, name: &'static str) -> Latch {
        self.report.send_modify(|report| {
            *report.waiting_for.entry(name).or_default() += 1;
        });
        Latch {
            name,
            readiness: self.clone(),
        }
    }

    /// Adds a part that is down, or takes up the part of that name.
    pub fn part(&self, name: impl Into<String>) -> Part {
        let name = name.into();
        self.report.send_modify(|report| {
            report
                .parts
                .entry(name.clone())
                .or_insert_with(|| Status::Down("not up yet".to_owned()));
        });
        Part {
            name,
            readiness: self.clone(),
        }
    }

    /// What holds now.
    pub fn report(&self) -> Report {
        self.report.borrow().clone()
    }

    /// Whether the process is ready now.
    pub fn is_ready(&self) -> bool {
        self.report.borrow().is_ready()
    }

    /// Follows the report; a receiver may skip reports but always sees the last.
    pub fn watch(&self) -> watch::Receiver<Report> {
        self.report.subscribe()
    }

    /// Says that the process is on its way out; it is never ready again.
    pub fn stopping(&self) {
        self.report.send_modify(|report| report.stopping = true);
    }
}

impl Default for Readiness {
    fn default() -> Self {
        Self::new()
    }
}

impl Latch {
    /// Lets go: what this latch stood for has come up.
    pub fn release(self) {
        self.readiness.report.send_modify(|report| {
            if let Some(holders) = report.waiting_for.get_mut(self.name) {
                *holders -= 1;
                if *holders == 0 {
                    report.waiting_for.remove(self.name);
                }
            }
        });
    }
}

impl Part {
    /// The part works.
    pub fn up(&self) {
        self.set(Status::Up);
    }

    /// The part does not work.
    pub fn down(&self, reason: impl Into<String>) {
        self.set(Status::Down(reason.into()));
    }

    fn set(&self, status: Status) {
        self.readiness.report.send_if_modified(|report| {
            let changed = report.parts.get(&self.name) != Some(&status);
            report.parts.insert(self.name.clone(), status);
            changed
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_when_the_last_latch_is_released() {
        let readiness = Readiness::new();
        let (one, two) = (readiness.latch("load"), readiness.latch("load"));
        one.release();
        assert!(!readiness.is_ready());
        two.release();
        assert!(readiness.is_ready());
    }

    #[test]
    fn a_dropped_latch_still_holds() {
        let readiness = Readiness::new();
        drop(readiness.latch("load"));
        assert!(!readiness.is_ready());
        assert_eq!(readiness.report().waiting_for["load"], 1);
    }

    #[test]
    fn a_part_that_goes_down_takes_readiness_with_it_and_brings_it_back() {
        let readiness = Readiness::new();
        let broker = readiness.part("broker");
        assert!(!readiness.is_ready());
        broker.up();
        assert!(readiness.is_ready());
        broker.down("connection lost");
        assert!(!readiness.is_ready());
        assert!(readiness.report().has_started());
        broker.up();
        assert!(readiness.is_ready());
        readiness.stopping();
        assert!(!readiness.is_ready());
    }

    #[tokio::test]
    async fn watchers_see_the_last_report() {
        let readiness = Readiness::new();
        let latch = readiness.latch("load");
        let mut watch = readiness.watch();
        latch.release();
        let report = watch.wait_for(Report::is_ready).await.unwrap();
        assert!(report.waiting_for.is_empty());
    }
}
