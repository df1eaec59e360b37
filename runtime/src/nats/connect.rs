//! The first connection, its end, and single requests.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, ConnectOptions, Message, Request, RequestError, ServerAddr};
use bytes::Bytes;
use futures_util::StreamExt as _;
use prometheus::Registry;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::exit::err_chain;
use crate::readiness::Readiness;
use crate::secret::{Secret, SecretError, Secrets};

use super::events::{Latest, LinkState, Metrics, Observer};
use super::settings::{Auth, Settings};

/// Makes connections that are observed; one per process.
#[derive(Clone, Debug)]
pub struct Connector {
    metrics: Metrics,
    latest: Latest,
    readiness: Readiness,
    secrets: Secrets,
    shutdown: CancellationToken,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The secret to log in with cannot be read.
    #[error("log in to the broker as {name}")]
    Secret {
        /// The connection.
        name: String,
        /// What is wrong with it.
        source: SecretError,
    },
    /// No broker could be reached within the limit.
    #[error("no broker reached as {name} within {limit:?} ({attempts} attempts)")]
    Limit {
        /// The connection.
        name: String,
        /// How long it was tried.
        limit: Duration,
        /// How often.
        attempts: usize,
        /// The last failure.
        source: Box<async_nats::ConnectError>,
    },
    /// The process stops.
    #[error("stopped before a broker was reached")]
    Stopped,
}

/// Why it is not known what the broker has taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettleError {
    /// No answer in time.
    #[error("no round trip to the broker within {0:?}")]
    TimedOut(Duration),
    /// The connection is closed.
    #[error("the connection to the broker is closed")]
    Closed,
}

impl Connector {
    /// Registers the metrics of connections.
    ///
    /// # Errors
    ///
    /// When the registry has them already.
    pub fn new(
        registry: &Registry,
        readiness: Readiness,
        secrets: Secrets,
        shutdown: CancellationToken,
    ) -> Result<Self, prometheus::Error> {
        Ok(Self {
            metrics: Metrics::register(registry)?,
            latest: Latest::default(),
            readiness,
            secrets,
            shutdown,
        })
    }

    /// Connects, trying again with jitter until the limit; afterwards reconnects without end.
    ///
    /// Being refused is tried again too: whoever decides about logins may be starting as well.
    ///
    /// # Errors
    ///
    /// When the limit is over, the secret cannot be read, or the process stops.
    pub async fn connect(&self, settings: &Settings) -> Result<Client, ConnectError> {
        let login =
            Login::read(&settings.auth, &self.secrets).map_err(|source| ConnectError::Secret {
                name: settings.name.clone(),
                source,
            })?;
        self.connect_with(settings, || login.options()).await
    }

    /// Connects as [`Self::connect`] does, with a login of the caller's own (`settings.auth` is not
    /// looked at): `login` makes the options of each attempt, such as an auth callback.
    ///
    /// # Errors
    ///
    /// When the limit is over or the process stops.
    pub async fn connect_with(
        &self,
        settings: &Settings,
        login: impl Fn() -> ConnectOptions,
    ) -> Result<Client, ConnectError> {
        let (client, _state) = self.open(settings, login, || None).await?;
        Ok(client)
    }

    /// Connects as [`Self::connect_with`] does, and yields what becomes of the connection as well.
    ///
    /// `why` is what the login knows of its failures, such as the file that has expired: it goes into the log and into
    /// readiness with each failure. A connection of the same name that was made before is still told of in logs and counted,
    /// but readiness follows this one.
    ///
    /// # Errors
    ///
    /// When the limit is over or the process stops.
    pub async fn open(
        &self,
        settings: &Settings,
        login: impl Fn() -> ConnectOptions,
        why: impl Fn() -> Option<String> + Send + Sync + 'static,
    ) -> Result<(Client, watch::Receiver<LinkState>), ConnectError> {
        let part = self.readiness.part(format!("broker:{}", settings.name));
        let observer = Observer::new(
            settings.name.clone(),
            part,
            self.metrics.clone(),
            &self.latest,
            Box::new(why),
        );
        let observer = Arc::new(observer);
        let addresses: Vec<ServerAddr> = settings
            .servers
            .iter()
            .map(|url| url.address().clone())
            .collect();
        // None is for ever.
        let deadline = Instant::now().checked_add(settings.connect_limit);
        for attempt in 0.. {
            let options = observed(login(), settings, &observer);
            let connecting = options.connect(addresses.as_slice());
            let error = tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return Err(ConnectError::Stopped),
                connected = connecting => match connected {
                    Ok(client) => {
                        observer.connected();
                        return Ok((client, observer.state()));
                    }
                    Err(error) => error,
                },
            };
            observer.failure(&err_chain(&error));
            let wait = Backoff::CONNECT.jittered(attempt);
            if deadline.is_some_and(|deadline| Instant::now() + wait >= deadline) {
                return Err(ConnectError::Limit {
                    name: settings.name.clone(),
                    limit: settings.connect_limit,
                    attempts: attempt + 1,
                    source: Box::new(error),
                });
            }
            tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return Err(ConnectError::Stopped),
                () = tokio::time::sleep(wait) => {}
            }
        }
        // The attempts are without end; only the limit and the stop leave the loop.
        Err(ConnectError::Stopped)
    }
}

/// The secret of a login, read once.
enum Login {
    None,
    Nkey(Secret),
    Password(String, Secret),
}

impl Login {
    fn read(auth: &Auth, secrets: &Secrets) -> Result<Self, SecretError> {
        let text = |path| {
            let secret = secrets.read(path)?;
            secret.expose_text()?;
            Ok(secret)
        };
        Ok(match auth {
            Auth::None => Self::None,
            Auth::Nkey { seed_file } => Self::Nkey(text(seed_file)?),
            Auth::Password {
                user,
                password_file,
            } => Self::Password(user.clone(), text(password_file)?),
        })
    }

    fn options(&self) -> ConnectOptions {
        let text = |secret: &Secret| secret.expose_text().unwrap_or_default().to_owned();
        match self {
            Self::None => ConnectOptions::new(),
            Self::Nkey(seed) => ConnectOptions::with_nkey(text(seed)),
            Self::Password(user, password) => {
                ConnectOptions::with_user_and_password(user.clone(), text(password))
            }
        }
    }
}

fn observed(
    options: ConnectOptions,
    settings: &Settings,
    observer: &Arc<Observer>,
) -> ConnectOptions {
    let reconnect = settings.reconnect;
    let on_event = Arc::clone(observer);
    let first = Arc::clone(observer);
    let mut options = options
        .name(&settings.name)
        .connection_timeout(settings.attempt_limit)
        .ping_interval(settings.ping_interval)
        .subscription_capacity(settings.subscription_capacity)
        .event_callback(move |event| {
            on_event.observe(&event);
            std::future::ready(())
        })
        // The library waits before every attempt; those of the first connection are ours to time.
        .reconnect_delay_callback(move |attempt| {
            if first.has_been_connected() {
                reconnect.delay(attempt)
            } else {
                Duration::ZERO
            }
        });
    if let Some(prefix) = &settings.inbox_prefix {
        options = options.custom_inbox_prefix(prefix);
    }
    if let Some(file) = &settings.ca_file {
        options = options.add_root_certificates(file.clone());
    }
    options
}

/// Sends a request and waits for one reply for at most `limit`.
///
/// # Errors
///
/// When nobody listens, no reply comes in time, or the connection is closed.
pub async fn request(
    client: &Client,
    subject: impl async_nats::subject::ToSubject,
    payload: impl Into<Bytes>,
    limit: Duration,
) -> Result<Message, RequestError> {
    let request = Request::new().payload(payload.into()).timeout(Some(limit));
    client.send_request(subject, request).await
}

/// Waits until the broker has taken in all that was sent before, subscriptions above all.
///
/// A flush of the client library ends when the bytes are written, which is before the broker knows.
/// The user must be allowed to publish to its own inbox.
///
/// # Errors
///
/// When the round trip takes longer than `limit`, or the connection is closed.
pub async fn settled(client: &Client, limit: Duration) -> Result<(), SettleError> {
    let round_trip = async {
        let inbox = client.new_inbox();
        let mut echo = client.subscribe(inbox.clone()).await.ok()?;
        client.publish(inbox, Bytes::new()).await.ok()?;
        echo.next().await
    };
    match tokio::time::timeout(limit, round_trip).await {
        Ok(Some(_)) => Ok(()),
        Ok(None) => Err(SettleError::Closed),
        Err(_) => Err(SettleError::TimedOut(limit)),
    }
}

/// Sends what is still to be sent and closes the connection, for at most `limit`.
pub async fn drain(client: &Client, limit: Duration) {
    let drained = tokio::time::timeout(limit, async {
        client.flush().await.map_err(|error| err_chain(&error))?;
        client.drain().await.map_err(|error| err_chain(&error))
    });
    match drained.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(error, "connection not drained"),
        Err(_) => tracing::warn!(?limit, "connection not drained in time"),
    }
}
