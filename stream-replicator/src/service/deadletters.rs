//! Keeps aside what the target never takes.

use std::time::{Duration, SystemTime};

use async_nats::{HeaderMap, Request};
use bytes::Bytes;
use serde_json::json;

use crate::config::StreamConfig;
use crate::copy::answer::{Answer, Poison};

use super::api;
use super::connect::Link;

const LIMIT: Duration = Duration::from_secs(5);
const SUBJECTS: &str = "choria.stream-replicator.dead";
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

/// Keeps a message in the stream for such; makes the stream where it is missing.
pub(super) async fn keep(
    link: &Link,
    config: &StreamConfig,
    replicas: u64,
    dead: &Dead<'_>,
) -> Result<(), String> {
    let subject = format!("{SUBJECTS}.{}.{}", config.source.stream, config.name);
    let mut headers = HeaderMap::new();
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
    let one_line = |text: String| text.replace(['\r', '\n'], " ");
    headers.insert("Overlay-Dead-Reason", one_line(dead.reason.to_string()));
    headers.insert("Overlay-Dead-Subject", one_line(dead.subject.to_owned()));
    headers.insert("Overlay-Dead-Sequence", dead.sequence.to_string());
    headers.insert("Overlay-Dead-Time", api::timestamp(dead.time));
    headers.insert("Nats-Msg-Id", dead.id.as_str());
    headers.insert("Nats-Expected-Stream", config.poison.stream.as_str());
    let mut made = false;
    loop {
        let request = Request::new()
            .headers(headers.clone())
            .payload(dead.body.clone())
            .timeout(Some(LIMIT));
        let answer = link.client.send_request(subject.clone(), request).await;
        let words = match answer {
            Ok(message) => match Answer::read(&message.payload) {
                Answer::Stored { .. } => return Ok(()),
                Answer::Refused(refusal) => return Err(format!("{refusal:?}")),
                Answer::Foreign => "no stream takes it".to_owned(),
            },
            Err(error) => error.to_string(),
        };
        if made {
            return Err(words);
        }
        let name = config.poison.stream.as_str();
        let wanted = json!({
            "name": name,
            "subjects": [format!("{SUBJECTS}.>")],
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
