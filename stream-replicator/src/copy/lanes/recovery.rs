//! What is done about messages of which it is not known whether the target has them.

use std::time::Instant;

use super::types::{Ask, Doubt, Found, Guard, Stage, State, Twin};
use super::{Done, Lanes};
use crate::copy::answer::Poison;
use crate::copy::window::{Stop, Tail, Want, pause};

/// Messages that are asked about at once.
const AT_ONCE: usize = 256;

impl<T> Lanes<T> {
    /// The connection to the target is gone: answers to what is under way come no more.
    pub(crate) fn link_lost(&mut self) {
        if self.state != State::Stopped {
            self.doubt_all();
            self.state = State::Offline;
        }
    }

    /// The connection is back.
    pub(crate) fn link_back(&mut self) {
        if self.state == State::Offline {
            self.state = State::Tail;
        }
    }

    /// What is under way is sent again, once it is known what the target has.
    fn doubt_all(&mut self) {
        for (_, index, attempt) in std::mem::take(&mut self.flying) {
            let is_flying = self
                .entry(index)
                .is_some_and(|entry| entry.stage == Stage::Flying && entry.attempt == attempt);
            if is_flying {
                self.make_ready(index);
            }
        }
        self.under_way = 0;
    }

    /// What the target has could not be read.
    pub(crate) fn tail_failed(&mut self, now: Instant) {
        if self.state == State::Tail {
            self.faults = self.faults.saturating_add(1);
            self.state = State::Pause(now + pause(self.faults));
        }
    }

    /// What the target has was read.
    pub(crate) fn tail(&mut self, tail: &Tail, done: impl FnMut(Done<T>)) {
        if self.state != State::Tail {
            return;
        }
        if tail.same && tail.last < self.target {
            self.end(Stop::Lost(None));
            return;
        }
        if !tail.same {
            self.places.clear();
            self.base = 0;
            for entry in &mut self.entries {
                entry.floor = 0;
            }
        }
        self.target = tail.last;
        self.state = State::Flow;
        for source in tail.all.iter().flatten() {
            self.is_there(*source);
        }
        let silent: Vec<u64> = self.silent.intersection(&self.ready).copied().collect();
        for index in silent {
            let entry = self.entry(index);
            if entry.is_some_and(|entry| entry.silence.is_certain(&self.limits)) {
                self.ready.remove(&index);
                self.give_up(index, Poison::Unanswered);
            }
        }
        self.tell(done);
    }

    /// No answer came to a message; what was sent after it may be stored.
    fn note_silence(&mut self, index: u64, now: Instant) {
        let (stored, limits) = (self.stored, self.limits);
        let Some(entry) = self.entry_mut(index) else {
            return;
        };
        entry.silence.note(entry.turn < stored, now);
        if entry.silence.is_long(&limits) {
            self.silent.insert(index);
        }
    }

    /// The target has the message of a source sequence.
    fn is_there(&mut self, source: u64) {
        if source > self.read {
            self.ahead.insert(source);
        } else if let Ok(place) = self
            .entries
            .binary_search_by_key(&source, |entry| entry.sequence)
        {
            let index = self.first + u64::try_from(place).unwrap_or(u64::MAX);
            let stage = self.entry(index).map(|entry| &entry.stage);
            match stage {
                None | Some(Stage::Done) => {}
                // It comes to its turn.
                Some(Stage::Waiting) => {
                    self.ahead.insert(source);
                }
                Some(
                    Stage::Ready | Stage::Flying | Stage::Later | Stage::Asked(_) | Stage::Dead,
                ) => {
                    self.withdraw(index);
                    self.complete(index, true);
                }
            }
        }
    }

    /// Takes an entry out of wherever it waits.
    fn withdraw(&mut self, index: u64) {
        self.ready.remove(&index);
        self.asks.remove(&index);
        self.later.retain(|(_, later)| *later != index);
        self.dead.retain(|(dead, _)| *dead != index);
    }

    /// What is to be asked about single messages.
    pub(crate) fn asks(&self) -> impl Iterator<Item = Ask<'_, T>> {
        let asks = self.asks.iter().take(AT_ONCE);
        asks.filter_map(|index| {
            let entry = self.entry(*index)?;
            let known = self.places.get(&entry.lane.place);
            Some(Ask {
                index: *index,
                // Where identifiers guard, its own is all that counts.
                since: (self.guard == Guard::Subjects)
                    .then(|| known.map_or(entry.floor, |place| place.last)),
                twin: match entry.stage {
                    Stage::Asked(Doubt::Duplicate(twin)) => Some(twin),
                    Stage::Asked(_)
                    | Stage::Waiting
                    | Stage::Ready
                    | Stage::Flying
                    | Stage::Later
                    | Stage::Dead
                    | Stage::Done => None,
                },
                item: entry.item.as_ref()?,
            })
        })
    }

    /// The target could not be asked.
    pub(crate) fn asks_failed(&mut self, now: Instant) {
        self.faults = self.faults.saturating_add(1);
        self.asks_from = Some(now + pause(self.faults));
    }

    /// What the target says about a message.
    pub(crate) fn found(
        &mut self,
        index: u64,
        found: Found,
        now: Instant,
        done: impl FnMut(Done<T>),
    ) {
        self.asks_from = None;
        self.learn(index, found, now);
        self.tell(done);
    }

    fn learn(&mut self, index: u64, found: Found, now: Instant) {
        let Some(entry) = self.entry(index) else {
            return;
        };
        let Stage::Asked(doubt) = entry.stage.clone() else {
            return;
        };
        let (sequence, place) = (entry.sequence, entry.lane.place);
        let is_twin = found.twin == Some(Twin::Ours);
        if self.guard == Guard::Subjects {
            let source = found.source.max(is_twin.then_some(sequence));
            self.note(place, found.last, source);
            let known = self.places.get(&place).and_then(|place| place.source);
            if known.is_some_and(|source| source >= sequence) {
                self.asks.remove(&index);
                return self.complete(index, true);
            }
        }
        if is_twin {
            self.asks.remove(&index);
            return self.complete(index, true);
        }
        if !found.is_all {
            return;
        }
        self.asks.remove(&index);
        self.try_again(index, doubt, now);
    }

    /// The target does not have it.
    fn try_again(&mut self, index: u64, doubt: Doubt, now: Instant) {
        let limits = self.limits;
        let is_guarded = self.guard == Guard::Subjects;
        let Some(entry) = self.entry_mut(index) else {
            return;
        };
        match doubt {
            // Somebody else wrote to its subject: the longer it waits, the more they do.
            Doubt::Order => self.make_ready(index),
            Doubt::Duplicate(_) => {
                entry.variant = entry.variant.wrapping_add(1);
                self.conflicts += 1;
                self.put_off(index, now);
            }
            Doubt::InProcess => {
                // A leader that was keeps identifiers of what it never stored: only where the sequence guards the copy
                // another one may be taken.
                if entry.held && is_guarded {
                    entry.variant = entry.variant.wrapping_add(1);
                }
                entry.held = true;
                self.put_off(index, now);
            }
            Doubt::Silence if entry.silence.is_certain(&limits) => {
                self.give_up(index, Poison::Unanswered);
            }
            // Whose fault it is nobody says: it holds up its own key, and is told.
            Doubt::Silence => self.put_off(index, now),
            Doubt::Poison(poison) => {
                entry.refusals += 1;
                if entry.refusals >= limits.tries {
                    self.give_up(index, poison);
                } else {
                    self.put_off(index, now);
                }
            }
        }
    }

    /// What is to be done now.
    pub(crate) fn want(&mut self, now: Instant) -> Want {
        match self.state {
            State::Flow => self.want_flowing(now),
            State::Pause(until) if now < until => Want::Wait(until),
            State::Pause(_) => {
                self.state = State::Tail;
                Want::Tail(self.floor())
            }
            State::Tail => Want::Tail(self.floor()),
            State::Offline => Want::Link,
            State::Stopped => self.stop.clone().map_or(Want::Nothing, Want::Stop),
        }
    }

    fn want_flowing(&mut self, now: Instant) -> Want {
        if !self.over.is_empty() {
            return Want::Over;
        }
        let is_due = |from: Option<Instant>| from.is_none_or(|from| from <= now);
        if let Some((_, poison)) = self.dead.front().filter(|_| is_due(self.dead_from)) {
            return Want::Dead(poison.clone());
        }
        if !self.asks.is_empty() && is_due(self.asks_from) {
            return Want::Asks;
        }
        while let Some((sent, index, attempt)) = self.flying.front().copied() {
            let is_flying = self
                .entry(index)
                .is_some_and(|entry| entry.stage == Stage::Flying && entry.attempt == attempt);
            if is_flying && now < sent + self.limits.silence {
                break;
            }
            self.flying.pop_front();
            if is_flying {
                self.fault("the target does not answer".to_owned());
                self.note_silence(index, now);
                if self.guard == Guard::Ids {
                    self.flying.push_front((sent, index, attempt));
                    self.doubt_all();
                    self.state = State::Tail;
                    return Want::Tail(self.floor());
                }
                self.under_way -= 1;
                self.ask(index, Doubt::Silence);
                return self.want_flowing(now);
            }
        }
        let silence = self
            .flying
            .front()
            .map(|(sent, ..)| *sent + self.limits.silence);
        let later = self.later.first().map(|(due, _)| *due);
        let asks = self.asks_from.filter(|_| !self.asks.is_empty());
        let dead = self.dead_from.filter(|_| !self.dead.is_empty());
        let next = [silence, later, asks, dead].into_iter().flatten().min();
        next.map_or(Want::Nothing, Want::Wait)
    }

    pub(super) fn end(&mut self, stop: Stop) {
        self.doubt_all();
        self.state = State::Stopped;
        self.stop = Some(stop);
    }
}
