//! Reads from the target what was copied of late: what is lost, or was not told, costs no second copy.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use async_nats::header::HeaderName;
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use async_nats::jetstream::stream::{ConsumerError, ConsumerErrorKind};
use async_nats::{HeaderMap, Message};
use futures_util::StreamExt as _;
use overlay_protocol::replication::{SOURCE_HEADER, SourceMark};
use overlay_runtime::{Period, err_chain};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::connect::Link;
use crate::config::{Inspect, StreamConfig};
use crate::sample::Reader;
use crate::track::{Nanos, Span, Tracker};

/// Messages and bytes of one answer of the target.
const BATCH: usize = 1_000;
const BATCH_BYTES: usize = 4 << 20;
/// How long the target may be silent.
const SILENCE: Duration = Duration::from_secs(3);
/// Messages that are read at most: as many values are remembered.
const MAX_MESSAGES: usize = crate::track::MAX_VALUES;
/// Where the JetStream API is unless the configuration says otherwise.
const API: &str = "$JS.API";

/// The end of a batch.
const END_OF_BATCH: u16 = 204;

/// Why the target could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum WarmError {
    /// It refuses, or does not answer.
    #[error("the target does not show what it has: {0}")]
    Refused(String),
    /// It took too long; what was read by then counts.
    #[error("reading what the target has took longer than {}", Period(*limit))]
    Slow {
        /// The limit.
        limit: Duration,
    },
}

/// A copy that the target has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Copied {
    at: Nanos,
    size: u32,
}

/// Copies whose subject at the source can't be told from that at the target, by the latter.
#[derive(Debug, Default)]
pub(super) struct BySubject {
    copies: HashMap<String, Copied>,
    /// What they count as seen at.
    seen: Nanos,
}

/// What reads the target of one worker.
#[derive(Debug)]
pub(super) struct Warm<'a> {
    pub(super) config: &'a StreamConfig,
    pub(super) site: &'a str,
    pub(super) target: &'a Link,
    pub(super) reader: &'a Reader,
    /// The header that is sampled by.
    pub(super) header: Option<&'a HeaderName>,
    pub(super) by_subject: &'a mut BySubject,
    pub(super) tracker: &'a mut Tracker,
}

/// A message of the target.
struct Stored<'a> {
    subject: &'a str,
    headers: &'a HeaderMap,
    body: &'a [u8],
    size: usize,
}

impl BySubject {
    /// Takes what is known of a value that nothing else is known of, by the target subject of its first message.
    pub(super) fn recall(&mut self, tracker: &mut Tracker, value: &str, subject: &str) {
        if let Some(copied) = self.copies.remove(subject) {
            tracker.learn_copy(value, copied.at, copied.size, self.seen);
        }
    }

    /// Forgets what is due again by now.
    pub(super) fn forget(&mut self, now: Nanos, interval: Span) {
        if now.since(self.seen) > interval {
            self.copies = HashMap::new();
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.copies.is_empty()
    }
}

impl Warm<'_> {
    /// Reads what the target took since; values of which nothing else is known count as seen `now`. Gives how many
    /// copies of ours there were.
    ///
    /// # Errors
    ///
    /// [`WarmError`]; what was read before counts.
    pub(super) async fn read(
        &mut self,
        since: SystemTime,
        now: Nanos,
        limit: Duration,
    ) -> Result<usize, WarmError> {
        self.by_subject.seen = now;
        let mut found = 0;
        let read = tokio::time::timeout(limit, async {
            match self.in_batches(since, now, &mut found).await {
                Err(Unshown::NotDirectly) => self.by_consumer(since, now, &mut found).await,
                Err(Unshown::Refused(why)) => Err(WarmError::Refused(why)),
                Ok(()) => Ok(()),
            }
        });
        read.await.unwrap_or(Err(WarmError::Slow { limit }))?;
        Ok(found)
    }

    /// Asks for batches of messages, which takes no more than the right to read the stream.
    async fn in_batches(
        &mut self,
        since: SystemTime,
        now: Nanos,
        found: &mut usize,
    ) -> Result<(), Unshown> {
        let client = &self.target.client;
        let api = self.config.target.endpoint.api_prefix.as_deref();
        let subject = format!(
            "{}.DIRECT.GET.{}",
            api.unwrap_or(API),
            self.config.target.stream
        );
        let mut ask =
            json!({"start_time": rfc3339(since), "batch": BATCH, "max_bytes": BATCH_BYTES});
        let mut read = 0;
        while read < MAX_MESSAGES {
            let inbox = client.new_inbox();
            let refused = |error: &dyn std::error::Error| Unshown::Refused(err_chain(error));
            let mut answers = client
                .subscribe(inbox.clone())
                .await
                .map_err(|error| refused(&error))?;
            let body = ask.to_string().into();
            client
                .publish_with_reply(subject.clone(), inbox, body)
                .await
                .map_err(|error| refused(&error))?;
            let mut last = None;
            loop {
                let answer = tokio::time::timeout(SILENCE, answers.next()).await;
                let Ok(Some(message)) = answer else {
                    return Err(Unshown::Refused("it does not answer".to_owned()));
                };
                match message.status.map(|status| status.as_u16()) {
                    None => {}
                    Some(END_OF_BATCH) => break,
                    Some(404) => return Ok(()),
                    Some(503) => return Err(Unshown::NotDirectly),
                    Some(status) => {
                        let why = message.description.unwrap_or_default();
                        return Err(Unshown::Refused(format!("{status} {why}")));
                    }
                }
                last = number(&message, "Nats-Sequence").or(last);
                read += 1;
                let (Some(headers), Some(subject)) =
                    (&message.headers, text(&message, "Nats-Subject"))
                else {
                    continue;
                };
                let stored = Stored {
                    subject,
                    headers,
                    body: &message.payload,
                    size: message.payload.len(),
                };
                *found += usize::from(self.learn(&stored, now));
            }
            let Some(last) = last else {
                return Ok(());
            };
            ask = json!({"seq": last + 1, "batch": BATCH, "max_bytes": BATCH_BYTES});
        }
        Ok(())
    }

    /// Reads by a consumer that leaves nothing behind, where the stream shows nothing directly.
    async fn by_consumer(
        &mut self,
        since: SystemTime,
        now: Nanos,
        found: &mut usize,
    ) -> Result<(), WarmError> {
        let refused = |error: &dyn std::error::Error| WarmError::Refused(err_chain(error));
        let config = pull::OrderedConfig {
            deliver_policy: DeliverPolicy::ByStartTime {
                start_time: since.into(),
            },
            // Subjects and headers say enough; bodies stay where they are.
            headers_only: !self.needs_bodies(),
            ..pull::OrderedConfig::default()
        };
        let made = self
            .target
            .jetstream
            .create_consumer_on_stream(config, &self.config.target.stream)
            .await;
        let consumer = match made {
            Ok(consumer) => consumer,
            // A target that is not there yet has nothing.
            Err(error) if is_missing(&error) => return Ok(()),
            Err(error) => return Err(refused(&error)),
        };
        if consumer.cached_info().num_pending == 0 {
            return Ok(());
        }
        let mut messages = consumer.messages().await.map_err(|error| refused(&error))?;
        for _ in 0..MAX_MESSAGES {
            let next = tokio::time::timeout(SILENCE, messages.next()).await;
            let message = match next {
                Ok(Some(Ok(message))) => message,
                Ok(Some(Err(error))) => return Err(refused(&error)),
                Ok(None) | Err(_) => {
                    return Err(WarmError::Refused("it does not answer".to_owned()));
                }
            };
            let pending = message.info().map_or(0, |info| info.pending);
            if let Some(headers) = &message.headers {
                let size =
                    number(&message, "Nats-Msg-Size").and_then(|size| usize::try_from(size).ok());
                let stored = Stored {
                    subject: &message.subject,
                    headers,
                    body: &message.payload,
                    size: size.unwrap_or(message.payload.len()),
                };
                *found += usize::from(self.learn(&stored, now));
            }
            if pending == 0 {
                break;
            }
        }
        Ok(())
    }

    fn needs_bodies(&self) -> bool {
        let inspect = self
            .config
            .sampling
            .as_ref()
            .map(|sampling| &sampling.inspect);
        matches!(inspect, Some(Inspect::Field(_)))
    }

    /// Takes in a message if it is a copy of ours.
    fn learn(&mut self, stored: &Stored<'_>, now: Nanos) -> bool {
        // A chain's values: ours is the last one.
        let mark = stored.headers.get_all(SOURCE_HEADER).last();
        let Some(mark) = mark.and_then(|mark| mark.as_str().parse::<SourceMark>().ok()) else {
            return false;
        };
        let is_ours = mark.stream == self.config.source.stream
            && mark.replicator == self.site
            && mark.worker == self.config.name;
        if !is_ours {
            return false;
        }
        let copied = Copied {
            at: mark.time_ms.map_or(now, Nanos::of_millis),
            size: u32::try_from(stored.size).unwrap_or(u32::MAX),
        };
        let is_by_subject = self
            .config
            .sampling
            .as_ref()
            .is_some_and(|sampling| matches!(sampling.inspect, Inspect::Token(_)));
        let mapping = &self.config.mapping;
        let subject = match (&mapping.prefix, &mapping.remove) {
            _ if !is_by_subject => Some(stored.subject),
            (None, None) => Some(stored.subject),
            (Some(prefix), None) => stored
                .subject
                .strip_prefix(prefix.as_str())
                .map(|rest| rest.trim_start_matches('.')),
            (_, Some(_)) => None,
        };
        let Some(subject) = subject else {
            self.by_subject
                .copies
                .insert(stored.subject.to_owned(), copied);
            return true;
        };
        let header = self
            .header
            .and_then(|name| stored.headers.get(name.clone()))
            .map(|value| value.as_str());
        if let Some(value) = self.reader.value(subject, header, stored.body) {
            self.tracker.learn_copy(&value, copied.at, copied.size, now);
        }
        true
    }
}

/// Why batches show nothing.
enum Unshown {
    /// The stream does not allow it, or its broker is older than that.
    NotDirectly,
    Refused(String),
}

fn is_missing(error: &ConsumerError) -> bool {
    match error.kind() {
        ConsumerErrorKind::JetStream(error) => error.error_code() == ErrorCode::STREAM_NOT_FOUND,
        ConsumerErrorKind::TimedOut
        | ConsumerErrorKind::Request
        | ConsumerErrorKind::InvalidConsumerType
        | ConsumerErrorKind::InvalidName
        | ConsumerErrorKind::Other => false,
    }
}

fn text<'a>(message: &'a Message, name: &'static str) -> Option<&'a str> {
    let headers = message.headers.as_ref()?;
    headers.get(name).map(|value| value.as_str())
}

fn number(message: &Message, name: &'static str) -> Option<u64> {
    text(message, name)?.parse().ok()
}

fn rfc3339(time: SystemTime) -> Value {
    OffsetDateTime::from(time)
        .format(&Rfc3339)
        .map_or(Value::Null, Value::String)
}
