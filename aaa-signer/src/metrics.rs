//! What the signer counts: under our names, and under the original's for dashboards that exist.

mod original;

use prometheus::core::{AtomicI64, AtomicU64, GenericCounter, GenericGauge};
use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts, Registry};

use crate::rpc::Dropped;
use crate::sign::{Authority, Decision, Reason};
use crate::via::Via;

use original::Original;

type Counter = GenericCounter<AtomicU64>;
type Gauge = GenericGauge<AtomicI64>;

/// Outcome of a request that was signed.
const ALLOWED: &str = "allowed";

/// The metrics of the signer; clones count the same.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    requests: IntCounterVec,
    seconds: HistogramVec,
    /// Requests that are worked on.
    pub(crate) in_flight: Gauge,
    dropped: IntCounterVec,
    reloads: IntCounterVec,
    /// When the first of the own tokens expires, in Unix seconds; 0: none does.
    pub(crate) keys_expire: Gauge,
    original: Original,
}

impl Metrics {
    pub(crate) fn register(registry: &Registry, site: &str) -> Result<Self, prometheus::Error> {
        let requests = IntCounterVec::new(
            Opts::new(
                "overlay_aaa_requests_total",
                "Requests to sign, by what became of them",
            ),
            &["via", "outcome"],
        )?;
        let seconds = HistogramVec::new(
            HistogramOpts::new(
                "overlay_aaa_request_seconds",
                "Time from a request to its answer, the record included",
            )
            .buckets(vec![
                0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
            ]),
            &["via"],
        )?;
        let in_flight = IntGauge::new(
            "overlay_aaa_requests_in_flight",
            "Requests to sign that are worked on",
        )?;
        let dropped = IntCounterVec::new(
            Opts::new(
                "overlay_aaa_rpc_dropped_total",
                "Messages to the RPC agent that are not answered",
            ),
            &["cause"],
        )?;
        let reloads = IntCounterVec::new(
            Opts::new(
                "overlay_aaa_key_reloads_total",
                "Times that keys and tokens were read again",
            ),
            &["outcome"],
        )?;
        let keys_expire = IntGauge::new(
            "overlay_aaa_keys_expire_seconds",
            "When the first of this service's tokens expires, in Unix seconds",
        )?;
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(seconds.clone()))?;
        registry.register(Box::new(in_flight.clone()))?;
        registry.register(Box::new(dropped.clone()))?;
        registry.register(Box::new(reloads.clone()))?;
        registry.register(Box::new(keys_expire.clone()))?;
        // A rate needs the zero before the first event.
        for via in [Via::Rpc, Via::Http] {
            requests
                .with_label_values(&[via.label(), ALLOWED])
                .inc_by(0);
            for reason in Reason::ALL {
                requests
                    .with_label_values(&[via.label(), reason.label()])
                    .inc_by(0);
            }
        }
        for cause in Dropped::ALL {
            dropped.with_label_values(&[cause.label()]).inc_by(0);
        }
        for outcome in ["read", "refused"] {
            reloads.with_label_values(&[outcome]).inc_by(0);
        }
        Ok(Self {
            requests,
            seconds,
            in_flight,
            dropped,
            reloads,
            keys_expire,
            original: Original::register(registry, site)?,
        })
    }

    /// What became of a request.
    pub(crate) fn answered(&self, via: Via, outcome: Result<(), Reason>) {
        let label = match outcome {
            Ok(()) => ALLOWED,
            Err(reason) => reason.label(),
        };
        self.requests.with_label_values(&[via.label(), label]).inc();
        self.original.answered(outcome);
    }

    /// What the policy said, if it was asked.
    pub(crate) fn decided(&self, decision: &Decision) {
        let Some(authority) = decision.authority else {
            return;
        };
        let is_allowed = decision.verdict.is_ok();
        let is_error = matches!(decision.verdict, Err(Reason::PolicyError));
        self.original
            .decided(authority, decision.target.as_ref(), is_allowed, is_error);
    }

    pub(crate) fn seconds(&self, via: Via) -> Histogram {
        self.seconds.with_label_values(&[via.label()])
    }

    pub(crate) fn dropped(&self, cause: Dropped) -> Counter {
        self.dropped.with_label_values(&[cause.label()])
    }

    /// Keys were read again, or the new ones refused.
    pub(crate) fn key_reloads(&self, read: bool) -> Counter {
        self.reloads
            .with_label_values(&[if read { "read" } else { "refused" }])
    }
}

impl Authority {
    /// The original's name of the authorizer.
    fn label(self) -> &'static str {
        match self {
            Self::ActionList => "actionlist",
            Self::Rego => "opa",
        }
    }
}
