//! Metrics of heartbeats, under the original's names.

use std::time::Duration;

use overlay_runtime::metrics::Summary;
use prometheus::{IntCounterVec, IntGaugeVec, Registry};

use super::original::opts;
use super::{keep, signed, wide};

/// Counts heartbeats; clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Heartbeats {
    replicator: String,
    subjects: IntGaugeVec,
    published: IntCounterVec,
    failed: IntCounterVec,
    took: Summary,
    paused: IntGaugeVec,
}

impl Heartbeats {
    pub(super) fn register(
        registry: &Registry,
        replicator: &str,
    ) -> Result<Self, prometheus::Error> {
        let by_subject = ["replicator", "subject"];
        Ok(Self {
            replicator: replicator.to_owned(),
            subjects: keep(
                registry,
                IntGaugeVec::new(
                    opts("heartbeat_subjects_count", "Subjects of heartbeats"),
                    &["replicator"],
                ),
            )?,
            published: keep(
                registry,
                IntCounterVec::new(
                    opts(
                        "heartbeat_published_count",
                        "Heartbeats that a stream has taken",
                    ),
                    &by_subject,
                ),
            )?,
            failed: keep(
                registry,
                IntCounterVec::new(
                    opts(
                        "heartbeat_published_error_count",
                        "Heartbeats that no stream has taken",
                    ),
                    &by_subject,
                ),
            )?,
            took: keep(
                registry,
                Summary::new(
                    opts(
                        "heartbeat_publish_time",
                        "Time until a heartbeat was taken, or not",
                    ),
                    &by_subject,
                ),
            )?,
            paused: keep(
                registry,
                IntGaugeVec::new(
                    opts("heartbeat_paused", "Whether another replica beats"),
                    &["replicator", "hostname"],
                ),
            )?,
        })
    }

    /// So many subjects have heartbeats.
    pub(crate) fn subjects(&self, number: usize) {
        self.subjects
            .with_label_values(&[&self.replicator])
            .set(signed(wide(number)));
    }

    /// A stream has taken a heartbeat.
    pub(crate) fn published(&self, subject: &str, took: Duration) {
        let labels = [self.replicator.as_str(), subject];
        self.published.with_label_values(&labels).inc();
        self.took.times(&labels).observe(took);
    }

    /// No stream has taken a heartbeat.
    pub(crate) fn failed(&self, subject: &str, took: Duration) {
        let labels = [self.replicator.as_str(), subject];
        self.failed.with_label_values(&labels).inc();
        self.took.times(&labels).observe(took);
    }

    /// Whether another replica beats instead of the one on this host.
    pub(crate) fn paused(&self, host: &str, paused: bool) {
        self.paused
            .with_label_values(&[&self.replicator, host])
            .set(paused.into());
    }
}
