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
#[cfg(test)]
mod tests;
mod types;

use std::collections::VecDeque;
use std::time::Instant;

use super::answer::{Poison, Refusal};

use fault::{Fault, pause};

pub(crate) use types::{Chain, Done, Expect, Limits, Send, Sharing, Stop, Tail, Token, Want};

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
    /// How many may be under way at once: less when others write.
    cap: usize,
    shared: bool,
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
    refusals: usize,
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
        let shared = sharing == Sharing::Shared;
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
            silent: (0, 0),
            heard: None,
            expect: Expect::Nothing,
            lands: None,
            handled,
            target,
            reached: handled,
            cap: if shared { 1 } else { limits.messages },
            shared,
            careful: 0,
            faults: 0,
            fault: None,
            conflicts: 0,
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

    /// Whether others write into the target.
    pub(crate) fn is_shared(&self) -> bool {
        self.shared
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
        if self.state != State::Flow || self.sent >= self.cap {
            return None;
        }
        let is_last = self.sent + 1 == self.entries.len() || self.sent + 1 == self.cap;
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
        let alone = self.shared && self.cap == 1;
        let expect = match (self.chain, self.lands) {
            _ if alone => Expect::Nothing,
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
        self.finish(place + 1, done);
        if self.shared && self.chain == Chain::Ids && self.state == State::Flow {
            self.cap = (self.cap + 1).min(self.limits.messages);
        }
    }

    /// An answer says that the target does not have a message.
    pub(crate) fn refused(&mut self, token: Token, refusal: Refusal, now: Instant) {
        if self.answered(token, now).is_none() {
            return;
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

    /// The connection to the target is gone: answers to what is under way come no more.
    pub(crate) fn link_lost(&mut self) {
        if self.state != State::Stopped {
            self.fault.get_or_insert(Fault::Silence);
            self.begin_epoch();
            self.state = State::Offline;
        }
    }

    /// The connection is back.
    pub(crate) fn link_back(&mut self) {
        if self.state == State::Offline {
            self.state = State::Tail;
        }
    }

    /// The target's end could not be read.
    pub(crate) fn tail_failed(&mut self, now: Instant) {
        if self.state == State::Tail {
            self.faults = self.faults.saturating_add(1);
            self.state = State::Pause(now + pause(self.faults));
        }
    }

    /// The target's end was read.
    pub(crate) fn tail(&mut self, tail: Tail, now: Instant, mut done: impl FnMut(Done<T>)) {
        if self.state != State::Tail {
            return;
        }
        self.begin_epoch();
        if tail.same && tail.last < self.target {
            self.stop(Stop::Lost(tail.ours.map(|(source, _)| source)));
            return;
        }
        if let Some((source, _)) = tail.ours {
            if source > self.reached {
                self.stop(Stop::Overtaken(source));
                return;
            }
            let before = self.first;
            if let Some(all) = &tail.all {
                for entry in &mut self.entries {
                    entry.stored |= all.binary_search(&entry.sequence).is_ok();
                }
                self.finish(0, &mut done);
            } else {
                let stored = usize::try_from(self.held(source)).unwrap_or(usize::MAX);
                self.finish(stored, &mut done);
            }
            if self.first > before {
                self.faults = 0;
            }
        }
        if tail.foreign {
            self.shared = true;
        }
        if self.shared {
            // Whatever others wrote since came in between: the more often, the less is risked.
            self.cap = match self.chain {
                Chain::Sequences => 1,
                Chain::Ids if tail.foreign => (self.cap / 2).max(1),
                Chain::Ids => self.cap,
            };
        }
        self.target = tail.last;
        self.expect = Expect::LastSequence(tail.last);
        self.lands = Some(tail.last + 1).filter(|_| !self.shared);
        match self.fault.take() {
            Some(Fault::Poison(index, poison)) => {
                if let Some(entry) = self.entry_mut(index) {
                    entry.refusals += 1;
                    let tries = entry.refusals;
                    let is_front = index == self.first;
                    let certain = poison.is_certain() || tries >= self.limits.tries;
                    if is_front && certain {
                        self.fault = Some(Fault::Poison(index, poison));
                    }
                }
            }
            Some(Fault::InProcess(index)) => {
                if let Some(entry) = self.entry_mut(index) {
                    entry.refusals += 1;
                    // A leader that was keeps identifiers of what it never stored: the sequence guards the copy.
                    if entry.refusals > 1 {
                        entry.variant = entry.variant.wrapping_add(1);
                    }
                }
            }
            Some(
                Fault::Order
                | Fault::Silence
                | Fault::Busy(_)
                | Fault::Duplicate(..)
                | Fault::Stop(_),
            )
            | None => {}
        }
        self.careful = if self.faults > 0 {
            self.entries.len()
        } else {
            0
        };
        self.state = State::Flow;
        if self.fault.is_some() {
            self.state = State::Settle(now);
        }
    }

    /// Says whether the message that was looked at is ours: then it was copied before.
    pub(crate) fn looked(&mut self, ours: bool, now: Instant, done: impl FnMut(Done<T>)) {
        let Some(Fault::Duplicate(index, _)) = self.fault else {
            return;
        };
        self.fault = None;
        let is_front = index == self.first;
        if ours {
            // Only at the front nothing before it is open.
            if is_front {
                self.finish(1, done);
            }
        } else if let Some(entry) = self.entry_mut(index) {
            entry.variant = entry.variant.wrapping_add(1);
            self.conflicts += 1;
        }
        self.begin_epoch();
        self.state = State::Pause(now + pause(self.faults));
    }

    /// The poison at the front was dealt with.
    pub(crate) fn buried(&mut self, mut done: impl FnMut(Done<T>)) {
        if let Some(Fault::Poison(index, _)) = self.fault
            && index == self.first
            && let Some(entry) = self.entries.pop_front()
        {
            self.fault = None;
            // Waits that it cost are not the next one's.
            self.faults = 0;
            self.first += 1;
            self.bytes -= entry.bytes;
            self.handled = self.handled.max(entry.covers);
            done(Done {
                item: entry.item,
                copied: false,
            });
            self.state = State::Tail;
        }
    }

    /// What is to be done now.
    pub(crate) fn want(&mut self, now: Instant) -> Want {
        match self.state {
            State::Flow => {
                let Some(heard) = self.heard.filter(|_| !self.asked.is_empty()) else {
                    return Want::Nothing;
                };
                let due = heard + self.limits.silence;
                if now < due {
                    return Want::Wait(due);
                }
                self.fail(Fault::Silence, now);
                self.state = State::Settle(now);
                self.want(now)
            }
            State::Settle(until) => {
                if !self.asked.is_empty() && now < until {
                    return Want::Answers(until);
                }
                match &self.fault {
                    Some(Fault::Duplicate(_, sequence)) => Want::Look(*sequence),
                    Some(Fault::Stop(stop)) => {
                        let stop = stop.clone();
                        self.stop(stop.clone());
                        Want::Stop(stop)
                    }
                    Some(Fault::Poison(index, poison))
                        if *index == self.first && self.sent == 0 =>
                    {
                        Want::Dead(poison.clone())
                    }
                    Some(
                        Fault::Order
                        | Fault::Silence
                        | Fault::Busy(_)
                        | Fault::InProcess(_)
                        | Fault::Poison(..),
                    )
                    | None => {
                        self.state = State::Pause(now + pause(self.faults));
                        self.want(now)
                    }
                }
            }
            State::Pause(until) => {
                if now < until {
                    return Want::Wait(until);
                }
                self.state = State::Tail;
                Want::Tail(self.target)
            }
            State::Tail => Want::Tail(self.target),
            State::Offline => Want::Link,
            State::Stopped => match &self.fault {
                Some(Fault::Stop(stop)) => Want::Stop(stop.clone()),
                Some(_) | None => Want::Nothing,
            },
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
