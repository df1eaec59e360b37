//! Copies, from a known position on, until something ends it: the loop between reader, window and writer.

use std::pin::Pin;
use std::time::{Duration, Instant, SystemTime};

use async_nats::{Message, Subject};
use overlay_protocol::replication::control::Traced;
use overlay_runtime::CancellationToken;
use overlay_runtime::nats::election::Leadership;

use crate::config::{PoisonAction, Writers};
use crate::copy::answer::Poison;
use crate::copy::header::{Route, Stamp};
use crate::copy::incoming::Delivery;
use crate::copy::position::Bookmark;
use crate::copy::window::{Done, Sharing, Stop, Tail, Want};
use crate::status::Phase;

use super::api::{self, ApiError, StreamInfo};
use super::bookmark::{self, SaveError, Store};
use super::deadletters::{self, Dead};
use super::position;
use super::questions::Question;
use super::reader::{From, Read, Reader};
use super::target;
use super::worker::Site;
use super::writer::{Begin, Event, Item, OWN_HEADERS, Writer, weigh};

/// Messages that are taken in before answers are looked at again.
const TURN: usize = 256;
const TICK: Duration = Duration::from_millis(250);
/// A bookmark is written no more often.
const BOOKMARK: Duration = Duration::from_secs(1);
/// The durable consumer is moved no more often.
const DURABLE: Duration = Duration::from_secs(60);
/// The target's end and single messages of it are waited for no longer.
const ASK: Duration = Duration::from_secs(5);
/// What is under way may take so long at a clean end.
const FINISH: Duration = Duration::from_secs(5);
const REOPEN_FIRST: Duration = Duration::from_millis(50);
const REOPEN_LAST: Duration = Duration::from_secs(5);

/// Why the copying ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// The process stops.
    Shutdown,
    /// Another replica leads, or may.
    NotLeading,
    /// An operator paused the worker.
    Paused,
    /// The position is to be found anew.
    Again(String),
    /// An operator must help.
    Stopped(String),
}

/// Where and how to copy.
#[derive(Debug)]
pub(super) struct Course {
    pub(super) stamp: Stamp,
    pub(super) source: StreamInfo,
    pub(super) target: StreamInfo,
    pub(super) from: From,
    pub(super) store: Option<Store>,
}

/// What goes back to the reader's side once a message is dealt with.
#[derive(Debug)]
struct Keep {
    subject: Subject,
    ack: Option<Subject>,
}

/// Copies one stream.
pub(super) struct Copier<'a> {
    site: &'a mut Site,
    stamp: Stamp,
    reading: Reading,
    writer: Writer<Keep>,
    store: Option<Store>,
    chore: Option<Chore>,
    target_created: i64,
    source_created: i64,
    replicas: u64,
    /// Last source sequence that was read, and its time.
    read: u64,
    read_at: Option<SystemTime>,
    /// Messages that wait at the source.
    pending: u64,
    finished: Vec<Done<Item<Keep>>>,
    saved: u64,
    saved_at: Instant,
    moved: u64,
    moved_at: Instant,
    poison_in_row: usize,
    conflicts: u64,
    told_shared: bool,
    retry: u32,
    handled_at: Option<SystemTime>,
}

type Work<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type Opened = Result<(Reader, StreamInfo), ApiError>;

enum Reading {
    Open(Box<Reader>),
    Opening(Work<Opened>),
}

struct Chore {
    work: Work<Chored>,
    handled: u64,
}

struct Chored {
    store: Option<Store>,
    saved: Result<(), SaveError>,
    moved: Option<Result<(), ApiError>>,
}

impl<'a> Copier<'a> {
    /// Opens reader and writer.
    pub(super) async fn begin(site: &'a mut Site, course: Course) -> Result<Self, String> {
        let config = site.config.clone();
        let reader = Reader::open(&site.source, &config, course.from)
            .await
            .map_err(|error| format!("source stream {:?}: {error}", config.source.stream))?;
        let handled = reader.begins();
        let last = course.target.state.last_seq;
        let begin = Begin {
            handled,
            target: last,
            sharing: match config.writers {
                Writers::Many => Sharing::Shared,
                Writers::One | Writers::Auto => Sharing::Alone,
            },
            allowed: target::allowed(&course.target),
        };
        let mut writer = Writer::open(&site.target, &config, course.stamp.clone(), begin).await?;
        let now = now();
        let end = Tail {
            last,
            ours: None,
            foreign: false,
            same: true,
        };
        writer.window.tail(end, now, |_done| {});
        Ok(Self {
            stamp: course.stamp,
            reading: Reading::Open(Box::new(reader)),
            writer,
            store: course.store,
            chore: None,
            target_created: course.target.created_ms(),
            source_created: course.source.created_ms(),
            replicas: replicas(&course.source),
            read: handled,
            read_at: None,
            pending: 0,
            finished: Vec::with_capacity(TURN),
            saved: handled,
            saved_at: now,
            moved: handled,
            moved_at: now,
            poison_in_row: 0,
            conflicts: 0,
            told_shared: false,
            retry: 0,
            handled_at: None,
            site,
        })
    }

    /// Copies until something ends it; what is under way is finished if it may be.
    pub(super) async fn run(mut self, shutdown: &CancellationToken) -> End {
        self.site.status.enter(Phase::Copying);
        let end = self.copy(shutdown).await;
        let may_finish = match end {
            End::Shutdown | End::Paused => self.site.leads(),
            End::NotLeading | End::Again(_) | End::Stopped(_) => false,
        };
        if may_finish {
            self.finish().await;
        }
        self.show();
        self.site.remember(self.writer.window.handled());
        for item in self.writer.window.abandon() {
            drop(item.keep);
        }
        if let Reading::Open(reader) = self.reading {
            reader.close().await;
        }
        end
    }

    async fn copy(&mut self, shutdown: &CancellationToken) -> End {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut link = self.site.target.events.clone();
        let mut paused = self.site.paused.clone();
        let mut leadership = self.site.leadership.clone();
        let mut asked = true;
        loop {
            if !self.site.leads() {
                return End::NotLeading;
            }
            let now = now();
            self.writer.pump(now);
            let until = match self.writer.window.want(now) {
                Want::Nothing | Want::Link => None,
                Want::Answers(until) | Want::Wait(until) => Some(until),
                want @ (Want::Tail(_) | Want::Look(_) | Want::Dead(_) | Want::Stop(_)) => {
                    let followed = shutdown.run_until_cancelled(self.follow(want)).await;
                    match followed {
                        None => return End::Shutdown,
                        Some(Some(end)) => return end,
                        Some(None) => {}
                    }
                    self.settle();
                    continue;
                }
            };
            let room = self.writer.window.has_room();
            let turn = tokio::select! {
                biased;
                () = shutdown.cancelled() => return End::Shutdown,
                () = lost(&mut leadership) => return End::NotLeading,
                changed = paused.changed() => {
                    if changed.is_ok() && paused.borrow().is_some() {
                        return End::Paused;
                    }
                    continue;
                }
                _now = tick.tick() => Turn::Tick,
                _changed = link.changed() => Turn::Link,
                event = self.writer.event() => match event {
                    Event::Answer(answer) => Turn::Answer(answer),
                    Event::Unblocked => continue,
                },
                read = self.reading.next(), if room => read,
                chored = chored(&mut self.chore), if self.chore.is_some() => Turn::Chored(chored),
                question = self.site.questions.recv(), if asked => match question {
                    Some(question) => Turn::Question(question),
                    None => {
                        asked = false;
                        continue;
                    }
                },
                () = until_then(until), if until.is_some() => continue,
            };
            if let Some(end) = self.turn(turn).await {
                return end;
            }
        }
    }

    async fn turn(&mut self, turn: Turn) -> Option<End> {
        match turn {
            Turn::Tick => {
                self.writer.follow_link();
                self.tick();
            }
            Turn::Link => self.writer.follow_link(),
            Turn::Answer(Some(message)) => {
                let finished = &mut self.finished;
                self.writer
                    .answers(message, now(), |done| finished.push(done));
                self.settle();
            }
            Turn::Answer(None) => return Some(End::Again("the connection is closed".to_owned())),
            Turn::Read(read) => return self.take_all(read).await,
            Turn::Opened(Ok((reader, info))) => {
                self.retry = 0;
                if info.created_ms() != self.source_created {
                    return Some(End::Again("the source stream was made anew".to_owned()));
                }
                self.note_gap(&info);
                self.reading = Reading::Open(Box::new(reader));
            }
            Turn::Opened(Err(error)) => {
                let words = format!(
                    "source stream {:?}: {error}",
                    self.site.config.source.stream
                );
                self.site.trouble(words);
                self.retry = self.retry.saturating_add(1);
                self.reopen();
            }
            Turn::Chored(chored) => return self.chored(chored),
            Turn::Question(question) => self.reply(question),
        }
        None
    }

    /// Takes a message, and those that are there already.
    async fn take_all(&mut self, first: Read) -> Option<End> {
        let now = now();
        let wall = self.site.clock.now();
        let mut next = Some(first);
        let mut taken = 0;
        while let Some(read) = next.take() {
            match read {
                Read::Message(message, delivery) => self.take(message, delivery, now, wall),
                Read::Unplaced => self.site.metrics.meta_failed(),
                Read::Broken(reason) => {
                    tracing::debug!(reason, "reader is made anew");
                    self.site.metrics.consumer_recreated();
                    self.reopen();
                    return None;
                }
            }
            taken += 1;
            if taken < TURN
                && self.writer.window.has_room()
                && let Reading::Open(reader) = &mut self.reading
            {
                next = reader.ready();
            }
        }
        if let Reading::Open(reader) = &mut self.reading {
            reader.ask().await;
        }
        self.site.metrics.sequence(self.read);
        None
    }

    fn take(&mut self, message: Message, delivery: Delivery, now: Instant, wall: SystemTime) {
        let sequence = delivery.stream;
        let bytes = weigh(message.headers.as_ref(), &message.payload);
        let time = delivery.time();
        self.read = sequence;
        self.read_at = Some(time);
        self.pending = delivery.pending;
        self.site.metrics.received(bytes);
        let age = wall.duration_since(time).unwrap_or_default();
        if self.site.config.max_age.is_some_and(|limit| age > limit) {
            self.site.metrics.too_old();
            self.pass(&message, delivery, bytes, "too old");
            return;
        }
        let route = self
            .stamp
            .route(message.headers.as_ref(), self.site.config.max_hops);
        match route {
            Route::Onward => {}
            Route::Loop | Route::TooFar => {
                self.site.metrics.looped();
                let why = if route == Route::Loop {
                    "it was here before"
                } else {
                    "it came too far"
                };
                self.pass(&message, delivery, bytes, why);
                return;
            }
        }
        let mapped = self.site.config.mapping.apply(&message.subject);
        let subject = match mapped {
            std::borrow::Cow::Borrowed(_) => message.subject.clone(),
            std::borrow::Cow::Owned(mapped) => Subject::from(mapped),
        };
        self.trace(&message, delivery, bytes, Some(&subject), "copied");
        let poison = (!is_publishable(&subject)).then(|| Poison::Subject(subject.to_string()));
        let item = Item {
            poison,
            subject,
            headers: message.headers,
            body: message.payload,
            time_ms: delivery.time_ms(),
            bytes,
            arrived: now,
            keep: Keep {
                subject: message.subject,
                ack: None,
            },
        };
        self.writer.window.push(sequence, bytes + OWN_HEADERS, item);
    }

    fn pass(&mut self, message: &Message, delivery: Delivery, bytes: usize, why: &'static str) {
        self.trace(message, delivery, bytes, None, why);
        self.writer.window.pass(delivery.stream);
    }

    fn trace(
        &self,
        message: &Message,
        delivery: Delivery,
        bytes: usize,
        target: Option<&Subject>,
        why: &str,
    ) {
        self.site.trace.decided(|| Traced {
            stream: self.site.config.source.stream.clone(),
            worker: self.site.config.name.clone(),
            sequence: delivery.stream,
            time_ms: delivery.time_ms(),
            subject: message.subject.to_string(),
            target: target.map(ToString::to_string),
            bytes: u64::try_from(bytes).unwrap_or(u64::MAX),
            copied: target.is_some(),
            why: why.to_owned(),
            value: None,
        });
    }

    /// Answers an operator; nobody may wait for it any more.
    fn reply(&mut self, question: Question) {
        match question {
            Question::Values(reply) => drop(reply.send(Vec::new())),
            Question::Retry(_, reply) => drop(reply.send(Err("not yet".to_owned()))),
        }
    }

    /// Deals with messages that the window holds no more.
    fn settle(&mut self) {
        let now = now();
        for done in self.finished.drain(..) {
            let item = done.item;
            if done.copied {
                self.poison_in_row = 0;
                self.site.metrics.copied(item.bytes);
            }
            self.site
                .metrics
                .processed(now.saturating_duration_since(item.arrived));
            self.handled_at = Some(time_of(item.time_ms));
            drop(item.keep.ack);
        }
        let conflicts = self.writer.window.conflicts();
        while self.conflicts < conflicts {
            self.conflicts += 1;
            self.site.metrics.conflict();
        }
    }

    /// Does what the window wants besides sending.
    async fn follow(&mut self, want: Want) -> Option<End> {
        let site = &mut *self.site;
        if let Some(trouble) = self.writer.window.trouble()
            && self.writer.window.faults() > 1
        {
            site.trouble(trouble);
        }
        match want {
            Want::Tail(since) => {
                let window = &self.writer.window;
                let read = position::tail(
                    &site.target,
                    &site.config,
                    &self.stamp,
                    self.target_created,
                    since,
                    |source| window.held(source),
                );
                match tokio::time::timeout(ASK, read).await {
                    Ok(Ok((tail, created))) => {
                        site.metrics.rewound();
                        let finished = &mut self.finished;
                        self.writer
                            .window
                            .tail(tail, now(), |done| finished.push(done));
                        self.target_created = created;
                        if self.writer.window.is_shared() && !self.told_shared {
                            self.told_shared = true;
                            tracing::warn!(
                                stream = site.config.target.stream,
                                "others write into the target: fewer messages are under way at once"
                            );
                        }
                    }
                    Ok(Err(error)) if error.is_stream_missing() => {
                        let words =
                            format!("target stream {:?} is gone", site.config.target.stream);
                        return Some(End::Again(words));
                    }
                    Ok(Err(error)) => {
                        site.trouble(format!("the target's end: {error}"));
                        self.writer.window.tail_failed(now());
                    }
                    Err(_) => {
                        site.trouble("the target does not answer".to_owned());
                        self.writer.window.tail_failed(now());
                        // A connection that lost its other end shows no other way for long.
                        if let Err(error) = site.target.client.force_reconnect().await {
                            tracing::debug!(%error, "no reconnect");
                        }
                    }
                }
            }
            Want::Look(sequence) => {
                let look = position::is_ours(&site.target, &site.config, &self.stamp, sequence);
                if let Ok(Ok(ours)) = tokio::time::timeout(ASK, look).await {
                    if !ours {
                        site.trouble(format!(
                            "message {sequence} of the target has an identifier of ours and is not"
                        ));
                    }
                    let finished = &mut self.finished;
                    self.writer
                        .window
                        .looked(ours, now(), |done| finished.push(done));
                } else {
                    tokio::time::sleep(TICK).await;
                }
            }
            Want::Dead(poison) => return self.bury(&poison).await,
            Want::Stop(stop) => {
                return Some(match stop {
                    Stop::Overtaken(sequence) => {
                        site.metrics.fenced();
                        End::Again(format!("another replica has copied up to {sequence}"))
                    }
                    Stop::Lost(_) => {
                        End::Again("the target has lost messages that it had".to_owned())
                    }
                    Stop::OtherStream(words) => End::Again(words),
                });
            }
            Want::Nothing | Want::Answers(_) | Want::Wait(_) | Want::Link => {}
        }
        None
    }

    /// Deals with the message at the front, which the target never takes.
    async fn bury(&mut self, poison: &Poison) -> Option<End> {
        let site = &mut *self.site;
        let (sequence, item) = self.writer.window.front()?;
        let words = format!(
            "message {sequence} ({:?}): {poison}",
            item.keep.subject.as_str()
        );
        let settings = &site.config.poison;
        if settings.action == PoisonAction::Stop {
            return Some(End::Stopped(words));
        }
        if self.poison_in_row >= settings.limit {
            return Some(End::Stopped(format!(
                "{} messages in a row were refused, the last one: {words}",
                self.poison_in_row
            )));
        }
        if settings.action == PoisonAction::DeadLetter {
            let dead = Dead {
                sequence,
                subject: &item.keep.subject,
                headers: item.headers.as_ref(),
                body: &item.body,
                time: time_of(item.time_ms),
                reason: poison,
                id: self.stamp.id(sequence, 0),
            };
            let kept = deadletters::keep(&site.source, &site.config, self.replicas, &dead).await;
            if let Err(error) = kept {
                site.trouble(format!("{words}; it cannot be kept aside: {error}"));
                tokio::time::sleep(LATER).await;
                return None;
            }
        }
        tracing::warn!(sequence, reason = %poison, action = ?settings.action, "message given up");
        site.metrics.dead(poison.word());
        self.poison_in_row += 1;
        let finished = &mut self.finished;
        self.writer.window.buried(|done| finished.push(done));
        None
    }

    /// Opens the reader anew behind what was read.
    fn reopen(&mut self) {
        let link = self.site.source.clone();
        let config = self.site.config.clone();
        let from = From::Behind(self.read);
        let wait = match self.retry {
            0 => Duration::ZERO,
            retry => REOPEN_FIRST
                .saturating_mul(2_u32.saturating_pow(retry - 1))
                .min(REOPEN_LAST),
        };
        let opening = async move {
            tokio::time::sleep(wait).await;
            let info = api::stream_info(&link.jetstream, &config.source.stream).await?;
            let reader = Reader::open(&link, &config, from).await?;
            Ok((reader, info))
        };
        self.reading = Reading::Opening(Box::pin(opening));
    }

    /// Counts what the source has lost before it was read.
    fn note_gap(&mut self, info: &StreamInfo) {
        let missed = info.state.first_seq.saturating_sub(self.read + 1);
        if missed > 0 && self.read > 0 {
            self.site.metrics.missed(missed);
            tracing::warn!(
                missed,
                "messages are gone from the source before they were copied"
            );
        }
    }

    fn tick(&mut self) {
        self.show();
        let handled = self.writer.window.handled();
        let due = handled > self.saved && self.saved_at.elapsed() >= BOOKMARK;
        if due && self.chore.is_none() {
            let with_durable = self.moved_at.elapsed() >= DURABLE && handled > self.moved;
            self.begin_chore(handled, with_durable);
        }
    }

    fn begin_chore(&mut self, handled: u64, with_durable: bool) {
        let now = now();
        self.saved_at = now;
        if with_durable {
            self.moved_at = now;
            self.moved = handled;
        }
        let mark = self.bookmark(handled);
        let mut store = self.store.take();
        let keeps_durable = self.site.keeps_durable();
        let (link, config) = (self.site.source.clone(), self.site.config.clone());
        let work = async move {
            let saved = match &mut store {
                Some(store) => store.save(&mark).await,
                None => Ok(()),
            };
            let may_move = with_durable && keeps_durable && saved.is_ok();
            let moved = if may_move {
                Some(bookmark::move_durable(&link, &config, handled).await)
            } else {
                None
            };
            Chored {
                store,
                saved,
                moved,
            }
        };
        self.chore = Some(Chore {
            work: Box::pin(work),
            handled,
        });
    }

    fn chored(&mut self, chored: Chored) -> Option<End> {
        let handled = self.chore.take().map_or(0, |chore| chore.handled);
        self.store = chored.store;
        match chored.saved {
            Ok(()) => self.saved = handled,
            Err(SaveError::Overtaken) => {
                self.site.metrics.fenced();
                return Some(End::Again(
                    "another replica has moved the bookmark".to_owned(),
                ));
            }
            Err(SaveError::Failed(words)) => {
                tracing::debug!(words, "bookmark not written; it is tried again");
            }
        }
        if let Some(Err(error)) = chored.moved {
            tracing::debug!(%error, "durable consumer not moved; it is tried again");
        }
        None
    }

    fn bookmark(&self, handled: u64) -> Bookmark {
        Bookmark {
            source_created: self.source_created,
            sequence: handled,
            target_stream: self.site.config.target.stream.clone(),
            target_created: self.target_created,
            target_sequence: self.writer.window.target(),
            replica: self.site.replica(),
            time: crate::copy::header::unix_ms(self.site.clock.now()) / 1000,
        }
    }

    /// Waits for what is under way, and writes down where the copying stands.
    async fn finish(&mut self) {
        let deadline = tokio::time::Instant::now() + FINISH;
        while !self.writer.window.is_empty() && self.site.leads() {
            self.writer.pump(now());
            let until = match self.writer.window.want(now()) {
                Want::Nothing | Want::Link => None,
                Want::Answers(until) | Want::Wait(until) => Some(until),
                want @ (Want::Tail(_) | Want::Look(_)) => {
                    self.follow(want).await;
                    None
                }
                Want::Dead(_) | Want::Stop(_) => break,
            };
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(deadline) => break,
                event = self.writer.event() => {
                    let message = match event {
                        Event::Answer(Some(message)) => message,
                        Event::Answer(None) => break,
                        Event::Unblocked => continue,
                    };
                    let finished = &mut self.finished;
                    self.writer.answers(message, now(), |done| finished.push(done));
                }
                () = until_then(until), if until.is_some() => {}
                () = tokio::time::sleep(TICK) => self.writer.follow_link(),
            }
            self.settle();
        }
        if let Some(chore) = self.chore.as_mut() {
            let chored = tokio::time::timeout_at(deadline, chore.work.as_mut()).await;
            match chored {
                Ok(chored) => drop(self.chored(chored)),
                Err(_) => return,
            }
        }
        let handled = self.writer.window.handled();
        if self.site.leads() && (handled > self.saved || handled > self.moved) {
            self.begin_chore(handled, handled > self.moved);
            if let Some(chore) = self.chore.as_mut() {
                let chored = tokio::time::timeout_at(deadline, chore.work.as_mut()).await;
                if let Ok(chored) = chored {
                    drop(self.chored(chored));
                }
            }
        }
    }

    /// Says where the copying stands.
    fn show(&mut self) {
        let window = &self.writer.window;
        let under_way = window.len();
        let waiting = self.pending + u64::try_from(under_way).unwrap_or(u64::MAX);
        let handled = window.handled();
        let target = window.target();
        let handled_at = if under_way == 0 {
            self.read_at.or(self.handled_at)
        } else {
            self.handled_at
        };
        let lag = if waiting == 0 {
            0.0
        } else {
            handled_at
                .and_then(|at| self.site.clock.now().duration_since(at).ok())
                .unwrap_or_default()
                .as_secs_f64()
        };
        self.site.metrics.lag(waiting, lag);
        let (read, pending) = (self.read, self.pending);
        let flows = window.flows() && matches!(self.reading, Reading::Open(_));
        self.site.status.update(|report| {
            report.handled = handled;
            report.handled_at = handled_at.or(report.handled_at);
            report.source_last = report.source_last.max(read + pending);
            report.waiting = waiting;
            report.target_sequence = target;
            report.under_way = under_way;
        });
        if flows {
            self.site.untroubled();
        }
    }
}

/// What a turn of the loop brings.
enum Turn {
    Tick,
    Link,
    Answer(Option<Message>),
    Read(Read),
    Opened(Opened),
    Chored(Chored),
    Question(Question),
}

impl Reading {
    /// The next message, or a reader. Dropping the future loses nothing.
    async fn next(&mut self) -> Turn {
        match self {
            Self::Open(reader) => Turn::Read(reader.next().await),
            Self::Opening(opening) => Turn::Opened(opening.await),
        }
    }
}

/// Waits before something is tried again that another party must mend.
const LATER: Duration = Duration::from_secs(2);

async fn lost(leadership: &mut Option<Leadership>) {
    match leadership {
        Some(leadership) => leadership.lost().await,
        None => std::future::pending().await,
    }
}

async fn chored(chore: &mut Option<Chore>) -> Chored {
    match chore {
        Some(chore) => chore.work.as_mut().await,
        None => std::future::pending().await,
    }
}

async fn until_then(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until.into()).await,
        None => std::future::pending().await,
    }
}

/// Whether a broker takes a subject of a message.
fn is_publishable(subject: &str) -> bool {
    const LONGEST: usize = 4096;
    subject.len() <= LONGEST
        && subject.split('.').all(|token| {
            !token.is_empty()
                && token != "*"
                && token != ">"
                && !token.contains(|c: char| c.is_whitespace() || c.is_control())
        })
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn time_of(ms: i64) -> SystemTime {
    let since = Duration::from_millis(ms.unsigned_abs());
    if ms < 0 {
        std::time::UNIX_EPOCH - since
    } else {
        std::time::UNIX_EPOCH + since
    }
}

/// Copies that the source keeps: what we make there is as safe.
pub(super) fn replicas(source: &StreamInfo) -> u64 {
    source
        .config
        .get("num_replicas")
        .and_then(serde_json::Value::as_u64)
        .unwrap_or(1)
}
