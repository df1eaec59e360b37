//! Client events: logged once, counted, followed by readiness.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use async_nats::{ClientError, Event};
use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry};

use crate::readiness::Part;

/// Metrics of all connections of a process.
#[derive(Clone, Debug)]
pub(super) struct Metrics {
    events: IntCounterVec,
    connected: IntGaugeVec,
}

/// Watches the events of one connection.
#[derive(Debug)]
pub(super) struct Observer {
    connection: String,
    part: Part,
    metrics: Metrics,
    was_connected: AtomicBool,
    /// The last failure told, so that a broker that stays away is not told again and again.
    last_failure: Mutex<Option<String>>,
}

impl Metrics {
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let events = Opts::new(
            "overlay_broker_events_total",
            "Events of connections to the broker",
        );
        let connected = Opts::new(
            "overlay_broker_connected",
            "Whether the connection to the broker is up",
        );
        let metrics = Self {
            events: IntCounterVec::new(events, &["connection", "event"])?,
            connected: IntGaugeVec::new(connected, &["connection"])?,
        };
        registry.register(Box::new(metrics.events.clone()))?;
        registry.register(Box::new(metrics.connected.clone()))?;
        Ok(metrics)
    }
}

impl Observer {
    pub(super) fn new(connection: String, part: Part, metrics: Metrics) -> Self {
        Self {
            connection,
            part,
            metrics,
            was_connected: AtomicBool::new(false),
            last_failure: Mutex::default(),
        }
    }

    pub(super) fn has_been_connected(&self) -> bool {
        self.was_connected.load(Ordering::Relaxed)
    }

    pub(super) fn connected(&self) {
        self.was_connected.store(true, Ordering::Relaxed);
        self.set_connected(true);
        self.part.up();
        *self.lock_last_failure() = None;
    }

    pub(super) fn observe(&self, event: &Event) {
        let connection = self.connection.as_str();
        self.count(label(event));
        match event {
            Event::Connected => {
                tracing::info!(connection, "connected to the broker");
                self.connected();
            }
            Event::Disconnected => {
                tracing::warn!(connection, "connection to the broker lost");
                self.set_connected(false);
                self.part.down("connection to the broker lost");
            }
            Event::Closed => {
                tracing::info!(connection, "connection to the broker closed");
                self.set_connected(false);
                self.part.down("connection to the broker closed");
            }
            Event::LameDuckMode => {
                tracing::info!(connection, "the broker is about to leave");
            }
            Event::Draining => tracing::info!(connection, "draining"),
            Event::SlowConsumer(subscription) => {
                tracing::warn!(
                    connection,
                    subscription,
                    "a full subscription lost a message"
                );
            }
            Event::ServerError(error) => self.failure(&error.to_string()),
            Event::ClientError(error) => self.failure(&error.to_string()),
        }
    }

    /// Tells a failure once; the same one again is only for those who debug.
    pub(super) fn failure(&self, error: &str) {
        let connection = self.connection.as_str();
        let mut last = self.lock_last_failure();
        if last.as_deref() == Some(error) {
            tracing::debug!(connection, error, "broker or connection reports again");
        } else {
            tracing::warn!(connection, error, "broker or connection reports");
            *last = Some(error.to_owned());
        }
    }

    fn count(&self, event: &str) {
        let labels = [self.connection.as_str(), event];
        self.metrics.events.with_label_values(&labels).inc();
    }

    fn set_connected(&self, connected: bool) {
        self.metrics
            .connected
            .with_label_values(&[self.connection.as_str()])
            .set(i64::from(connected));
    }

    fn lock_last_failure(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.last_failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn label(event: &Event) -> &'static str {
    match event {
        Event::Connected => "connected",
        Event::Disconnected => "disconnected",
        Event::LameDuckMode => "lame_duck",
        Event::Draining => "draining",
        Event::Closed => "closed",
        Event::SlowConsumer(_) => "slow_consumer",
        Event::ServerError(_) => "server_error",
        Event::ClientError(ClientError::MaxReconnects) => "max_reconnects",
        Event::ClientError(_) => "client_error",
    }
}
