//! What is known of values: when they were seen and copied, which fell silent, and what is to be told of it.
//!
//! What must hold:
//! * Time is that of the messages (see [`Tracker::watermark`]): neither a replay nor an outage makes a false alarm.
//! * A copy that is under way counts as made until it is refused; a refused one is owed.
//! * A look at what fell silent costs what is due, not what is known.
//! * What changed can be had in pieces, and nothing that changed is left out of it.

mod entry;
mod index;
mod learn;
mod report;
mod time;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use overlay_protocol::replication::{AdvisoryEvent, TrackedItem};

use crate::sample::{Before, Rule, Why};
use entry::{Entry, Pending};
use index::{Index, Place};

pub(crate) use self::time::{Nanos, Span};

/// Values that are remembered at most; those beyond are copied in full.
pub(crate) const MAX_VALUES: usize = 2_000_000;

/// How long a replica that stands by keeps what fell silent, so that it can tell of it should it come to lead.
const GRACE: std::time::Duration = std::time::Duration::from_secs(120);

/// After so many refused copies in a row a value waits for its next regular one.
const MAX_OWED: u8 = 3;

/// How values are tracked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) rule: Rule,
    pub(crate) interval: Span,
    pub(crate) warn: Span,
    pub(crate) max_values: usize,
}

/// All values of a worker.
#[derive(Debug)]
pub(crate) struct Tracker {
    limits: Limits,
    slots: HashMap<Arc<str>, u32>,
    entries: Vec<Option<Entry>>,
    free: Vec<u32>,
    index: Index,
    serial: u32,
    now: Nanos,
    leads: bool,
    facts: Vec<Fact>,
    /// Slots whose entries have changed since they were last written.
    dirty: VecDeque<u32>,
    /// Slots whose entries have changed since they were last told to other replicas.
    loud: VecDeque<u32>,
    /// What was forgotten since it was last written.
    gone: Vec<Gone>,
    /// What was forgotten since it was last told.
    unheard: Vec<Gone>,
}

/// Something that happened to a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fact {
    pub(crate) event: AdvisoryEvent,
    pub(crate) value: Arc<str>,
    /// When it was seen before that; for a new one, now.
    pub(crate) seen: Nanos,
    /// When it was found out.
    pub(crate) at: Nanos,
    /// When it became true; the same wherever and whenever it is found out.
    pub(crate) since: Nanos,
}

/// A value that was forgotten, and when it was seen last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Gone {
    pub(crate) value: Arc<str>,
    pub(crate) seen: Nanos,
}

/// A piece of what changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    Gone(Gone),
    Item(TrackedItem),
}

/// Stands for a copy until it is acknowledged or refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket {
    place: Place,
    pending: Pending,
}

/// What a message says of its value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sighting {
    /// Time of the message at the source.
    pub(crate) at: Nanos,
    /// Bytes of its body.
    pub(crate) size: u32,
    /// Whether it asks to be copied.
    pub(crate) is_forced: bool,
}

/// How an entry stood to a sighting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Was {
    Unknown,
    Known,
}

impl Tracker {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            slots: HashMap::new(),
            entries: Vec::new(),
            free: Vec::new(),
            index: Index::default(),
            serial: 0,
            now: Nanos::default(),
            leads: false,
            facts: Vec::new(),
            dirty: VecDeque::new(),
            loud: VecDeque::new(),
            gone: Vec::new(),
            unheard: Vec::new(),
        }
    }

    /// How many values are known.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether anything is known of a value.
    pub(crate) fn knows(&self, value: &str) -> bool {
        self.slots.contains_key(value)
    }

    /// The time up to which everything is known.
    pub(crate) fn now(&self) -> Nanos {
        self.now
    }

    /// Decides about a message; the ticket is for a copy of it, and there is none where nothing is remembered.
    pub(crate) fn judge(
        &mut self,
        value: &str,
        message: Sighting,
        chance: impl FnOnce() -> f64,
    ) -> (Why, Option<Ticket>) {
        let Some((slot, was, before)) = self.see(value, message) else {
            return (Why::Full, None);
        };
        let why = match (was, before) {
            _ if message.is_forced => Why::Forced,
            (Was::Known, Some(before)) => {
                self.limits
                    .rule
                    .decide(&before, message.at, message.size, chance)
            }
            (Was::Unknown, _) | (_, None) => Why::New,
        };
        if !why.copies() {
            return (why, None);
        }
        let ticket = self.entry_mut(slot).map(|entry| {
            let pending = entry.begin(message.at, message.size);
            Ticket {
                place: Place {
                    slot,
                    serial: entry.serial,
                },
                pending,
            }
        });
        (why, ticket)
    }

    /// Takes note of a message that is not to be copied whatever is known.
    pub(crate) fn pass_over(&mut self, value: &str, message: Sighting) {
        // A value that can't be remembered is no worse off than before.
        let _seen = self.see(value, message);
    }

    /// A copy was acknowledged.
    pub(crate) fn copied(&mut self, ticket: Ticket) {
        if let Some(entry) = self.holder(ticket.place) {
            entry.copied(ticket.pending);
            self.changed(ticket.place.slot);
        }
    }

    /// A copy was refused: the next message makes up for it.
    pub(crate) fn dropped(&mut self, ticket: Ticket) {
        if let Some(entry) = self.holder(ticket.place) {
            entry.refused(ticket.pending);
        }
    }

    /// It is not known whether a copy was made.
    pub(crate) fn abandoned(&mut self, ticket: Ticket) {
        if let Some(entry) = self.holder(ticket.place) {
            entry.abandoned(ticket.pending);
        }
    }

    /// Says up to which time everything is known: the clock once all messages are handled, the time of the last one
    /// before that, and the same as before while the source is away.
    pub(crate) fn watermark(&mut self, now: Nanos) {
        self.now = now;
    }

    /// Says whether this replica tells of what it finds.
    pub(crate) fn lead(&mut self, leads: bool) {
        if self.leads != leads {
            self.leads = leads;
            self.reindex();
        }
    }

    /// Looks at values whose time has come, `limit` at most; gives whether that was all.
    pub(crate) fn scrub(&mut self, limit: usize) -> bool {
        if self.index.is_stale(self.len()) {
            self.reindex();
        }
        for _ in 0..limit {
            let Some((due, place)) = self.index.take(self.now) else {
                return true;
            };
            let now = self.now;
            let (limits, leads) = (self.limits, self.leads);
            let Some(entry) = self.holder(place).filter(|entry| entry.due == due) else {
                continue;
            };
            let silence = now.since(entry.seen);
            let kept = if leads {
                limits.interval
            } else {
                limits.interval.plus(Span::of(GRACE))
            };
            if silence > kept {
                self.expire(place.slot, silence);
                continue;
            }
            if leads && silence > limits.warn && !entry.advised && entry.stopped.is_none() {
                entry.advised = true;
                entry.told = false;
                let fact = Fact {
                    event: AdvisoryEvent::Timeout,
                    value: Arc::clone(&entry.value),
                    seen: entry.seen,
                    at: now,
                    since: entry.seen.plus(limits.warn),
                };
                self.facts.push(fact);
                self.written(place.slot);
            }
            self.put(place.slot);
        }
        false
    }

    /// Takes note of a message; gives what was known before, and nothing when there is no room.
    fn see(&mut self, value: &str, message: Sighting) -> Option<(u32, Was, Option<Before>)> {
        let at = message.at;
        let Some(&slot) = self.slots.get(value) else {
            let slot = self.insert(value, at)?;
            if let Some(entry) = self.entry_mut(slot) {
                entry.size = message.size;
                let fact = entry.appeared(at);
                self.facts.push(fact);
            }
            self.changed(slot);
            self.put(slot);
            return Some((slot, Was::Unknown, None));
        };
        let limits = self.limits;
        let entry = self.entry_mut(slot)?;
        let before = entry.before();
        let silence = at.since(entry.seen);
        let mut facts = [None, None];
        let mut was = Was::Known;
        if silence > limits.interval {
            // Nobody looked in time: it is as if it had been forgotten.
            if entry.stopped.is_none() && silence <= limits.interval.double() {
                facts[0] = Some(entry.expired(limits.interval, at));
            }
            entry.renew(at);
            facts[1] = Some(entry.appeared(at));
            was = Was::Unknown;
        } else if entry.stopped.is_some_and(|stopped| stopped < at)
            || (entry.stopped.is_none() && silence > limits.warn && silence < limits.interval)
        {
            facts[0] = Some(entry.return_at(at));
        }
        entry.seen = entry.seen.max(at);
        entry.size = message.size;
        let is_moved = facts.iter().any(Option::is_some);
        self.facts.extend(facts.into_iter().flatten());
        if is_moved {
            self.put(slot);
        }
        self.changed(slot);
        Some((slot, was, Some(before)))
    }

    fn expire(&mut self, slot: u32, silence: Span) {
        let (limits, leads, now) = (self.limits, self.leads, self.now);
        if let Some(entry) = self.entry_mut(slot)
            && leads
        {
            let fact = (entry.stopped.is_none() && silence <= limits.interval.double())
                .then(|| entry.expired(limits.interval, now));
            self.facts.extend(fact);
        }
        self.forget(slot);
    }

    fn insert(&mut self, value: &str, seen: Nanos) -> Option<u32> {
        if self.len() >= self.limits.max_values {
            return None;
        }
        self.serial = self.serial.wrapping_add(1);
        let value: Arc<str> = value.into();
        let entry = Entry::new(Arc::clone(&value), self.serial, seen);
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.entries.push(None);
                u32::try_from(self.entries.len() - 1).ok()?
            }
        };
        *self.entries.get_mut(usize::try_from(slot).ok()?)? = Some(entry);
        self.slots.insert(value, slot);
        Some(slot)
    }

    fn forget(&mut self, slot: u32) {
        let held = usize::try_from(slot)
            .ok()
            .and_then(|slot| self.entries.get_mut(slot)?.take());
        if let Some(entry) = held {
            self.slots.remove(&entry.value);
            self.free.push(slot);
            self.gone.push(Gone {
                value: entry.value,
                seen: entry.seen,
            });
        }
    }

    fn entry_mut(&mut self, slot: u32) -> Option<&mut Entry> {
        self.entries.get_mut(usize::try_from(slot).ok()?)?.as_mut()
    }

    fn known(&mut self, value: &str) -> Option<(u32, &mut Entry)> {
        let slot = *self.slots.get(value)?;
        self.entry_mut(slot).map(|entry| (slot, entry))
    }

    /// The entry that is meant, if it is still there.
    fn holder(&mut self, place: Place) -> Option<&mut Entry> {
        self.entry_mut(place.slot)
            .filter(|entry| entry.serial == place.serial)
    }

    /// The entry is to be written.
    fn written(&mut self, slot: u32) {
        if let Some(entry) = self.entry_mut(slot)
            && !entry.is_dirty
        {
            entry.is_dirty = true;
            self.dirty.push_back(slot);
        }
    }

    /// The entry is to be written, and told to other replicas.
    fn changed(&mut self, slot: u32) {
        self.written(slot);
        if let Some(entry) = self.entry_mut(slot)
            && !entry.is_loud
        {
            entry.is_loud = true;
            self.loud.push_back(slot);
        }
    }

    /// Puts an entry where it is to be looked at next.
    fn put(&mut self, slot: u32) {
        let (limits, leads) = (self.limits, self.leads);
        if let Some(entry) = self.entry_mut(slot) {
            let due = entry.next_look(&limits, leads);
            if entry.due != due {
                entry.due = due;
                let place = Place {
                    slot,
                    serial: entry.serial,
                };
                self.index.put(due, place);
            }
        }
    }

    fn reindex(&mut self) {
        let (limits, leads) = (self.limits, self.leads);
        let places = self.entries.iter_mut().zip(0_u32..);
        self.index.rebuild(places.filter_map(|(entry, slot)| {
            let entry = entry.as_mut()?;
            entry.due = entry.next_look(&limits, leads);
            let place = Place {
                slot,
                serial: entry.serial,
            };
            Some((entry.due, place))
        }));
    }
}

#[cfg(test)]
mod tests;
