//! One value.

use std::sync::Arc;

use overlay_protocol::replication::{AdvisoryEvent, TrackedItem};

use super::time::{Nanos, Span};
use super::{Fact, GRACE, Limits, MAX_OWED};
use crate::sample::Before;

/// What is known of a value.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) value: Arc<str>,
    /// Tells successive holders of a slot apart.
    pub(super) serial: u32,
    pub(super) seen: Nanos,
    /// Bytes of the body that was seen last.
    pub(super) size: u32,
    copied: Option<Nanos>,
    copied_size: u32,
    /// The last copy that is under way.
    pending: Option<Pending>,
    /// Copies that were refused in a row.
    refused: u8,
    /// Numbers copies.
    copies: u32,
    /// Whether its silence was found out.
    pub(super) advised: bool,
    /// Whether its silence was told to whoever listens.
    pub(super) told: bool,
    pub(super) stopped: Option<Nanos>,
    /// When it is to be looked at.
    pub(super) due: Nanos,
    pub(super) is_dirty: bool,
    pub(super) is_loud: bool,
}

/// A copy that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pending {
    number: u32,
    at: Nanos,
    size: u32,
}

impl Entry {
    pub(super) fn new(value: Arc<str>, serial: u32, seen: Nanos) -> Self {
        Self {
            value,
            serial,
            seen,
            size: 0,
            copied: None,
            copied_size: 0,
            pending: None,
            refused: 0,
            copies: 0,
            advised: false,
            told: false,
            stopped: None,
            due: Nanos::default(),
            is_dirty: false,
            is_loud: false,
        }
    }

    /// What a decision needs.
    pub(super) fn before(&self) -> Before {
        let is_owed = self.pending.is_none() && (1..=MAX_OWED).contains(&self.refused);
        let (copied, copied_size) = match self.pending {
            Some(pending) => (Some(pending.at), pending.size),
            None => (self.copied, self.copied_size),
        };
        Before {
            seen: Some(self.seen),
            copied: copied.filter(|_| !is_owed),
            copied_size,
        }
    }

    /// A copy is under way.
    pub(super) fn begin(&mut self, at: Nanos, size: u32) -> Pending {
        self.copies = self.copies.wrapping_add(1);
        let pending = Pending {
            number: self.copies,
            at,
            size,
        };
        self.pending = Some(pending);
        pending
    }

    pub(super) fn copied(&mut self, copy: Pending) {
        self.refused = 0;
        if self.copied.is_none_or(|copied| copied <= copy.at) {
            self.copied = Some(copy.at);
            self.copied_size = copy.size;
        }
        if self.pending == Some(copy) {
            self.pending = None;
        }
    }

    pub(super) fn refused(&mut self, copy: Pending) {
        if self.pending != Some(copy) {
            // A later one is under way, and what it brings is newer.
            return;
        }
        self.pending = None;
        self.refused = self.refused.saturating_add(1);
        if self.refused > MAX_OWED {
            self.copied = Some(copy.at);
            self.copied_size = copy.size;
        }
    }

    /// Nobody knows whether the copy was made: who reads the target will, and who reads the message again decides again.
    pub(super) fn abandoned(&mut self, copy: Pending) {
        if self.pending == Some(copy) {
            self.pending = None;
        }
    }

    /// Begins anew with a value that was silent for too long.
    pub(super) fn renew(&mut self, at: Nanos) {
        self.copied = None;
        self.copied_size = 0;
        self.pending = None;
        self.refused = 0;
        self.advised = false;
        self.told = false;
        self.stopped = None;
        self.seen = at;
    }

    pub(super) fn appeared(&self, at: Nanos) -> Fact {
        Fact {
            event: AdvisoryEvent::New,
            value: Arc::clone(&self.value),
            seen: at,
            at,
            since: at,
        }
    }

    /// Ends a silence, or a stop.
    pub(super) fn return_at(&mut self, at: Nanos) -> Fact {
        self.advised = false;
        self.told = false;
        self.stopped = None;
        let seen = self.seen;
        self.seen = seen.max(at);
        Fact {
            event: AdvisoryEvent::Recover,
            value: Arc::clone(&self.value),
            seen,
            at,
            since: at,
        }
    }

    pub(super) fn expired(&self, interval: Span, at: Nanos) -> Fact {
        Fact {
            event: AdvisoryEvent::Expire,
            value: Arc::clone(&self.value),
            seen: self.seen,
            at,
            since: self.seen.plus(interval),
        }
    }

    /// Takes what somebody else knows; gives whether it was news.
    pub(super) fn learn(&mut self, item: &TrackedItem, seen: Nanos, copied: Option<Nanos>) -> bool {
        let mut is_news = false;
        let stopped = item.stopped.and_then(Nanos::of_date);
        if seen > self.seen {
            is_news = true;
            self.seen = seen;
            self.size = u32::try_from(item.size).unwrap_or(u32::MAX);
            self.advised = item.advised;
            self.told = item.advised;
            self.stopped = stopped;
        } else if seen == self.seen {
            is_news = (item.advised && !self.told) || stopped > self.stopped;
            self.advised |= item.advised;
            self.told |= item.advised;
            self.stopped = self.stopped.or(stopped);
        }
        let size = item.copied_size.unwrap_or(item.size);
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        copied.is_some_and(|copied| self.learn_copy(copied, size)) || is_news
    }

    /// Takes a copy that somebody else knows of; gives whether it was news.
    pub(super) fn learn_copy(&mut self, copied: Nanos, size: u32) -> bool {
        let is_news = self.copied.is_none_or(|known| known < copied);
        if is_news {
            self.copied = Some(copied);
            self.copied_size = size;
        }
        is_news
    }

    /// The form of files.
    pub(super) fn item(&self) -> TrackedItem {
        TrackedItem {
            seen: Some(self.seen.date()),
            copied: self.copied.map(Nanos::date),
            advised: self.advised,
            size: u64::from(self.size),
            value: self.value.to_string(),
            copied_size: self
                .copied
                .map(|_| u64::from(self.copied_size))
                .filter(|size| *size != u64::from(self.size)),
            stopped: self.stopped.map(Nanos::date),
            gone: false,
        }
    }

    /// The form for other replicas: a silence that nobody was told of yet is not taken off their hands.
    pub(super) fn news(&self) -> TrackedItem {
        TrackedItem {
            advised: self.told,
            ..self.item()
        }
    }

    /// When something may have to be told of it, unless it is seen before.
    pub(super) fn next_look(&self, limits: &Limits, leads: bool) -> Nanos {
        let wait = if !leads {
            limits.interval.plus(Span::of(GRACE))
        } else if self.advised || self.stopped.is_some() {
            limits.interval
        } else {
            limits.interval.min(limits.warn)
        };
        self.seen.plus(wait).plus(Span::INSTANT)
    }
}
