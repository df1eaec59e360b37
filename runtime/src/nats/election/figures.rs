//! How a candidate's election goes, in numbers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Counts of one candidacy, for metrics of other shapes; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    as_candidate: AtomicU64,
    as_leader: AtomicU64,
    interval_ms: AtomicU64,
    leads: AtomicBool,
}

impl Figures {
    /// Attempts to become leader.
    pub fn attempts_as_candidate(&self) -> u64 {
        self.inner.as_candidate.load(Ordering::Relaxed)
    }

    /// Attempts to stay leader.
    pub fn attempts_as_leader(&self) -> u64 {
        self.inner.as_leader.load(Ordering::Relaxed)
    }

    /// The last wait for the next attempt.
    pub fn interval(&self) -> Duration {
        Duration::from_millis(self.inner.interval_ms.load(Ordering::Relaxed))
    }

    /// Whether the candidate led after its last attempt.
    pub fn leads(&self) -> bool {
        self.inner.leads.load(Ordering::Relaxed)
    }

    pub(super) fn attempted(&self, as_leader: bool) {
        let count = if as_leader {
            &self.inner.as_leader
        } else {
            &self.inner.as_candidate
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn waits(&self, interval: Duration) {
        let millis = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX);
        self.inner.interval_ms.store(millis, Ordering::Relaxed);
    }

    pub(super) fn set_leader(&self, leads: bool) {
        self.inner.leads.store(leads, Ordering::Relaxed);
    }
}
