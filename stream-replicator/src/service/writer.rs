//! Writes to the target what the window says, and tells it what the target answers.

use std::time::{Duration, Instant};

use async_nats::header::{HeaderName, HeaderValue, IntoHeaderName as _};
use async_nats::message::OutboundMessage;
use async_nats::{HeaderMap, Message, StatusCode, Subject, Subscriber};
use bytes::Bytes;
use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};

use crate::config::StreamConfig;
use crate::copy::answer::{Answer, Poison, Refusal};
use crate::copy::flight::Flight;
use crate::copy::header::{
    Allowed, EXPECTED_LAST_MSG_ID, EXPECTED_LAST_SEQUENCE, EXPECTED_LAST_SUBJECT_SEQUENCE,
    EXPECTED_LAST_SUBJECT_SEQUENCE_SUBJECT, Stamp,
};
use crate::copy::lanes::{Guard, Lanes};
use crate::copy::window::{Chain, Done, Expect, Limits, Sharing, Token, Window};

use super::connect::Link;

/// An answer is asked for once so many messages, or bytes, were sent without.
const ASK_MESSAGES: usize = 64;
const ASK_BYTES: usize = 128 * 1024;
/// A target that owes answers and gives none.
const SILENCE: Duration = Duration::from_secs(10);
const SETTLE: Duration = Duration::from_secs(2);
/// What a header costs besides name and value.
const HEADER_FRAME: usize = 4;
/// Room for the headers that we add, in the reckoning of sizes.
pub(super) const OWN_HEADERS: usize = 512;

/// A message on its way.
#[derive(Debug)]
pub(super) struct Item<K> {
    /// Subject at the target.
    pub(super) subject: Subject,
    /// Headers at the source.
    pub(super) headers: Option<HeaderMap>,
    pub(super) body: Bytes,
    /// When the source took it, in milliseconds.
    pub(super) time_ms: i64,
    pub(super) bytes: usize,
    pub(super) arrived: Instant,
    /// Why it is not even sent.
    pub(super) poison: Option<Poison>,
    /// What its reader wants back.
    pub(super) keep: K,
}

/// The connection to the target, and what is under way on it.
#[derive(Debug)]
pub(super) struct Writer<K> {
    pub(super) window: Flight<Item<K>>,
    link: Link,
    stamp: Stamp,
    allowed: Allowed,
    stream: String,
    inbox: String,
    answers: Subscriber,
    generation: u64,
    /// Whether the connection takes nothing at the moment.
    blocked: bool,
    names: Names,
    /// The subjects of the copies, where a filter of the target tells them apart from others'.
    own: Option<HeaderValue>,
}

/// What a writer waits for.
#[derive(Debug)]
pub(super) enum Event {
    /// An answer; none any more when the connection is closed.
    Answer(Option<Message>),
    /// The connection takes more.
    Unblocked,
}

#[derive(Debug)]
struct Names {
    last_id: HeaderName,
    last_sequence: HeaderName,
    last_of_subject: HeaderName,
    subject: HeaderName,
}

/// Where a new writer goes on.
#[derive(Debug, Clone)]
pub(super) struct Begin {
    pub(super) handled: u64,
    pub(super) target: u64,
    pub(super) chain: Chain,
    pub(super) sharing: Sharing,
    pub(super) allowed: Allowed,
    /// Filter of the copies' subjects, which nobody else writes.
    pub(super) own: Option<String>,
    /// Where only messages of one key keep their order.
    pub(super) keyed: Option<Keyed>,
}

/// Where a new writer goes on that keeps the order of keys alone.
#[derive(Debug, Clone, Copy)]
pub(super) struct Keyed {
    pub(super) guard: Guard,
    /// Whatever the target has beyond what is handled is behind this sequence of it.
    pub(super) base: u64,
    /// A source sequence that the target is known to have; 0 for none.
    pub(super) seen: u64,
}

impl<K> Writer<K> {
    pub(super) async fn open(
        link: &Link,
        config: &StreamConfig,
        stamp: Stamp,
        begin: Begin,
    ) -> Result<Self, String> {
        let limits = Limits {
            messages: config.window.messages,
            bytes: config.window.bytes,
            ask_messages: ASK_MESSAGES.min(config.window.messages.div_ceil(4)),
            ask_bytes: ASK_BYTES,
            silence: SILENCE,
            settle: SETTLE,
            tries: config.poison.tries,
        };
        let generation = link.generation();
        let inbox = link.client.new_inbox();
        let answers = link
            .client
            .subscribe(format!("{inbox}.*"))
            .await
            .map_err(|error| error.to_string())?;
        let window = match begin.keyed {
            Some(Keyed { guard, base, seen }) => {
                Flight::Keyed(Lanes::new(limits, guard, (begin.handled, seen), base))
            }
            None => {
                let (chain, sharing) = (begin.chain, begin.sharing);
                let window = Window::new(limits, chain, sharing, begin.handled, begin.target);
                Flight::Strict(if begin.own.is_some() {
                    window.with_own_subjects()
                } else {
                    window
                })
            }
        };
        Ok(Self {
            window,
            own: begin.own.map(HeaderValue::from),
            link: link.clone(),
            stamp,
            allowed: begin.allowed,
            stream: config.target.stream.clone(),
            inbox: format!("{inbox}."),
            answers,
            generation,
            blocked: false,
            names: Names {
                last_id: EXPECTED_LAST_MSG_ID.into_header_name(),
                last_sequence: EXPECTED_LAST_SEQUENCE.into_header_name(),
                last_of_subject: EXPECTED_LAST_SUBJECT_SEQUENCE.into_header_name(),
                subject: EXPECTED_LAST_SUBJECT_SEQUENCE_SUBJECT.into_header_name(),
            },
        })
    }

    /// Filter of the copies' subjects, which nobody else writes.
    pub(super) fn own_subjects(&self) -> Option<&str> {
        self.own.as_ref().map(HeaderValue::as_str)
    }

    /// Sends what may be sent, as far as the connection takes it.
    pub(super) fn pump(&mut self, now: Instant) {
        loop {
            let ready = std::future::poll_fn(|cx| self.link.client.poll_ready_unpin(cx));
            match ready.now_or_never() {
                Some(Ok(())) => {}
                Some(Err(_)) => return,
                None => {
                    self.blocked = self.window.sends();
                    return;
                }
            }
            let Some(send) = self.window.next_send(now) else {
                return;
            };
            let item = send.item;
            if let Some(poison) = &item.poison {
                let (token, poison) = (send.token, poison.clone());
                self.window.unsendable(token, poison, now);
                continue;
            }
            let id = self.stamp.id(send.sequence, send.variant);
            let mut headers = self.stamp.headers(
                item.headers.as_ref(),
                self.allowed,
                send.sequence,
                item.time_ms,
                id,
            );
            match send.expect {
                Expect::LastId(sequence, variant) => {
                    let before = self.stamp.id(sequence, variant);
                    headers.insert(self.names.last_id.clone(), HeaderValue::from(before));
                }
                Expect::LastSequence(sequence) => {
                    headers.insert(
                        self.names.last_sequence.clone(),
                        HeaderValue::from(sequence),
                    );
                }
                Expect::LastOwn(sequence) => {
                    let of = self.names.last_of_subject.clone();
                    headers.insert(of, HeaderValue::from(sequence));
                    if let Some(own) = &self.own {
                        headers.insert(self.names.subject.clone(), own.clone());
                    }
                }
                Expect::LastOfSubject(sequence) => {
                    let of = self.names.last_of_subject.clone();
                    headers.insert(of, HeaderValue::from(sequence));
                }
                Expect::Nothing => {}
            }
            let token = send.token;
            let reply = send
                .asks
                .then(|| Subject::from(format!("{}{}", self.inbox, token.text())));
            let sent = self.link.client.start_send_unpin(OutboundMessage {
                subject: item.subject.clone(),
                reply,
                payload: item.body.clone(),
                headers: Some(headers),
            });
            if sent.is_err() {
                self.window.unsendable(token, Poison::TooLarge, now);
            }
        }
    }

    /// Waits for an answer, or until the connection takes more. Dropping the future loses nothing.
    pub(super) async fn event(&mut self) -> Event {
        if !self.blocked {
            return Event::Answer(self.answers.next().await);
        }
        let client = &mut self.link.client;
        tokio::select! {
            answer = self.answers.next() => Event::Answer(answer),
            _ready = std::future::poll_fn(|cx| client.poll_ready_unpin(cx)) => {
                // A closed connection shows in its answers.
                self.blocked = false;
                Event::Unblocked
            }
        }
    }

    /// Takes an answer, and all that are there already.
    pub(super) fn answers(
        &mut self,
        first: Message,
        now: Instant,
        mut done: impl FnMut(Done<Item<K>>),
    ) {
        self.take(&first, now, &mut done);
        while let Some(Some(message)) = self.answers.next().now_or_never() {
            self.take(&message, now, &mut done);
        }
    }

    /// Follows the connection: what was under way on an earlier one gets no answer any more.
    pub(super) fn follow_link(&mut self) {
        let generation = self.link.generation();
        let is_up = self.link.is_up();
        if generation != self.generation || !is_up {
            self.generation = generation;
            self.window.link_lost();
        }
        if is_up {
            self.window.link_back();
        }
    }

    fn take(&mut self, message: &Message, now: Instant, done: &mut impl FnMut(Done<Item<K>>)) {
        let token = message
            .subject
            .strip_prefix(self.inbox.as_str())
            .and_then(Token::read);
        let Some(token) = token else {
            return;
        };
        if message.status == Some(StatusCode::NO_RESPONDERS) {
            self.window.refused(token, Refusal::Nobody, now);
            return;
        }
        match Answer::read(&message.payload) {
            Answer::Stored { stream, .. } if stream != self.stream => {
                let words = format!(
                    "stream {stream:?} takes what is meant for {:?}",
                    self.stream
                );
                self.window.refused(token, Refusal::OtherStream(words), now);
            }
            Answer::Stored {
                sequence,
                duplicate,
                ..
            } => self.window.stored(token, sequence, duplicate, now, done),
            Answer::Refused(refusal) => self.window.refused(token, refusal, now),
            Answer::Foreign => {
                let words = "somebody answers on the target's subjects who is no stream";
                self.window
                    .refused(token, Refusal::Busy(words.to_owned()), now);
            }
        }
    }
}

/// Bytes of body and headers, as they count in the window.
pub(super) fn weigh(headers: Option<&HeaderMap>, body: &Bytes) -> usize {
    let headers = headers.map_or(0, |headers| {
        headers
            .iter()
            .flat_map(|(name, values)| values.iter().map(move |value| (name, value)))
            .map(|(name, value)| {
                let name: &str = name.as_ref();
                name.len() + value.as_str().len() + HEADER_FRAME
            })
            .sum()
    });
    headers + body.len()
}
