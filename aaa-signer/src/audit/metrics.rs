//! What the record counts.

use std::time::Duration;

use prometheus::core::{AtomicU64, GenericCounter};
use prometheus::{
    Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
};

use super::{AuditError, Durable};

/// A place for records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Stream,
    File,
    Spool,
    Logfile,
    Topic,
}

impl Place {
    const ALL: [Self; 5] = [
        Self::Stream,
        Self::File,
        Self::Spool,
        Self::Logfile,
        Self::Topic,
    ];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Stream => "stream",
            Self::File => "file",
            Self::Spool => "spool",
            Self::Logfile => "original_logfile",
            Self::Topic => "original_topic",
        }
    }

    /// The original's auditor that does the same.
    fn auditor(self) -> &'static str {
        match self {
            Self::Stream | Self::Topic => "jetstream",
            Self::File | Self::Spool | Self::Logfile => "logfile",
        }
    }
}

/// The metrics of the record; clones count the same.
#[derive(Debug, Clone)]
pub(super) struct Metrics {
    outcomes: IntCounterVec,
    seconds: Histogram,
    stored: IntCounterVec,
    errors: IntCounterVec,
    original_errors: IntCounterVec,
    pub(super) batches: IntCounter,
    pub(super) waiting: IntGauge,
    pub(super) sequence: IntGauge,
    pub(super) sealed: IntGauge,
    pub(super) dropped: IntCounter,
    pub(super) undelivered: IntCounter,
    pub(super) spooled: IntGauge,
    pub(super) fill: Gauge,
    /// Settings of the stream that are otherwise than configured.
    pub(super) differs: IntGauge,
    site: String,
}

impl Metrics {
    pub(super) fn register(registry: &Registry, site: &str) -> Result<Self, prometheus::Error> {
        let vector = |name, help, labels: &[&str]| {
            let vector = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(vector.clone()))?;
            Ok::<_, prometheus::Error>(vector)
        };
        let counter = |name, help| {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let gauge = |name, help| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        let seconds = Histogram::with_opts(
            HistogramOpts::new(
                "overlay_aaa_audit_seconds",
                "Time from a decision to its durable record",
            )
            .buckets(vec![
                0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
            ]),
        )?;
        registry.register(Box::new(seconds.clone()))?;
        let fill = Gauge::new(
            "overlay_aaa_audit_stream_fill_ratio",
            "How full the stream of records is; at 1 nothing more is signed",
        )?;
        registry.register(Box::new(fill.clone()))?;
        let metrics = Self {
            outcomes: vector(
                "overlay_aaa_audit_records_total",
                "Decisions to record, by what became of their records",
                &["outcome"],
            )?,
            seconds,
            stored: vector(
                "overlay_aaa_audit_stored_total",
                "Lines of the chain that a place has stored",
                &["place"],
            )?,
            errors: vector(
                "overlay_aaa_audit_errors_total",
                "Times that a place did not take what it was given",
                &["place"],
            )?,
            original_errors: vector(
                "choria_aaa_auditor_errors",
                "Times that auditing failed",
                &["site", "auditor"],
            )?,
            batches: counter(
                "overlay_aaa_audit_batches_total",
                "Batches of lines that were stored together",
            )?,
            waiting: gauge(
                "overlay_aaa_audit_waiting",
                "Records that wait to be written",
            )?,
            sequence: gauge(
                "overlay_aaa_audit_sequence",
                "Number of the last line of the chain",
            )?,
            sealed: gauge(
                "overlay_aaa_audit_sealed_sequence",
                "Number of the last signed line of the chain",
            )?,
            dropped: counter(
                "overlay_aaa_audit_dropped_total",
                "Records of what was allowed that were not made because whoever asked had gone",
            )?,
            undelivered: counter(
                "overlay_aaa_audit_undelivered_total",
                "Records of what was allowed and reached nobody",
            )?,
            spooled: gauge(
                "overlay_aaa_audit_spooled_bytes",
                "Bytes of lines that wait for the stream to come back",
            )?,
            fill,
            differs: gauge(
                "overlay_aaa_audit_stream_differences",
                "Settings of the stream of records that are otherwise than configured; an administrator changes them",
            )?,
            site: site.to_owned(),
        };
        for outcome in ["stored", "refused", "timed_out", "taken", "closed"] {
            metrics.outcomes.with_label_values(&[outcome]).inc_by(0);
        }
        for place in Place::ALL {
            metrics.stored(place, 0);
            metrics
                .errors
                .with_label_values(&[place.as_str()])
                .inc_by(0);
            metrics.original_error(place).inc_by(0);
        }
        Ok(metrics)
    }

    pub(super) fn recorded(&self, outcome: &Result<Durable, AuditError>, took: Duration) {
        let label = match outcome {
            Ok(_durable) => {
                self.seconds.observe(took.as_secs_f64());
                "stored"
            }
            Err(AuditError::Refused(_)) => "refused",
            Err(AuditError::TimedOut(_)) => "timed_out",
            Err(AuditError::Taken) => "taken",
            Err(AuditError::Closed) => "closed",
        };
        self.outcomes.with_label_values(&[label]).inc();
    }

    pub(super) fn stored(&self, place: Place, lines: u64) {
        self.stored
            .with_label_values(&[place.as_str()])
            .inc_by(lines);
    }

    pub(super) fn error(&self, place: Place) {
        self.errors.with_label_values(&[place.as_str()]).inc();
        self.original_error(place).inc();
    }

    fn original_error(&self, place: Place) -> GenericCounter<AtomicU64> {
        self.original_errors
            .with_label_values(&[self.site.as_str(), place.auditor()])
    }
}
