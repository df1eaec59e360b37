//! Questions to the fleet: who is there, and do this.

mod call;
mod ping;

use bytes::Bytes;
use overlay_protocol::envelope::Limits;
use overlay_protocol::id::{AgentName, Ksuid};
use overlay_tokens::request::sign_request;
use tokio::sync::watch;

use crate::clock;
use crate::config::Config;
use crate::connection::{BrokerError, ConnectError, Connection};
use crate::message::{self, Draft};
use crate::signer::{self, Signer, SignerError};
use crate::targets::LimitError;

pub use self::call::{Batches, Call, Outcome, Target};
pub use self::ping::{Heard, Question};

/// Bodies that agents may send at most, whatever the broker lets through.
const MAX_REPLY_BYTES: usize = 64 * 1024 * 1024;

/// The fleet, as one caller sees it over one connection.
#[derive(Debug)]
pub struct Fleet {
    connection: Connection,
    config: Config,
    signer: Option<Signer>,
    stop: watch::Sender<bool>,
}

/// Ends the waiting of a [`Fleet`]'s questions; what has come by then is their answer.
#[derive(Debug, Clone)]
pub struct Stop(watch::Sender<bool>);

/// Why a question could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The request did not get to the broker, or the replies cannot get back.
    #[error("cannot reach the fleet through the broker")]
    Broker(#[from] BrokerError),
    /// The caller's requests need another's signature.
    #[error("requests of {0} must be signed by a signer, and none is configured")]
    NeedsSigner(String),
    /// The signer did not sign.
    #[error(transparent)]
    Signer(#[from] SignerError),
    /// Requests without a filter are forbidden by the configuration.
    #[error("requests without filters have been disabled")]
    NeedsFilter,
    /// The limit leaves nobody.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// The subject for replies is none.
    #[error("`{0}` is not a subject that replies can go to")]
    ReplyTo(String),
    /// The name of an agent would break a subject.
    #[error("`{0}` is not the name of an agent")]
    Agent(String),
    /// This machine has no random numbers.
    #[error("no random numbers to make a request id from")]
    Random,
}

impl Fleet {
    /// Connects to the fleet that `config` describes; `purpose` becomes part of the connection's name.
    ///
    /// # Errors
    ///
    /// As [`Connection::open`].
    pub async fn connect(config: Config, purpose: &str) -> Result<Self, ConnectError> {
        let signer = config.signer.as_ref().map(Signer::new).transpose()?;
        let connection = Connection::open(&config, purpose).await?;
        Ok(Self {
            connection,
            config,
            signer,
            stop: watch::Sender::new(false),
        })
    }

    /// The connection to the broker.
    #[must_use]
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The configuration it was made with.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// A handle to end the waiting from elsewhere, for example on Ctrl-C.
    #[must_use]
    pub fn stop(&self) -> Stop {
        Stop(self.stop.clone())
    }

    /// The limits for replies: whatever the broker lets through, up to a bound.
    #[must_use]
    pub fn limits(&self) -> Limits {
        let bytes = self.connection.nats().max_payload().min(MAX_REPLY_BYTES);
        let default = Limits::default();
        Limits {
            max_bytes: default.max_bytes.max(bytes),
            ..default
        }
    }

    async fn stopped(&self) {
        let mut receiver = self.stop.subscribe();
        // The sender lives as long as `self`: waiting cannot fail.
        receiver
            .wait_for(|stopped| *stopped)
            .await
            .map(drop)
            .unwrap_or_default();
    }

    /// Whether a request of this caller to `agent` can get a signature that counts.
    fn may_ask(&self, agent: &AgentName) -> Result<(), CallError> {
        let credentials = self.connection.credentials();
        if credentials.can_sign() || self.signer.is_some() || signer::is_signer(agent) {
            Ok(())
        } else {
            Err(CallError::NeedsSigner(credentials.caller().to_owned()))
        }
    }

    /// Has the request signed, by the caller or by the signer, and packs it for the broker.
    async fn seal(&self, draft: &Draft) -> Result<Bytes, CallError> {
        let credentials = self.connection.credentials();
        let request = draft.request(credentials, clock::now_ns());
        let signed = match &self.signer {
            _ if signer::is_signer(&draft.agent) => signer::unsigned(request, credentials),
            None => sign_request(request, credentials.key(), credentials.token()),
            Some(signer) => {
                let order = signer::Order {
                    request,
                    connection: &self.connection,
                    config: &self.config,
                    limits: self.limits(),
                };
                tokio::select! {
                    // TLS makes a large state, which most callers never need.
                    signed = Box::pin(signer.sign(&order)) => signed?,
                    () = self.stopped() => return Err(SignerError::Interrupted.into()),
                }
            }
        };
        Ok(draft.pack(&signed))
    }
}

impl Stop {
    /// Ends the waiting, now and in future.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

fn agent_name(name: &str) -> Result<AgentName, CallError> {
    name.parse().map_err(|_| CallError::Agent(name.to_owned()))
}

fn new_id() -> Result<Ksuid, CallError> {
    message::new_id().ok_or(CallError::Random)
}
