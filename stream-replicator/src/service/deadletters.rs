//! Keeps aside what the target never takes.

use std::time::{Duration, SystemTime};

use async_nats::client::RequestErrorKind;
use async_nats::{HeaderMap, Request};
use bytes::Bytes;
use overlay_protocol::replication::control::{
    DEAD_CUT, DEAD_REASON, DEAD_SEQUENCE, DEAD_SUBJECT, DEAD_SUBJECTS, DEAD_TIME, dead_subject,
};
use serde_json::json;

use crate::config::StreamConfig;
use crate::copy::answer::{Answer, Poison, Refusal};

use super::api;
use super::connect::Link;

const LIMIT: Duration = Duration::from_secs(5);
/// Kept for so long, and up to so many bytes, where nobody made the stream otherwise.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);
const KEPT_BYTES: u64 = 256 * 1024 * 1024;

/// A message to be kept aside.
#[derive(Debug)]
pub(super) struct Dead<'a> {
    pub(super) sequence: u64,
    pub(super) subject: &'a str,
    pub(super) headers: Option<&'a HeaderMap>,
    pub(super) body: &'a Bytes,
    pub(super) time: SystemTime,
    pub(super) reason: &'a Poison,
    /// Identifier of its copy.
    pub(super) id: String,
}

/// How much of a message is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    Nothing,
    Headers,
    /// Headers, and the body behind so many bytes.
    Body(usize),
}

/// Bytes of the body that are kept of what is too large even so.
const LEAST: usize = 1024;

/// Keeps a message in the stream for such; makes the stream where it is missing. One that is too large there as well is
/// cut: without it, the worker would stand still.
pub(super) async fn keep(
    link: &Link,
    config: &StreamConfig,
    replicas: u64,
    dead: &Dead<'_>,
) -> Result<(), String> {
    let half = link.max_payload() / 2;
    let mut made = false;
    let mut cuts = [
        Cut::Nothing,
        Cut::Headers,
        Cut::Body(half),
        Cut::Body(LEAST),
    ]
    .into_iter();
    let mut cut = cuts.next().unwrap_or(Cut::Nothing);
    loop {
        let words = match send(link, config, dead, cut).await {
            Ok(()) => return Ok(()),
            Err(Refused::Size) => match cuts.next() {
                Some(next) => {
                    cut = next;
                    continue;
                }
                None => return Err("not even a part of it fits".to_owned()),
            },
            Err(Refused::Nobody(words)) if !made => words,
            Err(Refused::Nobody(words) | Refused::Other(words)) => return Err(words),
        };
        let name = config.poison.stream.as_str();
        let wanted = json!({
            "name": name,
            "subjects": [DEAD_SUBJECTS],
            "retention": "limits",
            "storage": "file",
            "max_age": api::nanos(KEPT),
            "max_bytes": KEPT_BYTES,
            "num_replicas": replicas.max(1),
        });
        if let Err(error) = api::create_stream(&link.jetstream, name, &wanted).await {
            return Err(format!("{words}; stream {name}: {error}"));
        }
        made = true;
    }
}

enum Refused {
    /// It is too large.
    Size,
    /// No stream takes it.
    Nobody(String),
    Other(String),
}

async fn send(
    link: &Link,
    config: &StreamConfig,
    dead: &Dead<'_>,
    cut: Cut,
) -> Result<(), Refused> {
    let mut headers = HeaderMap::new();
    if cut == Cut::Nothing {
        for (name, values) in dead.headers.into_iter().flat_map(HeaderMap::iter) {
            let name_text: &str = name.as_ref();
            // The broker would act on them.
            if name_text.starts_with("Nats-") {
                continue;
            }
            for value in values {
                headers.append(name.clone(), value.clone());
            }
        }
    }
    let body = match cut {
        Cut::Body(limit) => dead.body.slice(..limit.min(dead.body.len())),
        Cut::Nothing | Cut::Headers => dead.body.clone(),
    };
    let one_line = |text: String| {
        let mut text = text.replace(['\r', '\n'], " ");
        text.truncate(text.floor_char_boundary(LEAST));
        text
    };
    headers.insert(DEAD_REASON, one_line(dead.reason.to_string()));
    headers.insert(DEAD_SUBJECT, one_line(dead.subject.to_owned()));
    headers.insert(DEAD_SEQUENCE, dead.sequence.to_string());
    headers.insert(DEAD_TIME, api::timestamp(dead.time));
    if cut != Cut::Nothing {
        headers.insert(DEAD_CUT, (dead.body.len() - body.len()).to_string());
    }
    headers.insert("Nats-Msg-Id", dead.id.as_str());
    headers.insert("Nats-Expected-Stream", config.poison.stream.as_str());
    let request = Request::new()
        .headers(headers)
        .payload(body)
        .timeout(Some(LIMIT));
    let subject = dead_subject(&config.source.stream, &config.name);
    match link.client.send_request(subject, request).await {
        Ok(message) => match Answer::read(&message.payload) {
            Answer::Stored { .. } => Ok(()),
            Answer::Refused(Refusal::Poison(Poison::TooLarge)) => Err(Refused::Size),
            Answer::Refused(refusal) => Err(Refused::Other(format!("{refusal:?}"))),
            Answer::Foreign => Err(Refused::Nobody("no stream takes it".to_owned())),
        },
        Err(error) => Err(match error.kind() {
            RequestErrorKind::MaxPayloadExceeded => Refused::Size,
            RequestErrorKind::NoResponders => Refused::Nobody(error.to_string()),
            RequestErrorKind::TimedOut
            | RequestErrorKind::InvalidSubject
            | RequestErrorKind::Other => Refused::Other(error.to_string()),
        }),
    }
}
