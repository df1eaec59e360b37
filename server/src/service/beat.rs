//! What the node says of itself without being asked: lifecycle events and the status file.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use overlay_protocol::lifecycle::{COMPONENT_PROVISION_MODE, COMPONENT_SERVER, Event, EventKind};
use overlay_runtime::Clock;
use overlay_tokens::UnixTime;

use super::connect::random_below;
use super::outbox::Outbox;
use crate::VERSION;
use crate::node::Node;
use crate::stats::Count;
use crate::status;

/// Speaks for the node.
#[derive(Debug, Clone)]
pub(super) struct Beat {
    pub(super) node: Arc<Node>,
    pub(super) outbox: Outbox,
    pub(super) clock: Clock,
    pub(super) plain_events: bool,
}

impl Beat {
    /// Publishes an event.
    pub(super) async fn say(&self, kind: EventKind) {
        let now = UnixTime::from(self.clock.now());
        let component = if self.node.is_unprovisioned() {
            COMPONENT_PROVISION_MODE
        } else {
            COMPONENT_SERVER
        };
        let event = Event::new(
            event_id(),
            self.node.identity.as_str(),
            component,
            now.secs,
            kind,
        );
        let Some(subject) = event.subject() else {
            return;
        };
        let bytes = if self.plain_events {
            event.to_plain_json()
        } else {
            event.to_cloudevent_json()
        };
        self.outbox.publish(subject, bytes, Count::Event).await;
    }

    /// Says every `interval` that the node is alive; the first time somewhere within it, so that
    /// nodes that started together do not speak together. Each event has an id and a time of its own.
    pub(super) async fn alive(self, interval: Duration) {
        let millis = u32::try_from(interval.as_millis()).unwrap_or(u32::MAX);
        tokio::time::sleep(Duration::from_millis(random_below(millis).into())).await;
        loop {
            self.say(EventKind::Alive {
                version: VERSION.to_owned(),
            })
            .await;
            tokio::time::sleep(interval).await;
        }
    }

    /// Writes the status file now and every `every`.
    pub(super) async fn status_file(self, file: PathBuf, every: Duration) {
        loop {
            let content = status::render(&self.node, UnixTime::from(self.clock.now()).secs);
            if let Err(error) = status::write(&file, &content) {
                tracing::error!(file = %file.display(), error = %error, "could not write the status file");
            }
            tokio::time::sleep(every).await;
        }
    }
}

/// A random UUID of version 4.
pub(super) fn event_id() -> String {
    let mut bytes = [0_u8; 16];
    if getrandom::fill(&mut bytes).is_err() {
        tracing::warn!("the system gives no randomness");
    }
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex = bytes
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect::<String>();
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_ids_are_uuids_and_differ() {
        let id = event_id();
        assert_eq!(id.len(), 36);
        assert_eq!(&id[14..15], "4");
        assert_ne!(id, event_id());
    }
}
