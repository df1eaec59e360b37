//! Copies, from a known position on, until something ends it: the loop between reader, window and writer.
//!
//! ```text
//! reader ── intake ──> window ── writer ──> target
//!                        ^ answers  └── follow: the target's end, poison, conflicts
//!                        └── ledger: bookmark, durable consumer, lag; look: what the source holds, and has lost
//! ```

mod follow;
mod intake;
mod keyed;
mod ledger;
mod look;

use std::pin::Pin;
use std::time::{Duration, Instant, SystemTime};

use async_nats::{Message, Subject};
use overlay_runtime::CancellationToken;

use crate::config::{Order, Writers};
use crate::copy::header::{Stamp, unix_ms};
use crate::copy::key::Keys;
use crate::copy::lanes::Guard;
use crate::copy::window::{Chain, Done, Sharing, Tail, Want};
use crate::status::Phase;
use crate::track::Ticket;

use super::api::{self, ApiError, StreamInfo};
use super::bookmark::Store;
use super::position;
use super::questions::Question;
use super::reader::{From, Mode, Read, Reader};
use super::sampling::Watermark;
use super::target;
use super::worker::{Site, lost};
use super::writer::{Begin, Event, Item, Keyed, Writer};

use ledger::{Chored, Ledger};
use look::{Looked, Looks};

const TICK: Duration = Duration::from_millis(250);
/// Ticks between the beats of sampling.
const BEAT: u32 = 4;
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
    pub(super) mode: Mode,
    pub(super) store: Option<Store>,
    pub(super) keyed: Option<Keyed>,
}

/// What belongs to a message until it is dealt with.
#[derive(Debug)]
struct Keep {
    /// Sequence at the source.
    sequence: u64,
    /// Subject at the source.
    subject: Subject,
    /// Where it is acknowledged at the source.
    ack: Option<Subject>,
    ticket: Option<Ticket>,
}

/// Copies one stream.
pub(super) struct Copier<'a> {
    site: &'a mut Site,
    stamp: Stamp,
    reading: Reading,
    mode: Mode,
    writer: Writer<Keep>,
    ledger: Ledger,
    looks: Looks,
    target_created: i64,
    chain: Chain,
    /// What makes the keys, and what guards them, where only messages of one key keep their order.
    keys: Option<(Keys, Guard)>,
    /// Subjects of the copies.
    subjects: Vec<String>,
    source_created: i64,
    /// Copies that the source keeps: what is made there is as safe.
    replicas: u64,
    /// Last source sequence that was read, and its time.
    read: u64,
    read_at: Option<SystemTime>,
    /// Messages that wait at the source.
    pending: u64,
    finished: Vec<Done<Item<Keep>>>,
    /// Acknowledgements that the source is to get.
    acks: Vec<Subject>,
    poison_in_row: usize,
    conflicts: u64,
    foreign: u64,
    /// How often the reader was opened in vain.
    retry: u32,
    ticks: u32,
    /// When the connection to the target was made anew because it said nothing.
    reconnected: Instant,
}

type Work<T> = Pin<Box<dyn Future<Output = T> + Send>>;
/// A reader, the source as it is, and whether that went back to an earlier state.
type Opened = Result<(Reader, StreamInfo, bool), ApiError>;

enum Reading {
    Open(Box<Reader>),
    /// On the connection of this number.
    Opening(Work<Opened>, u64),
}

/// What a turn of the loop brings.
#[expect(
    clippy::large_enum_variant,
    reason = "most turns are messages, which are not worth a box each"
)]
enum Turn {
    Tick,
    Link,
    SourceLink,
    Answer(Option<Message>),
    Read(Read),
    Opened(Box<Opened>),
    Chored(Chored),
    Looked(Looked),
    Question(Question),
}

impl<'a> Copier<'a> {
    /// Opens reader and writer.
    pub(super) async fn begin(site: &'a mut Site, course: Course) -> Result<Self, String> {
        let config = site.config.clone();
        let reader = Reader::open(&site.source, &config, course.from, course.mode)
            .await
            .map_err(|error| format!("source stream {:?}: {error}", config.source.stream))?;
        let handled = reader.begins();
        let pending = reader.waiting();
        let last = course.target.state.last_seq;
        let begin = Begin {
            handled,
            target: last,
            chain: if course.target.replicas() > 1 {
                Chain::Sequences
            } else {
                Chain::Ids
            },
            sharing: match config.writers {
                Writers::Many => Sharing::Shared,
                Writers::Auto => Sharing::Alone,
                Writers::One => Sharing::Exclusive,
            },
            own: target::own(&config, &course.target),
            keyed: course.keyed,
            allowed: target::allowed(&course.target),
        };
        let chain = begin.chain;
        let keys = match (&config.order, course.keyed) {
            (Order::Key(key), Some(keyed)) => Some((Keys::new(key)?, keyed.guard)),
            (Order::Key(_) | Order::Strict, _) => None,
        };
        let mut writer = Writer::open(&site.target, &config, course.stamp.clone(), begin).await?;
        let now = now();
        let end = Tail {
            last,
            ours: None,
            all: None,
            own: None,
            foreign: false,
            same: true,
        };
        // What it has beyond what is handled is yet to be read where keys go ahead of each other.
        if keys.is_none() {
            writer.window.tail(end, now, |_done| {});
        }
        Ok(Self {
            stamp: course.stamp,
            reading: Reading::Open(Box::new(reader)),
            mode: course.mode,
            writer,
            ledger: Ledger::new(course.store, handled, now),
            looks: Looks::new(handled, now),
            chain,
            keys,
            subjects: position::own_subjects(&config, &course.source, &course.target),
            target_created: course.target.created_ms(),
            source_created: course.source.created_ms(),
            replicas: course.source.replicas(),
            read: handled,
            read_at: None,
            pending,
            finished: Vec::new(),
            acks: Vec::new(),
            poison_in_row: 0,
            conflicts: 0,
            foreign: 0,
            retry: 0,
            ticks: 0,
            reconnected: now,
            site,
        })
    }

    /// Copies until something ends it; what is under way is finished if it may be.
    pub(super) async fn run(mut self, shutdown: &CancellationToken) -> End {
        self.site.status.enter(Phase::Copying);
        let end = self.copy(shutdown).await;
        let may_finish = match end {
            End::Shutdown | End::Paused => self.site.leads(),
            // What was read before a gap is not there to be read again.
            End::Stopped(_) => self.looks.gap().is_some() && self.site.leads(),
            End::NotLeading | End::Again(_) => false,
        };
        if may_finish {
            self.finish().await;
        }
        self.look_finally().await;
        self.show();
        self.site.status.set_unanswered(None);
        self.site.status.set_blocked(None);
        let mark = self.bookmark(self.writer.window.handled(), self.writer.window.is_empty());
        self.site.remember(mark);
        for item in self.writer.window.abandon() {
            if let (Some(sampling), Some(ticket)) = (&mut self.site.sampling, item.keep.ticket) {
                sampling.abandoned(ticket);
            }
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
        let mut source_link = self.site.source.events.clone();
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
                want @ (Want::Tail(_)
                | Want::Look(_)
                | Want::Asks
                | Want::Over
                | Want::Dead(_)
                | Want::Stop(_)) => {
                    let followed = shutdown.run_until_cancelled(self.follow(want)).await;
                    match followed {
                        None => return End::Shutdown,
                        Some(Some(end)) => return end,
                        Some(None) => {}
                    }
                    self.settle().await;
                    continue;
                }
            };
            // What is under way is gone from the source as well: it is not given up.
            if let Some(gap) = self.looks.gap()
                && self.writer.window.is_empty()
            {
                return End::Stopped(gap.to_owned());
            }
            let room = self.writer.window.has_room() && self.looks.may_read();
            let turn = tokio::select! {
                biased;
                () = shutdown.cancelled() => return End::Shutdown,
                () = lost(&mut leadership) => return End::NotLeading,
                changed = paused.changed() => {
                    if changed.is_err() {
                        return End::Again("the switch for pauses is gone".to_owned());
                    }
                    if paused.borrow().is_some() {
                        return End::Paused;
                    }
                    continue;
                }
                _now = tick.tick() => Turn::Tick,
                changed = link.changed() => match changed {
                    Ok(()) => Turn::Link,
                    Err(_) => return End::Again("the connection to the target is closed".to_owned()),
                },
                changed = source_link.changed() => match changed {
                    Ok(()) => Turn::SourceLink,
                    Err(_) => return End::Again("the connection to the source is closed".to_owned()),
                },
                event = self.writer.event() => match event {
                    Event::Answer(answer) => Turn::Answer(answer),
                    Event::Unblocked => continue,
                },
                read = self.reading.next(), if room => read,
                chored = self.ledger.chored(), if self.ledger.is_busy() => Turn::Chored(chored),
                looked = self.looks.looked(), if self.looks.is_busy() => Turn::Looked(looked),
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
                self.tick().await;
            }
            Turn::Link => self.writer.follow_link(),
            Turn::SourceLink => return self.follow_source(),
            Turn::Answer(Some(message)) => {
                let finished = &mut self.finished;
                self.writer
                    .answers(message, now(), |done| finished.push(done));
                self.settle().await;
            }
            Turn::Answer(None) => return Some(End::Again("the connection is closed".to_owned())),
            Turn::Read(read) => return self.take_all(read).await,
            Turn::Opened(opened) => return self.opened(*opened),
            Turn::Chored(chored) => return self.chored(chored),
            Turn::Looked(looked) => return self.looked(looked).await,
            Turn::Question(question) => self.reply(question),
        }
        None
    }

    /// A reader belongs to one connection: on another it is made anew at once.
    fn follow_source(&mut self) -> Option<End> {
        if !self.site.source.is_up() {
            return None;
        }
        let is_over = match &self.reading {
            Reading::Open(reader) => reader.is_over(),
            // What was asked on the connection before is answered no more, and what was waited for is over.
            Reading::Opening(_, generation) => {
                if *generation != self.site.source.generation() {
                    self.retry = 0;
                    self.reopen();
                }
                false
            }
        };
        if is_over {
            self.retry = 0;
            self.site.metrics.consumer_recreated();
            if self.mode != Mode::Free {
                return Some(End::Again(
                    "the connection to the source was lost".to_owned(),
                ));
            }
            self.reopen();
        }
        None
    }

    fn opened(&mut self, opened: Opened) -> Option<End> {
        match opened {
            Ok((reader, info, went_back)) => {
                self.retry = 0;
                if went_back {
                    let words = "the source stream went back to an earlier state";
                    return Some(End::Again(words.to_owned()));
                }
                if info.created_ms() != self.source_created {
                    return Some(End::Again("the source stream was made anew".to_owned()));
                }
                self.note_gap(self.read, info.state.first_seq);
                self.site.time.hear(info.time);
                self.pending = reader.waiting();
                self.reading = Reading::Open(Box::new(reader));
            }
            Err(error) => {
                let words = format!(
                    "source stream {:?}: {error}",
                    self.site.config.source.stream
                );
                self.site.trouble(words);
                self.retry = self.retry.saturating_add(1);
                self.reopen();
            }
        }
        None
    }

    /// Deals with messages that the window holds no more.
    async fn settle(&mut self) {
        if self.finished.is_empty() && self.writer.window.conflicts() == self.conflicts {
            return;
        }
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
            if let (Some(sampling), Some(ticket)) = (&mut self.site.sampling, item.keep.ticket) {
                if done.copied {
                    sampling.copied(ticket);
                } else {
                    sampling.dropped(ticket);
                }
            }
            if self.keys.is_none() {
                self.ledger
                    .dealt_with(item.keep.sequence, time_of(item.time_ms));
            }
            self.acks.extend(item.keep.ack);
        }
        if let Some(at) = self.writer.window.handled_at() {
            self.ledger
                .dealt_with(self.writer.window.handled(), time_of(at));
        }
        let conflicts = self.writer.window.conflicts();
        while self.conflicts < conflicts {
            self.conflicts += 1;
            self.site.metrics.conflict();
        }
        self.acknowledge().await;
    }

    async fn tick(&mut self) {
        self.show();
        self.write_down();
        self.look_if_due();
        self.ticks = self.ticks.wrapping_add(1);
        if !self.ticks.is_multiple_of(BEAT) {
            return;
        }
        let is_away = matches!(self.reading, Reading::Opening(..)) || !self.site.source.is_up();
        let mark = match (is_away, self.read_at) {
            (true, _) => Watermark::Away,
            (false, at) if self.pending > 0 || !self.writer.window.is_empty() => {
                // Before the first message nothing is known of what waits.
                at.map_or(Watermark::Away, Watermark::Behind)
            }
            (false, _) => Watermark::CaughtUp(self.heard_until()),
        };
        if let Some(sampling) = &mut self.site.sampling {
            sampling.watermark(mark);
            sampling.tick().await;
        }
    }

    /// The time at the source up to which its word came: one that is silent may have more to say.
    fn heard_until(&self) -> SystemTime {
        let time = self.site.time.now();
        match &self.reading {
            Reading::Open(reader) => time.checked_sub(reader.silence()).unwrap_or(time),
            Reading::Opening(..) => time,
        }
    }

    /// Opens the reader anew behind what was read.
    fn reopen(&mut self) {
        self.looks.begin_anew();
        let link = self.site.source.clone();
        let config = self.site.config.clone();
        let (read, read_at) = (self.read, self.read_at);
        let (from, mode) = (From::Behind(read), self.mode);
        let wait = match self.retry {
            0 => Duration::ZERO,
            retry => REOPEN_FIRST
                .saturating_mul(2_u32.saturating_pow(retry - 1))
                .min(REOPEN_LAST),
        };
        let opening = async move {
            tokio::time::sleep(wait).await;
            let info = api::stream_info(&link.jetstream, &config.source.stream).await?;
            let last = api::message(&link.jetstream, &config.source.stream, read).await?;
            let went_back = info.state.last_seq < read
                || last.is_some_and(|last| {
                    read_at.is_some_and(|at| unix_ms(at) != unix_ms(last.time))
                });
            let reader = Reader::open(&link, &config, from, mode).await?;
            Ok((reader, info, went_back))
        };
        let generation = self.site.source.generation();
        self.reading = Reading::Opening(Box::pin(opening), generation);
    }
}

impl Reading {
    /// The next message, or a reader. Dropping the future loses nothing.
    async fn next(&mut self) -> Turn {
        match self {
            Self::Open(reader) => Turn::Read(reader.next().await),
            Self::Opening(opening, _) => Turn::Opened(Box::new(opening.await)),
        }
    }
}

async fn until_then(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until.into()).await,
        None => std::future::pending().await,
    }
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
