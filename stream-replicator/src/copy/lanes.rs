//! What is under way to the target where only messages of one key keep their order: a machine beside the window's.
//!
//! What must hold, whatever is lost, delayed, doubled or written by others:
//! - Of one key at most one message is under way, and the next one only when the target has it or it was given up.
//! - [`Lanes::handled`] moves over a gapless beginning alone; what is done beyond it is known again after a restart.
//! - A message that is refused holds up its own key; the others go on, up to [`SPAN`] sequences beyond it.
//!
//! A message is guarded by one of two things. Where the subject says the key, it names the last sequence of its own subject
//! in the target, so that the broker refuses it if anything was written there since: twice, late, or by a former leader.
//! Else its identifier alone keeps it from being stored twice, as long as the target remembers identifiers, and what the
//! target has of what is open is read before anything is sent on another connection.

mod recovery;
#[cfg(test)]
mod tests;
mod types;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Instant;

use super::answer::{Poison, Refusal};
use super::silence::Silence;
use super::window::{Done, Expect, Limits, Send, Stop, Token, pause};

pub(crate) use types::{Ask, Found, Guard, Lane, Twin};
use types::{Doubt, Entry, Place, Stage, State};

/// Source sequences between the lowest one that is not handled and the highest one that is sent.
pub(crate) const SPAN: u64 = 65_536;
/// Entries that are held, with those that are done beyond an open one.
const MOST: usize = 65_536;
/// Subjects whose last sequence is remembered.
const PLACES: usize = 65_536;

/// Messages under way, in order of their keys.
#[derive(Debug)]
pub(crate) struct Lanes<T> {
    limits: Limits,
    guard: Guard,
    state: State,
    /// By source sequence; the first one is open.
    entries: VecDeque<Entry<T>>,
    /// Index of the first entry; each push has the next one.
    first: u64,
    /// Indexes of what is open of each key.
    lanes: HashMap<u64, VecDeque<u64>>,
    /// What may be sent.
    ready: BTreeSet<u64>,
    /// What may be sent later.
    later: BTreeSet<(Instant, u64)>,
    /// What the target is to be asked about before it is sent again, and not before when.
    asks: BTreeSet<u64>,
    asks_from: Option<Instant>,
    /// What is refused for good, and not to be dealt with before when.
    dead: VecDeque<(u64, Poison)>,
    dead_from: Option<Instant>,
    /// What is under way, in the order of sending; some of it was answered.
    flying: VecDeque<(Instant, u64, u32)>,
    under_way: usize,
    /// How many were sent, and which of them is the last one that is known to be stored.
    turns: u64,
    stored: u64,
    /// What the target left without an answer for long.
    silent: BTreeSet<u64>,
    places: HashMap<u64, Place>,
    /// Source sequences that the target has, of what was not pushed yet.
    ahead: BTreeSet<u64>,
    /// What is done and not yet told.
    over: Vec<Done<T>>,
    open: usize,
    bytes: usize,
    handled: u64,
    handled_at: Option<i64>,
    /// Last source sequence that came.
    read: u64,
    /// Source sequences up to this one may be in the target by an earlier start.
    horizon: u64,
    /// A sequence of the target that nothing is before which was copied by an earlier start and is not handled.
    base: u64,
    /// Last known sequence of the target.
    target: u64,
    faults: u32,
    fault: Option<String>,
    conflicts: u64,
    stop: Option<Stop>,
}

impl<T> Lanes<T> {
    /// Lanes behind `handled`; whatever beyond it the target has already is behind its sequence `base`, and `seen` is one
    /// such, if any was seen.
    pub(crate) fn new(
        limits: Limits,
        guard: Guard,
        (handled, seen): (u64, u64),
        base: u64,
    ) -> Self {
        Self {
            limits,
            guard,
            state: State::Tail,
            entries: VecDeque::new(),
            first: 0,
            lanes: HashMap::new(),
            ready: BTreeSet::new(),
            later: BTreeSet::new(),
            asks: BTreeSet::new(),
            asks_from: None,
            dead: VecDeque::new(),
            dead_from: None,
            flying: VecDeque::new(),
            under_way: 0,
            turns: 0,
            stored: 0,
            silent: BTreeSet::new(),
            places: HashMap::new(),
            ahead: BTreeSet::new(),
            over: Vec::new(),
            open: 0,
            bytes: 0,
            handled,
            handled_at: None,
            read: handled,
            horizon: handled.max(seen).saturating_add(SPAN),
            base,
            target: base,
            faults: 0,
            fault: None,
            conflicts: 0,
            stop: None,
        }
    }

    /// Source sequence up to which everything is dealt with.
    pub(crate) fn handled(&self) -> u64 {
        self.handled
    }

    /// Time of that message at the source, in milliseconds, if it is known.
    pub(crate) fn handled_at(&self) -> Option<i64> {
        self.handled_at
    }

    /// Last sequence of the target that is known.
    pub(crate) fn target(&self) -> u64 {
        self.target
    }

    /// A sequence of the target behind which is whatever it has beyond [`Self::handled`].
    pub(crate) fn floor(&self) -> u64 {
        let of_next = if self.read < self.horizon {
            self.base
        } else {
            self.target
        };
        self.entries.front().map_or(of_next, |entry| entry.floor)
    }

    /// Messages that are open.
    pub(crate) fn len(&self) -> usize {
        self.open
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.open == 0
    }

    /// The first message that is open.
    pub(crate) fn front(&self) -> Option<(u64, &T)> {
        let entry = self.entries.front()?;
        Some((entry.sequence, entry.item.as_ref()?))
    }

    /// The message that is to be given up.
    pub(crate) fn poisoned(&self) -> Option<(u64, &T)> {
        let (index, _) = self.dead.front()?;
        let entry = self.entry(*index)?;
        Some((entry.sequence, entry.item.as_ref()?))
    }

    /// The first message that the target left without an answer for long.
    pub(crate) fn unanswered(&self) -> Option<(u64, &T)> {
        let entry = self.entry(*self.silent.first()?)?;
        Some((entry.sequence, entry.item.as_ref()?))
    }

    /// Keys that have messages here, and those of them that a refused or unanswered message holds up.
    pub(crate) fn keys(&self) -> (usize, usize) {
        let held = self.later.len() + self.asks.len() + self.dead.len();
        (self.lanes.len(), held)
    }

    /// Whether it is a time to send.
    pub(crate) fn sends(&self) -> bool {
        self.state == State::Flow
    }

    /// Whether nothing is wrong.
    pub(crate) fn flows(&self) -> bool {
        self.state == State::Flow && self.keys().1 == 0
    }

    /// Faults since the last good answer.
    pub(crate) fn faults(&self) -> u32 {
        self.faults
    }

    pub(crate) fn conflicts(&self) -> u64 {
        self.conflicts
    }

    /// What the last fault was, for people.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.fault.clone()
    }

    /// Whether another message may be pushed.
    pub(crate) fn has_room(&self) -> bool {
        self.entries.len() < MOST
            && self.bytes < self.limits.bytes
            && self.read.saturating_sub(self.handled) < SPAN
            && self.state != State::Tail
    }

    /// Takes a message to be copied; source sequences only ever grow.
    pub(crate) fn push(&mut self, sequence: u64, bytes: usize, lane: Lane, item: T) {
        let index = self.first + u64::try_from(self.entries.len()).unwrap_or(u64::MAX);
        let floor = if sequence <= self.horizon {
            self.base
        } else {
            self.target
        };
        self.read = sequence;
        self.bytes += bytes;
        self.open += 1;
        self.entries.push_back(Entry {
            sequence,
            covers: sequence,
            bytes,
            lane,
            floor,
            sent_at: 0,
            refusals: 0,
            held: false,
            silence: Silence::default(),
            turn: 0,
            faults: 0,
            attempt: 0,
            variant: 0,
            stage: Stage::Waiting,
            item: Some(item),
        });
        let of_key = self.lanes.entry(lane.key).or_default();
        of_key.push_back(index);
        if of_key.len() == 1 {
            self.lead(lane.key);
        }
    }

    /// Takes note of a source sequence that is not to be copied.
    pub(crate) fn pass(&mut self, sequence: u64) {
        self.read = self.read.max(sequence);
        match self.entries.back_mut() {
            Some(last) => last.covers = last.covers.max(sequence),
            None => self.handled = self.handled.max(sequence),
        }
    }

    /// The next message to be sent, if one may be.
    pub(crate) fn next_send(&mut self, now: Instant) -> Option<Send<'_, T>> {
        if self.state != State::Flow || self.under_way >= self.limits.messages {
            return None;
        }
        while let Some((due, index)) = self.later.first().copied()
            && due <= now
        {
            self.later.pop_first();
            self.make_ready(index);
        }
        let lowest = self.entries.front()?.sequence;
        let index = *self.ready.first()?;
        let (target, turn) = (self.target, self.turns + 1);
        let entry = self.entry_mut(index)?;
        if entry.sequence - lowest > SPAN {
            return None;
        }
        entry.turn = turn;
        entry.attempt = entry.attempt.wrapping_add(1);
        entry.stage = Stage::Flying;
        entry.sent_at = target;
        let (sequence, variant, attempt, place) = (
            entry.sequence,
            entry.variant,
            entry.attempt,
            entry.lane.place,
        );
        self.turns = turn;
        self.ready.remove(&index);
        self.under_way += 1;
        self.flying.push_back((now, index, attempt));
        let expect = match self.guard {
            Guard::Subjects => {
                let last = self.places.get(&place).map_or(0, |place| place.last);
                Expect::LastOfSubject(last)
            }
            Guard::Ids => Expect::Nothing,
        };
        let item = self.entry(index)?.item.as_ref()?;
        Some(Send {
            token: Token {
                epoch: attempt,
                index,
            },
            sequence,
            variant,
            expect,
            asks: true,
            item,
        })
    }

    /// An answer says that the target has a message.
    pub(crate) fn stored(
        &mut self,
        token: Token,
        sequence: u64,
        duplicate: bool,
        done: impl FnMut(Done<T>),
    ) {
        let Some(entry) = self.answered(token) else {
            return;
        };
        let (source, place, sent_at) = (entry.sequence, entry.lane.place, entry.sent_at);
        let turn = entry.turn;
        if duplicate {
            self.ask(token.index, Doubt::Duplicate(sequence));
        } else if sequence <= sent_at {
            // The target counts from an earlier state on: what it had is gone.
            self.end(Stop::Lost(None));
        } else {
            self.target = self.target.max(sequence);
            self.stored = self.stored.max(turn);
            self.faults = 0;
            self.fault = None;
            self.note(place, sequence, Some(source));
            self.complete(token.index, true);
        }
        self.tell(done);
    }

    /// An answer says that the target does not have a message.
    pub(crate) fn refused(&mut self, token: Token, refusal: Refusal, now: Instant) {
        if self.answered(token).is_none() {
            return;
        }
        let index = token.index;
        match refusal {
            Refusal::Order => self.ask(index, Doubt::Order),
            Refusal::Busy(words) => {
                self.fault(words);
                self.put_off(index, now);
            }
            Refusal::InProcess => {
                self.fault("the target has a message of the same identifier on its way".to_owned());
                self.ask(index, Doubt::InProcess);
            }
            Refusal::Poison(poison) => self.poison(index, poison),
            Refusal::Nobody => self.poison(index, Poison::NotTaken),
            Refusal::OtherStream(words) => self.end(Stop::OtherStream(words)),
        }
    }

    /// The message at this token cannot even be sent.
    pub(crate) fn unsendable(&mut self, token: Token, poison: Poison) {
        if self.answered(token).is_some() {
            self.poison(token.index, poison);
        }
    }

    /// The message that was to be given up was dealt with.
    pub(crate) fn buried(&mut self, done: impl FnMut(Done<T>)) {
        if let Some((index, _)) = self.dead.pop_front() {
            self.complete(index, false);
        }
        self.tell(done);
    }

    /// The message that was to be given up is none of that kind: it is tried again, later.
    pub(crate) fn spared(&mut self, now: Instant) {
        if let Some((index, _)) = self.dead.pop_front() {
            if let Some(entry) = self.entry_mut(index) {
                entry.silence.spare();
            }
            self.put_off(index, now);
        }
    }

    /// The message that was to be given up cannot be, before then.
    pub(crate) fn bury_later(&mut self, then: Instant) {
        self.dead_from = Some(then);
    }

    /// Yields what is done.
    pub(crate) fn tell(&mut self, done: impl FnMut(Done<T>)) {
        self.over.drain(..).for_each(done);
    }

    /// Gives everything up that is not done.
    pub(crate) fn abandon(&mut self) -> impl Iterator<Item = T> {
        self.state = State::Stopped;
        self.open = 0;
        self.bytes = 0;
        std::mem::take(&mut self.entries)
            .into_iter()
            .filter_map(|entry| entry.item)
    }

    /// The entry whose last attempt is answered.
    fn answered(&mut self, token: Token) -> Option<&mut Entry<T>> {
        let entry = self.entry(token.index)?;
        if !matches!(entry.stage, Stage::Flying) || entry.attempt != token.epoch {
            return None;
        }
        self.under_way -= 1;
        self.silent.remove(&token.index);
        let entry = self.entry_mut(token.index)?;
        entry.silence = Silence::default();
        Some(entry)
    }

    fn poison(&mut self, index: u64, poison: Poison) {
        self.fault(format!("a message is refused: {poison}"));
        if poison.is_certain() {
            self.give_up(index, poison);
        } else {
            self.ask(index, Doubt::Poison(poison));
        }
    }

    fn give_up(&mut self, index: u64, poison: Poison) {
        if let Some(entry) = self.entry_mut(index) {
            entry.stage = Stage::Dead;
            self.dead.push_back((index, poison));
        }
    }

    /// Before a message is sent again, the target is asked about it.
    fn ask(&mut self, index: u64, doubt: Doubt) {
        if let Some(entry) = self.entry_mut(index) {
            entry.stage = Stage::Asked(doubt);
            self.asks.insert(index);
        }
    }

    /// Sends a message again: at once the first time, then later and later.
    fn put_off(&mut self, index: u64, now: Instant) {
        let Some(entry) = self.entry_mut(index) else {
            return;
        };
        entry.faults = entry.faults.saturating_add(1);
        let wait = pause(entry.faults);
        if wait.is_zero() {
            self.make_ready(index);
        } else {
            entry.stage = Stage::Later;
            self.later.insert((now + wait, index));
        }
    }

    fn make_ready(&mut self, index: u64) {
        if let Some(entry) = self.entry_mut(index) {
            entry.stage = Stage::Ready;
            self.ready.insert(index);
        }
    }

    fn fault(&mut self, words: String) {
        self.faults = self.faults.saturating_add(1);
        self.fault = Some(words);
    }

    /// What is known of a subject in the target: its last sequence, and the last source sequence of ours in it.
    fn note(&mut self, place: u64, last: u64, source: Option<u64>) {
        if self.places.len() >= PLACES && !self.places.contains_key(&place) {
            self.places.clear();
        }
        let known = self.places.entry(place).or_default();
        known.last = last;
        known.source = known.source.max(source);
    }

    /// Lets the first message of a key go, over those that the target has already.
    fn lead(&mut self, key: u64) {
        while let Some(index) = self.lanes.get(&key).and_then(|lane| lane.front()).copied() {
            let Some(entry) = self.entry(index) else {
                return;
            };
            let sequence = entry.sequence;
            let source = self
                .places
                .get(&entry.lane.place)
                .and_then(|place| place.source);
            let is_there = match self.guard {
                Guard::Subjects => source.is_some_and(|source| source >= sequence),
                Guard::Ids => self.ahead.remove(&sequence),
            };
            if !is_there {
                self.make_ready(index);
                return;
            }
            self.close(index, true);
        }
        self.advance();
    }

    /// A message is done; the next one of its key may go.
    fn complete(&mut self, index: u64, copied: bool) {
        if let Some(key) = self.close(index, copied) {
            self.lead(key);
        }
        self.advance();
    }

    /// Closes the first message of a key.
    fn close(&mut self, index: u64, copied: bool) -> Option<u64> {
        let entry = self.entry_mut(index)?;
        let item = entry.item.take()?;
        entry.stage = Stage::Done;
        self.silent.remove(&index);
        let entry = self.entry(index)?;
        let (key, bytes) = (entry.lane.key, entry.bytes);
        self.bytes -= bytes;
        self.open -= 1;
        self.over.push(Done { item, copied });
        if let Some(lane) = self.lanes.get_mut(&key) {
            lane.pop_front();
            if lane.is_empty() {
                self.lanes.remove(&key);
            }
        }
        Some(key)
    }

    /// Moves over what is done from the beginning on.
    fn advance(&mut self) {
        while let Some(entry) = self
            .entries
            .pop_front_if(|entry| matches!(entry.stage, Stage::Done))
        {
            self.first += 1;
            self.handled = self.handled.max(entry.covers);
            self.handled_at = Some(entry.lane.time_ms).filter(|_| entry.covers == entry.sequence);
        }
        while self
            .ahead
            .first()
            .is_some_and(|source| *source <= self.handled)
        {
            self.ahead.pop_first();
        }
    }

    fn entry(&self, index: u64) -> Option<&Entry<T>> {
        let place = usize::try_from(index.checked_sub(self.first)?).ok()?;
        self.entries.get(place)
    }

    fn entry_mut(&mut self, index: u64) -> Option<&mut Entry<T>> {
        let place = usize::try_from(index.checked_sub(self.first)?).ok()?;
        self.entries.get_mut(place)
    }
}
