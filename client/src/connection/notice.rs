//! What the broker says besides messages: refusals, lost messages, lost connections.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_nats::{Event, ServerError};
use overlay_protocol::subject;
use tokio::sync::Notify;

/// So many refusals are kept; a client that is refused more often learns nothing new.
const MAX_REFUSALS: usize = 100;

/// Collected notices of one connection; clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Notices(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    collected: Mutex<Collected>,
    refused: Notify,
}

/// What has been collected.
#[derive(Debug, Clone, Default)]
pub struct Collected {
    /// The broker's words for what this caller may not do.
    pub refusals: Vec<String>,
    /// How often replies came faster than they were read, so that some are lost.
    pub overruns: u64,
    /// How often the connection was lost.
    pub disconnects: u64,
}

impl Notices {
    pub(super) fn note(&self, event: &Event) {
        let mut collected = self.collected();
        match event {
            Event::SlowConsumer(_) => collected.overruns += 1,
            Event::Disconnected => collected.disconnects += 1,
            Event::ServerError(ServerError::SlowConsumer(_)) => collected.overruns += 1,
            Event::ServerError(
                error @ (ServerError::Other(_) | ServerError::AuthorizationViolation),
            ) => {
                if collected.refusals.len() < MAX_REFUSALS {
                    let text = error.to_string();
                    collected
                        .refusals
                        .push(text.trim_start_matches("nats: ").to_owned());
                }
                self.0.refused.notify_one();
            }
            Event::Connected
            | Event::LameDuckMode
            | Event::Draining
            | Event::Closed
            | Event::ClientError(_) => {}
        }
        tracing::debug!(%event, "broker");
    }

    /// Waits for a refusal that holds a word, and hands it out.
    pub(super) async fn refusal(&self, word: &str) -> String {
        loop {
            if let Some(refusal) = self.take_refusal(word) {
                return refusal;
            }
            self.0.refused.notified().await;
        }
    }

    fn take_refusal(&self, word: &str) -> Option<String> {
        let mut collected = self.collected();
        let at = collected
            .refusals
            .iter()
            // What this program asks on its own account does not count.
            .position(|text| text.contains(word) && !text.contains(subject::USER_INFO))?;
        Some(collected.refusals.remove(at))
    }

    /// Hands out what was collected since the last call.
    pub(super) fn take(&self) -> Collected {
        std::mem::take(&mut *self.collected())
    }

    fn collected(&self) -> MutexGuard<'_, Collected> {
        self.0
            .collected
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
