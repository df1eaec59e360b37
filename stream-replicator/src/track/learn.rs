//! What is known of values otherwise than by their messages: from themselves, files, the target, other replicas.

use std::sync::Arc;

use overlay_protocol::replication::{AdvisoryEvent, TrackedItem};

use super::{Fact, Gone, Nanos, Span, Tracker};
use crate::sample::MAX_VALUE;

impl Tracker {
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
}
