//! Finds where a worker goes on.

mod keyed;

use std::sync::Arc;

use super::Site;
use crate::config::{Reaction, Start};
use crate::copy::header::{Stamp, unix_ms};
use crate::copy::lanes::SPAN;
use crate::copy::position::{Bookmark, Choice, Durable, Known, Last, choose};
use crate::service::api::{self, ApiError, StreamInfo};
use crate::service::bookmark::{self, Store};
use crate::service::copier::{Course, End};
use crate::service::position::{self, Judged, Own};
use crate::service::reader::{From, Mode};
use crate::service::target::{self, TargetError};
use crate::service::writer::Keyed;

/// So often in a row a source that does not answer is asked again before the rest must do.
const SILENCES: u32 = 2;

/// What source and target say of the position.
struct Evidence {
    store: Option<Store>,
    bookmark: Option<Bookmark>,
    /// Whether the source does not have what was written down of it.
    went_back: bool,
    /// Behind this, messages may be missing before the last copy, by a bookmark that the source does not bear out.
    open: Option<u64>,
    durable: Option<Durable>,
    /// Whether anybody who would know was asked, so that nothing known means nothing done.
    is_asked: bool,
    own: Option<(Own, Judged)>,
}

/// Where to go on.
struct Decision {
    from: From,
    /// The life of the source that identifiers name.
    incarnation: i64,
    /// Whether it is behind what was written down.
    rewinds: bool,
}

impl Site {
    /// Finds streams and position.
    pub(super) async fn course(&mut self) -> Result<Course, End> {
        let config = Arc::clone(&self.config);
        let name = config.source.stream.as_str();
        let source = api::stream_info(&self.source.jetstream, name)
            .await
            .map_err(|error| End::Again(format!("source stream {name:?}: {error}")))?;
        self.time.hear(source.time);
        let target = target::ensure(&self.target, &config, &source)
            .await
            .map_err(|error| match error {
                TargetError::Waiting(words) => End::Again(words),
                TargetError::Unfit(words) => End::Stopped(words),
            })?;
        let mode = match source.retention() {
            "workqueue" => Mode::Queue,
            "interest" => Mode::Interest,
            _ => Mode::Free,
        };
        let start = From::Start(config.start, self.time.now());
        if config.ephemeral {
            // Copies of an earlier start are not to stand for those of this one.
            let stamp = Stamp::new(&self.name, &config.name, name, self.started);
            let memory = self.memory.as_ref();
            let same = memory.filter(|mark| mark.source_created == source.created_ms());
            let from = same.map_or(start, |mark| From::Behind(mark.sequence));
            return Ok(Course {
                stamp,
                source,
                target,
                from,
                mode,
                store: None,
                keyed: None,
            });
        }
        let stamp = Stamp::new(&self.name, &config.name, name, source.created);
        let mut evidence = self.evidence(&source, &target, &stamp, mode).await?;
        let guard = self.guard(&target);
        self.may_begin(guard, &evidence, (&source, &target))?;
        let Decision {
            from,
            incarnation,
            rewinds,
        } = self
            .decide(&source, &target, &stamp, &evidence, start)
            .await?;
        let keyed = guard.map(|guard| Keyed {
            guard,
            base: evidence.base(&source, &target, &config.target.stream),
            seen: evidence.seen(),
        });
        let (replica, time) = (self.replica(), unix_ms(self.clock.now()) / 1000);
        let mark = |sequence| Bookmark {
            source_created: source.created_ms(),
            sequence,
            sequence_time: None,
            incarnation,
            target_stream: config.target.stream.clone(),
            target_created: target.created_ms(),
            target_sequence: keyed.map_or(target.state.last_seq, |keyed| keyed.base),
            has_gaps: keyed.is_some(),
            replica: replica.clone(),
            time,
        };
        if let (true, From::Behind(sequence)) = (rewinds, from) {
            // Else whoever begins next would go by what was written down ahead of it, and leave out all in between.
            let mark = mark(sequence);
            self.write_back(&mut evidence, &mark, mode).await?;
        }
        let from = self.begin_durable(&evidence, from, mode).await;
        if keyed.is_some() && !rewinds && !evidence.has_gaps(&source) {
            let sequence = match from {
                From::Behind(sequence) => sequence,
                // A queue's own consumer says what is new.
                From::Start(..) if mode != Mode::Free => 0,
                From::Start(..) => return Err(keyed::missing("its durable consumer")),
            };
            let mark = mark(sequence);
            keyed::begin(&mut evidence, &mark).await?;
        }
        self.silences = 0;
        Ok(Course {
            stamp: stamp.of(incarnation),
            source,
            target,
            from,
            mode,
            store: evidence.store,
            keyed,
        })
    }

    /// Asks everybody who may know.
    async fn evidence(
        &mut self,
        source: &StreamInfo,
        target: &StreamInfo,
        stamp: &Stamp,
        mode: Mode,
    ) -> Result<Evidence, End> {
        let config = Arc::clone(&self.config);
        let at_source = |error: ApiError| End::Again(format!("source: {error}"));
        let at_target = |error: ApiError| {
            End::Again(format!("target stream {:?}: {error}", config.target.stream))
        };
        let (mut store, mut written, mut durable) = (None, None, None);
        let mut is_asked = config.target_initiated;
        if !config.target_initiated {
            match Store::open(&self.source, &config).await {
                Ok((opened, found)) => {
                    (store, written) = (Some(opened), found);
                    is_asked = true;
                }
                Err(error) => self.without("bookmark", &error)?,
            }
            match mode {
                Mode::Free => match bookmark::durable(&self.source, &config).await {
                    Ok(found) => {
                        durable = found;
                        is_asked = true;
                    }
                    Err(error) => self.without("durable consumer", &error)?,
                },
                // It is what is read from: it says itself what is new.
                Mode::Queue | Mode::Interest => is_asked = true,
            }
        }
        let created = source.created_ms();
        // What this process remembers may be newer than what was written down.
        let mut bookmark: Option<Bookmark> = None;
        let mut went_back = false;
        let mut open = None;
        for mark in [written, self.memory.clone()].into_iter().flatten() {
            if mark.source_created == created {
                let name = &config.source.stream;
                let bears_out = position::bears_out(&mark, &self.source, source, name)
                    .await
                    .map_err(at_source)?;
                if !bears_out {
                    went_back = true;
                    open = open.or(mark.has_gaps.then_some(mark.sequence));
                    continue;
                }
            }
            let rank = |mark: &Bookmark| (mark.source_created == created, mark.sequence);
            if bookmark
                .as_ref()
                .is_none_or(|best| rank(best) < rank(&mark))
            {
                bookmark = Some(mark);
            }
        }
        let since = bookmark
            .as_ref()
            .filter(|mark| {
                mark.target_stream == config.target.stream
                    && mark.target_created == target.created_ms()
                    && mark.target_sequence <= target.state.last_seq
            })
            .map(|mark| mark.target_sequence);
        let subjects = position::own_subjects(&config, source, target);
        let own = position::last_of_ours(&self.target, &config, stamp, target, &subjects, since)
            .await
            .map_err(at_target)?;
        let own = match own {
            Some(own) => {
                let judged = position::judge(own, &self.source, source, &config.source.stream)
                    .await
                    .map_err(at_source)?;
                Some((own, judged))
            }
            None => None,
        };
        Ok(Evidence {
            store,
            bookmark,
            went_back,
            open,
            // It may be of what the source has lost.
            durable: durable.filter(|_| !went_back),
            is_asked,
            own,
        })
    }

    /// Something that may know the position does not say it. A source that has just come back may be silent for a moment:
    /// it is asked again before it is done without.
    fn without(&mut self, what: &str, error: &ApiError) -> Result<(), End> {
        let words = format!("source: no {what}: {error}");
        if matches!(error, ApiError::Silent(_)) && self.silences < SILENCES {
            self.silences += 1;
            return Err(End::Again(words));
        }
        tracing::warn!(words, "the rest must do to find the position");
        Ok(())
    }

    /// Makes the durable consumer where there is none, now that its place is known.
    async fn begin_durable(&self, evidence: &Evidence, from: From, mode: Mode) -> From {
        let is_missing = evidence.durable.is_none() && evidence.is_asked;
        if !is_missing || mode != Mode::Free || !self.keeps_durable() || evidence.went_back {
            return from;
        }
        match bookmark::make_durable(&self.source, &self.config, from).await {
            Ok(durable) => match from {
                From::Start(..) => From::Behind(durable.floor),
                From::Behind(_) => from,
            },
            Err(error) => {
                tracing::warn!(%error, "no durable consumer");
                from
            }
        }
    }

    /// Decides where to go on, and which life of the source identifiers name.
    async fn decide(
        &mut self,
        source: &StreamInfo,
        target: &StreamInfo,
        stamp: &Stamp,
        evidence: &Evidence,
        start: From,
    ) -> Result<Decision, End> {
        let config = Arc::clone(&self.config);
        let Evidence {
            bookmark,
            durable,
            own,
            ..
        } = evidence;
        let created = source.created_ms();
        let marked = bookmark
            .as_ref()
            .filter(|mark| mark.source_created == created);
        let life = [
            Some(created),
            marked.map(|mark| mark.incarnation),
            own.filter(|(_, judged)| *judged == Judged::Same)
                .and_then(|(own, _)| own.incarnation()),
        ];
        let life = life.into_iter().flatten().max().unwrap_or(created);
        // Behind this, messages may be missing before the last copy.
        let open = marked
            .filter(|mark| mark.has_gaps)
            .map(|mark| mark.sequence)
            .or(evidence.open);
        // Identifiers of the life before may still be known to the target.
        let next = unix_ms(self.clock.now()).max(life + 1);
        if let Some((_, Judged::Diverged)) = own {
            let common =
                position::common(&self.source, source, &self.target, target, &config, stamp)
                    .await
                    .map_err(|error| End::Again(error.to_string()))?;
            // Behind that some may be missing: rather too much is copied than too little.
            let common = common.min(open.unwrap_or(u64::MAX));
            let words = format!(
                "the source stream went back to an earlier state: it is copied behind {common} again"
            );
            self.made_anew(words)?;
            return Ok(Decision {
                from: From::Behind(common),
                incarnation: next,
                rewinds: true,
            });
        }
        let farthest = own.map(|(own, _)| own.source());
        // Where some went ahead, the last one does not speak for all before it.
        let last = own.map(|(own, judged)| Last {
            sequence: own.source().min(open.unwrap_or(u64::MAX)),
            is_of_this: judged == Judged::Same,
        });
        let choice = choose(&Known {
            source_created: created,
            source_last: source.state.last_seq,
            target_stream: &config.target.stream,
            target_created: target.created_ms(),
            target_last: target.state.last_seq,
            last,
            bookmark: bookmark.as_ref(),
            durable: *durable,
        });
        let choice = match (choice, farthest) {
            (Choice::Lost(_), Some(farthest)) if open.is_some() => {
                Choice::Lost(farthest.saturating_sub(SPAN))
            }
            (choice, _) => choice,
        };
        tracing::info!(
            stream = config.source.stream,
            worker = config.name,
            ?choice,
            bookmark = bookmark.as_ref().map(|mark| mark.sequence),
            target = farthest,
            durable = durable.map(|durable| durable.floor),
            "position found"
        );
        let tail = last
            .filter(|last| last.is_of_this)
            .map(|last| last.sequence);
        if evidence.went_back {
            let sequence = match choice {
                Choice::Behind(sequence) | Choice::Lost(sequence) => sequence,
                Choice::Anew | Choice::Start => 0,
            };
            let sequence = sequence.min(open.unwrap_or(u64::MAX));
            self.made_anew(format!(
                "the source stream went back to an earlier state: it is copied behind {sequence} again"
            ))?;
            return Ok(Decision {
                from: From::Behind(sequence),
                incarnation: next,
                rewinds: true,
            });
        }
        let from = match choice {
            Choice::Behind(sequence) => {
                // A broker moves the consumer over what is gone, so it tells what was missed only where nothing else does.
                let passes_over = config.sampling.is_some() || config.max_age.is_some();
                let known = match (marked, tail) {
                    (Some(mark), tail) => Some(mark.sequence.max(tail.unwrap_or(0))),
                    (None, tail) => tail.filter(|_| !passes_over),
                };
                self.check_gap(source, known.unwrap_or(sequence))?;
                self.tell_ahead(target, tail, sequence);
                From::Behind(sequence)
            }
            Choice::Anew => {
                self.made_anew("the source stream was deleted and made anew".to_owned())?;
                From::Behind(0)
            }
            Choice::Lost(sequence) => {
                let first = match config.start {
                    Start::Sequence(first) => first.saturating_sub(1),
                    Start::All | Start::End | Start::Ago(_) | Start::Time(_) => 0,
                };
                let sequence = sequence.max(first);
                self.trouble(format!(
                    "the target has lost messages that it had: {sequence} is the last one that is there"
                ));
                From::Behind(sequence)
            }
            Choice::Start if !evidence.is_asked => {
                let words = "neither bookmark nor durable consumer can be asked, and the target has no copy: \
                             what was done is not known";
                return Err(End::Again(words.to_owned()));
            }
            Choice::Start => start,
        };
        Ok(Decision {
            from,
            incarnation: life,
            rewinds: matches!(choice, Choice::Anew | Choice::Lost(_)),
        })
    }

    /// Says that what lies between the target's end and a written position is not copied: passed over or kept aside, or
    /// somebody moved the position.
    fn tell_ahead(&self, target: &StreamInfo, tail: Option<u64>, sequence: u64) {
        let tail = tail.unwrap_or(0);
        let passes_over = self.config.sampling.is_some() || self.config.max_age.is_some();
        if sequence > tail && target.state.messages > 0 && !passes_over {
            tracing::warn!(
                position = sequence,
                target = tail,
                messages = sequence - tail,
                "what was written down is ahead of the target's end: messages in between are not copied"
            );
        }
    }

    /// Writes down a position that is behind what was written down before.
    async fn write_back(
        &mut self,
        evidence: &mut Evidence,
        mark: &Bookmark,
        mode: Mode,
    ) -> Result<(), End> {
        self.memory = None;
        if mode == Mode::Free && self.keeps_durable() {
            bookmark::move_durable(&self.source, &self.config, mark.sequence)
                .await
                .map_err(|error| End::Again(format!("durable consumer: {error}")))?;
        }
        if let Some(store) = &mut evidence.store {
            store
                .save(mark)
                .await
                .map_err(|error| End::Again(format!("bookmark: {error}")))?;
        }
        Ok(())
    }

    /// The source is another one than it was: tells so, or waits for an operator.
    fn made_anew(&mut self, words: String) -> Result<(), End> {
        self.count_anew();
        self.metrics.recreated();
        if self.config.on_recreated == Reaction::Stop && !self.goes_on {
            return Err(End::Stopped(words));
        }
        self.trouble(words);
        Ok(())
    }

    /// Counts messages that are gone before they were copied.
    fn check_gap(&mut self, source: &StreamInfo, handled: u64) -> Result<(), End> {
        if handled == 0 {
            return Ok(());
        }
        self.missed(source.created_ms(), handled, source.state.first_seq)
            .map_err(End::Stopped)
    }
}
