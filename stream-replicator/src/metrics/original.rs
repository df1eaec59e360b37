//! Names, types and labels of Choria's replicator.

use overlay_runtime::metrics::{Summary, Times};
use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry};

use super::{Counter, Gauge, keep};

/// Labels of a worker's metrics.
const OF_WORKER: [&str; 3] = ["stream", "replicator", "worker"];
/// Labels of a limiter's metrics.
const OF_LIMITER: [&str; 3] = ["limiter", "stream", "replicator"];
/// Labels of advisories' metrics.
const OF_ADVISORY: [&str; 3] = ["advisory", "stream", "replicator"];
/// The one limiter that there is.
const LIMITER: &str = "memory";

/// The metrics of all workers.
#[derive(Clone, Debug)]
pub(super) struct Original {
    total_messages: IntCounterVec,
    total_bytes: IntCounterVec,
    handler_error_count: IntCounterVec,
    meta_parse_failed_count: IntCounterVec,
    ack_failed_count: IntCounterVec,
    consumer_recreated: IntCounterVec,
    processing_time: Summary,
    stream_sequence: IntGaugeVec,
    stream_lag_messages: IntGaugeVec,
    too_old_messages: IntCounterVec,
    copied_messages: IntCounterVec,
    copied_bytes: IntCounterVec,
    skipped_messages: IntCounterVec,
    skipped_bytes: IntCounterVec,
    without_limit_field: IntCounterVec,
    copy_forced: IntCounterVec,
    tracker_total_items: IntGaugeVec,
    tracker_seen_by_gossip: IntGaugeVec,
    advisor_total: IntCounterVec,
    advisor_errors: IntCounterVec,
}

/// Those of one worker.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) total_messages: Counter,
    pub(super) total_bytes: Counter,
    pub(super) handler_error_count: Counter,
    pub(super) meta_parse_failed_count: Counter,
    pub(super) ack_failed_count: Counter,
    pub(super) consumer_recreated: Counter,
    pub(super) processing_time: Times,
    pub(super) stream_sequence: Gauge,
    pub(super) stream_lag_messages: Gauge,
    pub(super) too_old_messages: Counter,
    pub(super) copied_messages: Counter,
    pub(super) copied_bytes: Counter,
    pub(super) skipped_messages: Counter,
    pub(super) skipped_bytes: Counter,
    pub(super) without_limit_field: Counter,
    pub(super) copy_forced: Counter,
    pub(super) tracker_total_items: Gauge,
    pub(super) tracker_seen_by_gossip: Gauge,
    advisor_total: IntCounterVec,
    advisor_errors: IntCounterVec,
    stream: String,
    replicator: String,
}

pub(super) fn opts(name: &str, help: &str) -> Opts {
    Opts::new(format!("choria_stream_replicator_{name}"), help)
}

impl Original {
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = |name: &str, help: &str, labels: &[&str]| {
            keep(registry, IntCounterVec::new(opts(name, help), labels))
        };
        let of_worker = |name: &str, help: &str| counter(name, help, &OF_WORKER);
        let gauge =
            |name: &str, help: &str| keep(registry, IntGaugeVec::new(opts(name, help), &OF_WORKER));
        Ok(Self {
            total_messages: of_worker("replicator_total_messages", "Messages that came")?,
            total_bytes: of_worker("replicator_total_bytes", "Bytes of messages that came")?,
            handler_error_count: of_worker(
                "replicator_handler_error_count",
                "Attempts to handle a message that failed",
            )?,
            meta_parse_failed_count: of_worker(
                "replicator_meta_parse_failed_count",
                "Messages whose place in the source is not told",
            )?,
            ack_failed_count: of_worker(
                "replicator_ack_failed_count",
                "Acknowledgements to the source that failed",
            )?,
            consumer_recreated: of_worker(
                "replicator_consumer_recreated",
                "Readers at the source that were made anew",
            )?,
            processing_time: keep(
                registry,
                Summary::new(
                    opts(
                        "replicator_processing_time_seconds",
                        "Time from a message's arrival until it was dealt with",
                    ),
                    &OF_WORKER,
                ),
            )?,
            stream_sequence: gauge(
                "replicator_stream_sequence",
                "Sequence of the last message that came, 0 without leadership",
            )?,
            stream_lag_messages: gauge(
                "replicator_stream_lag_messages",
                "Messages that wait at the source",
            )?,
            too_old_messages: of_worker(
                "replicator_too_old_messages",
                "Messages passed over for their age",
            )?,
            copied_messages: of_worker("replicator_copied_messages", "Messages copied")?,
            copied_bytes: of_worker("replicator_copied_bytes", "Bytes of messages copied")?,
            skipped_messages: of_worker(
                "replicator_skipped_messages",
                "Messages not copied because of sampling",
            )?,
            skipped_bytes: of_worker(
                "replicator_skipped_bytes",
                "Bytes of messages not copied because of sampling",
            )?,
            without_limit_field: counter(
                "limiter_messages_without_limit_field_count",
                "Messages without anything to sample by",
                &OF_LIMITER,
            )?,
            copy_forced: counter(
                "limiter_messages_copy_forced_count",
                "Messages copied since they say so",
                &OF_LIMITER,
            )?,
            tracker_total_items: gauge("tracker_total_items", "Values that are tracked")?,
            tracker_seen_by_gossip: gauge(
                "tracker_seen_by_gossip",
                "Values that other replicas told of",
            )?,
            advisor_total: counter(
                "advisor_total_messages",
                "Attempts to send an advisory",
                &OF_ADVISORY,
            )?,
            advisor_errors: counter(
                "advisor_publish_errors",
                "Attempts to send an advisory that failed",
                &OF_ADVISORY,
            )?,
        })
    }

    pub(super) fn worker(&self, replicator: &str, stream: &str, worker: &str) -> Worker {
        let of_worker = [stream, replicator, worker];
        // The original labels these with the consumer instead of the stream, so that no dashboard finds them.
        let of_limiter = [LIMITER, stream, replicator];
        Worker {
            total_messages: self.total_messages.with_label_values(&of_worker),
            total_bytes: self.total_bytes.with_label_values(&of_worker),
            handler_error_count: self.handler_error_count.with_label_values(&of_worker),
            meta_parse_failed_count: self.meta_parse_failed_count.with_label_values(&of_worker),
            ack_failed_count: self.ack_failed_count.with_label_values(&of_worker),
            consumer_recreated: self.consumer_recreated.with_label_values(&of_worker),
            processing_time: self.processing_time.times(&of_worker),
            stream_sequence: self.stream_sequence.with_label_values(&of_worker),
            stream_lag_messages: self.stream_lag_messages.with_label_values(&of_worker),
            too_old_messages: self.too_old_messages.with_label_values(&of_worker),
            copied_messages: self.copied_messages.with_label_values(&of_worker),
            copied_bytes: self.copied_bytes.with_label_values(&of_worker),
            skipped_messages: self.skipped_messages.with_label_values(&of_worker),
            skipped_bytes: self.skipped_bytes.with_label_values(&of_worker),
            without_limit_field: self.without_limit_field.with_label_values(&of_limiter),
            copy_forced: self.copy_forced.with_label_values(&of_limiter),
            tracker_total_items: self.tracker_total_items.with_label_values(&of_worker),
            tracker_seen_by_gossip: self.tracker_seen_by_gossip.with_label_values(&of_worker),
            advisor_total: self.advisor_total.clone(),
            advisor_errors: self.advisor_errors.clone(),
            stream: stream.to_owned(),
            replicator: replicator.to_owned(),
        }
    }
}

impl Worker {
    pub(super) fn advisory(&self, event: &str) {
        let labels = [event, &self.stream, &self.replicator];
        self.advisor_total.with_label_values(&labels).inc();
    }

    pub(super) fn advisory_failed(&self, event: &str) {
        let labels = [event, &self.stream, &self.replicator];
        self.advisor_errors.with_label_values(&labels).inc();
    }
}
