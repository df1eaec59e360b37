//! Nodes that announce themselves: read from their stream, by one instance each.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_nats::jetstream::{Context, Message};
use futures_util::StreamExt as _;
use overlay_protocol::envelope::Limits;
use overlay_protocol::id::Identity;
use overlay_protocol::lifecycle::{Event, EventKind};
use overlay_protocol::subject;
use overlay_protocol::subject::stream::PROVISIONING_EVENTS_CONSUMER;
use overlay_runtime::{Backoff, CancellationToken, err_chain};
use overlay_tokens::UnixTime;
use tokio::sync::{mpsc, watch};

use crate::metrics::{Dropped, Metrics};
use crate::store::Store;

/// Announcements that one request asks for; the rest stays for the other instances.
const BATCH: usize = 500;
/// How long an instance may keep an announcement to itself before another one gets it.
const ACK_WAIT: Duration = Duration::from_secs(30);
/// An announcement that cannot be taken in is tried so often.
const MAX_DELIVER: i64 = 20;
/// Kinds of events by which a node says that it waits.
const KINDS: [&str; 2] = ["startup", "alive"];

/// A node says that it waits.
#[derive(Debug)]
pub(super) struct Announcement {
    pub(super) identity: Identity,
    /// When the broker took it.
    pub(super) at: UnixTime,
}

/// Reads announcements while the instance is active.
#[derive(Debug)]
pub(super) struct Events {
    pub(super) jetstream: Context,
    pub(super) component: String,
    pub(super) metrics: Metrics,
    pub(super) active: watch::Receiver<bool>,
    /// Where they go; when it is full, they stay in the stream.
    pub(super) found: mpsc::Sender<Announcement>,
}

impl Events {
    pub(super) async fn run(mut self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let mut attempt = 0;
        loop {
            let waited = tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                waited = self.active.wait_for(|active| *active) => waited.is_ok(),
            };
            if !waited {
                return Ok(());
            }
            let mut active = self.active.clone();
            let problem = tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                _inactive = active.wait_for(|active| !*active) => continue,
                problem = self.read(&mut attempt) => problem,
            };
            tracing::warn!(problem, "announcements are read anew");
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                () = tokio::time::sleep(Backoff::CONNECT.jittered(attempt)) => {}
            }
            attempt += 1;
        }
    }

    async fn read(&self, attempt: &mut usize) -> String {
        let begun = async {
            let stream = self.jetstream.get_stream(Store::Events.stream()).await?;
            let config = pull::Config {
                durable_name: Some(PROVISIONING_EVENTS_CONSUMER.to_owned()),
                description: Some("Provisioners, all instances".to_owned()),
                ack_policy: AckPolicy::Explicit,
                ack_wait: ACK_WAIT,
                max_deliver: MAX_DELIVER,
                max_ack_pending: 20_000,
                filter_subjects: KINDS
                    .iter()
                    .filter_map(|kind| subject::lifecycle_event(kind, &self.component))
                    .collect(),
                ..pull::Config::default()
            };
            let consumer = stream.create_consumer(config).await?;
            let messages = consumer
                .stream()
                .max_messages_per_batch(BATCH)
                .expires(Duration::from_secs(20))
                .messages()
                .await?;
            Ok::<_, async_nats::Error>(messages)
        };
        let mut messages = match begun.await {
            Ok(messages) => messages,
            Err(error) => return err_chain(error.as_ref()),
        };
        *attempt = 0;
        while let Some(message) = messages.next().await {
            match message {
                Ok(message) => self.take(message).await,
                Err(error) => return err_chain(&error),
            }
        }
        "no more announcements".to_owned()
    }

    async fn take(&self, message: Message) {
        match Event::decode(&message.payload, &Limits::default()) {
            Ok(event) if is_announcement(&event.kind) => match Identity::new(event.identity) {
                Ok(identity) => {
                    let at = taken_at(&message);
                    let found = Announcement { identity, at };
                    if self.found.send(found).await.is_err() {
                        return;
                    }
                }
                Err(_) => self.metrics.dropped(Dropped::Name).inc(),
            },
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(error = err_chain(&error), "an announcement that is none");
                self.metrics.dropped(Dropped::Event).inc();
            }
        }
        if let Err(error) = message.ack().await {
            tracing::debug!(%error, "an announcement was not acknowledged; it comes again");
        }
    }
}

/// When the broker took a message, by its own clock.
fn taken_at(message: &Message) -> UnixTime {
    let nanos = message
        .info()
        .map_or(0, |info| info.published.unix_timestamp_nanos());
    let secs = i64::try_from(nanos / 1_000_000_000).unwrap_or_default();
    UnixTime::from_secs(secs)
}

fn is_announcement(kind: &EventKind) -> bool {
    matches!(kind, EventKind::Startup { .. } | EventKind::Alive { .. })
}
