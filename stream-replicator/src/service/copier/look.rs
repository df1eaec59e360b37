//! What the source says of itself while it is copied: how much waits where nothing is read, and what is gone.
//!
//! A source that drops messages behind a slow copy shows it by a jump of the sequence: the next message that comes is the
//! first one that is left. A jump over messages that were deleted in between looks alike, so the source is asked where it
//! begins. Where the worker is to stop at a gap, nothing behind a jump is taken before the answer.

use std::time::{Duration, Instant};

use async_nats::Message;

use super::{Copier, End, Reading, Work, now};
use crate::config::Reaction;
use crate::copy::incoming::Delivery;
use crate::service::api::{self, ApiError, StreamInfo};
use crate::service::reader::Mode;

/// The source is asked no more often where its sequence jumped, where messages wait, and where none do.
const JUMPED: Duration = Duration::from_secs(1);
const BEHIND: Duration = Duration::from_secs(3);
const IDLE: Duration = Duration::from_secs(60);
/// Jumps that are kept until the source was asked: the widest ones.
const JUMPS: usize = 64;
/// How long the source is asked about jumps when the copying ends.
const LAST: Duration = Duration::from_secs(2);

/// What is to be asked of the source, and what waits for its answer.
pub(super) struct Looks {
    asking: Option<Asking>,
    asked_at: Instant,
    /// What was read when the source was asked last.
    read: u64,
    jumps: Vec<Jump>,
    /// Message behind a jump that is not taken yet.
    held: Option<(Message, Delivery)>,
    /// Behind this, nothing that is to be copied was there when it was looked at: what `filters` leave out moves on, too.
    clear: u64,
    /// The source's last sequence when it was asked last.
    last: u64,
    /// What is gone, where an operator is to decide about it: nothing more is read.
    gap: Option<String>,
}

/// Nothing came between two messages.
#[derive(Debug, Clone, Copy)]
struct Jump {
    from: u64,
    to: u64,
}

/// A question under way, and what held when it was asked.
struct Asking {
    work: Work<Result<StreamInfo, ApiError>>,
    jumps: Vec<Jump>,
    /// Whether it is about the message that is held.
    held: bool,
    had_room: bool,
    /// What was read then, if it was so the time before as well.
    still: Option<u64>,
    /// The last sequence of the time before.
    last: u64,
}

/// An answer of the source.
pub(super) struct Looked(Box<(Asking, Result<StreamInfo, ApiError>)>);

impl Jump {
    fn width(self) -> u64 {
        self.to - self.from
    }
}

impl Looks {
    pub(super) fn new(read: u64, now: Instant) -> Self {
        Self {
            asking: None,
            asked_at: now,
            read,
            jumps: Vec::new(),
            held: None,
            clear: 0,
            last: 0,
            gap: None,
        }
    }

    pub(super) fn is_busy(&self) -> bool {
        self.asking.is_some()
    }

    /// Waits for the source's answer. Dropping the future loses nothing.
    pub(super) async fn looked(&mut self) -> Looked {
        let Some(asking) = &mut self.asking else {
            return std::future::pending().await;
        };
        let answer = asking.work.as_mut().await;
        match self.asking.take() {
            Some(asking) => Looked(Box::new((asking, answer))),
            None => std::future::pending().await,
        }
    }

    /// Whether messages may be taken from the reader.
    pub(super) fn may_read(&self) -> bool {
        self.held.is_none() && self.gap.is_none()
    }

    /// What is gone, where an operator is to decide about it.
    pub(super) fn gap(&self) -> Option<&str> {
        self.gap.as_deref()
    }

    /// The reader is another one: what was held comes again.
    pub(super) fn begin_anew(&mut self) {
        self.held = None;
    }

    fn keep(&mut self, jump: Jump) {
        if self.jumps.len() < JUMPS {
            self.jumps.push(jump);
            return;
        }
        let narrowest = self.jumps.iter_mut().min_by_key(|it| it.width());
        if let Some(kept) = narrowest
            && kept.width() < jump.width()
        {
            *kept = jump;
        }
    }
}

impl Copier<'_> {
    /// The sequence jumped to this message: what is missing may be gone, or be none of ours. Yields the message, unless it
    /// is held until that is known.
    #[cold]
    pub(super) fn jumped(
        &mut self,
        message: Message,
        delivery: Delivery,
    ) -> Option<(Message, Delivery)> {
        // Before the first message nothing is missing, and what filters leave out is not.
        if self.read == 0 || !self.site.config.filters.is_empty() {
            return Some((message, delivery));
        }
        if self.site.config.on_gap == Reaction::Stop {
            self.looks.held = Some((message, delivery));
            self.ask_source();
            return None;
        }
        self.looks.keep(Jump {
            from: self.read,
            to: delivery.stream,
        });
        Some((message, delivery))
    }

    /// Asks the source if it is time to.
    pub(super) fn look_if_due(&mut self) {
        let waits = self.pending > 0 || !self.writer.window.is_empty();
        let wait = match () {
            () if self.looks.held.is_some() => Duration::ZERO,
            () if !self.looks.jumps.is_empty() => JUMPED,
            () if waits => BEHIND,
            () => IDLE,
        };
        if self.looks.asked_at.elapsed() >= wait {
            self.ask_source();
        }
    }

    fn ask_source(&mut self) {
        if self.looks.is_busy() {
            return;
        }
        let link = self.site.source.clone();
        let config = self.site.config.clone();
        let work = async move { api::stream_info(&link.jetstream, &config.source.stream).await };
        let looks = &mut self.looks;
        looks.asking = Some(Asking {
            work: Box::pin(work),
            jumps: std::mem::take(&mut looks.jumps),
            held: looks.held.is_some(),
            had_room: self.writer.window.has_room(),
            still: (looks.read == self.read).then_some(self.read),
            last: looks.last,
        });
        looks.asked_at = now();
        looks.read = self.read;
    }

    /// Takes note of what the source said.
    pub(super) async fn looked(&mut self, Looked(looked): Looked) -> Option<End> {
        let (asking, answer) = *looked;
        let info = match answer {
            Ok(info) => info,
            Err(error) => return self.not_looked(asking, &error),
        };
        if info.created_ms() != self.source_created {
            return Some(End::Again("the source stream was made anew".to_owned()));
        }
        self.site.time.hear(info.time);
        let first = info.state.first_seq;
        self.count_gaps(&asking.jumps, &info);
        if asking.held {
            self.release(first).await;
        } else if self.looks.held.is_some() {
            self.ask_source();
        }
        if asking.still == Some(self.read) && matches!(self.reading, Reading::Open(_)) {
            self.stand_still(&asking, &info);
        }
        self.looks.last = info.state.last_seq;
        None
    }

    fn not_looked(&mut self, asking: Asking, error: &ApiError) -> Option<End> {
        tracing::debug!(%error, "the source does not say what it holds; it is asked again");
        for jump in asking.jumps {
            self.looks.keep(jump);
        }
        self.looks.held.as_ref()?;
        // While a message is held the reader is not heard: whether it still is any good is not known.
        if self.mode != Mode::Free {
            let stream = &self.site.config.source.stream;
            return Some(End::Again(format!("source stream {stream:?}: {error}")));
        }
        if matches!(self.reading, Reading::Open(_)) {
            self.reopen();
        }
        None
    }

    /// Takes the message that was held, unless the source begins behind what is missing before it.
    async fn release(&mut self, first: u64) {
        let Some((message, delivery)) = self.looks.held.take() else {
            return;
        };
        if delivery.stream <= first {
            self.note_gap(self.read, delivery.stream);
        }
        if self.looks.gap.is_none() {
            let wall = self.site.time.now();
            self.take(message, delivery, now(), wall);
            self.acknowledge().await;
        }
    }

    /// Nothing was read for a while: what waits is what the source says.
    fn stand_still(&mut self, asking: &Asking, info: &StreamInfo) {
        let state = info.state;
        let waiting = state.last_seq.saturating_sub(self.read).min(state.messages);
        let has_room = self.writer.window.has_room() && self.looks.may_read();
        if !has_room {
            self.pending = waiting;
            return;
        }
        if self.pending == 0 {
            self.looks.clear = self.looks.clear.max(asking.last);
        }
        self.pending = self.pending.min(waiting);
        // All that came was taken: what is gone does not come any more.
        if asking.had_room && self.site.config.filters.is_empty() {
            self.note_gap(self.read, state.first_seq);
        }
    }

    /// Counts what is gone and not counted yet, when the copying ends: whoever goes on behind it does not see it.
    pub(super) async fn look_finally(&mut self) {
        let asking = self.looks.asking.take();
        let mut jumps = asking.map_or_else(Vec::new, |asking| asking.jumps);
        jumps.append(&mut self.looks.jumps);
        if jumps.is_empty() {
            return;
        }
        let stream = &self.site.config.source.stream;
        let info = api::stream_info(&self.site.source.jetstream, stream);
        let Ok(Ok(info)) = tokio::time::timeout(LAST, info).await else {
            return;
        };
        self.count_gaps(&jumps, &info);
    }

    /// Of these jumps, counts those before which the source has nothing any more.
    fn count_gaps(&mut self, jumps: &[Jump], info: &StreamInfo) {
        if info.created_ms() != self.source_created {
            return;
        }
        for jump in jumps {
            if jump.to <= info.state.first_seq {
                self.note_gap(jump.from, jump.to);
            }
        }
    }

    /// What was behind `read` and before `first` is gone.
    pub(super) fn note_gap(&mut self, read: u64, first: u64) {
        let read = read.max(self.looks.clear);
        if read == 0 {
            return;
        }
        if let Err(words) = self.site.missed(self.source_created, read, first) {
            self.site.trouble(words.clone());
            self.looks.gap = Some(words);
        }
    }
}
