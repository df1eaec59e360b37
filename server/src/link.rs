//! What is known of the broker connection, for those who only look.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often the connection is proved alive.
pub const PING_INTERVAL: Duration = Duration::from_secs(120);

/// The connection as others may see it; written by the service only.
#[derive(Debug)]
pub struct Link {
    connect_timeout: Duration,
    srv_domain: Option<String>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    connected: Option<String>,
    server: String,
    secure: bool,
    servers: Vec<String>,
    connects: u64,
    refused_subjects: BTreeSet<String>,
    token_expires: Option<i64>,
    traffic: Traffic,
    meter: Option<Meter>,
    last_error: Option<String>,
}

/// Reads what went over the connection in use.
type Meter = Box<dyn Fn() -> Traffic + Send>;

/// What went over the connection, of all connections of the process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Messages received.
    pub in_messages: u64,
    /// Bytes received.
    pub in_bytes: u64,
    /// Messages sent.
    pub out_messages: u64,
    /// Bytes sent.
    pub out_bytes: u64,
}

/// At most so many refused subjects are remembered.
const MAX_REFUSED: usize = 32;

impl Link {
    /// A link that is not connected yet.
    pub fn new(connect_timeout: Duration, srv_domain: Option<String>) -> Self {
        Self {
            connect_timeout,
            srv_domain,
            inner: Mutex::default(),
        }
    }

    /// A connection was made; `meter` reads what goes over it.
    pub fn attach(&self, server: String, secure: bool, meter: Meter) {
        let mut inner = self.lock();
        inner.connected = Some(server.clone());
        inner.server = server;
        inner.secure = secure;
        inner.connects += 1;
        inner.refused_subjects.clear();
        inner.last_error = None;
        inner.meter = Some(meter);
    }

    /// The connection is given up.
    pub fn detach(&self) {
        let mut inner = self.lock();
        inner.connected = None;
        if let Some(meter) = inner.meter.take() {
            inner.traffic = inner.traffic.plus(meter());
        }
    }

    /// The connection came back by itself.
    pub fn reconnected(&self) {
        let mut inner = self.lock();
        if inner.connected.is_none() {
            inner.connected = Some(inner.server.clone());
            inner.connects += 1;
            inner.refused_subjects.clear();
        }
    }

    /// The node showed a token that ends then, in Unix seconds.
    pub fn presented(&self, expires: Option<i64>) {
        self.lock().token_expires = expires;
    }

    /// The connection is gone.
    pub fn disconnected(&self) {
        self.lock().connected = None;
    }

    /// A try to connect failed.
    pub fn failed(&self, reason: String) {
        self.lock().last_error = Some(reason);
    }

    /// The brokers as last resolved.
    pub fn set_servers(&self, servers: Vec<String>) {
        self.lock().servers = servers;
    }

    /// The broker does not let the node hear this subject.
    pub fn refused(&self, subject: String) {
        let mut inner = self.lock();
        if inner.refused_subjects.len() < MAX_REFUSED {
            inner.refused_subjects.insert(subject);
        }
    }

    /// Address of the broker in use.
    pub fn connected_server(&self) -> Option<String> {
        self.lock().connected.clone()
    }

    /// Whether the connection is encrypted.
    pub fn secure(&self) -> bool {
        self.lock().secure
    }

    /// The brokers as last resolved.
    pub fn known_servers(&self) -> Vec<String> {
        self.lock().servers.clone()
    }

    /// Connections after the first.
    pub fn reconnects(&self) -> u64 {
        self.lock().connects.saturating_sub(1)
    }

    /// Subjects the node should hear and may not: it is deaf there.
    pub fn refused_subjects(&self) -> Vec<String> {
        self.lock().refused_subjects.iter().cloned().collect()
    }

    /// When the token in use ends, in Unix seconds.
    pub fn token_expires(&self) -> Option<i64> {
        self.lock().token_expires
    }

    /// Why the latest try to connect failed, while there is no connection.
    pub fn last_error(&self) -> Option<String> {
        self.lock().last_error.clone()
    }

    /// What went over the connections.
    pub fn traffic(&self) -> Traffic {
        let inner = self.lock();
        let now = inner
            .meter
            .as_ref()
            .map(|meter| meter())
            .unwrap_or_default();
        inner.traffic.plus(now)
    }

    /// The longest a try to connect takes.
    pub fn connect_timeout(&self) -> Duration {
        self.connect_timeout
    }

    /// Whether brokers are looked up in the DNS.
    pub fn uses_srv(&self) -> bool {
        self.srv_domain.is_some()
    }

    /// The domain of that look-up.
    pub fn srv_domain(&self) -> &str {
        self.srv_domain.as_deref().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Traffic {
    fn plus(self, other: Self) -> Self {
        Self {
            in_messages: self.in_messages.saturating_add(other.in_messages),
            in_bytes: self.in_bytes.saturating_add(other.in_bytes),
            out_messages: self.out_messages.saturating_add(other.out_messages),
            out_bytes: self.out_bytes.saturating_add(other.out_bytes),
        }
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner")
            .field("connected", &self.connected)
            .field("connects", &self.connects)
            .finish_non_exhaustive()
    }
}
