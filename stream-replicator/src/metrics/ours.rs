//! Our own names.

use prometheus::{
    Gauge as Real, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec,
    Opts, Registry,
};

use super::{Counter, Gauge, keep};

const OF_WORKER: [&str; 3] = ["replicator", "stream", "worker"];
/// Labels of what is told apart by one thing more.
const WITH_OUTCOME: [&str; 4] = ["replicator", "stream", "worker", "outcome"];
const WITH_KIND: [&str; 4] = ["replicator", "stream", "worker", "kind"];
const WITH_REASON: [&str; 4] = ["replicator", "stream", "worker", "reason"];
/// Why messages are refused for good.
const REASONS: [&str; 6] = [
    "too_large",
    "subject",
    "not_taken",
    "headers",
    "unanswered",
    "refused",
];
const WITH_EVENT: [&str; 4] = ["replicator", "stream", "worker", "event"];
const PROCESSING: [f64; 12] = [
    0.000_1, 0.000_5, 0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0,
];

/// The metrics of all workers.
#[derive(Clone, Debug)]
pub(super) struct Ours {
    received: IntCounterVec,
    received_bytes: IntCounterVec,
    handled: IntCounterVec,
    handled_bytes: IntCounterVec,
    faults: IntCounterVec,
    dead: IntCounterVec,
    missed: IntCounterVec,
    conflicts: IntCounterVec,
    foreign: IntCounterVec,
    rewinds: IntCounterVec,
    fenced: IntCounterVec,
    sources_recreated: IntCounterVec,
    consumers_recreated: IntCounterVec,
    restarts: IntCounterVec,
    processing: HistogramVec,
    sequence: IntGaugeVec,
    lag_messages: IntGaugeVec,
    lag_seconds: GaugeVec,
    keys_open: IntGaugeVec,
    keys_held: IntGaugeVec,
    running: IntGaugeVec,
    active: IntGaugeVec,
    paused: IntGaugeVec,
    unanswered: IntGaugeVec,
    tracked: IntGaugeVec,
    gossip: IntCounterVec,
    without_value: IntCounterVec,
    forced: IntCounterVec,
    advisories: IntCounterVec,
    advisory_faults: IntCounterVec,
    advisories_waiting: IntGaugeVec,
    advisories_merged: IntCounterVec,
    state_failures: IntCounterVec,
    operations: IntCounterVec,
}

/// Those of one worker.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) received: Counter,
    pub(super) received_bytes: Counter,
    pub(super) copied: Counter,
    pub(super) copied_bytes: Counter,
    pub(super) skipped: Counter,
    pub(super) skipped_bytes: Counter,
    pub(super) too_old: Counter,
    pub(super) looped: Counter,
    pub(super) handler_faults: Counter,
    pub(super) meta_faults: Counter,
    pub(super) ack_faults: Counter,
    pub(super) missed: Counter,
    pub(super) conflicts: Counter,
    pub(super) foreign: Counter,
    pub(super) rewinds: Counter,
    pub(super) fenced: Counter,
    pub(super) sources_recreated: Counter,
    pub(super) consumers_recreated: Counter,
    pub(super) restarts: Counter,
    pub(super) processing: Histogram,
    pub(super) sequence: Gauge,
    pub(super) lag_messages: Gauge,
    pub(super) lag_seconds: Real,
    pub(super) keys_open: Gauge,
    pub(super) keys_held: Gauge,
    pub(super) running: Gauge,
    pub(super) active: Gauge,
    pub(super) paused: Gauge,
    pub(super) unanswered: Gauge,
    pub(super) tracked: Gauge,
    pub(super) gossip: Counter,
    pub(super) without_value: Counter,
    pub(super) forced: Counter,
    pub(super) advisories_waiting: Gauge,
    pub(super) advisories_merged: Counter,
    pub(super) state_failures: Counter,
    dead: IntCounterVec,
    dead_letters: Counter,
    advisories: IntCounterVec,
    advisory_faults: IntCounterVec,
    labels: [String; 3],
}

impl Ours {
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let opts =
            |name: &str, help: &str| Opts::new(format!("overlay_stream_replicator_{name}"), help);
        let counter = |name: &str, help: &str, labels: &[&str]| {
            keep(registry, IntCounterVec::new(opts(name, help), labels))
        };
        let of_worker = |name: &str, help: &str| counter(name, help, &OF_WORKER);
        let gauge =
            |name: &str, help: &str| keep(registry, IntGaugeVec::new(opts(name, help), &OF_WORKER));
        Ok(Self {
            received: of_worker("received_messages_total", "Messages that came")?,
            received_bytes: of_worker("received_bytes_total", "Bytes of messages that came")?,
            handled: counter(
                "handled_messages_total",
                "Messages that were dealt with, by how",
                &WITH_OUTCOME,
            )?,
            handled_bytes: counter(
                "handled_bytes_total",
                "Bytes of messages that were copied or skipped",
                &WITH_OUTCOME,
            )?,
            faults: counter("faults_total", "Steps that failed, by which", &WITH_KIND)?,
            dead: counter(
                "dead_letters_total",
                "Messages that the target refused for good, by why",
                &WITH_REASON,
            )?,
            missed: of_worker(
                "missed_messages_total",
                "Messages gone from the source before they were copied",
            )?,
            conflicts: of_worker(
                "conflicts_total",
                "Messages that stand in the target under an id of ours without our doing",
            )?,
            foreign: of_worker(
                "foreign_writers_total",
                "Times that messages of others were found in the target",
            )?,
            rewinds: of_worker(
                "rewinds_total",
                "Times that the worker began again behind what the target has",
            )?,
            fenced: of_worker(
                "fenced_total",
                "Writes refused since another replica wrote in between",
            )?,
            sources_recreated: of_worker(
                "source_recreated_total",
                "Times that the source stream was deleted and made anew",
            )?,
            consumers_recreated: of_worker(
                "consumer_recreated_total",
                "Readers at the source that were made anew",
            )?,
            restarts: of_worker("restarts_total", "Times that a worker was started anew")?,
            processing: keep(
                registry,
                HistogramVec::new(
                    HistogramOpts::new(
                        "overlay_stream_replicator_processing_seconds",
                        "Time from a message's arrival until it was dealt with",
                    )
                    .buckets(PROCESSING.to_vec()),
                    &OF_WORKER,
                ),
            )?,
            sequence: gauge(
                "source_sequence",
                "Sequence of the last message that came, 0 without leadership",
            )?,
            lag_messages: gauge("lag_messages", "Messages that wait at the source")?,
            lag_seconds: keep(
                registry,
                GaugeVec::new(
                    opts("lag_seconds", "Age of the oldest message that waits"),
                    &OF_WORKER,
                ),
            )?,
            keys_open: gauge(
                "keys_open",
                "Keys that have messages under way, with an order by keys",
            )?,
            keys_held: gauge(
                "keys_held",
                "Keys that a refused or unanswered message holds up, with an order by keys",
            )?,
            running: gauge(
                "worker_running",
                "Whether the worker does its work or stands by",
            )?,
            active: gauge("worker_active", "Whether the worker copies")?,
            paused: gauge("worker_paused", "Whether an operator paused the worker")?,
            unanswered: gauge(
                "worker_unanswered",
                "Whether the target leaves a message without an answer, though it answers otherwise",
            )?,
            tracked: gauge("tracked_values", "Values that are tracked")?,
            gossip: of_worker(
                "gossip_received_total",
                "Values that other replicas told of",
            )?,
            without_value: of_worker(
                "without_value_messages_total",
                "Messages without anything to sample by",
            )?,
            forced: of_worker("forced_messages_total", "Messages copied since they say so")?,
            advisories: counter(
                "advisories_total",
                "Attempts to send an advisory, by its event",
                &WITH_EVENT,
            )?,
            advisory_faults: counter(
                "advisory_failures_total",
                "Attempts to send an advisory that failed, by its event",
                &WITH_EVENT,
            )?,
            advisories_waiting: gauge(
                "advisories_waiting",
                "Advisories that wait until they are taken",
            )?,
            advisories_merged: of_worker(
                "advisories_merged_total",
                "Advisories withdrawn since the value moved on before they were taken",
            )?,
            state_failures: of_worker(
                "state_write_failures_total",
                "Writes of what is known of values that failed",
            )?,
            operations: counter(
                "operations_total",
                "Requests of operators, by action and how they ended",
                &["action", "outcome"],
            )?,
        })
    }

    pub(super) fn worker(&self, replicator: &str, stream: &str, worker: &str) -> Worker {
        let of_worker = [replicator, stream, worker];
        let with = |last: &'static str| [replicator, stream, worker, last];
        let handled = |outcome| self.handled.with_label_values(&with(outcome));
        let bytes = |outcome| self.handled_bytes.with_label_values(&with(outcome));
        let fault = |kind| self.faults.with_label_values(&with(kind));
        // Alerts ask for what was added: a series that begins with its first letter never adds that one.
        for reason in REASONS {
            self.dead.with_label_values(&with(reason));
        }
        Worker {
            received: self.received.with_label_values(&of_worker),
            received_bytes: self.received_bytes.with_label_values(&of_worker),
            copied: handled("copied"),
            copied_bytes: bytes("copied"),
            skipped: handled("skipped"),
            skipped_bytes: bytes("skipped"),
            too_old: handled("too_old"),
            looped: handled("looped"),
            handler_faults: fault("handle"),
            meta_faults: fault("metadata"),
            ack_faults: fault("acknowledge"),
            missed: self.missed.with_label_values(&of_worker),
            conflicts: self.conflicts.with_label_values(&of_worker),
            foreign: self.foreign.with_label_values(&of_worker),
            rewinds: self.rewinds.with_label_values(&of_worker),
            fenced: self.fenced.with_label_values(&of_worker),
            sources_recreated: self.sources_recreated.with_label_values(&of_worker),
            consumers_recreated: self.consumers_recreated.with_label_values(&of_worker),
            restarts: self.restarts.with_label_values(&of_worker),
            processing: self.processing.with_label_values(&of_worker),
            sequence: self.sequence.with_label_values(&of_worker),
            lag_messages: self.lag_messages.with_label_values(&of_worker),
            lag_seconds: self.lag_seconds.with_label_values(&of_worker),
            keys_open: self.keys_open.with_label_values(&of_worker),
            keys_held: self.keys_held.with_label_values(&of_worker),
            running: self.running.with_label_values(&of_worker),
            active: self.active.with_label_values(&of_worker),
            paused: self.paused.with_label_values(&of_worker),
            unanswered: self.unanswered.with_label_values(&of_worker),
            tracked: self.tracked.with_label_values(&of_worker),
            gossip: self.gossip.with_label_values(&of_worker),
            without_value: self.without_value.with_label_values(&of_worker),
            forced: self.forced.with_label_values(&of_worker),
            advisories_waiting: self.advisories_waiting.with_label_values(&of_worker),
            advisories_merged: self.advisories_merged.with_label_values(&of_worker),
            state_failures: self.state_failures.with_label_values(&of_worker),
            dead: self.dead.clone(),
            dead_letters: handled("dead"),
            advisories: self.advisories.clone(),
            advisory_faults: self.advisory_faults.clone(),
            labels: of_worker.map(str::to_owned),
        }
    }

    pub(super) fn operation(&self, action: &str, outcome: &str) {
        self.operations.with_label_values(&[action, outcome]).inc();
    }
}

impl Worker {
    pub(super) fn dead(&self, reason: &str) {
        self.dead_letters.inc();
        self.with(&self.dead, reason).inc();
    }

    pub(super) fn advisory(&self, event: &str) {
        self.with(&self.advisories, event).inc();
    }

    pub(super) fn advisory_failed(&self, event: &str) {
        self.with(&self.advisory_faults, event).inc();
    }

    fn with(&self, counters: &IntCounterVec, last: &str) -> Counter {
        let [replicator, stream, worker] = &self.labels;
        counters.with_label_values(&[replicator, stream, worker, last])
    }
}
