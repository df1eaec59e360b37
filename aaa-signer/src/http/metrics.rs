//! What is counted of connections and requests.

use std::time::Duration;

use axum::http::StatusCode;
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts, Registry};

use super::operation::Operation;

/// A signature takes from a quarter of a millisecond, a login as long as its hash.
const SECONDS: [f64; 11] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.0, 10.0,
];

/// What became of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Connected {
    /// It is served.
    Served,
    /// Its address has too many.
    TooManyOfPeer,
    /// No TLS came about, or not in time.
    HandshakeFailed,
    /// It sent no whole request head in time, or something that is no request.
    Broken,
}

/// What became of new files of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reload {
    /// They are in use.
    Taken,
    /// They make no TLS.
    Refused,
}

/// All metrics of the listener.
#[derive(Debug, Clone)]
pub(super) struct Metrics {
    requests: IntCounterVec,
    seconds: HistogramVec,
    connections: IntCounterVec,
    reloads: IntCounterVec,
    expires: IntGauge,
    /// Connections that are open.
    pub(super) open: IntGauge,
}

impl Connected {
    const ALL: [Self; 4] = [
        Self::Served,
        Self::TooManyOfPeer,
        Self::HandshakeFailed,
        Self::Broken,
    ];

    fn label(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::TooManyOfPeer => "too_many_of_peer",
            Self::HandshakeFailed => "handshake_failed",
            Self::Broken => "broken",
        }
    }
}

impl Reload {
    const ALL: [Self; 2] = [Self::Taken, Self::Refused];

    fn label(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Refused => "refused",
        }
    }
}

impl Metrics {
    /// Registers them.
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = |name: &str, help: &str, labels: &[&str]| {
            let counter = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        let seconds = HistogramVec::new(
            HistogramOpts::new(
                "overlay_aaa_http_request_seconds",
                "Time from a request's head to its answer",
            )
            .buckets(SECONDS.to_vec()),
            &["operation"],
        )?;
        registry.register(Box::new(seconds.clone()))?;
        let metrics = Self {
            requests: counter(
                "overlay_aaa_http_requests_total",
                "Requests by HTTP",
                &["operation", "status"],
            )?,
            seconds,
            connections: counter(
                "overlay_aaa_http_connections_total",
                "Connections by HTTP, by what became of them",
                &["outcome"],
            )?,
            reloads: counter(
                "overlay_aaa_http_certificate_reloads_total",
                "Changes of the files of TLS, by what became of them",
                &["outcome"],
            )?,
            expires: gauge(
                "overlay_aaa_http_certificate_expires_seconds",
                "When the certificate in use ends, as unix time; 0 without TLS",
            )?,
            open: gauge("overlay_aaa_http_connections", "Connections that are open")?,
        };
        for outcome in Connected::ALL {
            metrics
                .connections
                .with_label_values(&[outcome.label()])
                .inc_by(0);
        }
        for outcome in Reload::ALL {
            metrics
                .reloads
                .with_label_values(&[outcome.label()])
                .inc_by(0);
        }
        Ok(metrics)
    }

    /// Counts a request that was answered.
    pub(super) fn answered(
        &self,
        operation: Option<Operation>,
        status: StatusCode,
        took: Duration,
    ) {
        let operation = operation.map_or("other", Operation::label);
        self.requests
            .with_label_values(&[operation, status.as_str()])
            .inc();
        self.seconds
            .with_label_values(&[operation])
            .observe(took.as_secs_f64());
    }

    /// Counts a connection.
    pub(super) fn connected(&self, outcome: Connected) {
        self.connections.with_label_values(&[outcome.label()]).inc();
    }

    /// Counts a change of the files of TLS.
    pub(super) fn reloaded(&self, outcome: Reload) {
        self.reloads.with_label_values(&[outcome.label()]).inc();
    }

    /// Shows when the certificate ends.
    pub(super) fn certificate_expires(&self, at: Option<i64>) {
        self.expires.set(at.unwrap_or_default());
    }
}
