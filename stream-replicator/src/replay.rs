//! Sampling without brokers, files and clocks: for those who replay what others recorded, and for figures.

use std::time::{Duration, SystemTime};

use overlay_protocol::replication::{Advisory, TrackedItem};
use overlay_runtime::err_chain;

use crate::advise::{Entry, Outbox, Teller};
use crate::config::{Inspect, Sampling};
use crate::sample::{Before, Reader, Rule};
use crate::state;
use crate::track::{self, Limits, MAX_VALUES, Nanos, Sighting, Span, Tracker};

/// The pure parts of sampling, put together as a worker does.
#[derive(Debug)]
pub struct Replay {
    reader: Reader,
    tracker: Tracker,
    outbox: Outbox,
}

/// A message.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// Its subject.
    pub subject: &'a str,
    /// The header that is sampled by, if it has it.
    pub header: Option<&'a str>,
    /// Its body.
    pub body: &'a [u8],
    /// When the source took it.
    pub at: SystemTime,
}

/// A copy that is under way.
#[derive(Debug, Clone, Copy)]
pub struct Ticket(track::Ticket);

/// What was known of a value, for one decision.
#[derive(Debug, Clone, Copy)]
pub struct Known {
    /// When it was seen.
    pub seen: Option<SystemTime>,
    /// When it was copied.
    pub copied: Option<SystemTime>,
    /// Bytes of that copy.
    pub size: u32,
}

impl Replay {
    /// Begins with nothing known, as the replica that works.
    pub fn new(sampling: &Sampling, site: &str) -> Self {
        let mut tracker = Tracker::new(Limits {
            rule: Rule::new(sampling.interval, sampling.size_trigger),
            interval: Span::of(sampling.interval),
            warn: Span::of(sampling.warn),
            max_values: MAX_VALUES,
        });
        tracker.lead(true);
        Self {
            reader: Reader::new(sampling),
            tracker,
            outbox: Outbox::new(Teller {
                site: site.to_owned(),
                stream: String::new(),
                worker: String::new(),
                inspect: match &sampling.inspect {
                    Inspect::Field(name) | Inspect::Header(name) => name.clone(),
                    Inspect::Token(_) => "subject".to_owned(),
                },
            }),
        }
    }

    /// What a message is about.
    pub fn value(&self, message: &Message<'_>) -> Option<String> {
        self.reader
            .value(message.subject, message.header, message.body)
            .map(std::borrow::Cow::into_owned)
    }

    /// Whether it is copied; the ticket is there if something is remembered by it. `chance` is a random number from 0 to
    /// below 1.
    pub fn judge(&mut self, message: &Message<'_>, chance: f64) -> (bool, Option<Ticket>) {
        let is_forced = self.reader.is_forced(message.body);
        let value = self
            .reader
            .value(message.subject, message.header, message.body);
        let Some(value) = value else {
            return (true, None);
        };
        let sighting = Sighting {
            at: Nanos::of(message.at),
            size: u32::try_from(message.body.len()).unwrap_or(u32::MAX),
            is_forced,
        };
        let (why, ticket) = self.tracker.judge(&value, sighting, || chance);
        (why.copies(), ticket.map(Ticket))
    }

    /// The target took the copy.
    pub fn copied(&mut self, ticket: Ticket) {
        self.tracker.copied(ticket.0);
    }

    /// The target refused it.
    pub fn dropped(&mut self, ticket: Ticket) {
        self.tracker.dropped(ticket.0);
    }

    /// Looks for values that fell silent.
    pub fn scrub(&mut self, now: SystemTime) {
        self.tracker.watermark(Nanos::of(now));
        while !self.tracker.scrub(1_000) {}
    }

    /// What is to be told since it was last asked for.
    pub fn advisories(&mut self) -> Vec<Advisory> {
        for fact in self.tracker.take_facts() {
            self.outbox.tell(&fact);
        }
        self.outbox
            .take_changes()
            .into_iter()
            .filter_map(|entry| match entry {
                Entry::Owed(owed) => Some(owed.advisory),
                Entry::Told(_) => None,
            })
            .collect()
    }

    /// Takes what a file or another replica knows.
    pub fn learn(&mut self, item: &TrackedItem) {
        self.tracker.learn(item);
    }

    /// What is known of all values.
    pub fn items(&self) -> Vec<TrackedItem> {
        self.tracker.page(0, usize::MAX).0
    }

    /// The text of a state file with all that is known; nothing where there is none.
    pub fn file(&self) -> Option<Vec<u8>> {
        let items = self.items();
        (!items.is_empty()).then(|| state::encode_file(&items))
    }
}

/// Whether a message of `size` bytes is copied, by what was known.
pub fn decide(
    interval: Duration,
    size_trigger: f64,
    known: &Known,
    now: SystemTime,
    size: u32,
    chance: f64,
) -> bool {
    let before = Before {
        seen: known.seen.map(Nanos::of),
        copied: known.copied.map(Nanos::of),
        copied_size: known.size,
    };
    Rule::new(interval, size_trigger)
        .decide(&before, Nanos::of(now), size, || chance)
        .copies()
}

/// Reads a state file: values, and what is wrong with others.
///
/// # Errors
///
/// When it can't be understood as a whole.
pub fn read_file(text: &[u8]) -> Result<(Vec<TrackedItem>, Vec<String>), String> {
    state::read_snapshot(text).map_err(|error| err_chain(&error))
}

/// All metrics as they are shown, with a sample of each.
///
/// # Errors
///
/// When they cannot be registered or written.
pub fn metrics() -> Result<String, String> {
    let registry = crate::metrics::all::registry().map_err(|error| err_chain(&error))?;
    overlay_runtime::metrics::text(&registry).map_err(|error| err_chain(&error))
}
