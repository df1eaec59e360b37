//! What is known of values: when they were seen and copied, which fell silent, and what is to be told of it.
//!
//! What must hold:
//! * Time is that of the messages (see [`Tracker::watermark`]): neither a replay nor an outage makes a false alarm.
//! * A copy that is under way counts as made until it is refused; a refused one is owed.
//! * A look at what fell silent costs what is due, not what is known.
//! * What changed can be had in pieces, and nothing that changed is left out of it.

mod entry;
mod index;
mod time;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use overlay_protocol::replication::{AdvisoryEvent, TrackedItem};

use crate::sample::{Before, MAX_VALUE, Rule, Why};
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

    /// A value said that it stops: its silence is no fault from now on.
    pub(crate) fn stop(&mut self, value: &str, at: Nanos) {
        let leads = self.leads;
        let Some((slot, entry)) = self.known(value) else {
            return;
        };
        if entry.stopped.is_some() {
            return;
        }
        // Clocks differ: what was seen was seen before.
        let at = at.max(entry.seen);
        entry.stopped = Some(at);
        let fact = Fact {
            event: AdvisoryEvent::Shutdown,
            value: Arc::clone(&entry.value),
            seen: entry.seen,
            at,
            since: at,
        };
        if leads {
            self.facts.push(fact);
        }
        self.changed(slot);
    }

    /// A value said that it began again: its silence is a fault again.
    pub(crate) fn start(&mut self, value: &str, at: Nanos) {
        let is_stopped = self
            .known(value)
            .is_some_and(|(_, entry)| entry.stopped.is_some_and(|stopped| stopped < at));
        if let (true, Some((slot, entry))) = (is_stopped, self.known(value)) {
            let fact = entry.return_at(at);
            if self.leads {
                self.facts.push(fact);
            }
            self.changed(slot);
            self.put(slot);
        }
    }

    /// The end of a value was told to whoever listens: no other replica needs to.
    pub(crate) fn told_gone(&mut self, value: &Arc<str>, seen: Nanos) {
        self.unheard.push(Gone {
            value: Arc::clone(value),
            seen,
        });
    }

    /// The silence of a value was told to whoever listens.
    pub(crate) fn told(&mut self, value: &str, seen: Nanos) {
        if let Some((slot, entry)) = self.known(value)
            && entry.advised
            && entry.seen == seen
        {
            entry.told = true;
            self.changed(slot);
        }
    }

    /// Takes what a file, the target or another replica knows of a value; nothing is told of it. Gives whether it was
    /// news.
    pub(crate) fn learn(&mut self, item: &TrackedItem) -> bool {
        let Some(seen) = item.seen.and_then(Nanos::of_date) else {
            return false;
        };
        let copied = item.copied.and_then(Nanos::of_date);
        if item.value.is_empty() || item.value.len() > MAX_VALUE {
            return false;
        }
        if !self.leads {
            // Who hears knows no other time.
            self.now = self.now.max(seen);
        }
        if let Some((slot, entry)) = self.known(&item.value) {
            if item.gone && seen >= entry.seen {
                self.forget(slot);
                return true;
            }
            let is_news = entry.learn(item, seen, copied);
            if is_news {
                self.written(slot);
                self.put(slot);
            }
            return is_news;
        }
        if item.gone {
            return false;
        }
        let Some(slot) = self.insert(&item.value, seen.minus(Span::INSTANT)) else {
            return false;
        };
        if let Some(entry) = self.entry_mut(slot) {
            entry.learn(item, seen, copied);
        }
        self.written(slot);
        self.put(slot);
        true
    }

    /// Takes a copy that the target has. When nothing is known of the value, it counts as seen at `seen`: there is nothing
    /// by which to call it silent.
    pub(crate) fn learn_copy(&mut self, value: &str, copied: Nanos, size: u32, seen: Nanos) {
        if value.is_empty() || value.len() > MAX_VALUE {
            return;
        }
        let slot = match self.slots.get(value) {
            Some(slot) => *slot,
            None => match self.insert(value, seen) {
                Some(slot) => slot,
                None => return,
            },
        };
        if let Some(entry) = self.entry_mut(slot)
            && entry.learn_copy(copied, size)
        {
            self.written(slot);
            self.put(slot);
        }
    }

    /// What happened since it was last asked for.
    pub(crate) fn take_facts(&mut self) -> Vec<Fact> {
        std::mem::take(&mut self.facts)
    }

    /// How much happened since it was last asked for.
    pub(crate) fn untold(&self) -> usize {
        self.facts.len()
    }

    /// What changed since it was last written, `limit` values at most; what is gone comes first.
    pub(crate) fn take_changes(&mut self, limit: usize) -> Vec<Change> {
        let mut changes = drain(&mut self.gone, limit);
        while changes.len() < limit
            && let Some(slot) = self.dirty.pop_front()
        {
            if let Some(entry) = self.entry_mut(slot)
                && entry.is_dirty
            {
                entry.is_dirty = false;
                changes.push(Change::Item(entry.item()));
            }
        }
        changes
    }

    /// What changed since it was last told to other replicas, `limit` values at most.
    pub(crate) fn take_news(&mut self, limit: usize) -> Vec<TrackedItem> {
        let mut news: Vec<_> = drain(&mut self.unheard, limit)
            .into_iter()
            .map(|change| match change {
                Change::Item(item) => item,
                Change::Gone(gone) => gone.item(),
            })
            .collect();
        while news.len() < limit
            && let Some(slot) = self.loud.pop_front()
        {
            if let Some(entry) = self.entry_mut(slot)
                && entry.is_loud
            {
                entry.is_loud = false;
                news.push(entry.news());
            }
        }
        news
    }

    /// Forgets what there would be to tell other replicas, where there are none.
    pub(crate) fn hush(&mut self) {
        self.unheard.clear();
        while let Some(slot) = self.loud.pop_front() {
            if let Some(entry) = self.entry_mut(slot) {
                entry.is_loud = false;
            }
        }
    }

    /// Values from the slot `from` on, `limit` slots of them, and where to go on; for a file that is written in pieces.
    pub(crate) fn page(&self, from: usize, limit: usize) -> (Vec<TrackedItem>, Option<usize>) {
        self.page_as(from, limit, Entry::item)
    }

    /// As [`Self::page`], for another replica.
    pub(crate) fn page_of_news(
        &self,
        from: usize,
        limit: usize,
    ) -> (Vec<TrackedItem>, Option<usize>) {
        self.page_as(from, limit, Entry::news)
    }

    fn page_as(
        &self,
        from: usize,
        limit: usize,
        form: fn(&Entry) -> TrackedItem,
    ) -> (Vec<TrackedItem>, Option<usize>) {
        let end = from.saturating_add(limit).min(self.entries.len());
        let page = self.entries.get(from..end).unwrap_or_default();
        let items = page.iter().flatten().map(form).collect();
        (items, (end < self.entries.len()).then_some(end))
    }

    /// What is known of one value.
    #[cfg(test)]
    pub(crate) fn item(&self, value: &str) -> Option<TrackedItem> {
        let slot = self.slots.get(value)?;
        self.entries
            .get(usize::try_from(*slot).ok()?)?
            .as_ref()
            .map(Entry::item)
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

impl Gone {
    /// The form in which other replicas and files hear of it.
    pub(crate) fn item(&self) -> TrackedItem {
        TrackedItem {
            seen: Some(self.seen.date()),
            value: self.value.to_string(),
            gone: true,
            ..TrackedItem::default()
        }
    }
}

fn drain(list: &mut Vec<Gone>, limit: usize) -> Vec<Change> {
    let some = list.len().min(limit);
    list.drain(..some).map(Change::Gone).collect()
}

#[cfg(test)]
mod tests;
