//! What is counted.

use prometheus::core::{AtomicU64, GenericCounter};
use prometheus::{Histogram, HistogramOpts, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use crate::decide::Role;
use crate::reason::Reason;

/// Decisions take from 0.05 ms, with a token that is known, to a few ms on a busy machine.
const SECONDS: [f64; 10] = [
    0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.01, 0.05, 0.25, 1.0,
];

/// All metrics of the component.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    allowed: IntCounterVec,
    refused: IntCounterVec,
    unanswered: IntCounterVec,
    told: IntCounterVec,
    stream_ok: IntGaugeVec,
    stream_changes: IntCounterVec,
    restarts: IntCounterVec,
    /// Time from a request's arrival at its worker to its answer.
    pub(crate) decision_seconds: Histogram,
    /// Subjects of tokens that were left out.
    pub(crate) dropped_subjects: GenericCounter<AtomicU64>,
    /// Answers that the broker did not take.
    pub(crate) answers_not_taken: GenericCounter<AtomicU64>,
    /// Requests that came unsealed although there is a key to seal them to.
    pub(crate) unsealed: GenericCounter<AtomicU64>,
    /// Seconds by which the broker's clock is behind ours, as of the last request.
    pub(crate) clock_difference: IntGauge,
    /// Whether this instance looks after the streams.
    pub(crate) leader: IntGauge,
}

/// Why a request was not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unanswered {
    /// Not a request of a broker, or not one for us.
    Unreadable,
    /// It waited too long.
    Stale,
    /// It named nowhere to answer to.
    NoReply,
    /// The answer could not be written.
    Unwritable,
    /// A fault of ours.
    Panic,
}

/// What became of the telling of a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    /// Logged and published.
    Published,
    /// Logged; publishing failed, or there is no connection for it.
    Logged,
    /// Part of a summary.
    Summarised,
    /// The queue was full; part of the next summary as a mere number.
    Dropped,
}

/// What became of a look at a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamChange {
    /// Made.
    Created,
    /// Changed.
    Updated,
    /// Could not be made, changed or looked at.
    Failed,
}

impl Unanswered {
    const ALL: [Self; 5] = [
        Self::Unreadable,
        Self::Stale,
        Self::NoReply,
        Self::Unwritable,
        Self::Panic,
    ];

    fn label(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::Stale => "stale",
            Self::NoReply => "no_reply",
            Self::Unwritable => "unwritable",
            Self::Panic => "panic",
        }
    }
}

impl Told {
    const ALL: [Self; 4] = [
        Self::Published,
        Self::Logged,
        Self::Summarised,
        Self::Dropped,
    ];

    fn label(self) -> &'static str {
        match self {
            Self::Published => "published",
            Self::Logged => "logged",
            Self::Summarised => "summarised",
            Self::Dropped => "dropped",
        }
    }
}

impl StreamChange {
    fn label(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Failed => "failed",
        }
    }
}

impl Metrics {
    /// Registers all metrics, and every label that they can have.
    ///
    /// # Errors
    ///
    /// When the registry has one of them already.
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counters = |name: &str, help: &str, label: &str| -> Result<_, prometheus::Error> {
            let counters = IntCounterVec::new(
                Opts::new(format!("overlay_broker_auth_{name}"), help),
                &[label],
            )?;
            registry.register(Box::new(counters.clone()))?;
            Ok(counters)
        };
        let allowed = counters("logins_allowed_total", "Logins let in, by role", "role")?;
        let refused = counters(
            "logins_refused_total",
            "Logins kept out, by reason",
            "reason",
        )?;
        let unanswered = counters(
            "requests_unanswered_total",
            "Requests dropped without an answer",
            "cause",
        )?;
        let told = counters(
            "refusals_told_total",
            "Refusals by how they were told",
            "how",
        )?;
        let stream_changes = counters(
            "stream_changes_total",
            "Looks at streams that did not find all well",
            "what",
        )?;
        let restarts = counters(
            "helper_restarts_total",
            "Helpers that ended and began anew, which none ever should",
            "helper",
        )?;
        let stream_ok = IntGaugeVec::new(
            Opts::new(
                "overlay_broker_auth_stream_ok",
                "Whether a stream that is kept here is as it must be",
            ),
            &["stream"],
        )?;
        registry.register(Box::new(stream_ok.clone()))?;
        let decision_seconds = Histogram::with_opts(
            HistogramOpts::new(
                "overlay_broker_auth_decision_seconds",
                "Time to decide about a login",
            )
            .buckets(SECONDS.to_vec()),
        )?;
        registry.register(Box::new(decision_seconds.clone()))?;
        let counter =
            |name: &str, help: &str| -> Result<GenericCounter<AtomicU64>, prometheus::Error> {
                let counter = GenericCounter::new(format!("overlay_broker_auth_{name}"), help)?;
                registry.register(Box::new(counter.clone()))?;
                Ok(counter)
            };
        let gauge = |name: &str, help: &str| -> Result<IntGauge, prometheus::Error> {
            let gauge = IntGauge::new(format!("overlay_broker_auth_{name}"), help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        let metrics = Self {
            allowed,
            refused,
            unanswered,
            told,
            stream_ok,
            stream_changes,
            restarts,
            decision_seconds,
            dropped_subjects: counter(
                "subjects_dropped_total",
                "Malformed subjects in tokens that were left out",
            )?,
            answers_not_taken: counter(
                "answers_not_taken_total",
                "Answers that the broker refused to take",
            )?,
            unsealed: counter(
                "requests_unsealed_total",
                "Requests that came unsealed although a curve key is configured here",
            )?,
            clock_difference: gauge(
                "clock_difference_seconds",
                "By how much a broker's clock is behind ours",
            )?,
            leader: gauge("leader", "Whether this instance looks after the streams")?,
        };
        metrics.make_all();
        Ok(metrics)
    }

    /// A series that is there from the start can be alerted on.
    fn make_all(&self) {
        for role in Role::ALL {
            self.allowed(role).inc_by(0);
        }
        for reason in Reason::ALL {
            self.refused(reason).inc_by(0);
        }
        for cause in Unanswered::ALL {
            self.unanswered(cause).inc_by(0);
        }
        for how in Told::ALL {
            self.told(how).inc_by(0);
        }
    }

    /// Logins let in as `role`.
    #[must_use]
    pub(crate) fn allowed(&self, role: Role) -> GenericCounter<AtomicU64> {
        self.allowed.with_label_values(&[role.label()])
    }

    /// Logins kept out for `reason`.
    #[must_use]
    pub(crate) fn refused(&self, reason: Reason) -> GenericCounter<AtomicU64> {
        self.refused.with_label_values(&[reason.code()])
    }

    /// Requests dropped for `cause`.
    #[must_use]
    pub(crate) fn unanswered(&self, cause: Unanswered) -> GenericCounter<AtomicU64> {
        self.unanswered.with_label_values(&[cause.label()])
    }

    /// Refusals told in one way.
    #[must_use]
    pub(crate) fn told(&self, how: Told) -> GenericCounter<AtomicU64> {
        self.told.with_label_values(&[how.label()])
    }

    /// Looks at streams with one outcome.
    #[must_use]
    pub(crate) fn stream_change(&self, what: StreamChange) -> GenericCounter<AtomicU64> {
        self.stream_changes.with_label_values(&[what.label()])
    }

    /// New beginnings of one helper.
    #[must_use]
    pub(crate) fn restarts(&self, helper: &str) -> GenericCounter<AtomicU64> {
        self.restarts.with_label_values(&[helper])
    }

    /// Whether one stream is as it must be.
    #[must_use]
    pub(crate) fn stream_ok(&self, stream: &str) -> IntGauge {
        self.stream_ok.with_label_values(&[stream])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_and_role_has_a_series_from_the_start() {
        let registry = Registry::new();
        let metrics = Metrics::register(&registry).unwrap();
        metrics.refused(Reason::TokenExpired).inc();
        let text = overlay_runtime::metrics::text(&registry).unwrap();
        assert!(
            text.contains(r#"overlay_broker_auth_logins_refused_total{reason="token_expired"} 1"#)
        );
        assert!(text.contains(r#"overlay_broker_auth_logins_refused_total{reason="leaf_node"} 0"#));
        assert!(text.contains(r#"overlay_broker_auth_logins_allowed_total{role="provisioner"} 0"#));
        assert!(Metrics::register(&registry).is_err());
    }
}
