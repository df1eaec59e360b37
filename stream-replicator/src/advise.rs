//! What is to be told of values, until a stream took it.
//!
//! What must hold:
//! * Nothing that is put in leaves but by being taken, or by being overtaken where a value has more to tell than
//!   [`MAX_OF_VALUE`], which is counted.
//! * What is told of one value is told in its order; one value that can't be told of holds up no other.
//! * The same fact has the same id, whoever finds it out and however often, so that a stream keeps one of them.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use overlay_protocol::id::Ksuid;
use overlay_protocol::replication::{Advisory, AdvisoryEvent};
use overlay_runtime::Backoff;
use sha2::{Digest as _, Sha256};

use crate::track::{Fact, Nanos, Span};

/// What waits for one value at most: beyond that, only the latest counts.
pub(crate) const MAX_OF_VALUE: usize = 8;
/// What is under way at most.
pub(crate) const MAX_WINDOW: usize = 2_048;

/// The wait before trying again what was not taken.
const PAUSE: Backoff = Backoff {
    first: Duration::from_millis(500),
    last: Duration::from_secs(5),
    steps: 6,
};

/// Whose facts they are.
#[derive(Debug, Clone)]
pub(crate) struct Teller {
    /// Name of the site.
    pub(crate) site: String,
    pub(crate) stream: String,
    pub(crate) worker: String,
    /// Where values are found.
    pub(crate) inspect: String,
}

/// A fact that is to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owed {
    pub(crate) advisory: Advisory,
    /// When the value was seen last, exactly.
    pub(crate) seen: Nanos,
}

/// A change of what is to be told, for the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Entry {
    Owed(Owed),
    Told(Ksuid),
}

/// What is to be told.
#[derive(Debug)]
pub(crate) struct Outbox {
    teller: Teller,
    /// Never empty ones.
    queues: HashMap<Arc<str>, VecDeque<Owed>>,
    /// Values of which nothing is under way, in the order of their turn.
    turn: VecDeque<Arc<str>>,
    under_way: HashMap<Ksuid, Arc<str>>,
    len: usize,
    window: usize,
    failures: usize,
    pause_until: Option<Nanos>,
    merged: u64,
    changes: Vec<Entry>,
}

impl Teller {
    /// Makes the document for a fact.
    pub(crate) fn owed(&self, fact: &Fact) -> Owed {
        Owed {
            advisory: Advisory {
                event_id: self.event_id(fact),
                inspect_field: self.inspect.clone(),
                age: fact.at.since(fact.seen).seconds(),
                seen: fact.seen.unix_seconds(),
                replicator: self.site.clone(),
                timestamp: fact.at.unix_seconds(),
                event: fact.event,
                value: fact.value.to_string(),
            },
            seen: fact.seen,
        }
    }

    fn event_id(&self, fact: &Fact) -> Ksuid {
        let mut hash = Sha256::new();
        for part in [
            &*self.site,
            &self.stream,
            &self.worker,
            fact.event.name(),
            &fact.value,
        ] {
            hash.update(part);
            hash.update([0]);
        }
        hash.update(fact.since.to_be_bytes());
        let digest: [u8; 32] = hash.finalize().into();
        let mut random = [0; 16];
        random.copy_from_slice(digest.split_at(16).0);
        let seconds = u64::try_from(fact.since.unix_seconds()).unwrap_or_default();
        Ksuid::from_parts(seconds, random).unwrap_or_else(|_outside_of_its_years| {
            let mut bytes = [0; 20];
            bytes.split_at_mut(4).1.copy_from_slice(&random);
            Ksuid::from_bytes(bytes)
        })
    }
}

impl Outbox {
    pub(crate) fn new(teller: Teller) -> Self {
        Self {
            teller,
            queues: HashMap::new(),
            turn: VecDeque::new(),
            under_way: HashMap::new(),
            len: 0,
            window: MAX_WINDOW,
            failures: 0,
            pause_until: None,
            merged: 0,
            changes: Vec::new(),
        }
    }

    /// How much is to be told, with what is under way.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// How much was overtaken since it was last asked for.
    pub(crate) fn take_merged(&mut self) -> u64 {
        std::mem::take(&mut self.merged)
    }

    /// Takes a fact in.
    pub(crate) fn tell(&mut self, fact: &Fact) {
        let owed = self.teller.owed(fact);
        self.changes.push(Entry::Owed(owed.clone()));
        self.put(Arc::clone(&fact.value), owed);
    }

    /// Takes in what was to be told before a restart.
    pub(crate) fn restore(&mut self, owed: Owed) {
        let value: Arc<str> = owed.advisory.value.as_str().into();
        self.put(value, owed);
    }

    /// What is to be sent now; it is under way until it is [taken](Self::taken) or [failed](Self::failed).
    ///
    /// Who leads no more still owes what happened while it led and nobody else can find out: that a value appeared, or came
    /// back. A silence that lasts is found out by whoever leads.
    pub(crate) fn next(&mut self, now: Nanos, leads: bool) -> Option<Owed> {
        let is_paused = self.pause_until.is_some_and(|until| until > now);
        if is_paused || self.under_way.len() >= self.window {
            return None;
        }
        for _waiting in 0..self.turn.len() {
            let value = self.turn.pop_front()?;
            let queue = self.queues.get(&value)?;
            let owed = queue.front()?;
            let lasts = match owed.advisory.event {
                AdvisoryEvent::Timeout | AdvisoryEvent::Expire => queue.len() == 1,
                AdvisoryEvent::New | AdvisoryEvent::Recover | AdvisoryEvent::Shutdown => false,
            };
            if lasts && !leads {
                self.turn.push_back(value);
                continue;
            }
            let owed = owed.clone();
            self.under_way.insert(owed.advisory.event_id, value);
            return Some(owed);
        }
        None
    }

    /// A stream took it.
    pub(crate) fn taken(&mut self, id: &Ksuid) -> Option<Owed> {
        let value = self.under_way.remove(id)?;
        self.failures = 0;
        self.pause_until = None;
        self.window = self.window.saturating_add(8).min(MAX_WINDOW);
        let queue = self.queues.get_mut(&value)?;
        let owed = queue.pop_front()?;
        self.len -= 1;
        self.changes.push(Entry::Told(*id));
        if queue.is_empty() {
            self.queues.remove(&value);
        } else {
            self.turn.push_back(value);
        }
        Some(owed)
    }

    /// It was not taken this time: others come first, and all wait a little.
    pub(crate) fn failed(&mut self, id: &Ksuid, now: Nanos) {
        let Some(value) = self.under_way.remove(id) else {
            return;
        };
        self.turn.push_back(value);
        // One answer is enough to know that a stream is away; what was sent with it fails with it.
        if self.pause_until.is_none_or(|until| until <= now) {
            let pause = PAUSE.jittered(self.failures);
            self.pause_until = Some(now.plus(Span::of(pause)));
            self.failures += 1;
            self.window = 1;
        }
    }

    /// Another replica told of a silence or an end, up to that sight of the value: it is not told again.
    pub(crate) fn withdraw(&mut self, value: &str, event: AdvisoryEvent, seen: Nanos) {
        let Some((value, queue)) = self.queues.get_key_value(value) else {
            return;
        };
        let value = Arc::clone(value);
        let is_told = |owed: &Owed| owed.advisory.event == event && owed.seen <= seen;
        if queue.iter().any(is_told) {
            self.remove(&value, is_told);
        }
    }

    /// What changed since it was last asked for.
    pub(crate) fn take_changes(&mut self) -> Vec<Entry> {
        std::mem::take(&mut self.changes)
    }

    /// All that is to be told, for a journal that begins anew.
    pub(crate) fn all(&mut self) -> Vec<Entry> {
        self.changes.clear();
        let owed = self.queues.values().flatten();
        owed.cloned().map(Entry::Owed).collect()
    }

    fn put(&mut self, value: Arc<str>, owed: Owed) {
        let queue = self.queues.get(&value);
        let id = owed.advisory.event_id;
        if queue.is_some_and(|queue| queue.iter().any(|other| other.advisory.event_id == id)) {
            return;
        }
        if queue.is_some_and(|queue| queue.len() >= MAX_OF_VALUE) {
            let before = self.len;
            self.remove(&value, |_| true);
            self.merged += u64::try_from(before - self.len).unwrap_or(u64::MAX);
        }
        let is_first = !self.queues.contains_key(&value);
        self.queues
            .entry(Arc::clone(&value))
            .or_default()
            .push_back(owed);
        self.len += 1;
        if is_first {
            self.turn.push_back(value);
        }
    }

    /// Takes out what is not under way.
    fn remove(&mut self, value: &Arc<str>, which: impl Fn(&Owed) -> bool) {
        let under_way = &self.under_way;
        let Some(queue) = self.queues.get_mut(value) else {
            return;
        };
        let before = queue.len();
        queue.retain(|owed| {
            let id = owed.advisory.event_id;
            let stays = under_way.contains_key(&id) || !which(owed);
            if !stays {
                self.changes.push(Entry::Told(id));
            }
            stays
        });
        self.len -= before - queue.len();
        if queue.is_empty() {
            self.queues.remove(value);
            self.turn.retain(|waiting| waiting != value);
        }
    }
}

#[cfg(test)]
mod tests;
