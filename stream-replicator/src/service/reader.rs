//! Reads the source: in order, from a place, as fast as it is taken off.
//!
//! An ephemeral consumer without acknowledgements is asked for messages ahead of time, several requests at once, bounded
//! in messages and bytes. Whatever breaks the sequence of its deliveries makes it worthless: it is made again behind the
//! last message that came.
//!
//! Streams that drop a message once it is acknowledged are read through the durable consumer, with an acknowledgement of
//! each message once the target has it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use async_nats::{Message, Subscriber};
use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::config::{Start, StreamConfig};
use crate::copy::incoming::Delivery;

use super::api::{self, ApiError, ConsumerInfo};
use super::bookmark::durable_name;
use super::connect::Link;

/// Messages of one request, and how many requests are open.
const REQUEST_MESSAGES: usize = 2_048;
const REQUESTS: usize = 8;
/// Bytes of one request; more only for a message that is larger.
const REQUEST_BYTES: usize = 2 * 1024 * 1024;
const LARGEST_REQUEST: usize = 128 * 1024 * 1024;
const EXPIRES: Duration = Duration::from_secs(30);
const HEARTBEAT: Duration = Duration::from_secs(2);
/// Heartbeats that may be missing.
const SILENCE: Duration = Duration::from_secs(7);
/// The broker forgets the consumer of a reader that is gone.
const INACTIVE: Duration = Duration::from_secs(60);
const MAX_WAITING: usize = 64;
/// When a message that is not acknowledged comes again.
const ACK_WAIT: Duration = Duration::from_secs(60);
/// And when it is wanted back.
const RETURN_WAIT: Duration = Duration::from_secs(1);
const RETURN_ROUNDS: usize = 20;
/// How long those that came again may take before the rest is wanted.
const PART_WAIT: Duration = Duration::from_secs(3);

/// Where to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    /// Behind this sequence.
    Behind(u64),
    /// Where the configuration says, at this time.
    Start(Start, std::time::SystemTime),
}

/// How a stream is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Reading changes nothing.
    Free,
    /// A message that is acknowledged is gone. What is not is delivered from the beginning to a new consumer.
    Queue,
    /// So it is, but without its consumer nothing is kept: what was delivered and not acknowledged comes again.
    Interest,
}

/// What reading yields.
#[derive(Debug)]
pub(super) enum Read {
    /// A message, in order.
    Message(Message, Delivery),
    /// A message that does not say where it stands.
    Unplaced,
    /// Nothing more comes, for this reason: open it again.
    Broken(String),
}

/// A consumer and what was asked of it.
#[derive(Debug)]
pub(super) struct Reader {
    link: Link,
    stream: String,
    name: String,
    inbox: String,
    messages: Subscriber,
    /// Subject of further requests.
    next: String,
    requests: VecDeque<Request>,
    asked: u64,
    request_bytes: usize,
    /// Sequence of the last delivery.
    deliveries: u64,
    /// The connection it was made on.
    generation: u64,
    heard: Instant,
    /// Source sequence behind which it began, and how many messages were waiting then.
    begins: u64,
    waiting: u64,
    mode: Mode,
    /// Messages that came again, in order.
    returned: VecDeque<(Message, Delivery)>,
    /// Whether there was no room for more of them, and nothing new may come before they do.
    is_part: bool,
}

/// What was delivered before and came again, up to a limit in bytes: the first ones.
#[derive(Debug)]
struct Returned {
    limit: usize,
    bytes: usize,
    messages: BTreeMap<u64, (Message, Delivery)>,
    /// All that came, whether or not there was room for them.
    seen: BTreeSet<u64>,
    /// From here on, there was none.
    cut: Option<u64>,
}

#[derive(Debug)]
struct Request {
    id: u64,
    left: usize,
    served: bool,
}

impl Returned {
    fn new(limit: usize) -> Self {
        Self {
            limit,
            bytes: 0,
            messages: BTreeMap::new(),
            seen: BTreeSet::new(),
            cut: None,
        }
    }

    fn take(&mut self, message: Message, delivery: Delivery) {
        let sequence = delivery.stream;
        self.seen.insert(sequence);
        if self.cut.is_some_and(|cut| sequence >= cut) {
            return;
        }
        self.bytes += message.length;
        let before = self.messages.insert(sequence, (message, delivery));
        self.bytes -= before.map_or(0, |(message, _)| message.length);
        while self.bytes > self.limit
            && self.messages.len() > 1
            && let Some((last, (message, _))) = self.messages.pop_last()
        {
            self.bytes -= message.length;
            self.cut = Some(last);
        }
    }

    /// Whether all came that are waited for.
    fn is_whole(&self, pending: u64) -> bool {
        u64::try_from(self.seen.len()).unwrap_or(u64::MAX) >= pending
    }

    /// The messages, and whether there are more.
    fn into_messages(self) -> (VecDeque<(Message, Delivery)>, bool) {
        (self.messages.into_values().collect(), self.cut.is_some())
    }
}

impl Reader {
    /// Makes a consumer and asks for the first messages.
    pub(super) async fn open(
        link: &Link,
        config: &StreamConfig,
        from: From,
        mode: Mode,
    ) -> Result<Self, ApiError> {
        let stream = config.source.stream.as_str();
        let generation = link.generation();
        let (name, made) = match mode {
            Mode::Free => free(link, config, from).await?,
            Mode::Queue => queue(link, config).await?,
            Mode::Interest => interest(link, config, from).await?,
        };
        let inbox = link.client.new_inbox();
        let messages = link
            .client
            .subscribe(format!("{inbox}.*"))
            .await
            .map_err(|error| ApiError::Silent(error.to_string()))?;
        let begins = match from {
            From::Behind(sequence) => sequence,
            From::Start(..) => made.delivered.stream_seq.max(made.ack_floor.stream_seq),
        };
        let api_prefix = config
            .source
            .endpoint
            .api_prefix
            .as_deref()
            .unwrap_or("$JS.API");
        let mut reader = Self {
            next: format!("{api_prefix}.CONSUMER.MSG.NEXT.{stream}.{name}"),
            stream: stream.to_owned(),
            link: link.clone(),
            name,
            inbox,
            messages,
            requests: VecDeque::with_capacity(REQUESTS),
            asked: 0,
            request_bytes: REQUEST_BYTES,
            deliveries: made.delivered.consumer_seq,
            generation,
            heard: Instant::now(),
            begins,
            waiting: made.num_pending,
            mode,
            returned: VecDeque::new(),
            is_part: false,
        };
        if mode == Mode::Interest {
            if made.num_ack_pending > 0 {
                reader.gather(config, made.num_ack_pending).await?;
            }
            let usual = changed(&made, config, ACK_WAIT);
            api::create_consumer(&link.jetstream, stream, &reader.name, &usual).await?;
        }
        reader.ask().await;
        Ok(reader)
    }

    /// Source sequence behind which it began.
    pub(super) fn begins(&self) -> u64 {
        self.begins
    }

    /// Messages that were waiting when it began.
    pub(super) fn waiting(&self) -> u64 {
        self.waiting
    }

    /// For how long the source has said nothing.
    pub(super) fn silence(&self) -> Duration {
        self.heard.elapsed()
    }

    /// Whether the connection that it was made on is gone.
    pub(super) fn is_over(&self) -> bool {
        self.link.generation() != self.generation
    }

    /// Waits for what was delivered before and never acknowledged: it comes again, and before anything new. All of it must
    /// come, for what comes later than its successors would be taken for dealt with.
    async fn gather(&mut self, config: &StreamConfig, mut pending: u64) -> Result<(), ApiError> {
        let mut returned = Returned::new(config.window.bytes);
        for _round in 0..RETURN_ROUNDS {
            // Only what is overdue is delivered before what is new.
            tokio::time::sleep(RETURN_WAIT).await;
            let question = json!({ "batch": pending.max(1), "no_wait": true });
            let reply = format!("{}.0", self.inbox);
            let question = Bytes::from(question.to_string());
            self.link
                .client
                .publish_with_reply(self.next.clone(), reply, question)
                .await
                .map_err(|error| ApiError::Silent(error.to_string()))?;
            while let Ok(Some(message)) =
                tokio::time::timeout(RETURN_WAIT, self.messages.next()).await
            {
                if message.status.is_some() {
                    break;
                }
                let delivery = message.reply.as_deref().and_then(Delivery::read);
                if let Some(delivery) = delivery {
                    self.deliveries = self.deliveries.max(delivery.consumer);
                    returned.take(message, delivery);
                }
            }
            // Meanwhile some may have gone from the stream.
            let name = durable_name(&config.name);
            let info = api::consumer_info(&self.link.jetstream, &self.stream, &name).await?;
            pending = info.num_ack_pending;
            if returned.is_whole(pending) {
                (self.returned, self.is_part) = returned.into_messages();
                return Ok(());
            }
        }
        Err(ApiError::Silent(format!(
            "{} of {pending} messages that nobody acknowledged have come again",
            returned.seen.len()
        )))
    }

    /// The next message, or why there is none. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Read {
        if let Some((message, delivery)) = self.returned.pop_front() {
            self.heard = Instant::now();
            return Read::Message(message, delivery);
        }
        if self.is_part {
            // Those that are read have so long to be acknowledged.
            tokio::time::sleep_until(self.heard + PART_WAIT).await;
            return Read::Broken("more is to come again".to_owned());
        }
        loop {
            let deadline = self.heard + SILENCE;
            let message = tokio::select! {
                biased;
                message = self.messages.next() => message,
                () = tokio::time::sleep_until(deadline) => {
                    return Read::Broken("the source is silent".to_owned());
                }
            };
            self.heard = Instant::now();
            if let Some(read) = self.take(message) {
                return read;
            }
            self.ask().await;
        }
    }

    /// The next message if one is there already.
    pub(super) fn ready(&mut self) -> Option<Read> {
        if let Some((message, delivery)) = self.returned.pop_front() {
            return Some(Read::Message(message, delivery));
        }
        if self.is_part {
            return None;
        }
        loop {
            let message = self.messages.next().now_or_never()?;
            if let Some(read) = self.take(message) {
                return Some(read);
            }
        }
    }

    /// Asks for as much as may be under way. To be called between calls of [`Self::ready`].
    pub(super) async fn ask(&mut self) {
        while self.requests.len() < REQUESTS && !self.is_part {
            self.asked += 1;
            let question = json!({
                "batch": REQUEST_MESSAGES,
                "max_bytes": self.request_bytes,
                "expires": api::nanos(EXPIRES),
                "idle_heartbeat": api::nanos(HEARTBEAT),
            });
            let reply = format!("{}.{}", self.inbox, self.asked);
            let sent = self
                .link
                .client
                .publish_with_reply(self.next.clone(), reply, Bytes::from(question.to_string()))
                .await;
            if sent.is_err() {
                // A closed connection: the silence tells.
                return;
            }
            self.requests.push_back(Request {
                id: self.asked,
                left: REQUEST_MESSAGES,
                served: false,
            });
        }
    }

    /// Takes the consumer away; the broker would do so later.
    pub(super) async fn close(self) {
        if self.mode != Mode::Free {
            return;
        }
        let gone = api::delete_consumer(&self.link.jetstream, &self.stream, &self.name).await;
        if let Err(error) = gone {
            tracing::debug!(%error, "consumer of the reader not deleted");
        }
    }

    fn take(&mut self, message: Option<Message>) -> Option<Read> {
        let Some(message) = message else {
            return Some(Read::Broken("the connection is closed".to_owned()));
        };
        if self.link.generation() != self.generation {
            return Some(Read::Broken(
                "the connection to the source was lost".to_owned(),
            ));
        }
        if let Some(status) = message.status {
            return self.status(status.as_u16(), &message);
        }
        if let Some(front) = self.requests.front_mut() {
            front.served = true;
            front.left -= 1;
            if front.left == 0 {
                self.requests.pop_front();
                self.request_bytes = REQUEST_BYTES;
            }
        }
        let delivery = message.reply.as_deref().and_then(Delivery::read);
        let Some(delivery) = delivery else {
            return Some(Read::Unplaced);
        };
        if delivery.consumer != self.deliveries + 1 {
            return Some(Read::Broken(format!(
                "delivery {} came after {}",
                delivery.consumer, self.deliveries
            )));
        }
        self.deliveries = delivery.consumer;
        Some(Read::Message(message, delivery))
    }

    /// Something that the broker says of a request, or of the consumer.
    fn status(&mut self, status: u16, message: &Message) -> Option<Read> {
        let words = message.description.as_deref().unwrap_or_default();
        let id = message
            .subject
            .rsplit('.')
            .next()
            .and_then(|id| id.parse::<u64>().ok());
        match status {
            // a heartbeat
            100 => None,
            // nothing there, over
            404 | 408 => {
                self.requests.retain(|request| Some(request.id) != id);
                None
            }
            409 if words.contains("MaxBytes") => {
                let request = self.requests.iter().find(|request| Some(request.id) == id);
                if request.is_some_and(|request| !request.served) {
                    self.request_bytes = (self.request_bytes * 2).min(LARGEST_REQUEST);
                }
                self.requests.retain(|request| Some(request.id) != id);
                None
            }
            // all of the request came, which the count of deliveries tells as well
            409 if words.contains("Batch Completed") => {
                self.requests.retain(|request| Some(request.id) != id);
                None
            }
            other => Some(Read::Broken(format!("the source says {other} {words}"))),
        }
    }
}

/// A consumer of its own, for a stream that reading does not change.
async fn free(
    link: &Link,
    config: &StreamConfig,
    from: From,
) -> Result<(String, ConsumerInfo), ApiError> {
    let name = format!("sr-{:016x}", random());
    let mut wanted = json!({
        "name": name,
        "description": format!("Choria Stream Replicator {}", config.name),
        "ack_policy": "none",
        "replay_policy": "instant",
        "mem_storage": true,
        "num_replicas": 1,
        "inactive_threshold": api::nanos(INACTIVE),
        "max_waiting": MAX_WAITING,
    });
    deliver(&mut wanted, from);
    filter(&mut wanted, &config.filters);
    let stream = config.source.stream.as_str();
    let made = api::create_consumer(&link.jetstream, stream, &name, &wanted).await?;
    Ok((name, made))
}

/// The durable consumer, made anew: what nobody acknowledged is still there, and comes in order.
async fn queue(link: &Link, config: &StreamConfig) -> Result<(String, ConsumerInfo), ApiError> {
    let stream = config.source.stream.as_str();
    let mut wanted = acking(config, ACK_WAIT);
    deliver(&mut wanted, From::Behind(0));
    let name = durable_name(&config.name);
    api::delete_consumer(&link.jetstream, stream, &name).await?;
    let made = api::create_consumer(&link.jetstream, stream, &name, &wanted).await?;
    Ok((name, made))
}

/// The durable consumer as it is; what it delivered and nobody acknowledged is overdue at once.
async fn interest(
    link: &Link,
    config: &StreamConfig,
    from: From,
) -> Result<(String, ConsumerInfo), ApiError> {
    let stream = config.source.stream.as_str();
    let name = durable_name(&config.name);
    match api::consumer_info(&link.jetstream, stream, &name).await {
        Ok(info) => {
            let before = filters(&info.config);
            if before != config.filters {
                tracing::warn!(
                    stream,
                    consumer = name,
                    ?before,
                    now = ?config.filters,
                    "the durable consumer had other filters: what the source kept for it is all there is of the new ones"
                );
            }
            let overdue = changed(&info, config, RETURN_WAIT);
            api::create_consumer(&link.jetstream, stream, &name, &overdue).await?;
            Ok((name, info))
        }
        Err(error) if error.is_consumer_missing() => {
            let mut wanted = acking(config, ACK_WAIT);
            deliver(&mut wanted, from);
            let made = api::create_consumer(&link.jetstream, stream, &name, &wanted).await?;
            Ok((name, made))
        }
        Err(error) => Err(error),
    }
}

/// The durable consumer of a stream that drops what is acknowledged.
fn acking(config: &StreamConfig, ack_wait: Duration) -> Value {
    let name = durable_name(&config.name);
    let mut wanted = json!({
        "durable_name": name,
        "name": name,
        "description": format!("Choria Stream Replicator {}", config.name),
        "ack_policy": "explicit",
        "ack_wait": api::nanos(ack_wait),
        "max_deliver": -1,
        "max_ack_pending": config.window.messages + REQUESTS * REQUEST_MESSAGES,
        "replay_policy": "instant",
        "max_waiting": MAX_WAITING,
    });
    filter(&mut wanted, &config.filters);
    wanted
}

/// The consumer as it is, with another wait for acknowledgements, room for our window, and the filters of now.
fn changed(info: &ConsumerInfo, config: &StreamConfig, ack_wait: Duration) -> Value {
    let mut wanted = info.config.clone();
    let ours = acking(config, ack_wait);
    for field in ["ack_wait", "max_ack_pending"] {
        if let (Some(wanted), Some(value)) = (wanted.as_object_mut(), ours.get(field)) {
            wanted.insert(field.to_owned(), value.clone());
        }
    }
    if let Some(wanted) = wanted.as_object_mut() {
        wanted.remove("filter_subject");
        wanted.remove("filter_subjects");
    }
    filter(&mut wanted, &config.filters);
    wanted
}

/// The filters of a consumer.
fn filters(config: &Value) -> Vec<&str> {
    let several = config.get("filter_subjects").and_then(Value::as_array);
    let one = config.get("filter_subject").into_iter();
    several
        .into_iter()
        .flatten()
        .chain(one)
        .filter_map(Value::as_str)
        .filter(|subject| !subject.is_empty())
        .collect()
}

/// Sets where deliveries begin.
pub(super) fn deliver(config: &mut Value, from: From) {
    let (policy, extra) = match from {
        From::Behind(0) | From::Start(Start::All, _) => ("all", None),
        From::Behind(sequence) => (
            "by_start_sequence",
            Some(("opt_start_seq", json!(sequence + 1))),
        ),
        From::Start(Start::End, _) => ("new", None),
        From::Start(Start::Sequence(sequence), _) => (
            "by_start_sequence",
            Some(("opt_start_seq", json!(sequence))),
        ),
        From::Start(Start::Ago(age), now) => {
            let time = now.checked_sub(age).unwrap_or(std::time::UNIX_EPOCH);
            (
                "by_start_time",
                Some(("opt_start_time", json!(api::timestamp(time)))),
            )
        }
        From::Start(Start::Time(time), _) => (
            "by_start_time",
            Some(("opt_start_time", json!(api::timestamp(time)))),
        ),
    };
    if let Some(config) = config.as_object_mut() {
        config.insert("deliver_policy".to_owned(), json!(policy));
        if let Some((name, value)) = extra {
            config.insert(name.to_owned(), value);
        }
    }
}

/// Sets what is delivered.
pub(super) fn filter(config: &mut Value, filters: &[String]) {
    let Some(config) = config.as_object_mut() else {
        return;
    };
    match filters {
        [] => {}
        [one] => {
            config.insert("filter_subject".to_owned(), json!(one));
        }
        several => {
            config.insert("filter_subjects".to_owned(), json!(several));
        }
    }
}

pub(super) fn random() -> u64 {
    let mut bytes = [0; 8];
    // Without randomness the name is the same for all, and the broker refuses the second.
    let _filled = getrandom::fill(&mut bytes);
    u64::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests;
