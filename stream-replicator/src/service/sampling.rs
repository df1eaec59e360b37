//! Decides what a worker copies, remembers what it decided by, and tells of what it finds.
//!
//! ```text
//! message ── judge ──> Tracker ── facts ──> Outbox ── Advisor ──> source
//!                       │   ^── what the target has (Warm), what replicas and nodes say (Gossip)
//!                       └────── Keeper ──> files
//! ```
//!
//! A worker owns one, gives it each message once, and says what became of the copies that it asked for.

mod chance;

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_nats::header::{HeaderMap, HeaderName};
use overlay_protocol::replication::control::StateEntry;
use overlay_runtime::{CancellationToken, Clock, Tasks, err_chain};

use chance::Chance;

use super::advisor::Advisor;
use super::api;
use super::connect::Link;
use super::gossip::{Gossip, Listen, believed};
use super::keeper::Keeper;
use super::source_time::SourceTime;
use super::warm::{BySubject, Warm, WarmError};
use crate::advise::{Outbox, Teller};
use crate::config::{Inspect, Sampling as Settings, StreamConfig};
use crate::metrics;
use crate::sample::{Reader, Rule, Why};
use crate::state::StateError;
use crate::status::Status;
use crate::track::{Limits, MAX_VALUES, Nanos, Sighting, Span, Ticket, Tracker};

/// Values whose time has come that are looked at in one go: a few milliseconds.
const SCRUB: usize = 20_000;
/// What happened to values that waits to be told, between two ticks.
const MAX_UNTOLD: usize = 10_000;
/// How long the target is read at the start, and when this replica takes over.
const WARM: Duration = Duration::from_secs(30);
const TAKE_OVER: Duration = Duration::from_secs(2);
/// So much of what is known may not have been told or written before a replica was lost.
const UNSURE: Duration = Duration::from_secs(30);
/// How long advisories that are under way are waited for at the end.
const DRAIN: Duration = Duration::from_secs(1);

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
    pub(super) time: SourceTime,
    pub(super) metrics: metrics::Worker,
    pub(super) status: Status,
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
    /// The connection to the source is closed.
    #[error("other replicas can't be heard")]
    Subscribe(#[source] async_nats::SubscribeError),
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
    outbox: Outbox,
    advisor: Option<Advisor>,
    gossip: Gossip,
    /// Whether other replicas, or people, may listen.
    tells: bool,
    keeper: Option<Keeper>,
    by_subject: BySubject,
    interval: Span,
    chance: Chance,
    leads: bool,
    /// Whether all copies in the target are known.
    is_warm: bool,
    /// Until when they were last known.
    known_until: Option<SystemTime>,
    /// Whether a copy was acknowledged since the last tick.
    is_answered: bool,
    faults: Faults,
}

/// What was told of and need not be told again.
#[derive(Debug, Default)]
struct Faults {
    full: bool,
    files: bool,
    lost: bool,
}

impl Judgement {
    /// Whether it is copied.
    pub(super) fn copies(&self) -> bool {
        self.why.copies()
    }
}

impl Sampling {
    /// Begins with what is kept and what the target shows; nothing when the worker copies everything.
    ///
    /// # Errors
    ///
    /// [`SamplingError`].
    pub(super) async fn open(
        context: SamplingContext,
        shutdown: &CancellationToken,
    ) -> Result<Option<Self>, SamplingError> {
        let Some(settings) = context.config.sampling.clone() else {
            return Ok(None);
        };
        let config = Arc::clone(&context.config);
        let stream = config.source.stream.as_str();
        // What is known has the source's times.
        match api::stream_info(&context.source.jetstream, stream).await {
            Ok(info) => context.time.hear(info.time),
            Err(error) => tracing::debug!(%error, "the source does not say what time it is"),
        }
        let now = Nanos::of(context.time.now());
        let listen = Listen {
            replicas: config.candidate.is_some(),
            lifecycle: settings.lifecycle,
        };
        let gossip = Gossip::open(
            &context.source,
            stream,
            &config.name,
            listen,
            context.time.clone(),
            &context.tasks,
        );
        let advisor = config.advisory.clone().map(|advisory| {
            Advisor::new(advisory, context.source.clone(), context.metrics.clone())
        });
        let mut sampling = Self {
            reader: Reader::new(&settings),
            header: match &settings.inspect {
                Inspect::Header(name) => Some(name.parse().map_err(SamplingError::Header)?),
                Inspect::Field(_) | Inspect::Token(_) => None,
            },
            tracker: Tracker::new(limits(&settings)),
            outbox: Outbox::new(teller(&context, &settings)),
            gossip: gossip.await.map_err(SamplingError::Subscribe)?,
            tells: listen.replicas || advisor.is_some(),
            advisor,
            keeper: None,
            by_subject: BySubject::default(),
            interval: Span::of(settings.interval),
            chance: Chance::new().map_err(SamplingError::Random)?,
            leads: false,
            is_warm: false,
            known_until: None,
            is_answered: false,
            faults: Faults::default(),
            context,
        };
        sampling.load(now).await;
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = sampling.warm(WARM) => {}
        }
        Ok(Some(sampling))
    }

    /// Decides about a message. Each is given once, in their order; one that is read again after a rewind is given again
    /// after its old ticket was [dropped](Self::dropped).
    pub(super) fn judge(&mut self, message: &Incoming<'_>) -> Judgement {
        let is_forced = self.reader.is_forced(message.body);
        if is_forced {
            self.context.metrics.forced();
        }
        let header = header(self.header.as_ref(), message.headers);
        let Some(value) = self.reader.value(message.subject, header, message.body) else {
            if !is_forced {
                self.context.metrics.no_field();
            }
            return Judgement {
                why: if is_forced { Why::Forced } else { Why::NoValue },
                ticket: None,
            };
        };
        if !self.by_subject.is_empty() && !self.tracker.knows(&value) {
            let subject = self.context.config.mapping.apply(message.subject);
            self.by_subject.recall(&mut self.tracker, &value, &subject);
        }
        let sighting = sighting(message, is_forced);
        let (why, ticket) = self.tracker.judge(&value, sighting, || self.chance.next());
        if why == Why::Full && !std::mem::replace(&mut self.faults.full, true) {
            let values = self.tracker.len();
            tracing::error!(
                values,
                "too many values to remember, others are copied in full"
            );
        }
        if self.tracker.untold() > MAX_UNTOLD {
            self.collect();
        }
        Judgement { why, ticket }
    }

    /// The copy was acknowledged by the target.
    pub(super) fn copied(&mut self, ticket: Ticket) {
        self.tracker.copied(ticket);
        self.is_answered = true;
    }

    /// The copy was refused for good: the next message of the value makes up for it.
    pub(super) fn dropped(&mut self, ticket: Ticket) {
        self.tracker.dropped(ticket);
    }

    /// It is not known whether the copy was made; the target is asked before this replica goes on.
    pub(super) fn abandoned(&mut self, ticket: Ticket) {
        self.tracker.abandoned(ticket);
        self.is_warm = false;
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

    /// What is known of all values, for people.
    pub(super) fn values(&self) -> Vec<StateEntry> {
        let nanos = |at: time::OffsetDateTime| i64::try_from(at.unix_timestamp_nanos()).ok();
        let (items, _) = self.tracker.page(0, usize::MAX);
        items
            .into_iter()
            .map(|item| StateEntry {
                seen_ns: item.seen.and_then(nanos),
                copied_ns: item.copied.and_then(nanos),
                size: item.size,
                advised: item.advised,
                value: item.value,
            })
            .collect()
    }

    /// Says up to when everything is known; silence is measured against it. A worker that is paused says that it is
    /// behind.
    pub(super) fn watermark(&mut self, mark: Watermark) {
        match mark {
            Watermark::Behind(time) | Watermark::CaughtUp(time) => {
                self.tracker.watermark(Nanos::of(time));
            }
            Watermark::Away => {}
        }
    }

    /// Says whether this replica works: before it reads its first message, each time that it begins anew, and when it works
    /// no more.
    pub(super) async fn lead(&mut self, leads: bool) {
        self.hear();
        if !leads {
            self.is_warm = false;
        } else if !self.is_warm {
            self.warm(TAKE_OVER).await;
        }
        self.leads = leads;
        self.tracker.lead(leads);
    }

    /// Does what time brings; about once a second, whether this replica works or not.
    pub(super) async fn tick(&mut self) {
        let clock = self.context.clock.now();
        let now = Nanos::of(clock);
        let at_source = self.context.time.now();
        if std::mem::take(&mut self.is_answered) {
            self.known_until = Some(at_source);
        }
        if !self.leads {
            // Whoever leads writes into the target.
            self.is_warm = false;
        }
        self.hear();
        if !self.by_subject.is_empty() {
            let at_source = Nanos::of(at_source);
            self.by_subject.forget(at_source, self.interval);
        }
        self.tracker.scrub(SCRUB);
        self.collect();
        if let Some(advisor) = &mut self.advisor {
            let (outbox, tracker) = (&mut self.outbox, &mut self.tracker);
            advisor.step(outbox, tracker, now, self.leads).await;
        }
        self.tell().await;
        if let Some(keeper) = &mut self.keeper {
            let written = keeper.step(&mut self.tracker, &mut self.outbox, now);
            match written.await {
                Ok(true) if std::mem::take(&mut self.faults.files) => {
                    self.context.status.set_unwritten(None);
                    tracing::info!("state is kept again");
                }
                Ok(_) => {}
                Err(error) => self.unwritten(&error),
            }
        } else {
            // Nobody reads them.
            self.tracker.take_changes(usize::MAX);
            self.outbox.take_changes();
        }
        let merged = self.outbox.take_merged();
        if merged > 0 {
            self.context.metrics.advisories_merged(merged);
            tracing::warn!(
                merged,
                "advisories were overtaken before a stream took them"
            );
        }
        let metrics = &self.context.metrics;
        metrics.tracker_items(self.tracker.len());
        metrics.advisories_waiting(self.outbox.len());
    }

    /// Keeps what is known, after a short wait for what is under way.
    pub(super) async fn close(mut self) {
        self.collect();
        let now = Nanos::of(self.context.clock.now());
        if let Some(advisor) = &mut self.advisor {
            let (outbox, tracker) = (&mut self.outbox, &mut self.tracker);
            advisor.step(outbox, tracker, now, self.leads).await;
            advisor.drain(outbox, tracker, now, DRAIN).await;
        }
        self.tell().await;
        if let Some(keeper) = self.keeper.take() {
            let closed = keeper.close(&self.tracker, &mut self.outbox, now).await;
            if let Err(error) = closed {
                self.unwritten(&error);
            }
        }
        if self.outbox.len() > 0 {
            tracing::warn!(
                waiting = self.outbox.len(),
                kept = self.context.state_dir.is_some(),
                "advisories that no stream took are left"
            );
        }
    }

    /// Reads the files.
    async fn load(&mut self, now: Nanos) {
        let Some(dir) = self.context.state_dir.clone() else {
            return;
        };
        let config = &self.context.config;
        let (keeper, loaded) = Keeper::open(dir, &config.source.stream, &config.name, now).await;
        self.keeper = Some(keeper);
        match loaded {
            Ok(loaded) => {
                for fault in &loaded.faults {
                    tracing::error!(fault, "left out of the state");
                }
                for item in loaded.items {
                    if let Some(item) = believed(item, now) {
                        self.tracker.learn(&item);
                    }
                }
                for owed in loaded.owed {
                    self.outbox.restore(owed);
                }
                tracing::info!(
                    found = loaded.is_found,
                    values = self.tracker.len(),
                    advisories = self.outbox.len(),
                    "state read"
                );
            }
            Err(error) => self.unwritten(&error),
        }
    }

    /// Reads from the target what was copied since anybody last knew.
    async fn warm(&mut self, limit: Duration) {
        let settings = self.context.config.sampling.as_ref();
        let interval = settings.map_or(Duration::ZERO, |settings| settings.interval);
        let clock = self.context.time.now();
        // What was copied before that is due again.
        let oldest = clock.checked_sub(interval).unwrap_or(clock);
        let known_until = self
            .known_until
            .unwrap_or_else(|| self.tracker.now().system_time());
        let since = known_until
            .checked_sub(UNSURE)
            .map_or(oldest, |since| since.max(oldest));
        let since = self.at_target(since).await;
        let known = self.tracker.len();
        let mut warm = Warm {
            config: &self.context.config,
            site: &self.context.site,
            target: &self.context.target,
            reader: &self.reader,
            header: self.header.as_ref(),
            by_subject: &mut self.by_subject,
            tracker: &mut self.tracker,
        };
        let read = warm.read(since, Nanos::of(clock), limit).await;
        match read {
            Ok(copies) => {
                let values = self.tracker.len();
                tracing::info!(copies, values, known, "what the target has is known");
                self.is_warm = true;
                self.known_until = Some(clock);
            }
            Err(error @ (WarmError::Refused(_) | WarmError::Slow { .. })) => {
                tracing::warn!(
                    error = err_chain(&error),
                    known,
                    "values of which nothing is known are copied again"
                );
            }
        }
    }

    /// What time it was at the target at a time of the source: the target goes by its own clock.
    async fn at_target(&self, time: SystemTime) -> SystemTime {
        let context = &self.context;
        let name = context.config.target.stream.as_str();
        let info = api::stream_info(&context.target.jetstream, name).await;
        let there = info.ok().and_then(|info| info.time);
        let there = there.unwrap_or_else(|| context.clock.now());
        match there.duration_since(context.time.now()) {
            Ok(ahead) => time.checked_add(ahead),
            Err(behind) => time.checked_sub(behind.duration()),
        }
        .unwrap_or(time)
    }

    /// Takes in what other replicas and nodes said.
    fn hear(&mut self) {
        let heard = self.gossip.take();
        if !heard.items.is_empty() && !self.leads {
            self.known_until = Some(self.context.time.now());
        }
        for item in heard.items.values() {
            if self.tracker.learn(item) {
                self.context.metrics.by_gossip();
            }
            if let Some(seen) = item.seen.and_then(Nanos::of_date) {
                use overlay_protocol::replication::AdvisoryEvent::{Expire, Timeout};
                if item.advised {
                    self.outbox.withdraw(&item.value, Timeout, seen);
                }
                if item.gone {
                    self.outbox.withdraw(&item.value, Expire, seen);
                }
            }
        }
        for sign in heard.signs {
            if sign.stops {
                self.tracker.stop(&sign.identity, sign.at);
            } else {
                self.tracker.start(&sign.identity, sign.at);
            }
        }
        if heard.lost > 0 && !std::mem::replace(&mut self.faults.lost, true) {
            tracing::error!(lost = heard.lost, "more was said than there is room for");
        }
    }

    /// Puts what happened to values where it is told from.
    fn collect(&mut self) {
        let facts = self.tracker.take_facts();
        if self.advisor.is_some() {
            for fact in &facts {
                self.outbox.tell(fact);
            }
        }
    }

    /// Tells other replicas.
    async fn tell(&mut self) {
        if !self.leads || !self.tells {
            self.tracker.hush();
            self.gossip.forget_askers();
        } else if self.context.source.is_up()
            && let Err(error) = self.gossip.tell(&mut self.tracker).await
        {
            tracing::debug!(%error, "other replicas are not told");
        }
    }

    /// Says that files could not be read or written.
    fn unwritten(&mut self, error: &StateError) {
        let error = err_chain(error);
        self.context.metrics.state_failed();
        let status = &self.context.status;
        status.fault(self.context.clock.now(), error.as_str());
        status.set_unwritten(Some(format!("state is not kept: {error}")));
        if std::mem::replace(&mut self.faults.files, true) {
            tracing::debug!(error, "state is not kept");
        } else {
            tracing::error!(error, "state is not kept");
        }
    }
}

fn limits(settings: &Settings) -> Limits {
    Limits {
        rule: Rule::new(settings.interval, settings.size_trigger),
        interval: Span::of(settings.interval),
        warn: Span::of(settings.warn),
        max_values: MAX_VALUES,
    }
}

fn teller(context: &SamplingContext, settings: &Settings) -> Teller {
    Teller {
        site: context.site.clone(),
        stream: context.config.source.stream.clone(),
        worker: context.config.name.clone(),
        inspect: match &settings.inspect {
            Inspect::Field(name) | Inspect::Header(name) => name.clone(),
            Inspect::Token(None) => "subject".to_owned(),
            Inspect::Token(Some(token)) => format!("subject token {token}"),
        },
    }
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
