//! What a worker tells of itself: read by the admin listener, by operators' requests and by readiness.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

/// Where a worker is; clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Status {
    inner: Arc<Mutex<Report>>,
    /// The phase alone, for whoever follows it.
    phase: Arc<watch::Sender<Phase>>,
}

/// What holds of a worker now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) phase: Phase,
    /// Last source sequence that is dealt with: copied, passed over or kept aside.
    pub(crate) handled: u64,
    /// Time of that message at the source.
    pub(crate) handled_at: Option<SystemTime>,
    /// Last sequence of the source stream that was heard of.
    pub(crate) source_last: u64,
    /// Messages that wait at the source, as far as it is known.
    pub(crate) waiting: u64,
    /// How old the oldest message that waits is.
    pub(crate) lag: Duration,
    /// Last sequence in the target that this worker wrote.
    pub(crate) target_sequence: u64,
    /// Messages under way to the target.
    pub(crate) under_way: usize,
    /// Keys that have messages under way, and those of them that are held up; only with an order by keys.
    pub(crate) keys: Option<(usize, usize)>,
    /// The last fault, for people, with its time.
    pub(crate) fault: Option<(SystemTime, String)>,
    /// Why what is known of values is not kept, while it is not.
    pub(crate) unwritten: Option<String>,
    /// Which message the target leaves without an answer though it answers otherwise, while it does.
    pub(crate) unanswered: Option<String>,
    /// Why it copies nothing for now though all is there, while it does not.
    pub(crate) blocked: Option<String>,
}

/// Where a worker is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It looks for its brokers, streams and position.
    #[default]
    Starting,
    /// Something that it needs is not there; what.
    Waiting(String),
    /// Another replica leads.
    Standby,
    /// An operator paused it; why.
    Paused(String),
    /// It copies.
    Copying,
    /// It needs an operator; why.
    Stopped(String),
    /// It ended with a fault and is about to be started anew; the fault.
    Failed(String),
}

impl Phase {
    /// Why the worker does not do what it should; nothing when it does, when another replica does, or when an operator
    /// wanted it so.
    pub(crate) fn trouble(&self) -> Option<String> {
        match self {
            Self::Starting => Some("starting".to_owned()),
            Self::Waiting(why) | Self::Failed(why) => Some(why.clone()),
            Self::Stopped(why) => Some(format!("stopped: {why}")),
            Self::Standby | Self::Paused(_) | Self::Copying => None,
        }
    }
}

impl Default for Status {
    fn default() -> Self {
        Self {
            inner: Arc::default(),
            phase: Arc::new(watch::Sender::new(Phase::default())),
        }
    }
}

impl Status {
    /// What holds now.
    pub(crate) fn report(&self) -> Report {
        self.lock().clone()
    }

    /// Changes what holds, but the phase: that is [`Self::enter`]'s.
    pub(crate) fn update(&self, change: impl FnOnce(&mut Report)) {
        change(&mut self.lock());
    }

    /// Sets the phase, and says so in the log when it is another.
    pub(crate) fn enter(&self, phase: Phase) {
        let mut report = self.lock();
        if report.phase != phase {
            tracing::info!(?phase, "worker");
            report.phase = phase.clone();
            self.phase.send_replace(phase);
        }
    }

    /// Notes a fault, for people.
    pub(crate) fn fault(&self, at: SystemTime, fault: impl Into<String>) {
        self.lock().fault = Some((at, fault.into()));
    }

    /// Sets why what is known of values is not kept; nothing when it is. Who follows the phase hears of it.
    pub(crate) fn set_unwritten(&self, why: Option<String>) {
        let mut report = self.lock();
        if report.unwritten != why {
            report.unwritten = why;
            self.phase.send_modify(|_same| {});
        }
    }

    /// Sets which message the target leaves without an answer; nothing when it answers. Says whether it is another than
    /// before. Who follows the phase hears of it.
    pub(crate) fn set_unanswered(&self, which: Option<String>) -> bool {
        let mut report = self.lock();
        let is_new = report.unanswered != which;
        if is_new {
            report.unanswered = which;
            self.phase.send_modify(|_same| {});
        }
        is_new
    }

    /// Sets why nothing is copied for now; nothing when it is. Who follows the phase hears of it.
    pub(crate) fn set_blocked(&self, why: Option<String>) {
        let mut report = self.lock();
        if report.blocked != why {
            report.blocked = why;
            self.phase.send_modify(|_same| {});
        }
    }

    /// Follows the phase.
    pub(crate) fn follow(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, Report> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
