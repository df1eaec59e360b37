//! Decides what a worker copies, remembers what it decided by, and tells of what it finds.
//!
//! A worker owns one, gives it each message once, and says what became of the copies that it asked for.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use async_nats::header::{HeaderMap, HeaderName};
use overlay_runtime::{CancellationToken, Clock, Tasks};

use super::connect::Link;
use crate::config::{Inspect, StreamConfig};
use crate::metrics;
use crate::sample::{Reader, Rule, Why};
use crate::track::{Limits, MAX_VALUES, Nanos, Sighting, Span, Ticket, Tracker};

/// Values whose time has come that are looked at in one go: a few milliseconds.
const SCRUB: usize = 20_000;

/// What sampling needs.
#[derive(Debug)]
pub(super) struct SamplingContext {
    pub(super) config: Arc<StreamConfig>,
    /// Name of the site.
    pub(super) site: String,
    pub(super) source: Link,
    pub(super) target: Link,
    /// Where what is known is kept between starts.
    pub(super) state_dir: Option<PathBuf>,
    pub(super) clock: Clock,
    pub(super) metrics: metrics::Worker,
    pub(super) tasks: Tasks,
}

/// Why there is no sampling.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum SamplingError {
    /// The system gives no random numbers.
    #[error("the system gives no random numbers: {0}")]
    Random(getrandom::Error),
    /// The name of the header that is looked at is none.
    #[error("no message has a header of that name")]
    Header(#[source] async_nats::header::ParseHeaderNameError),
}

/// A message as it was read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Incoming<'a> {
    pub(super) subject: &'a str,
    pub(super) headers: Option<&'a HeaderMap>,
    pub(super) body: &'a [u8],
    /// Time at the source.
    pub(super) time: SystemTime,
}

/// What becomes of a message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Judgement {
    pub(super) why: Why,
    /// To be given back with what became of the copy.
    pub(super) ticket: Option<Ticket>,
}

/// Up to when everything is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Watermark {
    /// More messages wait; that of the last one that was handled.
    Behind(SystemTime),
    /// All messages are handled; what the clock says.
    CaughtUp(SystemTime),
    /// The source does not answer: nobody is silent until it does.
    Away,
}

/// Sampling of one worker.
#[derive(Debug)]
pub(super) struct Sampling {
    context: SamplingContext,
    reader: Reader,
    /// The header that is looked at, made once.
    header: Option<HeaderName>,
    tracker: Tracker,
    chance: Chance,
}

impl Judgement {
    /// Whether it is copied.
    pub(super) fn copies(&self) -> bool {
        self.why.copies()
    }
}

impl Sampling {
    /// Begins with what is kept, or else with what the target shows; nothing when the worker copies everything.
    ///
    /// # Errors
    ///
    /// [`SamplingError`].
    #[expect(clippy::unused_async, reason = "reads what is kept")]
    pub(super) async fn open(
        context: SamplingContext,
        _shutdown: &CancellationToken,
    ) -> Result<Option<Self>, SamplingError> {
        let Some(sampling) = context.config.sampling.clone() else {
            return Ok(None);
        };
        let limits = Limits {
            rule: Rule::new(sampling.interval, sampling.size_trigger),
            interval: Span::of(sampling.interval),
            warn: Span::of(sampling.warn),
            max_values: MAX_VALUES,
        };
        let now = Nanos::of(context.clock.now());
        Ok(Some(Self {
            reader: Reader::new(&sampling),
            header: match &sampling.inspect {
                Inspect::Header(name) => Some(name.parse().map_err(SamplingError::Header)?),
                Inspect::Field(_) | Inspect::Token(_) => None,
            },
            tracker: Tracker::new(limits, now),
            chance: Chance::new().map_err(SamplingError::Random)?,
            context,
        }))
    }

    /// Decides about a message. Each is given once, in their order; one that is read again after a rewind is given again
    /// after its old ticket was [dropped](Self::dropped).
    pub(super) fn judge(&mut self, message: &Incoming<'_>) -> Judgement {
        let is_forced = self.reader.is_forced(message.body);
        let header = header(self.header.as_ref(), message.headers);
        let Some(value) = self.reader.value(message.subject, header, message.body) else {
            if is_forced {
                self.context.metrics.forced();
            } else {
                self.context.metrics.no_field();
            }
            return Judgement {
                why: if is_forced { Why::Forced } else { Why::NoValue },
                ticket: None,
            };
        };
        if is_forced {
            self.context.metrics.forced();
        }
        let sighting = sighting(message, is_forced);
        let (why, ticket) = self.tracker.judge(&value, sighting, || self.chance.next());
        Judgement { why, ticket }
    }

    /// The copy was acknowledged by the target.
    pub(super) fn copied(&mut self, ticket: Ticket) {
        self.tracker.copied(ticket);
    }

    /// The copy was refused for good, or is not to be made any more.
    pub(super) fn dropped(&mut self, ticket: Ticket) {
        self.tracker.dropped(ticket);
    }

    /// A message is not copied whatever it says, because it is too old: its value was seen all the same.
    pub(super) fn passed_over(&mut self, message: &Incoming<'_>) {
        let header = header(self.header.as_ref(), message.headers);
        if let Some(value) = self.reader.value(message.subject, header, message.body) {
            self.tracker.pass_over(&value, sighting(message, false));
        }
    }

    /// What a message is about, for whoever traces.
    pub(super) fn value<'a>(&self, message: &Incoming<'a>) -> Option<Cow<'a, str>> {
        let header = header(self.header.as_ref(), message.headers);
        self.reader.value(message.subject, header, message.body)
    }

    /// All values that are tracked, in any order.
    #[expect(clippy::unused_self, reason = "asks the tracker")]
    pub(super) fn values(&self) -> Vec<overlay_protocol::replication::control::StateEntry> {
        Vec::new()
    }

    /// Says up to when everything is known; silence is measured against it.
    pub(super) fn watermark(&mut self, mark: Watermark) {
        match mark {
            Watermark::Behind(time) | Watermark::CaughtUp(time) => {
                self.tracker.watermark(Nanos::of(time));
            }
            Watermark::Away => {}
        }
    }

    /// Says whether this replica works: before it reads its first message, and when it works no more.
    #[expect(clippy::unused_async, reason = "asks the other replicas")]
    pub(super) async fn lead(&mut self, leads: bool) {
        self.tracker.lead(leads);
    }

    /// Does what time brings; about once a second, whether this replica works or not.
    #[expect(clippy::unused_async, reason = "writes what changed")]
    pub(super) async fn tick(&mut self) {
        self.tracker.scrub(SCRUB);
        let _facts = self.tracker.take_facts();
        let _changes = self.tracker.take_changes(SCRUB);
        self.tracker.hush();
        self.context.metrics.tracker_items(self.tracker.len());
    }

    /// Keeps what is known.
    #[expect(clippy::unused_async, reason = "writes what is known")]
    pub(super) async fn close(self) {}
}

fn header<'a>(name: Option<&HeaderName>, headers: Option<&'a HeaderMap>) -> Option<&'a str> {
    headers?.get(name?.clone()).map(|value| value.as_str())
}

fn sighting(message: &Incoming<'_>, is_forced: bool) -> Sighting {
    Sighting {
        at: Nanos::of(message.time),
        size: u32::try_from(message.body.len()).unwrap_or(u32::MAX),
        is_forced,
    }
}

/// Random numbers that nobody needs to be unable to guess, in a few cycles each (SplitMix64).
#[derive(Debug)]
struct Chance(u64);

impl Chance {
    fn new() -> Result<Self, getrandom::Error> {
        let mut seed = [0; 8];
        getrandom::fill(&mut seed)?;
        Ok(Self(u64::from_le_bytes(seed)))
    }

    /// From 0 to below 1.
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        // 32 bits are more than nanoseconds of a second need.
        let high = u32::try_from((mixed ^ (mixed >> 31)) >> 32).unwrap_or(u32::MAX);
        f64::from(high) / (f64::from(u32::MAX) + 1.0)
    }
}
