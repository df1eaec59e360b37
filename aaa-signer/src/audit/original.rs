//! Copies of the records of signatures in the form of Choria's own service.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_nats::{Client, Request};
use bytes::Bytes;
use overlay_runtime::{Backoff, CancellationToken, err_chain};
use serde::Deserialize;
use tokio::sync::mpsc;

use super::metrics::{Metrics, Place};

/// Documents that may wait to be published.
const QUEUE: usize = 1024;
/// How long one acknowledgement is waited for.
const ACK_LIMIT: Duration = Duration::from_secs(2);
/// How often a document is published that nobody acknowledges.
const TRIES: usize = 5;

#[derive(Deserialize)]
struct Answer {
    seq: Option<u64>,
}

/// The file of lines; one that is renamed is followed by a new one.
#[derive(Debug)]
pub(super) struct Logfile {
    path: PathBuf,
    open: Option<(File, u64, u64)>,
}

impl Logfile {
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            open: None,
        }
    }

    /// Appends lines.
    pub(super) fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        let is_there = fs::metadata(&self.path).is_ok_and(|found| {
            self.open
                .as_ref()
                .is_some_and(|(_, device, inode)| (found.dev(), found.ino()) == (*device, *inode))
        });
        if !is_there {
            let file = OpenOptions::new()
                .append(true)
                .create(true)
                .mode(0o600)
                .open(&self.path)?;
            let metadata = file.metadata()?;
            self.open = Some((file, metadata.dev(), metadata.ino()));
        }
        match &mut self.open {
            Some((file, ..)) => file.write_all(lines),
            None => Ok(()),
        }
    }
}

/// Hands documents to the task that publishes them.
#[derive(Debug, Clone)]
pub(super) struct Topic {
    queue: mpsc::Sender<Bytes>,
    metrics: Metrics,
}

impl Topic {
    pub(super) fn new(metrics: Metrics) -> (Self, mpsc::Receiver<Bytes>) {
        let (queue, documents) = mpsc::channel(QUEUE);
        (Self { queue, metrics }, documents)
    }

    /// Publishes a document some time later, unless too many wait, which is counted.
    pub(super) fn publish(&self, document: Vec<u8>) {
        if self.queue.try_send(document.into()).is_err() {
            self.metrics.error(Place::Topic);
        }
    }
}

/// Publishes documents until all who hand some over are gone, or some time after the shutdown.
pub(super) async fn publish(
    client: Client,
    topic: String,
    mut documents: mpsc::Receiver<Bytes>,
    metrics: Metrics,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    while let Some(document) = documents.recv().await {
        match deliver(&client, &topic, &document, &shutdown).await {
            Ok(()) => metrics.stored(Place::Topic, 1),
            Err(problem) => {
                tracing::warn!(topic, problem, "a record was not published in the old form");
                metrics.error(Place::Topic);
            }
        }
    }
    shutdown.cancelled().await;
    Ok(())
}

async fn deliver(
    client: &Client,
    topic: &str,
    document: &Bytes,
    shutdown: &CancellationToken,
) -> Result<(), String> {
    let mut attempt = 0;
    loop {
        let Err(problem) = publish_one(client, topic, document).await else {
            return Ok(());
        };
        attempt += 1;
        if attempt == TRIES || shutdown.is_cancelled() {
            return Err(problem);
        }
        tokio::time::sleep(Backoff::CONNECT.jittered(attempt)).await;
    }
}

async fn publish_one(client: &Client, topic: &str, document: &Bytes) -> Result<(), String> {
    let request = Request::new()
        .payload(document.clone())
        .timeout(Some(ACK_LIMIT));
    let message = client
        .send_request(topic.to_owned(), request)
        .await
        .map_err(|error| err_chain(&error))?;
    let answer: Answer =
        serde_json::from_slice(&message.payload).map_err(|error| error.to_string())?;
    match answer.seq {
        Some(_stored) => Ok(()),
        None => Err("no stream has stored it".to_owned()),
    }
}
