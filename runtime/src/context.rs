//! What a component gets from its process.

use prometheus::Registry;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::nats::Connector;
use crate::readiness::{Latch, Readiness};
use crate::secret::Secrets;
use crate::tasks::Tasks;

/// Everything that a component's `run` gets; in a test it is made by hand with [`Context::new`].
#[derive(Debug)]
pub struct Context {
    /// Cancelled when the stop begins.
    pub shutdown: CancellationToken,
    /// Where the component starts its tasks.
    pub tasks: Tasks,
    /// The connection of the settings, if they have one; see [`Context::broker`].
    pub nats: Option<async_nats::Client>,
    /// Makes further connections.
    pub connector: Connector,
    /// Where the component registers its metrics.
    pub registry: Registry,
    /// Where the component says what it waits for and what it lost.
    pub readiness: Readiness,
    /// Held from the start: the component releases it once it does its work.
    pub started: Latch,
    /// The time of day.
    pub clock: Clock,
    /// Reads secrets by the paths of the configuration.
    pub secrets: Secrets,
}

/// The settings have no broker, and the component needs one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the settings name no broker")]
pub struct NoBroker;

impl Context {
    /// A context without broker, with the system's clock, an empty registry and no credentials.
    ///
    /// # Errors
    ///
    /// When the metrics of connections cannot be registered, which a fresh registry allows.
    pub fn new() -> Result<Self, prometheus::Error> {
        Self::with(
            CancellationToken::new(),
            Registry::new(),
            Secrets::default(),
        )
    }

    pub(crate) fn with(
        shutdown: CancellationToken,
        registry: Registry,
        secrets: Secrets,
    ) -> Result<Self, prometheus::Error> {
        let readiness = Readiness::new();
        Ok(Self {
            tasks: Tasks::new(),
            nats: None,
            connector: Connector::new(
                &registry,
                readiness.clone(),
                secrets.clone(),
                shutdown.clone(),
            )?,
            started: readiness.latch("start"),
            clock: Clock::system(),
            shutdown,
            registry,
            readiness,
            secrets,
        })
    }

    /// The connection of the settings.
    ///
    /// # Errors
    ///
    /// When they have none.
    pub fn broker(&self) -> Result<async_nats::Client, NoBroker> {
        self.nats.clone().ok_or(NoBroker)
    }

    /// JetStream over the connection of the settings.
    ///
    /// # Errors
    ///
    /// When they have none.
    #[cfg(feature = "jetstream")]
    pub fn jetstream(&self) -> Result<async_nats::jetstream::Context, NoBroker> {
        self.broker().map(async_nats::jetstream::new)
    }
}
