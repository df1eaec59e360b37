//! What is under way to the target, in the order that the stream keeps.

use std::time::Instant;

use super::answer::{Poison, Refusal};
use super::lanes::{Ask, Found, Lane, Lanes};
use super::window::{Done, Send, Tail, Token, Want, Window};

/// Messages under way.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a worker has one, and it stays where it is"
)]
pub(crate) enum Flight<T> {
    /// In the order of the source.
    Strict(Window<T>),
    /// In the order of the source among those of one key.
    Keyed(Lanes<T>),
}

impl<T> Flight<T> {
    /// Source sequence up to which everything is dealt with.
    pub(crate) fn handled(&self) -> u64 {
        match self {
            Self::Strict(window) => window.handled(),
            Self::Keyed(lanes) => lanes.handled(),
        }
    }

    /// Time of that message in milliseconds, where it is not the last one that was done.
    pub(crate) fn handled_at(&self) -> Option<i64> {
        match self {
            Self::Strict(_) => None,
            Self::Keyed(lanes) => lanes.handled_at(),
        }
    }

    /// Last sequence of the target that is known.
    pub(crate) fn target(&self) -> u64 {
        match self {
            Self::Strict(window) => window.target(),
            Self::Keyed(lanes) => lanes.target(),
        }
    }

    /// A sequence of the target behind which is whatever it has beyond [`Self::handled`].
    pub(crate) fn floor(&self) -> u64 {
        match self {
            Self::Strict(window) => window.target(),
            Self::Keyed(lanes) => lanes.floor(),
        }
    }

    /// Messages that are not done.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Strict(window) => window.len(),
            Self::Keyed(lanes) => lanes.len(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Strict(window) => window.is_empty(),
            Self::Keyed(lanes) => lanes.is_empty(),
        }
    }

    /// The first message that is not done.
    pub(crate) fn front(&self) -> Option<(u64, &T)> {
        match self {
            Self::Strict(window) => window.front(),
            Self::Keyed(lanes) => lanes.front(),
        }
    }

    /// The message that is to be given up.
    pub(crate) fn poisoned(&self) -> Option<(u64, &T)> {
        match self {
            Self::Strict(window) => window.front(),
            Self::Keyed(lanes) => lanes.poisoned(),
        }
    }

    /// The first message that the target left without an answer for long, though it is there.
    pub(crate) fn unanswered(&self) -> Option<(u64, &T)> {
        match self {
            Self::Strict(window) => window.unanswered(),
            Self::Keyed(lanes) => lanes.unanswered(),
        }
    }

    /// Keys that have messages under way, and those of them that are held up; only in their order.
    pub(crate) fn keys(&self) -> Option<(usize, usize)> {
        match self {
            Self::Strict(_) => None,
            Self::Keyed(lanes) => Some(lanes.keys()),
        }
    }

    /// Whether only messages of one key keep their order.
    pub(crate) fn is_keyed(&self) -> bool {
        matches!(self, Self::Keyed(_))
    }

    /// How many of its messages are not behind a source sequence.
    pub(crate) fn held(&self, sequence: u64) -> u64 {
        match self {
            Self::Strict(window) => window.held(sequence),
            Self::Keyed(_) => 0,
        }
    }

    /// Whether nothing is wrong.
    pub(crate) fn flows(&self) -> bool {
        match self {
            Self::Strict(window) => window.flows(),
            Self::Keyed(lanes) => lanes.flows(),
        }
    }

    /// Whether it is a time to send.
    pub(crate) fn sends(&self) -> bool {
        match self {
            Self::Strict(window) => window.flows(),
            Self::Keyed(lanes) => lanes.sends(),
        }
    }

    /// Whether others write into the target, and may.
    pub(crate) fn is_shared(&self) -> bool {
        match self {
            Self::Strict(window) => window.is_shared(),
            Self::Keyed(_) => false,
        }
    }

    /// How often others' messages were found in the target.
    pub(crate) fn foreign(&self) -> u64 {
        match self {
            Self::Strict(window) => window.foreign(),
            Self::Keyed(_) => 0,
        }
    }

    /// Faults since the last good answer.
    pub(crate) fn faults(&self) -> u32 {
        match self {
            Self::Strict(window) => window.faults(),
            Self::Keyed(lanes) => lanes.faults(),
        }
    }

    /// How often somebody else's message had our identifier.
    pub(crate) fn conflicts(&self) -> u64 {
        match self {
            Self::Strict(window) => window.conflicts(),
            Self::Keyed(lanes) => lanes.conflicts(),
        }
    }

    /// What the last fault was, for people.
    pub(crate) fn trouble(&self) -> Option<String> {
        match self {
            Self::Strict(window) => window.trouble(),
            Self::Keyed(lanes) => lanes.trouble(),
        }
    }

    /// Whether another message may be pushed.
    pub(crate) fn has_room(&self) -> bool {
        match self {
            Self::Strict(window) => window.has_room(),
            Self::Keyed(lanes) => lanes.has_room(),
        }
    }

    /// Takes a message to be copied; source sequences only ever grow.
    pub(crate) fn push(&mut self, sequence: u64, bytes: usize, lane: Lane, item: T) {
        match self {
            Self::Strict(window) => window.push(sequence, bytes, item),
            Self::Keyed(lanes) => lanes.push(sequence, bytes, lane, item),
        }
    }

    /// Takes note of a source sequence that is not to be copied.
    pub(crate) fn pass(&mut self, sequence: u64) {
        match self {
            Self::Strict(window) => window.pass(sequence),
            Self::Keyed(lanes) => lanes.pass(sequence),
        }
    }

    /// The next message to be sent, if one may be.
    pub(crate) fn next_send(&mut self, now: Instant) -> Option<Send<'_, T>> {
        match self {
            Self::Strict(window) => window.next_send(now),
            Self::Keyed(lanes) => lanes.next_send(now),
        }
    }

    /// An answer says that the target has a message.
    pub(crate) fn stored(
        &mut self,
        token: Token,
        sequence: u64,
        duplicate: bool,
        now: Instant,
        done: impl FnMut(Done<T>),
    ) {
        match self {
            Self::Strict(window) => window.stored(token, sequence, duplicate, now, done),
            Self::Keyed(lanes) => lanes.stored(token, sequence, duplicate, done),
        }
    }

    /// An answer says that the target does not have a message.
    pub(crate) fn refused(&mut self, token: Token, refusal: Refusal, now: Instant) {
        match self {
            Self::Strict(window) => window.refused(token, refusal, now),
            Self::Keyed(lanes) => lanes.refused(token, refusal, now),
        }
    }

    /// The message at this token cannot even be sent.
    pub(crate) fn unsendable(&mut self, token: Token, poison: Poison, now: Instant) {
        match self {
            Self::Strict(window) => window.unsendable(token, poison, now),
            Self::Keyed(lanes) => lanes.unsendable(token, poison),
        }
    }

    /// The connection to the target is gone: answers to what is under way come no more.
    pub(crate) fn link_lost(&mut self) {
        match self {
            Self::Strict(window) => window.link_lost(),
            Self::Keyed(lanes) => lanes.link_lost(),
        }
    }

    /// The connection is back.
    pub(crate) fn link_back(&mut self) {
        match self {
            Self::Strict(window) => window.link_back(),
            Self::Keyed(lanes) => lanes.link_back(),
        }
    }

    /// What the target has could not be read.
    pub(crate) fn tail_failed(&mut self, now: Instant) {
        match self {
            Self::Strict(window) => window.tail_failed(now),
            Self::Keyed(lanes) => lanes.tail_failed(now),
        }
    }

    /// What the target has was read.
    pub(crate) fn tail(&mut self, tail: Tail, now: Instant, done: impl FnMut(Done<T>)) {
        match self {
            Self::Strict(window) => window.tail(tail, now, done),
            Self::Keyed(lanes) => lanes.tail(&tail, done),
        }
    }

    /// Says whether the message that was looked at is ours.
    pub(crate) fn looked(&mut self, ours: bool, now: Instant, done: impl FnMut(Done<T>)) {
        match self {
            Self::Strict(window) => window.looked(ours, now, done),
            Self::Keyed(_) => {}
        }
    }

    /// What is to be asked about single messages.
    pub(crate) fn asks(&self) -> Vec<Ask<'_, T>> {
        match self {
            Self::Strict(_) => Vec::new(),
            Self::Keyed(lanes) => lanes.asks().collect(),
        }
    }

    /// What the target says about one of them.
    pub(crate) fn found(
        &mut self,
        index: u64,
        found: Found,
        now: Instant,
        done: impl FnMut(Done<T>),
    ) {
        match self {
            Self::Strict(_) => {}
            Self::Keyed(lanes) => lanes.found(index, found, now, done),
        }
    }

    /// The target could not be asked.
    pub(crate) fn asks_failed(&mut self, now: Instant) {
        match self {
            Self::Strict(_) => {}
            Self::Keyed(lanes) => lanes.asks_failed(now),
        }
    }

    /// Yields what is done and was not told yet.
    pub(crate) fn tell(&mut self, done: impl FnMut(Done<T>)) {
        match self {
            Self::Strict(_) => {}
            Self::Keyed(lanes) => lanes.tell(done),
        }
    }

    /// The message that was to be given up was dealt with.
    pub(crate) fn buried(&mut self, done: impl FnMut(Done<T>)) {
        match self {
            Self::Strict(window) => window.buried(done),
            Self::Keyed(lanes) => lanes.buried(done),
        }
    }

    /// The message that was to be given up is none of that kind: it is tried again, later.
    pub(crate) fn spared(&mut self, now: Instant) {
        match self {
            Self::Strict(window) => window.spared(now),
            Self::Keyed(lanes) => lanes.spared(now),
        }
    }

    /// The message that was to be given up cannot be before then; whether others go on meanwhile.
    pub(crate) fn bury_later(&mut self, then: Instant) -> bool {
        match self {
            Self::Strict(_) => false,
            Self::Keyed(lanes) => {
                lanes.bury_later(then);
                true
            }
        }
    }

    /// What is to be done now.
    pub(crate) fn want(&mut self, now: Instant) -> Want {
        match self {
            Self::Strict(window) => window.want(now),
            Self::Keyed(lanes) => lanes.want(now),
        }
    }

    /// Gives everything up that is not done.
    pub(crate) fn abandon(&mut self) -> Vec<T> {
        match self {
            Self::Strict(window) => window.abandon().collect(),
            Self::Keyed(lanes) => lanes.abandon().collect(),
        }
    }
}
