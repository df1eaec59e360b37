//! What is written down, and told, of where the copying stands.

use std::time::{Duration, Instant, SystemTime};

use super::{Copier, End, Reading, Work, now, time_of, until_then};
use crate::copy::header::unix_ms;
use crate::copy::position::Bookmark;
use crate::copy::window::Want;
use crate::service::api::ApiError;
use crate::service::bookmark::{self, SaveError, Store};
use crate::service::reader::Mode;
use crate::service::writer::Event;

/// A bookmark is written no more often.
const BOOKMARK: Duration = Duration::from_secs(1);
/// The durable consumer is moved no more often.
const DURABLE: Duration = Duration::from_secs(60);
/// What is under way may take so long at a clean end.
const FINISH: Duration = Duration::from_secs(5);
/// How often the connection is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(100);

/// What is written down already, and what is being written.
pub(super) struct Ledger {
    store: Option<Store>,
    chore: Option<Chore>,
    saved: u64,
    saved_at: Instant,
    moved: u64,
    moved_at: Instant,
    /// Last message that was dealt with, and its time.
    handled: u64,
    handled_at: Option<SystemTime>,
}

struct Chore {
    work: Work<Chored>,
    handled: u64,
    moves: bool,
}

/// What came of writing.
pub(super) struct Chored {
    store: Option<Store>,
    saved: Result<(), SaveError>,
    moved: Option<Result<(), ApiError>>,
}

impl Ledger {
    pub(super) fn new(store: Option<Store>, handled: u64, now: Instant) -> Self {
        Self {
            store,
            chore: None,
            saved: handled,
            saved_at: now,
            moved: handled,
            moved_at: now,
            handled: 0,
            handled_at: None,
        }
    }

    pub(super) fn is_busy(&self) -> bool {
        self.chore.is_some()
    }

    /// Waits for what is being written. Dropping the future loses nothing.
    pub(super) async fn chored(&mut self) -> Chored {
        match &mut self.chore {
            Some(chore) => chore.work.as_mut().await,
            None => std::future::pending().await,
        }
    }

    /// A message was dealt with.
    pub(super) fn dealt_with(&mut self, sequence: u64, time: SystemTime) {
        self.handled = sequence;
        self.handled_at = Some(time);
    }

    /// Time of a message, in milliseconds, if it is the last one that was dealt with.
    fn time_of(&self, sequence: u64) -> Option<i64> {
        self.handled_at
            .filter(|_| self.handled == sequence)
            .map(unix_ms)
    }
}

impl Copier<'_> {
    /// Begins to write down where the copying stands, if it is time to.
    pub(super) fn write_down(&mut self) {
        let handled = self.writer.window.handled();
        let ledger = &self.ledger;
        let due = handled > ledger.saved && ledger.saved_at.elapsed() >= BOOKMARK;
        if due && !ledger.is_busy() {
            let moves = ledger.moved_at.elapsed() >= DURABLE && handled > ledger.moved;
            self.begin_chore(handled, moves, false);
        }
    }

    /// `is_last`: nothing is sent any more.
    fn begin_chore(&mut self, handled: u64, moves: bool, is_last: bool) {
        let now = now();
        let mark = self.bookmark(handled, is_last);
        let moves = moves && self.mode == Mode::Free && self.site.keeps_durable();
        let (link, config) = (self.site.source.clone(), self.site.config.clone());
        let ledger = &mut self.ledger;
        ledger.saved_at = now;
        if moves {
            ledger.moved_at = now;
        }
        let saves = handled > ledger.saved || is_last;
        let mut store = ledger.store.take();
        let work = async move {
            let saved = match &mut store {
                Some(store) if saves => store.save(&mark).await,
                Some(_) | None => Ok(()),
            };
            let moved = if moves && saved.is_ok() {
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
        ledger.chore = Some(Chore {
            work: Box::pin(work),
            handled,
            moves,
        });
    }

    /// Takes note of what came of writing.
    pub(super) fn chored(&mut self, chored: Chored) -> Option<End> {
        let ledger = &mut self.ledger;
        ledger.store = chored.store;
        let chore = ledger.chore.take()?;
        match chored.saved {
            Ok(()) => ledger.saved = chore.handled,
            Err(SaveError::Overtaken) => {
                self.site.metrics.fenced();
                let words = "another replica has moved the bookmark";
                return Some(End::Again(words.to_owned()));
            }
            Err(SaveError::Failed(words)) => {
                tracing::debug!(words, "bookmark not written; it is tried again");
            }
        }
        match chored.moved {
            Some(Ok(())) if chore.moves => ledger.moved = chore.handled,
            Some(Err(error)) => {
                tracing::debug!(%error, "durable consumer not moved; it is tried again");
            }
            Some(Ok(())) | None => {}
        }
        None
    }

    pub(super) fn bookmark(&self, handled: u64, is_last: bool) -> Bookmark {
        let window = &self.writer.window;
        Bookmark {
            source_created: self.source_created,
            sequence: handled,
            // What is passed over behind the last copy has its time, too.
            sequence_time: self.ledger.time_of(handled).or_else(|| {
                let read_at = self.read_at.filter(|_| handled == self.read);
                read_at.map(unix_ms)
            }),
            incarnation: self.stamp.incarnation(),
            target_stream: self.site.config.target.stream.clone(),
            target_created: self.target_created,
            target_sequence: window.floor(),
            has_gaps: window.is_keyed() && !(is_last && window.is_empty()),
            replica: self.site.replica(),
            time: unix_ms(self.site.clock.now()) / 1000,
        }
    }

    /// Waits for what is under way, and writes down where the copying stands.
    pub(super) async fn finish(&mut self) {
        let deadline = tokio::time::Instant::now() + FINISH;
        while !self.writer.window.is_empty() && self.site.leads() {
            self.writer.pump(now());
            let until = match self.writer.window.want(now()) {
                Want::Nothing | Want::Link => None,
                Want::Answers(until) | Want::Wait(until) => Some(until),
                want @ (Want::Tail(_) | Want::Look(_) | Want::Asks | Want::Over) => {
                    let followed = tokio::time::timeout_at(deadline, self.follow(want));
                    if !matches!(followed.await, Ok(None)) {
                        break;
                    }
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
                () = tokio::time::sleep(LOOK) => self.writer.follow_link(),
            }
            self.settle().await;
        }
        let finished = &mut self.finished;
        self.writer.window.tell(|done| finished.push(done));
        self.settle().await;
        if self.ledger.is_busy() {
            let Ok(chored) = tokio::time::timeout_at(deadline, self.ledger.chored()).await else {
                return;
            };
            if self.chored(chored).is_some() {
                return;
            }
        }
        let handled = self.writer.window.handled();
        let moves = handled > self.ledger.moved;
        if self.site.leads() && (handled > self.ledger.saved || moves || self.keys.is_some()) {
            self.begin_chore(handled, moves, true);
            if let Ok(chored) = tokio::time::timeout_at(deadline, self.ledger.chored()).await {
                let _end = self.chored(chored);
            }
        }
    }

    /// Says where the copying stands.
    pub(super) fn show(&mut self) {
        let window = &self.writer.window;
        let under_way = window.len();
        let waiting = self.pending + u64::try_from(under_way).unwrap_or(u64::MAX);
        let (handled, target) = (window.handled(), window.target());
        let keys = window.keys();
        if let Some((open, held)) = keys {
            self.site.metrics.keys(open, held);
        }
        let flows = window.flows() && matches!(self.reading, Reading::Open(_));
        // What is not there yet tells how far behind the copy is; what was there last may be long ago for want of more.
        let oldest = window.front().map(|(_, item)| time_of(item.time_ms));
        let handled_at = self.ledger.handled_at.or(oldest).or(self.read_at);
        let lag = if waiting == 0 {
            Duration::ZERO
        } else {
            oldest
                .or(handled_at)
                .and_then(|at| self.site.time.now().duration_since(at).ok())
                .unwrap_or_default()
        };
        self.site.metrics.lag(waiting, lag.as_secs_f64());
        let known = self.read + self.pending;
        self.site.status.update(|report| {
            report.handled = handled;
            report.handled_at = handled_at.or(report.handled_at);
            report.source_last = report.source_last.max(known);
            report.waiting = waiting;
            report.lag = lag;
            report.target_sequence = target;
            report.under_way = under_way;
            report.keys = keys;
        });
        if !self.tell_unanswered() && flows {
            self.site.untroubled();
        }
        // Words of a fault hold until something is taken again.
        if let Some(gap) = self.looks.gap() {
            self.site.status.set_blocked(Some(gap.to_owned()));
        } else if self.writer.window.faults() <= 1 {
            self.site.status.set_blocked(None);
        }
    }

    /// Tells of a message that the target leaves without an answer, once; whether there is one.
    fn tell_unanswered(&mut self) -> bool {
        let words = self.writer.window.unanswered().map(|(sequence, item)| {
            format!(
                "message {sequence} ({:?}) gets no answer as {:?}, though the target is there: may it be published there?",
                item.keep.subject.as_str(),
                item.subject.as_str(),
            )
        });
        if self.site.status.set_unanswered(words.clone())
            && let Some(words) = &words
        {
            self.site.trouble(words.clone());
        }
        words.is_some()
    }
}
