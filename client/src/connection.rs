//! One connection to the broker, proved by token and key.
//!
//! Everything a command does goes over this one connection.

mod notice;

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Auth, AuthError, ConnectErrorKind, ConnectOptions, ServerAddr, Subscriber};
use bytes::Bytes;
use overlay_protocol::subject;
use overlay_tokens::Nonce;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use self::notice::Notices;
use crate::clock;
use crate::config::{Config, Tls};
use crate::credentials::{Credentials, CredentialsError};
use crate::tls;

pub use self::notice::Collected;
pub use crate::tls::TlsError;

/// Replies that may wait to be read; more are lost, and [`Collected::overruns`] tells.
const REPLY_BUFFER: usize = 128 * 1024;
/// The limit of one try to connect; brokers give a login two seconds.
pub(crate) const TRY_TIMEOUT: Duration = Duration::from_secs(4);
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// The limit for what was sent to leave.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(10);

/// The limit for an answer of the broker itself.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// Objections take another way through this program than answers do.
const OBJECTION_TIME: Duration = Duration::from_millis(50);

/// What the broker may object to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Objection {
    /// A message on a subject that the caller may not publish on.
    Publish,
    /// A subscription to a subject that the caller may not read.
    Subscribe,
}

/// A connection to the broker as one caller.
#[derive(Debug)]
pub struct Connection {
    nats: async_nats::Client,
    credentials: Arc<Credentials>,
    notices: Notices,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The caller's own token or key is of no use.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// Certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A server is not a URL.
    #[error("`{0}` is not the URL of a broker")]
    Url(String),
    /// The broker answered, and does not let this caller in.
    #[error("the broker refused the login of {caller}")]
    Refused {
        /// Who wanted in.
        caller: String,
        /// The broker's answer.
        source: async_nats::ConnectError,
    },
    /// What the broker offers to be signed is no nonce, so nothing was signed and no token shown.
    #[error("the broker at {servers} cannot be logged in to")]
    NotANonce {
        /// The URLs tried.
        servers: String,
        /// What is wrong with it.
        source: async_nats::ConnectError,
    },
    /// The broker's certificate is not trusted.
    #[error("the certificate of the broker at {servers} is not trusted")]
    Untrusted {
        /// The URLs tried.
        servers: String,
        /// What is wrong with it.
        source: async_nats::ConnectError,
    },
    /// A broker is there, but a login is not answered.
    #[error("the broker at {servers} did not decide on the login within {within:?}")]
    Undecided {
        /// The URLs tried.
        servers: String,
        /// The limit.
        within: Duration,
    },
    /// No broker was reached in time.
    #[error("no broker reached at {servers} within {within:?}")]
    Unreachable {
        /// The URLs tried.
        servers: String,
        /// The limit.
        within: Duration,
        /// What the last try said.
        source: Option<async_nats::ConnectError>,
    },
}

/// Why a message did not leave, or a subscription was not made.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// The connection is closed.
    #[error("the connection to the broker is closed")]
    Closed,
    /// The broker does not read.
    #[error("the broker did not take what was sent within {FLUSH_TIMEOUT:?}")]
    NotTaken,
    /// A message is too large for the broker.
    #[error("the message has {bytes} bytes, the broker takes {limit}")]
    TooLarge {
        /// The message's size.
        bytes: usize,
        /// The broker's limit.
        limit: usize,
    },
    /// The broker does not allow it.
    #[error("the broker does not allow it: {0}")]
    NotAllowed(String),
}

impl Connection {
    /// Connects as the caller that `config` names; `purpose` becomes part of the connection's name.
    ///
    /// Tries again while no broker can be reached, but a refusal is final.
    ///
    /// # Errors
    ///
    /// Own files that nobody would accept, a refusal, or the time limit.
    pub async fn open(config: &Config, purpose: &str) -> Result<Self, ConnectError> {
        let credentials = Arc::new(Credentials::load(config, clock::now())?);
        let servers = addresses(&config.servers)?;
        let notices = Notices::default();
        let prefix = subject::inbox_prefix(&config.collective, credentials.uid());
        let name = format!("{}-{purpose}", credentials.caller());
        let options = options(Arc::clone(&credentials), notices.clone(), config)
            .custom_inbox_prefix(prefix)
            .name(name);
        let options = tls::apply(options, &config.tls)?;
        let nats = connect(options, servers, config, credentials.caller()).await?;
        Ok(Self {
            nats,
            credentials,
            notices,
        })
    }

    /// Who is connected.
    #[must_use]
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// The connection itself, for JetStream and the like.
    #[must_use]
    pub fn nats(&self) -> &async_nats::Client {
        &self.nats
    }

    /// Hands out what the broker said since the last call.
    #[must_use]
    pub fn take_notices(&self) -> Collected {
        self.notices.take()
    }

    /// Subscribes. The broker knows of it before it gets anything that is published later.
    ///
    /// # Errors
    ///
    /// The broker does not read. That it does not allow it is said later: see
    /// [`Connection::hear_objection`].
    pub async fn subscribe(&self, subject: String) -> Result<Subscriber, BrokerError> {
        let subscriber = self
            .nats
            .subscribe(subject)
            .await
            .map_err(|_| BrokerError::Closed)?;
        self.flush().await?;
        Ok(subscriber)
    }

    /// Waits until the broker has read everything up to now, and for its objections.
    ///
    /// # Errors
    ///
    /// It does not allow something of that kind.
    pub async fn hear_objection(&self, to: Objection) -> Result<(), BrokerError> {
        let word = match to {
            Objection::Publish => "Publish",
            Objection::Subscribe => "Subscription",
        };
        let all_read = async {
            // A caller who may not even ask who it is waits for the limit.
            let question = self.nats.request(subject::USER_INFO, Bytes::new());
            drop(timeout(ANSWER_TIMEOUT, question).await);
            sleep(OBJECTION_TIME).await;
        };
        tokio::select! {
            refusal = self.notices.refusal(word) => Err(BrokerError::NotAllowed(refusal)),
            () = all_read => Ok(()),
        }
    }

    /// Hands a message to the connection; [`Connection::flush`] makes sure that it left.
    ///
    /// # Errors
    ///
    /// The message is too large, or the connection is closed.
    pub async fn publish(&self, subject: String, payload: Bytes) -> Result<(), BrokerError> {
        self.fits(&payload)?;
        self.nats
            .publish(subject, payload)
            .await
            .map_err(|_| BrokerError::Closed)
    }

    /// As [`Connection::publish`], and lets the broker answer at once when nobody listens; the subscription to
    /// `reply` comes first.
    pub(crate) async fn ask(
        &self,
        subject: String,
        reply: String,
        payload: Bytes,
    ) -> Result<Subscriber, BrokerError> {
        self.fits(&payload)?;
        // Both take the same way, in this order: there is no need to wait for the broker between them.
        let replies = self
            .nats
            .subscribe(reply.clone())
            .await
            .map_err(|_| BrokerError::Closed)?;
        self.nats
            .publish_with_reply(subject, reply, payload)
            .await
            .map_err(|_| BrokerError::Closed)?;
        Ok(replies)
    }

    /// Waits for the broker's objection to a message or a subscription of this subject.
    pub(crate) async fn objection_to(&self, subject: &str) -> BrokerError {
        BrokerError::NotAllowed(self.notices.refusal(subject).await)
    }

    fn fits(&self, payload: &Bytes) -> Result<(), BrokerError> {
        let limit = self.nats.max_payload();
        if payload.len() > limit {
            return Err(BrokerError::TooLarge {
                bytes: payload.len(),
                limit,
            });
        }
        Ok(())
    }

    /// Waits until everything that was published has left: no faster than the broker reads.
    ///
    /// # Errors
    ///
    /// The broker does not read.
    pub async fn flush(&self) -> Result<(), BrokerError> {
        match timeout(FLUSH_TIMEOUT, self.nats.flush()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(BrokerError::Closed),
            Err(_) => Err(BrokerError::NotTaken),
        }
    }
}

pub(crate) fn addresses(urls: &[String]) -> Result<Vec<ServerAddr>, ConnectError> {
    urls.iter()
        .map(|url| url.parse().map_err(|_| ConnectError::Url(url.clone())))
        .collect()
}

/// Answers the broker's nonce with token and signature; Choria's brokers read the token from either place.
fn options(credentials: Arc<Credentials>, notices: Notices, config: &Config) -> ConnectOptions {
    let login = config.broker_user.clone();
    ConnectOptions::with_auth_callback(move |nonce| {
        let credentials = Arc::clone(&credentials);
        let login = login.clone();
        async move {
            let nonce = Nonce::offered(&nonce).map_err(AuthError::new)?;
            let mut auth = Auth::new();
            auth.token = Some(credentials.token().to_owned());
            auth.jwt = Some(credentials.token().to_owned());
            auth.signature = Some(nonce.sign(credentials.key()).to_vec());
            if let Some(login) = login {
                auth.username = Some(login.user);
                auth.password = Some(login.password);
            }
            Ok(auth)
        }
    })
    .event_callback(move |event| {
        notices.note(&event);
        async {}
    })
    .connection_timeout(TRY_TIMEOUT)
    .subscription_capacity(REPLY_BUFFER)
    .ping_interval(Duration::from_secs(30))
}

pub(crate) async fn connect(
    options: ConnectOptions,
    servers: Vec<ServerAddr>,
    config: &Config,
    caller: &str,
) -> Result<async_nats::Client, ConnectError> {
    let within = config.connect_timeout;
    let deadline = Instant::now() + within;
    let names = config.servers.join(", ");
    let mut pause = FIRST_PAUSE;
    let mut last = None;
    loop {
        match timeout_at(deadline, options.clone().connect(servers.clone())).await {
            Ok(Ok(client)) => return Ok(client),
            Ok(Err(source)) if source.kind() == ConnectErrorKind::AuthorizationViolation => {
                return Err(ConnectError::Refused {
                    caller: caller.to_owned(),
                    source,
                });
            }
            Ok(Err(source)) if is_untrusted(&source, &config.tls) => {
                return Err(ConnectError::Untrusted {
                    servers: names,
                    source,
                });
            }
            // Another one of several may offer a nonce.
            Ok(Err(source)) if offers_no_nonce(&source) && servers.len() == 1 => {
                return Err(gave_up(names, within, Some(source)));
            }
            Ok(Err(source)) => {
                tracing::debug!(error = %source, "no connection yet");
                last = Some(source);
            }
            Err(_) => return Err(gave_up(names, within, last)),
        }
        if Instant::now() + pause >= deadline {
            return Err(gave_up(names, within, last));
        }
        sleep(pause).await;
        pause = LONGEST_PAUSE.min(pause * 2);
    }
}

fn gave_up(
    servers: String,
    within: Duration,
    last: Option<async_nats::ConnectError>,
) -> ConnectError {
    let last = match last {
        Some(source) if offers_no_nonce(&source) => {
            return ConnectError::NotANonce { servers, source };
        }
        other => other,
    };
    let texts = last.as_ref().map(chain).unwrap_or_default();
    if texts.to_lowercase().contains("authentication timeout") {
        return ConnectError::Undecided { servers, within };
    }
    ConnectError::Unreachable {
        servers,
        within,
        source: last,
    }
}

/// Whether the login ended on this side, which only the broker's offer makes happen.
fn offers_no_nonce(error: &async_nats::ConnectError) -> bool {
    error.kind() == ConnectErrorKind::Authentication
}

/// Whether trying again cannot help because the broker shows a certificate that is not trusted.
fn is_untrusted(error: &async_nats::ConnectError, tls: &Tls) -> bool {
    tls.mode == crate::config::TlsMode::Verify && chain(error).contains("certificate")
}

fn chain(error: &async_nats::ConnectError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
