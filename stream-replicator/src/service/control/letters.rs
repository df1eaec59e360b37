//! Messages that were kept aside: shown, sent again, given up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::Stream;
use async_nats::{HeaderMap, Request};
use futures_util::StreamExt as _;
use overlay_protocol::replication::control::{
    DEAD_CUT, DEAD_REASON, DEAD_SEQUENCE, DEAD_SUBJECT, DEAD_TIME, Letter, LetterReply,
    LetterRequest, LettersReply, LettersRequest, MAX_SHOWN_BODY, dead_subject,
};
use overlay_protocol::rpc;
use overlay_runtime::err_chain;
use tokio::time::timeout;

use crate::copy::answer::Answer;

use super::super::supervise::Post;
use super::actions::{ANSWER, Data, Failure};
use super::{Asked, Desk};

/// How long the broker keeps a reader that is gone.
const READER: Duration = Duration::from_secs(30);

impl Desk {
    /// Messages of the workers that this replica works for, in the order of their numbers.
    pub(super) async fn letters(&self, request: &LettersRequest) -> Result<Option<Data>, Failure> {
        let led = self.led(&request.selection);
        if led.is_empty() {
            return Ok(None);
        }
        let page = request.page();
        let mut letters = Vec::new();
        for post in led {
            let Some(stream) = open(post).await? else {
                continue;
            };
            let listed = timeout(ANSWER * 2, list(post, &stream, request.after, page + 1));
            let listed = listed.await.map_err(|_| silence())?;
            letters.extend(listed.map_err(|error| Failure::aborted(format!("list: {error}")))?);
        }
        letters.sort_by_key(|letter| letter.number);
        let more = letters.len() > page;
        letters.truncate(page);
        Ok(Some(rpc::to_data(&LettersReply {
            replica: self.replica.clone(),
            letters,
            more,
        })))
    }

    pub(super) async fn letter(&self, request: &LetterRequest) -> Result<Option<Data>, Failure> {
        let Some((post, _, message)) = self.find(request).await? else {
            return Ok(None);
        };
        let mut headers = BTreeMap::<String, Vec<String>>::new();
        for (name, values) in message.headers.iter().filter(|(name, _)| !is_ours(name)) {
            let values = values.iter().map(|value| value.as_str().to_owned());
            headers.entry(name.to_string()).or_default().extend(values);
        }
        let shown = &message.payload[..message.payload.len().min(MAX_SHOWN_BODY)];
        let bytes = message.payload.len();
        Ok(Some(rpc::to_data(&LetterReply {
            replica: self.replica.clone(),
            letter: letter(post, message.sequence, &message.headers, bytes),
            headers,
            body: shown.to_vec(),
        })))
    }

    /// Publishes a message anew at the source, behind what came since: in the target nothing is ever put in between.
    pub(super) async fn retry(
        &self,
        asked: &Asked<'_>,
        request: &LetterRequest,
    ) -> Result<Option<Data>, Failure> {
        let Some((post, stream, message)) = self.find(request).await? else {
            return Ok(None);
        };
        if message.headers.get(DEAD_CUT).is_some() {
            return Err(Failure::aborted(
                "only a part of it was kept: publish it anew from where it came",
            ));
        }
        let sequence = publish(post, &message, request.number).await?;
        tracing::info!(
            worker = post.name(),
            by = asked.caller,
            number = request.number,
            sequence,
            "a message that was kept aside was published anew"
        );
        remove(&stream, request.number).await?;
        let what = format!(
            "published anew, as {sequence} of {}",
            post.config.source.stream
        );
        Ok(self.done(vec![post.name()], &what))
    }

    pub(super) async fn drop_letter(
        &self,
        asked: &Asked<'_>,
        request: &LetterRequest,
    ) -> Result<Option<Data>, Failure> {
        let Some((post, stream, message)) = self.find(request).await? else {
            return Ok(None);
        };
        remove(&stream, request.number).await?;
        let known = letter(post, message.sequence, &message.headers, 0);
        tracing::warn!(
            worker = post.name(),
            by = asked.caller,
            number = request.number,
            sequence = known.sequence,
            subject = known.subject,
            "a message that was kept aside was given up"
        );
        Ok(self.done(vec![post.name()], "given up"))
    }

    /// One message of the one worker that is meant, if this replica works for it.
    async fn find(
        &self,
        request: &LetterRequest,
    ) -> Result<Option<(&Arc<Post>, Stream, StreamMessage)>, Failure> {
        let mut led = self.led(&request.selection);
        let (Some(post), true) = (led.pop(), led.is_empty()) else {
            return Ok(None);
        };
        let missing = || {
            Failure::aborted(format!(
                "{} has kept no message {} aside",
                post.name(),
                request.number
            ))
        };
        let stream = open(post).await?.ok_or_else(missing)?;
        let found = timeout(ANSWER, stream.get_raw_message(request.number));
        let message = found.await.map_err(|_| silence())?.map_err(|_| missing())?;
        // All workers of a source share the stream.
        if message.subject.as_str() != subject(post) {
            return Err(missing());
        }
        Ok(Some((post, stream, message)))
    }
}

/// Publishes a message as it was; asked for twice, the stream takes it once (within its window for duplicates).
async fn publish(post: &Post, message: &StreamMessage, number: u64) -> Result<u64, Failure> {
    let link = post.place.link_now();
    let link = link.ok_or_else(|| Failure::aborted("the source is not connected"))?;
    let config = &post.config;
    let subject = letter(post, message.sequence, &message.headers, 0).subject;
    let mut headers = HeaderMap::new();
    for (name, values) in message.headers.iter().filter(|(name, _)| !is_ours(name)) {
        for value in values {
            headers.append(name.clone(), value.clone());
        }
    }
    let id = format!("{}:{number}:retry", config.poison.stream);
    headers.insert("Nats-Msg-Id", id);
    headers.insert("Nats-Expected-Stream", config.source.stream.as_str());
    let sent = Request::new()
        .headers(headers)
        .payload(message.payload.clone())
        .timeout(Some(ANSWER));
    let answer = link.client.send_request(subject.clone(), sent).await;
    let answer = answer.map_err(|error| {
        let why = err_chain(&error);
        Failure::aborted(format!(
            "{subject} at the source: {why} (may the replicator publish there?)"
        ))
    })?;
    match Answer::read(&answer.payload) {
        Answer::Stored { sequence, .. } => Ok(sequence),
        Answer::Refused(refusal) => Err(Failure::aborted(format!(
            "{subject}: the source refuses it: {refusal:?}"
        ))),
        Answer::Foreign => Err(Failure::aborted(format!(
            "{subject}: no stream of the source takes it"
        ))),
    }
}

/// The stream of messages kept aside; nothing when none was.
async fn open(post: &Post) -> Result<Option<Stream>, Failure> {
    use async_nats::jetstream::ErrorCode;
    use async_nats::jetstream::context::GetStreamErrorKind;

    let link = post.place.link_now();
    let link = link.ok_or_else(|| Failure::aborted("the source is not connected"))?;
    let name = &post.config.poison.stream;
    match timeout(ANSWER, link.jetstream.get_stream(name)).await {
        Ok(Ok(stream)) => Ok(Some(stream)),
        Ok(Err(error)) => match error.kind() {
            GetStreamErrorKind::JetStream(refusal)
                if refusal.error_code() == ErrorCode::STREAM_NOT_FOUND =>
            {
                Ok(None)
            }
            GetStreamErrorKind::JetStream(_)
            | GetStreamErrorKind::EmptyName
            | GetStreamErrorKind::InvalidStreamName
            | GetStreamErrorKind::Request => Err(Failure::aborted(format!(
                "stream {name}: {}",
                err_chain(&error)
            ))),
        },
        Err(_) => Err(silence()),
    }
}

async fn list(
    post: &Post,
    stream: &Stream,
    after: u64,
    most: usize,
) -> Result<Vec<Letter>, async_nats::Error> {
    let reader = stream
        .create_consumer(pull::Config {
            deliver_policy: DeliverPolicy::ByStartSequence {
                start_sequence: after.saturating_add(1),
            },
            ack_policy: AckPolicy::None,
            filter_subject: subject(post),
            headers_only: true,
            memory_storage: true,
            num_replicas: 1,
            inactive_threshold: READER,
            ..pull::Config::default()
        })
        .await?;
    let mut messages = reader.fetch().max_messages(most).messages().await?;
    let mut letters = Vec::new();
    while let Some(message) = messages.next().await {
        let message = message?;
        let number = message.info()?.stream_sequence;
        let headers = message.headers.clone().unwrap_or_default();
        let bytes = text(&headers, "Nats-Msg-Size").parse().unwrap_or_default();
        letters.push(letter(post, number, &headers, bytes));
    }
    Ok(letters)
}

async fn remove(stream: &Stream, number: u64) -> Result<(), Failure> {
    match timeout(ANSWER, stream.delete_message(number)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(Failure::aborted(format!(
            "message {number} stays among those kept aside: {}",
            err_chain(&error)
        ))),
        Err(_) => Err(silence()),
    }
}

fn letter(post: &Post, number: u64, headers: &HeaderMap, bytes: usize) -> Letter {
    Letter {
        number,
        stream: post.config.source.stream.clone(),
        worker: post.config.name.clone(),
        sequence: text(headers, DEAD_SEQUENCE).parse().unwrap_or_default(),
        subject: text(headers, DEAD_SUBJECT).to_owned(),
        reason: text(headers, DEAD_REASON).to_owned(),
        at: text(headers, DEAD_TIME).to_owned(),
        bytes: u64::try_from(bytes).unwrap_or(u64::MAX),
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).map_or("", |value| value.as_str())
}

fn subject(post: &Post) -> String {
    dead_subject(&post.config.source.stream, &post.config.name)
}

/// Whether a header tells of the keeping aside, not of the message.
fn is_ours(name: &async_nats::HeaderName) -> bool {
    let name: &str = name.as_ref();
    name.starts_with("Nats-")
        || [DEAD_REASON, DEAD_SUBJECT, DEAD_SEQUENCE, DEAD_TIME].contains(&name)
}

fn silence() -> Failure {
    Failure::aborted("the source does not answer in time")
}
