//! Publishes events into the fleet's account, each acknowledged by its stream.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::header::NATS_MESSAGE_ID;
use async_nats::jetstream;
use bytes::Bytes;
use overlay_protocol::id::Ksuid;
use overlay_protocol::lifecycle::Event;
use overlay_protocol::subject;
use overlay_runtime::{CancellationToken, err_chain};
use tokio::sync::mpsc;

use super::supervise::Helper;
use crate::metrics::{Metrics, Told};

/// Events that may wait while the broker or the stream is away.
const QUEUE: usize = 1024;
/// How long the stream may take to acknowledge an event.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(2);
/// How often an event is tried, and how long is waited in between: in all, a broker's restart.
const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_secs(1);

/// Where events are put; never waits.
#[derive(Debug, Clone)]
pub(super) struct Outbox {
    queue: mpsc::Sender<Event>,
    name: String,
    metrics: Metrics,
}

/// The other end of the outbox, which waits for a connection.
#[derive(Debug)]
pub(super) struct Publisher {
    queue: mpsc::Receiver<Event>,
    metrics: Metrics,
}

/// Publishes what was put into the outbox.
#[derive(Debug)]
pub(super) struct Publishing {
    streams: jetstream::Context,
    queue: mpsc::Receiver<Event>,
    metrics: Metrics,
}

impl Outbox {
    /// Name of this instance.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Puts an event; what finds no room stays a line of the log.
    pub(super) fn put(&self, event: Event) {
        if self.queue.try_send(event).is_err() {
            self.metrics.told(Told::Logged).inc();
        }
    }
}

impl Publisher {
    /// Makes both ends; `name` is that of this instance.
    pub(super) fn new(name: String, metrics: Metrics) -> (Outbox, Self) {
        let (sender, queue) = mpsc::channel(QUEUE);
        (
            Outbox {
                queue: sender,
                name,
                metrics: metrics.clone(),
            },
            Self { queue, metrics },
        )
    }

    /// Publishes from now on, over the connection of the streams' user.
    pub(super) fn over(self, streams: jetstream::Context) -> Publishing {
        Publishing {
            streams,
            queue: self.queue,
            metrics: self.metrics,
        }
    }

    /// Counts what there never was a connection for, until every outbox is gone.
    pub(super) async fn give_up(mut self) {
        while self.queue.recv().await.is_some() {
            self.metrics.told(Told::Logged).inc();
        }
    }
}

impl Helper for Publishing {
    const NAME: &'static str = "publisher";

    /// Publishes until every outbox is gone; after the shutdown each event is tried once.
    async fn work(&mut self, shutdown: &CancellationToken) -> anyhow::Result<()> {
        while let Some(event) = self.queue.recv().await {
            let how = self.publish(&event, shutdown).await;
            self.metrics.told(how).inc();
        }
        Ok(())
    }
}

impl Publishing {
    async fn publish(&self, event: &Event, shutdown: &CancellationToken) -> Told {
        let bytes = Bytes::from(event.to_cloudevent_json());
        for attempt in 1..=TRIES {
            match self.try_publish(&event.id, bytes.clone()).await {
                Ok(()) => return Told::Published,
                Err(error) => tracing::debug!(error, attempt, "event not published"),
            }
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
        tracing::warn!(id = event.id, "a refusal was logged and not published");
        Told::Logged
    }

    async fn try_publish(&self, id: &str, event: Bytes) -> Result<(), String> {
        let mut headers = HeaderMap::new();
        headers.insert(NATS_MESSAGE_ID, id);
        let published = async {
            let stored = self
                .streams
                .publish_with_headers(subject::REFUSALS, headers, event);
            let stored = stored.await.map_err(|error| err_chain(&error))?;
            stored.await.map_err(|error| err_chain(&error))
        };
        match tokio::time::timeout(ACKNOWLEDGED_WITHIN, published).await {
            Ok(Ok(_stored)) => Ok(()),
            Ok(Err(error)) => Err(error),
            Err(_) => Err("not acknowledged in time".to_owned()),
        }
    }
}

/// A fresh id for a time in Unix seconds; empty if there is none to be had, for an event is worth more than its id.
pub(super) fn fresh_id(seconds: i64) -> String {
    let id = || {
        let mut random = [0_u8; 16];
        getrandom::fill(&mut random).ok()?;
        Ksuid::from_parts(u64::try_from(seconds).ok()?, random).ok()
    };
    id().map_or_else(String::new, |id| id.to_string())
}
