//! Questions to JetStream whose answers are kept as they are: a stream is made again with what this program does not know, too.

use std::time::{Duration, SystemTime};

use async_nats::jetstream::{self, context::RequestErrorKind};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use overlay_runtime::err_chain;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::copy::header::unix_ms;

const STREAM_NOT_FOUND: u64 = 10059;
const CONSUMER_NOT_FOUND: u64 = 10014;
const NO_MESSAGE: u64 = 10037;

/// Why there is no answer that helps.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    /// The broker refuses.
    #[error("{words} ({number})")]
    Refused {
        /// The broker's number of the error.
        number: u64,
        /// Its words.
        words: String,
    },
    /// Nobody answered, or something that is no answer.
    #[error("{0}")]
    Silent(String),
}

/// A stream as it is.
#[derive(Debug, Deserialize)]
pub(super) struct StreamInfo {
    pub(super) config: Value,
    #[serde(deserialize_with = "moment")]
    pub(super) created: SystemTime,
    pub(super) state: StreamState,
    /// What time it was when it was asked.
    #[serde(rename = "ts", default, deserialize_with = "moment_if_any")]
    pub(super) time: Option<SystemTime>,
}

/// What a stream holds.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct StreamState {
    pub(super) messages: u64,
    pub(super) first_seq: u64,
    pub(super) last_seq: u64,
}

/// A consumer as it is.
#[derive(Debug, Deserialize)]
pub(super) struct ConsumerInfo {
    pub(super) ack_floor: Pair,
    pub(super) delivered: Pair,
    #[serde(default)]
    pub(super) num_ack_pending: u64,
    #[serde(default)]
    pub(super) num_pending: u64,
    pub(super) config: Value,
}

/// A place among deliveries, and in the stream.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct Pair {
    #[serde(default)]
    pub(super) consumer_seq: u64,
    #[serde(default)]
    pub(super) stream_seq: u64,
}

/// A message as it is stored.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) sequence: u64,
    /// Header lines, as the broker keeps them.
    pub(super) headers: String,
    pub(super) time: SystemTime,
    encoded: String,
}

#[derive(Deserialize)]
struct Got {
    message: GotMessage,
}

#[derive(Deserialize)]
struct GotMessage {
    seq: u64,
    #[serde(default)]
    hdrs: Option<String>,
    #[serde(default)]
    data: Option<String>,
    #[serde(deserialize_with = "moment")]
    time: SystemTime,
}

#[derive(Deserialize)]
struct Refused {
    error: Problem,
}

#[derive(Deserialize)]
struct Problem {
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    code: u64,
    #[serde(default)]
    description: String,
}

impl ApiError {
    pub(super) fn is_stream_missing(&self) -> bool {
        self.is(STREAM_NOT_FOUND)
    }

    pub(super) fn is_consumer_missing(&self) -> bool {
        self.is(CONSUMER_NOT_FOUND)
    }

    pub(super) fn is_message_missing(&self) -> bool {
        self.is(NO_MESSAGE)
    }

    fn is(&self, wanted: u64) -> bool {
        matches!(self, Self::Refused { number, .. } if *number == wanted)
    }
}

impl StreamInfo {
    /// When it was made, in milliseconds of the Unix epoch.
    pub(super) fn created_ms(&self) -> i64 {
        unix_ms(self.created)
    }

    /// Copies that are kept of it.
    pub(super) fn replicas(&self) -> u64 {
        self.config
            .get("num_replicas")
            .and_then(Value::as_u64)
            .unwrap_or(1)
    }

    /// How its messages end.
    pub(super) fn retention(&self) -> &str {
        self.config
            .get("retention")
            .and_then(Value::as_str)
            .unwrap_or("limits")
    }

    /// A span of time in its configuration; none is none.
    pub(super) fn nanoseconds(&self, name: &str) -> Duration {
        let nanos = self.config.get(name).and_then(Value::as_u64);
        Duration::from_nanos(nanos.unwrap_or_default())
    }

    pub(super) fn flag(&self, name: &str) -> bool {
        self.config.get(name).and_then(Value::as_bool) == Some(true)
    }
}

impl Stored {
    /// Its body; nothing when the broker's encoding is broken.
    pub(super) fn body(&self) -> Option<Vec<u8>> {
        STANDARD.decode(&self.encoded).ok()
    }

    /// All values of a header.
    pub(super) fn values<'a>(&'a self, name: &'a str) -> impl DoubleEndedIterator<Item = &'a str> {
        self.headers.lines().filter_map(move |line| {
            let (found, value) = line.split_once(':')?;
            (found == name).then_some(value.trim())
        })
    }
}

/// Asks the API; `subject` is what comes behind its prefix.
pub(super) async fn ask<T: DeserializeOwned>(
    jetstream: &jetstream::Context,
    subject: String,
    question: &(impl Serialize + ?Sized + Sync),
) -> Result<T, ApiError> {
    let answer: Value = jetstream
        .request(subject, question)
        .await
        .map_err(|error| {
            let missing = matches!(error.kind(), RequestErrorKind::NoResponders);
            ApiError::Silent(if missing {
                "no JetStream answers".to_owned()
            } else {
                err_chain(&error)
            })
        })?;
    if let Ok(Refused { error }) = Refused::deserialize(&answer) {
        return Err(ApiError::Refused {
            number: if error.err_code == 0 {
                error.code
            } else {
                error.err_code
            },
            words: error.description,
        });
    }
    T::deserialize(answer).map_err(|error| ApiError::Silent(format!("no answer: {error}")))
}

pub(super) async fn stream_info(
    jetstream: &jetstream::Context,
    stream: &str,
) -> Result<StreamInfo, ApiError> {
    ask(jetstream, format!("STREAM.INFO.{stream}"), &json!({})).await
}

pub(super) async fn create_stream(
    jetstream: &jetstream::Context,
    stream: &str,
    config: &Value,
) -> Result<StreamInfo, ApiError> {
    ask(jetstream, format!("STREAM.CREATE.{stream}"), config).await
}

pub(super) async fn consumer_info(
    jetstream: &jetstream::Context,
    stream: &str,
    consumer: &str,
) -> Result<ConsumerInfo, ApiError> {
    let subject = format!("CONSUMER.INFO.{stream}.{consumer}");
    ask(jetstream, subject, &json!({})).await
}

/// Makes a consumer, or changes one. Its name, and a single filter, stand in the subject, as permissions want it.
pub(super) async fn create_consumer(
    jetstream: &jetstream::Context,
    stream: &str,
    name: &str,
    config: &Value,
) -> Result<ConsumerInfo, ApiError> {
    let subject = match config.get("filter_subject").and_then(Value::as_str) {
        Some(filter) => format!("CONSUMER.CREATE.{stream}.{name}.{filter}"),
        None => format!("CONSUMER.CREATE.{stream}.{name}"),
    };
    let question = json!({ "stream_name": stream, "config": config });
    ask(jetstream, subject, &question).await
}

pub(super) async fn delete_consumer(
    jetstream: &jetstream::Context,
    stream: &str,
    name: &str,
) -> Result<(), ApiError> {
    let subject = format!("CONSUMER.DELETE.{stream}.{name}");
    let deleted: Result<Value, ApiError> = ask(jetstream, subject, &json!({})).await;
    match deleted {
        Ok(_) => Ok(()),
        Err(error) if error.is_consumer_missing() => Ok(()),
        Err(error) => Err(error),
    }
}

/// The message of a sequence, if it is there. No stream has one of sequence 0, and nats-server refuses to look for it.
pub(super) async fn message(
    jetstream: &jetstream::Context,
    stream: &str,
    sequence: u64,
) -> Result<Option<Stored>, ApiError> {
    if sequence == 0 {
        return Ok(None);
    }
    get(jetstream, stream, &json!({ "seq": sequence })).await
}

/// The first message from a sequence on, if there is one.
pub(super) async fn message_from(
    jetstream: &jetstream::Context,
    stream: &str,
    sequence: u64,
) -> Result<Option<Stored>, ApiError> {
    let question = json!({ "seq": sequence, "next_by_subj": ">" });
    get(jetstream, stream, &question).await
}

/// The last message of subjects.
pub(super) async fn last_message(
    jetstream: &jetstream::Context,
    stream: &str,
    subjects: &str,
) -> Result<Option<Stored>, ApiError> {
    get(jetstream, stream, &json!({ "last_by_subj": subjects })).await
}

/// The first message of a subject from a sequence on.
pub(super) async fn next_message(
    jetstream: &jetstream::Context,
    stream: &str,
    subject: &str,
    from: u64,
) -> Result<Option<Stored>, ApiError> {
    let question = json!({ "seq": from, "next_by_subj": subject });
    get(jetstream, stream, &question).await
}

async fn get(
    jetstream: &jetstream::Context,
    stream: &str,
    question: &Value,
) -> Result<Option<Stored>, ApiError> {
    let subject = format!("STREAM.MSG.GET.{stream}");
    let got: Result<Got, ApiError> = ask(jetstream, subject, question).await;
    let message = match got {
        Ok(got) => got.message,
        Err(error) if error.is_message_missing() => return Ok(None),
        Err(error) => return Err(error),
    };
    let headers = match message.hdrs {
        Some(encoded) => STANDARD
            .decode(encoded)
            .map_err(|error| ApiError::Silent(format!("headers of a message: {error}")))?,
        None => Vec::new(),
    };
    Ok(Some(Stored {
        sequence: message.seq,
        headers: String::from_utf8_lossy(&headers).into_owned(),
        time: message.time,
        encoded: message.data.unwrap_or_default(),
    }))
}

/// A time as JetStream takes it.
pub(super) fn timestamp(time: SystemTime) -> String {
    OffsetDateTime::from(time)
        .format(&Rfc3339)
        .unwrap_or_default()
}

/// A duration as JetStream takes it.
pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn moment_if_any<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<SystemTime>, D::Error> {
    moment(deserializer).map(Some)
}

fn moment<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SystemTime, D::Error> {
    let text = String::deserialize(deserializer)?;
    OffsetDateTime::parse(&text, &Rfc3339)
        .map(SystemTime::from)
        .map_err(D::Error::custom)
}
