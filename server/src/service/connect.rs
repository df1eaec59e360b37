//! One try to connect to one broker, with token and signature over the broker's nonce.
//!
//! The client library gets one try of its own after a loss, which keeps the subscriptions through
//! a short one. Everything further is [`super::Running`]'s: names are resolved anew, the next broker
//! is taken, waits grow.

use std::sync::Arc;

use async_nats::{Auth, AuthError, Client, ConnectError, ConnectOptions, Event};
use overlay_protocol::id::md5_hex;
use overlay_protocol::subject;
use overlay_runtime::{Backoff, Clock, SecretError, Secrets};
use overlay_tokens::{Nonce, UnixTime};
use tokio::sync::mpsc;

use super::{Once, tls};
use crate::config::{Broker, Login, Password, Tls};
use crate::identity::Credentials;
use crate::link::{Link, PING_INTERVAL};
use crate::node::Node;
use crate::provisioning::Ticket;

/// A connection, what happens to it, and to whom it is.
pub(super) type Opened = (Client, mpsc::Receiver<Event>, String);

/// Messages that wait for the node, a subscription; above it the library drops and says so.
const SUBSCRIPTION_CAPACITY: usize = 1024;

/// Commands that wait for the connection.
const SENDER_CAPACITY: usize = 256;

const EVENT_CAPACITY: usize = 64;

/// Why a broker could not be reached.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    /// TLS could not be set up.
    #[error("could not set up TLS")]
    Tls(#[from] tls::TlsError),
    /// The broker was not reached or did not let the node in.
    #[error(transparent)]
    Connect(#[from] ConnectError),
}

/// Makes connections.
#[derive(Debug)]
pub(super) struct Connector {
    broker: Broker,
    name: String,
    inbox_prefix: String,
    papers: Papers,
    link: Arc<Link>,
    clock: Clock,
}

/// What the node shows to get in.
#[derive(Debug, Clone)]
pub(super) enum Papers {
    /// The token of a member, and the broker's nonce signed by its key.
    Member(Arc<Credentials>),
    /// The provisioning token, which proves nothing but that the node was invited.
    Ticket(Arc<Ticket>),
}

impl Connector {
    pub(super) fn new(broker: Broker, node: &Node, papers: Papers, clock: Clock) -> Self {
        let identity = node.identity.as_str();
        let inbox_prefix = match papers {
            Papers::Member(_) => subject::inbox_prefix(&node.main_collective, &md5_hex(identity)),
            Papers::Ticket(_) => subject::inbox_prefix_unprovisioned(&node.main_collective),
        };
        Self {
            broker,
            name: identity.to_owned(),
            inbox_prefix,
            papers,
            link: Arc::clone(&node.link),
            clock,
        }
    }

    pub(super) async fn open(
        &self,
        url: &str,
    ) -> Result<(Client, mpsc::Receiver<Event>), OpenError> {
        let (sender, events) = mpsc::channel(EVENT_CAPACITY);
        let connected = Once::default();
        let once = connected.clone();
        let options = self
            .authenticated()
            .name(&self.name)
            .custom_inbox_prefix(&self.inbox_prefix)
            .connection_timeout(self.broker.connect_timeout)
            .ping_interval(PING_INTERVAL)
            .subscription_capacity(SUBSCRIPTION_CAPACITY)
            .client_capacity(SENDER_CAPACITY)
            .ignore_discovered_servers()
            .max_reconnects(1)
            .reconnect_delay_callback(move |_attempt| {
                if once.is_set() {
                    Backoff::RECONNECT.jittered(0)
                } else {
                    std::time::Duration::ZERO
                }
            })
            .event_callback(move |event| {
                let sender = sender.clone();
                async move {
                    if sender.try_send(event).is_err() {
                        tracing::debug!("an event of the connection was not noted");
                    }
                }
            });
        let client = self.encrypted(options)?.connect(url).await?;
        connected.set();
        Ok((client, events))
    }

    fn authenticated(&self) -> ConnectOptions {
        let papers = self.papers.clone();
        let link = Arc::clone(&self.link);
        let clock = self.clock.clone();
        let login = self.broker.login.clone();
        ConnectOptions::with_auth_callback(move |nonce| {
            let shown = papers.show(&nonce, UnixTime::from(clock.now()), &link);
            let login = login.clone();
            async move {
                let mut auth = shown.map_err(AuthError::new)?;
                if let Some(login) = login {
                    auth.password = Some(password(&login).map_err(AuthError::new)?);
                    auth.username = Some(login.user);
                }
                Ok(auth)
            }
        })
    }

    fn encrypted(&self, options: ConnectOptions) -> Result<ConnectOptions, OpenError> {
        let mut options = match &self.broker.tls {
            Tls::None => return Ok(options),
            Tls::Pinned(sums) => {
                let config = tls::pinned(sums, self.broker.certificate.as_ref())?;
                return Ok(options.require_tls(true).tls_client_config(config));
            }
            Tls::Unverified => {
                let config = tls::unverified(self.broker.certificate.as_ref())?;
                return Ok(options.require_tls(true).tls_client_config(config));
            }
            Tls::Verified(file) => options.add_root_certificates(file.clone()),
            Tls::System => options,
        };
        if let Some((certificate, key)) = &self.broker.certificate {
            options = options.add_client_certificate(certificate.clone(), key.clone());
        }
        Ok(options.require_tls(true))
    }
}

impl Papers {
    fn show(&self, nonce: &[u8], now: UnixTime, link: &Link) -> Result<Auth, String> {
        match self {
            Self::Member(credentials) => show(credentials, nonce, now, link),
            Self::Ticket(ticket) => {
                link.presented(ticket.claims().standard.expires_at());
                let mut auth = Auth::new();
                auth.token = Some(ticket.text().to_owned());
                Ok(auth)
            }
        }
    }
}

/// Reads the files and signs the nonce as the broker sent it, without decoding it. Nothing but a nonce is signed.
fn show(
    credentials: &Credentials,
    nonce: &[u8],
    now: UnixTime,
    link: &Link,
) -> Result<Auth, String> {
    let holder = credentials
        .read(now)
        .map_err(|error| overlay_runtime::err_chain(&error))?;
    let nonce = Nonce::offered(nonce).map_err(|error| error.to_string())?;
    link.presented(holder.expires_at());
    let mut auth = Auth::new();
    auth.token = Some(holder.text().to_owned());
    auth.signature = Some(nonce.sign(holder.key()).to_vec());
    Ok(auth)
}

fn password(login: &Login) -> Result<String, SecretError> {
    match &login.password {
        Password::File(path) => Ok(Secrets::default().read(path)?.expose_text()?.to_owned()),
        Password::Given(secret) => Ok(secret.expose_text()?.to_owned()),
    }
}

/// A number below `bound`, from the system.
pub(super) fn random_below(bound: u32) -> u32 {
    getrandom::u32().map_or(0, |number| number % bound.max(1))
}
