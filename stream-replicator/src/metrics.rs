//! What the replicator counts: under our names, and under the original's for dashboards that exist.
//!
//! A [`Worker`] holds its counters ready: what happens for each message is an addition, not a look-up.

pub(crate) mod all;
mod beats;
mod elections;
mod original;
mod ours;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use overlay_runtime::nats::election;
use prometheus::core::Collector;
use prometheus::{IntCounter, IntGauge, Registry};

use elections::Elections;
use original::Original;
use ours::Ours;

pub(crate) use beats::Heartbeats;

/// All metrics of a process; clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    replicator: String,
    original: Original,
    ours: Ours,
    elections: Elections,
    runtime_elections: election::Metrics,
    beats: Heartbeats,
}

/// The metrics of one worker; clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Worker {
    original: Arc<original::Worker>,
    ours: Arc<ours::Worker>,
}

/// What became of a request of an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// It was done.
    Done,
    /// It could not be done.
    Failed,
    /// Who asked may not.
    Denied,
    /// Its inputs are none of the action's.
    Invalid,
    /// It is not answered at all.
    Dropped,
}

impl Operation {
    fn label(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Denied => "denied",
            Self::Invalid => "invalid",
            Self::Dropped => "dropped",
        }
    }
}

impl Metrics {
    /// Registers everything; `replicator` is the name of the site. Under the original's names only if they are wanted.
    pub(crate) fn register(
        registry: &Registry,
        replicator: &str,
        original: bool,
    ) -> Result<Self, prometheus::Error> {
        let unseen = Registry::new();
        let original = if original { registry } else { &unseen };
        Ok(Self {
            replicator: replicator.to_owned(),
            original: Original::register(original)?,
            ours: Ours::register(registry)?,
            elections: Elections::register(original, replicator)?,
            runtime_elections: election::Metrics::register(registry)?,
            beats: Heartbeats::register(original, replicator)?,
        })
    }

    /// The metrics of one worker; they show from now on.
    #[must_use]
    pub(crate) fn worker(&self, stream: &str, worker: &str) -> Worker {
        Worker {
            original: Arc::new(self.original.worker(&self.replicator, stream, worker)),
            ours: Arc::new(self.ours.worker(&self.replicator, stream, worker)),
        }
    }

    /// The metrics of heartbeats.
    #[must_use]
    pub(crate) fn heartbeats(&self) -> &Heartbeats {
        &self.beats
    }

    /// The metrics that elections of the runtime count into.
    #[must_use]
    pub(crate) fn elections(&self) -> &election::Metrics {
        &self.runtime_elections
    }

    /// Shows how a candidate's election goes, from now on.
    pub(crate) fn follow_election(&self, key: &str, candidate: &str, figures: election::Figures) {
        self.elections.follow(key, candidate, figures);
    }

    /// A request of an operator; `action` is one of ours, or nothing that is known.
    pub(crate) fn operation(&self, action: &str, outcome: Operation) {
        self.ours.operation(action, outcome.label());
    }
}

impl Worker {
    /// A message came from the source: `bytes` of its body and headers.
    pub(crate) fn received(&self, bytes: usize) {
        self.original.total_messages.inc();
        self.original.total_bytes.inc_by(wide(bytes));
        self.ours.received.inc();
        self.ours.received_bytes.inc_by(wide(bytes));
    }

    /// A message is in the target.
    pub(crate) fn copied(&self, bytes: usize) {
        self.original.copied_messages.inc();
        self.original.copied_bytes.inc_by(wide(bytes));
        self.ours.copied.inc();
        self.ours.copied_bytes.inc_by(wide(bytes));
    }

    /// A message is not copied, because of sampling.
    pub(crate) fn skipped(&self, bytes: usize) {
        self.original.skipped_messages.inc();
        self.original.skipped_bytes.inc_by(wide(bytes));
        self.ours.skipped.inc();
        self.ours.skipped_bytes.inc_by(wide(bytes));
    }

    /// A message is passed over, because of its age.
    pub(crate) fn too_old(&self) {
        self.original.too_old_messages.inc();
        self.ours.too_old.inc();
    }

    /// A message could not be handled this time.
    pub(crate) fn handler_error(&self) {
        self.original.handler_error_count.inc();
        self.ours.handler_faults.inc();
    }

    /// A message of the source says nothing of its place in the stream.
    pub(crate) fn meta_failed(&self) {
        self.original.meta_parse_failed_count.inc();
        self.ours.meta_faults.inc();
    }

    /// An acknowledgement to the source failed.
    pub(crate) fn ack_failed(&self) {
        self.original.ack_failed_count.inc();
        self.ours.ack_faults.inc();
    }

    /// The reader at the source was made anew.
    pub(crate) fn consumer_recreated(&self) {
        self.original.consumer_recreated.inc();
        self.ours.consumers_recreated.inc();
    }

    /// A message was dealt with in this time, from its arrival on.
    pub(crate) fn processed(&self, took: Duration) {
        self.original.processing_time.observe(took);
        self.ours.processing.observe(took.as_secs_f64());
    }

    /// The last message of the source that came; 0 when another replica leads.
    pub(crate) fn sequence(&self, sequence: u64) {
        self.original.stream_sequence.set(signed(sequence));
        self.ours.sequence.set(signed(sequence));
    }

    /// How far behind the worker is: messages that wait, and the age of the oldest of them.
    pub(crate) fn lag(&self, messages: u64, seconds: f64) {
        self.original.stream_lag_messages.set(signed(messages));
        self.ours.lag_messages.set(signed(messages));
        self.ours.lag_seconds.set(seconds);
    }

    /// What was under way was given up, and the worker began again behind what the target has.
    pub(crate) fn rewound(&self) {
        self.ours.rewinds.inc();
    }

    /// So many keys have messages under way, and so many of them are held up.
    pub(crate) fn keys(&self, open: usize, held: usize) {
        let number = |count| i64::try_from(count).unwrap_or(i64::MAX);
        self.ours.keys_open.set(number(open));
        self.ours.keys_held.set(number(held));
    }

    /// Messages of others were found in the target.
    pub(crate) fn foreign(&self) {
        self.ours.foreign.inc();
    }

    /// The target has a message under an id of ours that we did not send.
    pub(crate) fn conflict(&self) {
        self.ours.conflicts.inc();
    }

    /// A message was kept aside, for this reason.
    pub(crate) fn dead(&self, reason: &'static str) {
        self.ours.dead(reason);
    }

    /// So many messages were gone from the source before they could be copied.
    pub(crate) fn missed(&self, messages: u64) {
        self.ours.missed.inc_by(messages);
    }

    /// A message was not copied, since it was here before.
    pub(crate) fn looped(&self) {
        self.ours.looped.inc();
    }

    /// The source stream was deleted and made anew.
    pub(crate) fn recreated(&self) {
        self.ours.sources_recreated.inc();
    }

    /// A write was refused since another replica wrote in between.
    pub(crate) fn fenced(&self) {
        self.ours.fenced.inc();
    }

    /// So many values are tracked.
    pub(crate) fn tracker_items(&self, values: usize) {
        let values = signed(wide(values));
        self.original.tracker_total_items.set(values);
        self.ours.tracked.set(values);
    }

    /// Another replica told of a value.
    pub(crate) fn by_gossip(&self) {
        self.original.tracker_seen_by_gossip.inc();
        self.ours.gossip.inc();
    }

    /// A message has nothing to sample by.
    pub(crate) fn no_field(&self) {
        self.original.without_limit_field.inc();
        self.ours.without_value.inc();
    }

    /// A message was copied since it says so.
    pub(crate) fn forced(&self) {
        self.original.copy_forced.inc();
        self.ours.forced.inc();
    }

    /// An advisory is about to be sent; `event` is its event's word.
    pub(crate) fn advisory(&self, event: &str) {
        self.original.advisory(event);
        self.ours.advisory(event);
    }

    /// An advisory could not be sent this time.
    pub(crate) fn advisory_failed(&self, event: &str) {
        self.original.advisory_failed(event);
        self.ours.advisory_failed(event);
    }

    /// So many advisories wait until they are taken.
    pub(crate) fn advisories_waiting(&self, number: usize) {
        self.ours.advisories_waiting.set(signed(wide(number)));
    }

    /// So many advisories were withdrawn, since the value moved on before they were taken.
    pub(crate) fn advisories_merged(&self, number: u64) {
        self.ours.advisories_merged.inc_by(number);
    }

    /// What is known of values could not be written to its file.
    pub(crate) fn state_failed(&self) {
        self.ours.state_failures.inc();
    }

    /// Whether the worker does what it should.
    pub(super) fn running(&self, runs: bool) {
        self.ours.running.set(runs.into());
    }

    /// Whether it copies, as opposed to standing by.
    pub(super) fn active(&self, active: bool) {
        self.ours.active.set(active.into());
    }

    /// Whether the target leaves a message without an answer.
    pub(super) fn unanswered(&self, is_any: bool) {
        self.ours.unanswered.set(is_any.into());
    }

    /// Whether an operator paused it.
    pub(super) fn paused(&self, paused: bool) {
        self.ours.paused.set(paused.into());
    }

    /// It is started anew after a fault.
    pub(super) fn restarted(&self) {
        self.ours.restarts.inc();
    }
}

fn wide(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Registers what was made.
fn keep<C: Collector + Clone + 'static>(
    registry: &Registry,
    made: Result<C, prometheus::Error>,
) -> Result<C, prometheus::Error> {
    let collector = made?;
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

type Counter = IntCounter;
type Gauge = IntGauge;
