//! What leaves the node, over whichever connection there is.

use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use tokio::sync::watch;

use crate::stats::{Count, Stats};

/// A message waits this long for a connection; clients have given up by then.
const PATIENCE: Duration = Duration::from_secs(10);

/// Publishes messages.
#[derive(Debug, Clone)]
pub(super) struct Outbox {
    clients: watch::Receiver<Option<Client>>,
    stats: Arc<Stats>,
}

impl Outbox {
    pub(super) fn new(clients: watch::Receiver<Option<Client>>, stats: Arc<Stats>) -> Self {
        Self { clients, stats }
    }

    /// The largest message the broker takes.
    pub(super) fn max_payload(&self) -> usize {
        self.clients
            .borrow()
            .as_ref()
            .map_or(1024 * 1024, Client::max_payload)
    }

    /// Publishes, or counts the message as unsent; `count` is what it is counted as when sent.
    pub(super) async fn publish(&self, subject: String, payload: Vec<u8>, count: Count) {
        let sent = tokio::time::timeout(PATIENCE, self.try_publish(subject.clone(), payload)).await;
        match sent {
            Ok(Ok(())) => self.stats.add(count),
            Ok(Err(reason)) => self.unsent(&subject, &reason),
            Err(_elapsed) => self.unsent(&subject, "there was no connection in time"),
        }
    }

    async fn try_publish(&self, subject: String, payload: Vec<u8>) -> Result<(), String> {
        let mut clients = self.clients.clone();
        let client = match clients.wait_for(Option::is_some).await {
            Ok(client) => client.clone(),
            Err(_closed) => None,
        };
        let Some(client) = client else {
            return Err("the node is stopping".to_owned());
        };
        client
            .publish(subject, payload.into())
            .await
            .map_err(|error| overlay_runtime::err_chain(&error))
    }

    fn unsent(&self, subject: &str, reason: &str) {
        self.stats.add(Count::Unsent);
        tracing::error!(subject, reason, "a message could not be sent");
    }
}
