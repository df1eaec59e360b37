//! Client events: logged once, counted, followed by readiness.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_nats::{ClientError, Event};
use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry};
use tokio::sync::watch;

use crate::readiness::Part;

/// Metrics of all connections of a process.
#[derive(Clone, Debug)]
pub(super) struct Metrics {
    events: IntCounterVec,
    connected: IntGaugeVec,
}

/// What a connection is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// It is up, for the so-manieth time; the first is 1. What was under way in an earlier one may be lost.
    Connected(u64),
    /// It is down, and tried again.
    Disconnected,
}

/// Which connection of each name is the last one that was made; clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Latest(Arc<Mutex<HashMap<String, u64>>>);

/// What a login knows of its failures.
pub(super) type Why = Box<dyn Fn() -> Option<String> + Send + Sync>;

/// Watches the events of one connection.
pub(super) struct Observer {
    connection: String,
    part: Part,
    metrics: Metrics,
    latest: Latest,
    number: u64,
    state: watch::Sender<LinkState>,
    seen: Mutex<Seen>,
    why: Why,
}

/// What was seen of a connection.
#[derive(Debug, Default)]
struct Seen {
    /// How often it was up.
    connects: u64,
    /// Whether the event of the first connect came, which is told by the connect itself as well.
    first_event: bool,
    /// The last failure told, so that a broker that stays away is not told again and again.
    last_failure: Option<String>,
}

impl Latest {
    /// Makes the next connection of a name the last one.
    fn next(&self, name: &str) -> u64 {
        let mut latest = self.lock();
        let number = latest.entry(name.to_owned()).or_default();
        *number += 1;
        *number
    }

    fn is(&self, name: &str, number: u64) -> bool {
        self.lock().get(name) == Some(&number)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
    pub(super) fn new(
        connection: String,
        part: Part,
        metrics: Metrics,
        latest: &Latest,
        why: Why,
    ) -> Self {
        Self {
            number: latest.next(&connection),
            connection,
            part,
            metrics,
            latest: latest.clone(),
            state: watch::Sender::new(LinkState::Disconnected),
            seen: Mutex::default(),
            why,
        }
    }

    pub(super) fn state(&self) -> watch::Receiver<LinkState> {
        self.state.subscribe()
    }

    pub(super) fn has_been_connected(&self) -> bool {
        self.seen().connects > 0
    }

    /// The first connect is through; its event may have come before, and others after that.
    pub(super) fn connected(&self) {
        let mut seen = self.seen();
        if seen.connects == 0 {
            self.up(&mut seen);
        }
    }

    pub(super) fn observe(&self, event: &Event) {
        let connection = self.connection.as_str();
        self.count(label(event));
        match event {
            Event::Connected => {
                tracing::info!(connection, "connected to the broker");
                let mut seen = self.seen();
                let is_first = !std::mem::replace(&mut seen.first_event, true);
                if !(is_first && seen.connects > 0) {
                    self.up(&mut seen);
                }
            }
            Event::Disconnected => {
                tracing::warn!(connection, "connection to the broker lost");
                self.down("connection to the broker lost");
            }
            Event::Closed => {
                tracing::info!(connection, "connection to the broker closed");
                self.down("connection to the broker closed");
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
        let error = match (self.why)() {
            Some(why) => format!("{error}: {why}"),
            None => error.to_owned(),
        };
        let error = error.as_str();
        if *self.state.borrow() == LinkState::Disconnected && self.is_latest() {
            self.part.down(error);
        }
        let mut seen = self.seen();
        if seen.last_failure.as_deref() == Some(error) {
            tracing::debug!(connection, error, "broker or connection reports again");
        } else {
            tracing::warn!(connection, error, "broker or connection reports");
            seen.last_failure = Some(error.to_owned());
        }
    }

    fn up(&self, seen: &mut Seen) {
        seen.connects += 1;
        seen.last_failure = None;
        self.state.send_replace(LinkState::Connected(seen.connects));
        self.set_connected(true);
        if self.is_latest() {
            self.part.up();
        }
    }

    fn down(&self, reason: &str) {
        self.state.send_replace(LinkState::Disconnected);
        self.set_connected(false);
        if self.is_latest() {
            self.part.down(reason);
        }
    }

    /// Whether no other connection of this name was made since: readiness and gauge are that one's then.
    fn is_latest(&self) -> bool {
        self.latest.is(&self.connection, self.number)
    }

    fn count(&self, event: &str) {
        let labels = [self.connection.as_str(), event];
        self.metrics.events.with_label_values(&labels).inc();
    }

    fn set_connected(&self, connected: bool) {
        if self.is_latest() {
            self.metrics
                .connected
                .with_label_values(&[self.connection.as_str()])
                .set(i64::from(connected));
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
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
