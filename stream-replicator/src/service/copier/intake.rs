//! Messages as they come: which go into the window, and which are passed over.

use std::borrow::Cow;
use std::time::{Instant, SystemTime};

use async_nats::{HeaderMap, Message, Subject};
use bytes::Bytes;
use overlay_protocol::replication::control::Traced;

use super::{Copier, End, Keep, Reading};
use crate::copy::answer::Poison;
use crate::copy::header::Route;
use crate::copy::incoming::Delivery;
use crate::copy::lanes::Lane;
use crate::sample::Why;
use crate::service::reader::{Mode, Read};
use crate::service::sampling::Incoming;
use crate::service::writer::{Item, OWN_HEADERS, weigh};

/// Messages that are taken in before answers are looked at again.
const TURN: usize = 256;
const ACKNOWLEDGED: Bytes = Bytes::from_static(b"+ACK");
/// Bytes of headers that are none.
const NO_HEADERS: usize = "NATS/1.0\r\n\r\n".len();
/// Longest subject that is sent.
const LONGEST: usize = 4096;

/// What becomes of a message, for whoever traces.
#[derive(Clone, Copy)]
struct Verdict<'a> {
    target: Option<&'a Subject>,
    why: Reason,
}

/// Why.
#[derive(Clone, Copy)]
enum Reason {
    Said(&'static str),
    Judged(Why),
}

impl Copier<'_> {
    /// Takes a message, and those that are there already.
    pub(super) async fn take_all(&mut self, first: Read) -> Option<End> {
        let now = super::now();
        let wall = self.site.time.now();
        let mut next = Some(first);
        let mut taken = 0;
        while let Some(read) = next.take() {
            match read {
                Read::Message(message, delivery) if delivery.stream > self.read + 1 => {
                    let Some((message, delivery)) = self.jumped(message, delivery) else {
                        break;
                    };
                    self.take(message, delivery, now, wall);
                }
                Read::Message(message, delivery) => self.take(message, delivery, now, wall),
                Read::Unplaced => self.site.metrics.meta_failed(),
                Read::Broken(reason) => {
                    tracing::debug!(reason, "reader is made anew");
                    self.site.metrics.consumer_recreated();
                    if self.mode != Mode::Free {
                        // What is under way comes again: the position decides what of it is new.
                        return Some(End::Again(reason));
                    }
                    self.reopen();
                    return None;
                }
            }
            taken += 1;
            if taken < TURN
                && self.writer.window.has_room()
                && let Reading::Open(reader) = &mut self.reading
            {
                next = reader.ready();
            }
        }
        if let Reading::Open(reader) = &mut self.reading {
            reader.ask().await;
        }
        self.site.metrics.sequence(self.read);
        self.acknowledge().await;
        None
    }

    pub(super) fn take(
        &mut self,
        message: Message,
        delivery: Delivery,
        now: Instant,
        wall: SystemTime,
    ) {
        let sequence = delivery.stream;
        let bytes = weigh(message.headers.as_ref(), &message.payload);
        let time = delivery.time();
        let ack = match self.mode {
            Mode::Free => None,
            Mode::Queue | Mode::Interest => message.reply.clone(),
        };
        if sequence <= self.read {
            // It came again: it is dealt with, or under way.
            if sequence <= self.writer.window.handled() {
                self.acks.extend(ack);
            }
            return;
        }
        self.read = sequence;
        self.read_at = Some(time);
        self.pending = delivery.pending;
        self.site.metrics.received(bytes);
        let incoming = Incoming {
            subject: &message.subject,
            headers: message.headers.as_ref(),
            body: &message.payload,
            time,
        };
        let mut ticket = None;
        let age = wall.duration_since(time).unwrap_or_default();
        let why = if self.site.config.max_age.is_some_and(|limit| age > limit) {
            self.site.metrics.too_old();
            if let Some(sampling) = &mut self.site.sampling {
                sampling.passed_over(&incoming);
            }
            return self.pass(&message, delivery, bytes, ack, Reason::Said("too old"));
        } else {
            let route = self
                .stamp
                .route(message.headers.as_ref(), self.site.config.max_hops);
            match route {
                Route::Onward => {}
                Route::Loop => {
                    self.site.metrics.looped();
                    return self.pass(
                        &message,
                        delivery,
                        bytes,
                        ack,
                        Reason::Said("it was here before"),
                    );
                }
                Route::TooFar => {
                    self.site.metrics.looped();
                    return self.pass(
                        &message,
                        delivery,
                        bytes,
                        ack,
                        Reason::Said("it came too far"),
                    );
                }
            }
            match &mut self.site.sampling {
                None => Reason::Said("everything is copied"),
                Some(sampling) => {
                    let judgement = sampling.judge(&incoming);
                    let why = judgement.why;
                    if !judgement.copies() {
                        self.site.metrics.skipped(bytes);
                        return self.pass(&message, delivery, bytes, ack, Reason::Judged(why));
                    }
                    ticket = judgement.ticket;
                    Reason::Judged(why)
                }
            }
        };
        let subject = match self.site.config.mapping.apply(&message.subject) {
            Cow::Borrowed(_) => message.subject.clone(),
            Cow::Owned(mapped) => Subject::from(mapped),
        };
        let verdict = Verdict {
            target: Some(&subject),
            why,
        };
        self.trace(&message, delivery, bytes, verdict);
        let lane = match &self.keys {
            Some((keys, _)) => keys.lane(
                (&message.subject, &subject),
                message.headers.as_ref(),
                &message.payload,
                delivery.time_ms(),
            ),
            None => Lane::default(),
        };
        let poison = if is_garbled(&message) {
            Some(Poison::Headers)
        } else {
            (!is_publishable(&subject)).then(|| Poison::Subject(subject.to_string()))
        };
        let item = Item {
            subject,
            headers: message.headers,
            body: message.payload,
            time_ms: delivery.time_ms(),
            bytes,
            arrived: now,
            poison,
            keep: Keep {
                sequence,
                subject: message.subject,
                ack,
                ticket,
            },
        };
        self.writer
            .window
            .push(sequence, bytes + OWN_HEADERS, lane, item);
    }

    fn pass(
        &mut self,
        message: &Message,
        delivery: Delivery,
        bytes: usize,
        ack: Option<Subject>,
        why: Reason,
    ) {
        self.trace(message, delivery, bytes, Verdict { target: None, why });
        self.writer.window.pass(delivery.stream);
        if self.writer.window.is_empty() {
            self.ledger.dealt_with(delivery.stream, delivery.time());
        }
        self.acks.extend(ack);
    }

    fn trace(&self, message: &Message, delivery: Delivery, bytes: usize, verdict: Verdict<'_>) {
        let site = &self.site;
        site.trace.decided(|| {
            let incoming = Incoming {
                subject: &message.subject,
                headers: message.headers.as_ref(),
                body: &message.payload,
                time: delivery.time(),
            };
            let sampling = site.sampling.as_ref();
            Traced {
                stream: site.config.source.stream.clone(),
                worker: site.config.name.clone(),
                sequence: delivery.stream,
                time_ms: delivery.time_ms(),
                subject: message.subject.to_string(),
                target: verdict.target.map(ToString::to_string),
                bytes: u64::try_from(bytes).unwrap_or(u64::MAX),
                copied: verdict.target.is_some(),
                why: match verdict.why {
                    Reason::Said(words) => words.to_owned(),
                    Reason::Judged(why) => why.to_string(),
                },
                value: sampling
                    .and_then(|sampling| sampling.value(&incoming))
                    .map(Cow::into_owned),
            }
        });
    }

    /// Tells the source what is dealt with, where it wants to know.
    pub(super) async fn acknowledge(&mut self) {
        for ack in self.acks.drain(..) {
            let sent = self.site.source.client.publish(ack, ACKNOWLEDGED).await;
            if sent.is_err() {
                self.site.metrics.ack_failed();
            }
        }
    }
}

/// Whether a message has headers of which nothing can be read: the client shows none of them.
fn is_garbled(message: &Message) -> bool {
    let is_blank = message.headers.as_ref().is_some_and(HeaderMap::is_empty)
        && message.status.is_none()
        && message.description.is_none();
    let others = message.subject.len()
        + message.reply.as_ref().map_or(0, |reply| reply.len())
        + message.payload.len();
    is_blank && message.length > others + NO_HEADERS
}

/// Whether a broker takes a subject of a message.
fn is_publishable(subject: &str) -> bool {
    subject.len() <= LONGEST
        && subject.split('.').all(|token| {
            !token.is_empty()
                && token != "*"
                && token != ">"
                && !token.contains(|c: char| c.is_whitespace() || c.is_control())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_subjects_that_a_broker_takes_are_sent() {
        for subject in ["a", "a.b", "a.b*", "ü.x"] {
            assert!(is_publishable(subject), "{subject}");
        }
        for subject in ["", ".a", "a.", "a..b", "a.*", ">", "a b", "a\tb", "a\r\n"] {
            assert!(!is_publishable(subject), "{subject:?}");
        }
        assert!(!is_publishable(&"a".repeat(LONGEST + 1)));
    }
}
