//! What a worker writes down at the source: the bookmark, and the durable consumer that the original goes by.

use std::time::Duration;

use async_nats::{HeaderMap, Request};
use overlay_protocol::replication::control::BUCKET;
use overlay_runtime::err_chain;
use serde_json::json;

use crate::config::StreamConfig;
use crate::copy::answer::{Answer, Refusal};
use crate::copy::position::{Bookmark, Durable, key};

use super::api::{self, ApiError, ConsumerInfo, Stored};
use super::bucket;
use super::connect::Link;
use super::reader::{self, From};

const LIMIT: Duration = Duration::from_secs(5);
const EXPECTED: &str = "Nats-Expected-Last-Subject-Sequence";
/// As the original makes it.
const ACK_WAIT: Duration = Duration::from_secs(30);

/// A worker's place in the bucket.
#[derive(Debug, Clone)]
pub(super) struct Store {
    link: Link,
    subject: String,
    /// Revision of the last bookmark; 0: there is none.
    revision: u64,
}

/// Why a bookmark is not kept.
#[derive(Debug, thiserror::Error)]
pub(super) enum SaveError {
    /// Another replica has kept one since.
    #[error("another replica has moved the bookmark")]
    Overtaken,
    /// The bucket does not answer, or refuses.
    #[error("{0}")]
    Failed(String),
}

/// The worker's bookmark, as anybody may read it.
pub(super) async fn read(link: &Link, config: &StreamConfig) -> Result<Option<Bookmark>, ApiError> {
    let (stream, subject) = (format!("KV_{BUCKET}"), bookmark_subject(config));
    match api::last_message(&link.jetstream, &stream, &subject).await {
        Ok(last) => Ok(last.as_ref().and_then(decode)),
        Err(error) if error.is_stream_missing() => Ok(None),
        Err(error) => Err(error),
    }
}

fn bookmark_subject(config: &StreamConfig) -> String {
    format!("$KV.{BUCKET}.{}", key(&config.source.stream, &config.name))
}

fn decode(message: &Stored) -> Option<Bookmark> {
    serde_json::from_slice(&message.body()?).ok()
}

impl Store {
    /// Opens the bucket, made where it is missing, and reads the worker's bookmark.
    pub(super) async fn open(
        link: &Link,
        config: &StreamConfig,
    ) -> Result<(Self, Option<Bookmark>), ApiError> {
        let stream = format!("KV_{BUCKET}");
        let subject = bookmark_subject(config);
        let mut last = api::last_message(&link.jetstream, &stream, &subject).await;
        if last.as_ref().is_err_and(ApiError::is_stream_missing) {
            bucket::open(&link.jetstream)
                .await
                .map_err(|error| ApiError::Silent(err_chain(&error)))?;
            last = Ok(None);
        }
        let last = last?;
        let store = Self {
            link: link.clone(),
            subject,
            revision: last.as_ref().map_or(0, |message| message.sequence),
        };
        let bookmark = last.as_ref().and_then(decode);
        Ok((store, bookmark))
    }

    /// Writes a bookmark behind the one that was read or written last.
    pub(super) async fn save(&mut self, bookmark: &Bookmark) -> Result<(), SaveError> {
        let failed = |error: String| SaveError::Failed(error);
        let body = serde_json::to_vec(bookmark).map_err(|error| failed(error.to_string()))?;
        let mut headers = HeaderMap::new();
        headers.insert(EXPECTED, self.revision.to_string());
        let request = Request::new()
            .headers(headers)
            .payload(body.into())
            .timeout(Some(LIMIT));
        let answer = self
            .link
            .client
            .send_request(self.subject.clone(), request)
            .await
            .map_err(|error| failed(error.to_string()))?;
        match Answer::read(&answer.payload) {
            Answer::Stored { sequence, .. } => {
                self.revision = sequence;
                Ok(())
            }
            Answer::Refused(Refusal::Order) => Err(SaveError::Overtaken),
            Answer::Refused(refusal) => Err(failed(format!("{refusal:?}"))),
            Answer::Foreign => Err(failed("no stream takes it".to_owned())),
        }
    }
}

/// Name of the durable consumer, with the original's rule for names that begin it.
pub(super) fn durable_name(worker: &str) -> String {
    const PREFIX: &str = "SR_";
    if worker.is_empty() {
        "stream_replicator".to_owned()
    } else if PREFIX.starts_with(worker) {
        worker.to_owned()
    } else {
        format!("{PREFIX}{worker}")
    }
}

/// Looks at the durable consumer.
pub(super) async fn durable(
    link: &Link,
    config: &StreamConfig,
) -> Result<Option<Durable>, ApiError> {
    let (stream, name) = (&config.source.stream, durable_name(&config.name));
    match api::consumer_info(&link.jetstream, stream, &name).await {
        Ok(info) => Ok(Some(of(&info))),
        Err(error) if error.is_consumer_missing() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes the durable consumer as the original would; only once it is decided where to go on, for its place is believed.
pub(super) async fn make_durable(
    link: &Link,
    config: &StreamConfig,
    start: From,
) -> Result<Durable, ApiError> {
    create(link, config, start).await.map(|info| of(&info))
}

/// Moves the durable consumer behind a source sequence, for whoever goes on with the original.
pub(super) async fn move_durable(
    link: &Link,
    config: &StreamConfig,
    handled: u64,
) -> Result<(), ApiError> {
    let name = durable_name(&config.name);
    api::delete_consumer(&link.jetstream, &config.source.stream, &name).await?;
    create(link, config, From::Behind(handled)).await?;
    Ok(())
}

async fn create(link: &Link, config: &StreamConfig, start: From) -> Result<ConsumerInfo, ApiError> {
    let name = durable_name(&config.name);
    let mut wanted = json!({
        "durable_name": name,
        "name": name,
        "description": format!("Choria Stream Replicator {}", config.name),
        "ack_policy": "explicit",
        "ack_wait": api::nanos(ACK_WAIT),
        "max_deliver": -1,
        "max_ack_pending": 1,
        "replay_policy": "instant",
        "num_replicas": 0,
    });
    reader::deliver(&mut wanted, start);
    reader::filter(&mut wanted, &config.filters);
    api::create_consumer(&link.jetstream, &config.source.stream, &name, &wanted).await
}

fn of(info: &ConsumerInfo) -> Durable {
    Durable {
        floor: info.ack_floor.stream_seq,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sr_case_11_the_durable_consumer_has_the_name_that_the_original_gives_it() {
        for (worker, name) in [
            ("CUSTOM_NAME", "SR_CUSTOM_NAME"),
            ("SR_X", "SR_SR_X"),
            ("S", "S"),
            ("SR", "SR"),
            ("SR_", "SR_"),
            ("", "stream_replicator"),
        ] {
            assert_eq!(durable_name(worker), name);
        }
    }
}
