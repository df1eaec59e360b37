//! What is under way to the target: a machine that is told what happened and says what to do.
//!
//! What must hold, whatever is lost, delayed, doubled or written by others:
//! - A message is dealt with only once the target has it, or it was given up by name; [`Window::handled`] never passes it.
//! - The target has no message twice, and has them in the order in which they were pushed.
//! - A writer that another one has overtaken writes nothing more.
//!
//! While nothing goes wrong each message names the one before it, and the broker refuses whatever does not follow: so
//! one answer speaks for all messages before it, and only some are asked for. On any doubt nothing more is sent, what
//! is under way is waited for, the target's end is read, and the sending goes on behind it.
//!
//! ```text
//! Flow ── refusal, silence ──> Settle ── answered, time over ──> Pause ──> Tail ── read ──> Flow
//!   └──── link lost ──> Offline ── link back ─────────────────────────────> ┘
//! ```

mod fault;
mod recovery;
#[cfg(test)]
mod tests;
mod types;

use std::collections::VecDeque;
use std::time::Instant;

use super::answer::{Poison, Refusal};
use super::silence::Silence;

use fault::Fault;

pub(crate) use fault::pause;
pub(crate) use types::{Chain, Done, Expect, Limits, Send, Sharing, Stop, Tail, Token, Want};

/// Good answers after which a second message is under way among others' again.
const CALM: usize = 32;

/// Messages under way, in order.
#[derive(Debug)]
pub(crate) struct Window<T> {
    limits: Limits,
    chain: Chain,
    state: State,
    entries: VecDeque<Entry<T>>,
    /// Index of the first entry; each push has the next one.
    first: u64,
    /// So many entries, from the first on, are sent in this epoch.
    sent: usize,
    bytes: usize,
    /// Counts recoveries: answers of an earlier epoch are not listened to.
    epoch: u32,
    /// Indexes whose answers are due.
    asked: VecDeque<u64>,
    /// Index of the last one in this epoch that the stream answered.
    spoken: Option<u64>,
    /// Messages and bytes sent since the last one that asks.
    silent: (usize, usize),
    /// When an answer came, or the first one became due.
    heard: Option<Instant>,
    /// What the next message must follow.
    expect: Expect,
    /// Target sequence that the first entry must get while everything follows; nothing when others write in between.
    lands: Option<u64>,
    handled: u64,
    /// Last known sequence of the target.
    target: u64,
    /// Last source sequence that was sent at all.
    reached: u64,
    /// Sequence of the last message among the subjects of the copies, where that is asked for.
    own: Option<u64>,
    /// Whether the subjects of the copies are told apart from others'.
    has_own: bool,
    sharing: Sharing,
    /// How many may be under way at once: less when others write.
    cap: usize,
    /// Good answers since the last message of others, while one is under way at a time.
    calm: usize,
    /// How often others' messages were found.
    foreign: u64,
    /// So many further messages ask for an answer each, to find out which one is refused.
    careful: usize,
    /// Faults since the last answer that was good.
    faults: u32,
    fault: Option<Fault>,
    conflicts: u64,
}

#[derive(Debug)]
struct Entry<T> {
    sequence: u64,
    /// Source sequences up to this one need nothing further once this entry is done.
    covers: u64,
    bytes: usize,
    /// Refusals that make it poison, and nothing else.
    refusals: usize,
    /// Whether its identifier was found on its way before.
    held: bool,
    silence: Silence,
    variant: u8,
    /// Whether the target has it, though not yet what is before it.
    stored: bool,
    item: T,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Flow,
    Settle(Instant),
    Pause(Instant),
    Tail,
    Offline,
    Stopped,
}

impl<T> Window<T> {
    /// A window behind `handled`, which is the last source sequence that is dealt with; the target's end is to be read.
    pub(crate) fn new(
        limits: Limits,
        chain: Chain,
        sharing: Sharing,
        handled: u64,
        target: u64,
    ) -> Self {
        Self {
            limits,
            chain,
            state: State::Tail,
            entries: VecDeque::new(),
            first: 0,
            sent: 0,
            bytes: 0,
            epoch: 0,
            asked: VecDeque::new(),
            spoken: None,
            silent: (0, 0),
            heard: None,
            expect: Expect::Nothing,
            lands: None,
            handled,
            target,
            reached: handled,
            own: None,
            has_own: false,
            sharing,
            cap: match sharing {
                Sharing::Shared => 1,
                Sharing::Alone | Sharing::Exclusive => limits.messages,
            },
            calm: 0,
            foreign: 0,
            careful: 0,
            faults: 0,
            fault: None,
            conflicts: 0,
        }
    }

    /// The same where no other writer has the subjects of the copies.
    #[must_use]
    pub(crate) fn with_own_subjects(self) -> Self {
        Self {
            has_own: true,
            ..self
        }
    }

    /// Source sequence up to which everything is dealt with.
    pub(crate) fn handled(&self) -> u64 {
        self.handled
    }

    /// Last sequence of the target that is known.
    pub(crate) fn target(&self) -> u64 {
        self.target
    }

    /// Messages that the window holds.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The message at the front, if the target left it without an answer for long.
    pub(crate) fn unanswered(&self) -> Option<(u64, &T)> {
        let front = self.entries.front();
        front
            .filter(|front| front.silence.is_long(&self.limits))
            .map(|front| (front.sequence, &front.item))
    }

    /// The message at the front.
    pub(crate) fn front(&self) -> Option<(u64, &T)> {
        self.entries
            .front()
            .map(|entry| (entry.sequence, &entry.item))
    }

    /// How many of its messages are not behind a source sequence.
    pub(crate) fn held(&self, sequence: u64) -> u64 {
        let held = self
            .entries
            .partition_point(|entry| entry.sequence <= sequence);
        u64::try_from(held).unwrap_or(u64::MAX)
    }

    /// Whether nothing is wrong.
    pub(crate) fn flows(&self) -> bool {
        self.state == State::Flow
    }

    /// Whether others write into the target, and may.
    pub(crate) fn is_shared(&self) -> bool {
        self.sharing == Sharing::Shared
    }

    /// How often others' messages were found in the target.
    pub(crate) fn foreign(&self) -> u64 {
        self.foreign
    }

    /// Faults since the last good answer.
    pub(crate) fn faults(&self) -> u32 {
        self.faults
    }

    /// How often somebody else's message had our identifier.
    pub(crate) fn conflicts(&self) -> u64 {
        self.conflicts
    }

    /// What the last fault was, for people.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.fault.as_ref().map(Fault::words)
    }

    /// Whether another message may be pushed.
    pub(crate) fn has_room(&self) -> bool {
        self.entries.len() < self.limits.messages && self.bytes < self.limits.bytes
    }

    /// Takes a message to be copied; source sequences only ever grow.
    pub(crate) fn push(&mut self, sequence: u64, bytes: usize, item: T) {
        self.bytes += bytes;
        self.entries.push_back(Entry {
            sequence,
            covers: sequence,
            bytes,
            refusals: 0,
            held: false,
            silence: Silence::default(),
            variant: 0,
            stored: false,
            item,
        });
    }

    /// Takes note of a source sequence that is not to be copied.
    pub(crate) fn pass(&mut self, sequence: u64) {
        match self.entries.back_mut() {
            Some(last) => last.covers = last.covers.max(sequence),
            None => self.handled = self.handled.max(sequence),
        }
    }

    /// The next message to be sent, if one may be.
    pub(crate) fn next_send(&mut self, now: Instant) -> Option<Send<'_, T>> {
        let width = self.width();
        if self.state != State::Flow || self.sent >= width {
            return None;
        }
        let is_last = self.sent + 1 == self.entries.len() || self.sent + 1 == width;
        let entry = self.entries.get(self.sent)?;
        let index = self.first + u64::try_from(self.sent).unwrap_or(u64::MAX);
        self.silent = (self.silent.0 + 1, self.silent.1 + entry.bytes);
        let asks = is_last
            || self.chain == Chain::Sequences
            || self.careful > 0
            || self.silent.0 >= self.limits.ask_messages
            || self.silent.1 >= self.limits.ask_bytes;
        if asks {
            self.silent = (0, 0);
            self.careful = self.careful.saturating_sub(1);
            if self.asked.is_empty() {
                self.heard = Some(now);
            }
            self.asked.push_back(index);
        }
        // What others write does not matter, only what was written among our own.
        let among_others = self.sharing == Sharing::Shared && self.sent == 0;
        let expect = match (self.chain, self.lands) {
            _ if among_others => self
                .own
                .map_or(Expect::LastSequence(self.target), Expect::LastOwn),
            (Chain::Sequences, Some(lands)) => {
                Expect::LastSequence(lands + u64::try_from(self.sent).unwrap_or(u64::MAX) - 1)
            }
            (Chain::Sequences, None) | (Chain::Ids, _) => self.expect,
        };
        self.expect = Expect::LastId(entry.sequence, entry.variant);
        self.reached = self.reached.max(entry.sequence);
        self.sent += 1;
        Some(Send {
            token: Token {
                epoch: self.epoch,
                index,
            },
            sequence: entry.sequence,
            variant: entry.variant,
            expect,
            asks,
            item: &entry.item,
        })
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
        let Some(place) = self.answered(token, now) else {
            return;
        };
        self.spoken = self.spoken.max(Some(token.index));
        if duplicate {
            // This answer says nothing of the messages before: identifiers are looked at before the order is.
            self.fail(Fault::Duplicate(token.index, sequence), now);
            return;
        }
        let lands = self
            .lands
            .map(|lands| lands + u64::try_from(place).unwrap_or(u64::MAX));
        // One answer speaks for all before it only where each names the one before.
        let is_early = self.chain == Chain::Sequences && place > 0;
        if is_early || lands.is_some_and(|lands| lands != sequence) {
            self.fail(Fault::Order, now);
            return;
        }
        self.target = self.target.max(sequence);
        if self.faults > 0 && self.fault.is_none() {
            self.faults = 0;
        }
        if self.has_own {
            self.own = Some(sequence);
        }
        self.finish(place + 1, done);
        self.widen();
    }

    /// An answer says that the target does not have a message.
    pub(crate) fn refused(&mut self, token: Token, refusal: Refusal, now: Instant) {
        if self.answered(token, now).is_none() {
            return;
        }
        // A target that is full or without a leader may leave others without an answer for that.
        if matches!(refusal, Refusal::Order | Refusal::Poison(_)) {
            self.spoken = self.spoken.max(Some(token.index));
        }
        let fault = match refusal {
            Refusal::Order => Fault::Order,
            Refusal::Busy(words) => Fault::Busy(words),
            Refusal::Poison(poison) => Fault::Poison(token.index, poison),
            Refusal::InProcess => Fault::InProcess(token.index),
            Refusal::Nobody => Fault::Poison(token.index, Poison::NotTaken),
            Refusal::OtherStream(words) => Fault::Stop(Stop::OtherStream(words)),
        };
        self.fail(fault, now);
    }

    /// The message at this token cannot even be sent.
    pub(crate) fn unsendable(&mut self, token: Token, poison: Poison, now: Instant) {
        if token.epoch == self.epoch {
            self.asked.retain(|index| *index != token.index);
            self.fail(Fault::Poison(token.index, poison), now);
        }
    }

    /// Gives everything up that is not done.
    pub(crate) fn abandon(&mut self) -> impl Iterator<Item = T> {
        self.state = State::Stopped;
        self.bytes = 0;
        std::mem::take(&mut self.entries)
            .into_iter()
            .map(|entry| entry.item)
    }

    /// Lets more be under way again after others were found, unless it costs the order.
    fn widen(&mut self) {
        let is_bound = self.chain == Chain::Sequences && self.is_shared();
        if self.cap >= self.limits.messages || self.state != State::Flow || is_bound {
            return;
        }
        self.calm += 1;
        if self.cap > 1 || self.calm >= CALM {
            self.cap += 1;
        }
    }

    /// How many may be under way: behind one that gets no answer others show whether the target answers at all, more of
    /// them each time, for the next ones may be of its kind.
    fn width(&self) -> usize {
        let front = self.entries.front().filter(|_| self.chain == Chain::Ids);
        let probes = front.map_or(0, |front| front.silence.times());
        self.cap
            .max(probes.saturating_add(1).min(self.limits.messages))
    }

    /// Takes note of what was to be answered in this epoch and was not.
    fn note_silence(&mut self, now: Instant) {
        let Self {
            asked,
            entries,
            first,
            spoken,
            ..
        } = self;
        for index in asked.iter() {
            let place = index
                .checked_sub(*first)
                .and_then(|at| usize::try_from(at).ok());
            if let Some(entry) = place.and_then(|place| entries.get_mut(place)) {
                let alone = spoken.is_some_and(|spoken| spoken > *index);
                entry.silence.note(alone, now);
            }
        }
    }

    /// Takes note of an answer: the place of its message among the entries.
    fn answered(&mut self, token: Token, now: Instant) -> Option<usize> {
        if token.epoch != self.epoch {
            return None;
        }
        // Answers come in the order of the questions; one that is missing is spoken for by a later one.
        let known = self.asked.iter().position(|index| *index == token.index)?;
        self.asked.remove(known);
        self.heard = Some(now);
        let place = usize::try_from(token.index.checked_sub(self.first)?).ok()?;
        self.entries.get_mut(place)?.silence = Silence::default();
        (place < self.sent).then_some(place)
    }

    fn fail(&mut self, fault: Fault, now: Instant) {
        // What comes after the first fault follows from it; but somebody who refuses by name tells more than the order.
        let tells_more = matches!(self.fault, Some(Fault::Order))
            && matches!(
                fault,
                Fault::Poison(..) | Fault::Stop(_) | Fault::Duplicate(..)
            );
        if self.fault.is_none() || tells_more {
            self.fault = Some(fault);
        }
        if self.state == State::Flow {
            self.faults = self.faults.saturating_add(1);
            self.state = State::Settle(now + self.limits.settle);
        }
    }

    fn finish(&mut self, count: usize, mut done: impl FnMut(Done<T>)) {
        let mut left = count;
        while left > 0 || self.entries.front().is_some_and(|entry| entry.stored) {
            left = left.saturating_sub(1);
            let Some(entry) = self.entries.pop_front() else {
                break;
            };
            self.first += 1;
            self.sent = self.sent.saturating_sub(1);
            self.bytes -= entry.bytes;
            self.handled = self.handled.max(entry.covers);
            if let Some(lands) = &mut self.lands {
                *lands += 1;
            }
            done(Done {
                item: entry.item,
                copied: true,
            });
        }
        // A later answer speaks for earlier ones.
        while self.asked.front().is_some_and(|index| *index < self.first) {
            self.asked.pop_front();
        }
    }

    fn begin_epoch(&mut self) {
        self.epoch = self.epoch.wrapping_add(1);
        self.sent = 0;
        self.asked.clear();
        self.spoken = None;
        self.silent = (0, 0);
        self.heard = None;
    }

    fn stop(&mut self, stop: Stop) {
        self.begin_epoch();
        self.fault = Some(Fault::Stop(stop));
        self.state = State::Stopped;
    }

    fn entry_mut(&mut self, index: u64) -> Option<&mut Entry<T>> {
        let place = usize::try_from(index.checked_sub(self.first)?).ok()?;
        self.entries.get_mut(place)
    }
}
