//! The connection as the streams' user, and what works over it. Logins do without.

use std::time::Duration;

use async_nats::{Client, jetstream};
use overlay_runtime::nats::{ConnectError, Connector};
use overlay_runtime::{CancellationToken, Part, err_chain};

use super::publisher::Publisher;
use super::reconciler::Reconciler;
use super::supervise;
use crate::config::Streams;
use crate::metrics::Metrics;

/// Wait after a series of attempts that came to nothing.
const PAUSE: Duration = Duration::from_secs(1);

/// Connects, tries without end, and then publishes events and looks after the streams.
#[derive(Debug)]
pub(super) struct StreamsUser {
    pub(super) settings: Streams,
    pub(super) connector: Connector,
    /// The connection's part of readiness.
    pub(super) part: Part,
    pub(super) publisher: Publisher,
    /// Without it, another service looks after the streams.
    pub(super) reconciler: Option<Reconciler>,
    pub(super) metrics: Metrics,
}

impl StreamsUser {
    /// Works until the shutdown; no broker, no secret and no refusal ends it before.
    pub(super) async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let Some(client) = self.connect(&shutdown).await else {
            self.publisher.give_up().await;
            return Ok(());
        };
        let publisher = self.publisher.over(jetstream::new(client.clone()));
        let publishing = supervise::keep(publisher, self.metrics.clone(), shutdown.clone());
        let reconciler = self.reconciler.map(|reconciler| reconciler.over(client));
        let looking = async {
            match reconciler {
                Some(reconciler) => supervise::keep(reconciler, self.metrics, shutdown).await,
                None => Ok(()),
            }
        };
        tokio::try_join!(publishing, looking)?;
        Ok(())
    }

    async fn connect(&self, shutdown: &CancellationToken) -> Option<Client> {
        loop {
            let error = match self.connector.connect(&self.settings.broker).await {
                Ok(client) => return Some(client),
                Err(ConnectError::Stopped) => return None,
                Err(error) => err_chain(&error),
            };
            self.part.down(error.clone());
            tracing::warn!(
                error,
                "no connection as the streams' user: the streams are not looked after, refusals are only logged; trying on"
            );
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return None,
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }
}
