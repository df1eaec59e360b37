//! Connections: one for each call, tried for ever, with files that are read again at every login.
//!
//! ```text
//! Links::open(name, endpoint) ── token readable? ── connect ──┬── Link { client, jetstream, events }
//!        ^ waits, told in readiness as `broker:<name>` ───────┘   lost: logs in anew with what the files hold by then
//! ```

mod access;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, ConnectOptions, jetstream};
use overlay_runtime::nats::{self, ConnectError, LinkState, Reconnect};
use overlay_runtime::{Backoff, CancellationToken, Clock, Context, Readiness, Secrets, err_chain};
use tokio::sync::watch;

use crate::config::Endpoint;

use access::Access;

/// The wait before a connection is tried again: few replicators share a broker, and what waits at the source grows meanwhile.
const RECONNECT: Backoff = Backoff {
    first: Duration::from_millis(250),
    last: Duration::from_secs(5),
    steps: 10,
};
/// A broker that was silent for twice as long is taken for gone: half-open connections end no other way.
const PING: Duration = Duration::from_secs(10);
/// Messages that one subscription holds: what the broker's flow control lets through at a time, when messages are small.
const SUBSCRIPTION: usize = 131_072;
/// What is on its way to the connection's task.
const COMMANDS: usize = 8_192;
/// What a connection that is closed may take to send the rest.
const CLOSE: Duration = Duration::from_secs(2);

/// Makes connections; clones share everything.
#[derive(Clone, Debug)]
pub(super) struct Links {
    connector: nats::Connector,
    readiness: Readiness,
    secrets: Secrets,
    clock: Clock,
}

/// A connection. It comes back for ever; what was under way when it broke is the caller's to know.
///
/// It has no echo, as the original's: what is published here is not delivered to subscriptions here.
#[derive(Clone, Debug)]
pub(super) struct Link {
    pub(super) client: Client,
    /// With the endpoint's API prefix.
    pub(super) jetstream: jetstream::Context,
    /// Follows the connection; `Connected` counts how often it was made.
    pub(super) events: watch::Receiver<LinkState>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum LinkError {
    /// The process, or whoever wanted the connection, stops.
    #[error("stopped before a broker was reached")]
    Stopped,
}

impl Links {
    pub(super) fn new(cx: &Context) -> Self {
        Self {
            connector: cx.connector.clone(),
            readiness: cx.readiness.clone(),
            secrets: cx.secrets.clone(),
            clock: cx.clock.clone(),
        }
    }

    /// Opens a connection of its own, trying until it is there.
    ///
    /// `name` is what the broker, logs, metrics and readiness (`broker:<name>`) show; it is unique among the connections that
    /// are open at a time.
    ///
    /// # Errors
    ///
    /// Only when `shutdown` is cancelled.
    pub(super) async fn open(
        &self,
        name: &str,
        endpoint: &Endpoint,
        shutdown: &CancellationToken,
    ) -> Result<Link, LinkError> {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => Err(LinkError::Stopped),
            link = self.try_for_ever(name, endpoint) => link,
        }
    }

    async fn try_for_ever(&self, name: &str, endpoint: &Endpoint) -> Result<Link, LinkError> {
        let access = Arc::new(self.access(name, endpoint).await);
        let mut settings = nats::Settings::new(name, endpoint.servers.clone());
        let authorities = endpoint.tls.ca_file.as_deref();
        settings.ca_file = authorities.map(|path| self.secrets.locate(path));
        settings.inbox_prefix = access.inbox_prefix();
        settings.connect_limit = Duration::MAX;
        settings.attempt_limit = endpoint.attempt_limit;
        settings.reconnect = Reconnect::Backoff(RECONNECT);
        settings.ping_interval = PING;
        settings.subscription_capacity = SUBSCRIPTION;
        let why = Arc::clone(&access);
        let options = || options(&access, endpoint, &self.secrets);
        let opened = self.connector.open(&settings, options, move || why.why());
        let (client, events) = opened.await.map_err(|error| {
            // Without a limit, only the stop ends the attempts.
            if !matches!(error, ConnectError::Stopped) {
                tracing::error!(error = err_chain(&error), "connection given up");
            }
            LinkError::Stopped
        })?;
        let jetstream = match &endpoint.api_prefix {
            Some(prefix) => jetstream::with_prefix(client.clone(), prefix),
            None => jetstream::new(client.clone()),
        };
        Ok(Link {
            client,
            jetstream,
            events,
        })
    }

    /// Reads what must be known before the first attempt: whose token it is, and certificates for `insecure`.
    async fn access(&self, name: &str, endpoint: &Endpoint) -> Access {
        for attempt in 0.. {
            match Access::new(endpoint, &self.secrets, &self.clock) {
                Ok(access) => return access,
                Err(error) => {
                    let error = err_chain(&error);
                    if attempt == 0 {
                        tracing::error!(connection = name, error, "no login yet");
                    }
                    self.readiness.part(format!("broker:{name}")).down(error);
                }
            }
            tokio::time::sleep(RECONNECT.jittered(attempt)).await;
        }
        // The attempts are without end.
        std::future::pending().await
    }
}

/// Options of one attempt to connect.
fn options(access: &Arc<Access>, endpoint: &Endpoint, secrets: &Secrets) -> ConnectOptions {
    let tls = &endpoint.tls;
    let mut options = access
        .options()
        .no_echo()
        .client_capacity(COMMANDS)
        // Else whoever stands between could just not offer TLS.
        .require_tls(access.needs_tls());
    if let Some((certificate, key)) = &tls.own {
        options = options.add_client_certificate(secrets.locate(certificate), secrets.locate(key));
    }
    if tls.first {
        options = options.tls_first();
    }
    if let Some(config) = access.insecure_tls() {
        options = options.tls_client_config(config);
    }
    options
}

impl Link {
    /// Whether the connection is up now.
    pub(super) fn is_up(&self) -> bool {
        matches!(*self.events.borrow(), LinkState::Connected(_))
    }

    /// How often the connection was made; another number than before: what was under way may be lost.
    pub(super) fn generation(&self) -> u64 {
        let connects = &self.client.statistics().connects;
        connects.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// The largest message, headers and body together, that the broker takes; it may differ after a reconnect.
    pub(super) fn max_payload(&self) -> usize {
        self.client.max_payload()
    }

    /// Sends what is still to be sent, and closes, within two seconds.
    pub(super) async fn close(self) {
        nats::drain(&self.client, CLOSE).await;
    }
}
