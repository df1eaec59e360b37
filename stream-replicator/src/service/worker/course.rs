//! Finds where a worker goes on.

use std::sync::Arc;

use super::Site;
use crate::config::Reaction;
use crate::copy::header::{Stamp, unix_ms};
use crate::copy::position::{Bookmark, Choice, Durable, Known, Last, choose};
use crate::service::api::{self, ApiError, StreamInfo};
use crate::service::bookmark::{self, Store};
use crate::service::copier::{Course, End};
use crate::service::position::{self, Judged, Own};
use crate::service::reader::{From, Mode};
use crate::service::target::{self, TargetError};

/// What source and target say of the position.
struct Evidence {
    store: Option<Store>,
    bookmark: Option<Bookmark>,
    durable: Option<Durable>,
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
        let start = From::Start(config.start, self.clock.now());
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
            });
        }
        let stamp = Stamp::new(&self.name, &config.name, name, source.created);
        let mut evidence = self.evidence(&source, &target, &stamp, start, mode).await?;
        let Decision {
            from,
            incarnation,
            rewinds,
        } = self
            .decide(&source, &target, &stamp, &evidence, start)
            .await?;
        if let (true, From::Behind(sequence)) = (rewinds, from) {
            // Else whoever begins next would go by what was written down ahead of it, and leave out all in between.
            let mark = Bookmark {
                source_created: source.created_ms(),
                sequence,
                sequence_time: None,
                incarnation,
                target_stream: config.target.stream.clone(),
                target_created: target.created_ms(),
                target_sequence: target.state.last_seq,
                replica: self.replica(),
                time: unix_ms(self.clock.now()) / 1000,
            };
            self.write_back(&mut evidence, &mark, mode).await?;
        }
        Ok(Course {
            stamp: stamp.of(incarnation),
            source,
            target,
            from,
            mode,
            store: evidence.store,
        })
    }

    /// Asks everybody who may know.
    async fn evidence(
        &mut self,
        source: &StreamInfo,
        target: &StreamInfo,
        stamp: &Stamp,
        start: From,
        mode: Mode,
    ) -> Result<Evidence, End> {
        let config = Arc::clone(&self.config);
        let at_source = |error: ApiError| End::Again(format!("source: {error}"));
        let at_target = |error: ApiError| {
            End::Again(format!("target stream {:?}: {error}", config.target.stream))
        };
        let (mut store, mut bookmark, mut durable) = (None, None, None);
        if !config.target_initiated {
            match Store::open(&self.source, &config).await {
                Ok((opened, found)) => (store, bookmark) = (Some(opened), found),
                Err(error) => {
                    tracing::warn!(%error, "no bookmarks: target and durable consumer must do");
                }
            }
            let found = match mode {
                Mode::Free => bookmark::durable(&self.source, &config, start)
                    .await
                    .map(Some),
                // It is what is read from: it says itself what is new.
                Mode::Queue | Mode::Interest => Ok(None),
            };
            match found {
                Ok(found) => durable = found,
                Err(error) => {
                    tracing::warn!(%error, "no durable consumer: target and bookmark must do");
                }
            }
        }
        let created = source.created_ms();
        // What this process remembers may be newer than what was written down.
        let newest = [bookmark, self.memory.clone()]
            .into_iter()
            .flatten()
            .max_by_key(|mark| (mark.source_created == created, mark.sequence));
        let mut bookmark = newest;
        if let Some(mark) = bookmark
            .as_ref()
            .filter(|mark| mark.source_created == created)
        {
            let name = &config.source.stream;
            let bears_out = position::bears_out(mark, &self.source, source, name)
                .await
                .map_err(at_source)?;
            if !bears_out {
                bookmark = None;
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
        let subjects = position::own_subjects(&config, source);
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
            durable,
            own,
        })
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
        if let Some((_, Judged::Diverged)) = own {
            let common =
                position::common(&self.source, source, &self.target, target, &config, stamp)
                    .await
                    .map_err(|error| End::Again(error.to_string()))?;
            let words = format!(
                "the source stream went back to an earlier state: it is copied behind {common} again"
            );
            self.made_anew(words)?;
            // Identifiers of the life before may still be known to the target.
            let next = unix_ms(self.clock.now()).max(life + 1);
            return Ok(Decision {
                from: From::Behind(common),
                incarnation: next,
                rewinds: true,
            });
        }
        let last = own.map(|(own, judged)| Last {
            sequence: own.source(),
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
        tracing::info!(
            stream = config.source.stream,
            worker = config.name,
            ?choice,
            bookmark = bookmark.as_ref().map(|mark| mark.sequence),
            target = last.map(|last| last.sequence),
            durable = durable.map(|durable| durable.floor),
            "position found"
        );
        let from = match choice {
            Choice::Behind(sequence) => {
                // A broker moves the consumer over what is gone: what is known otherwise tells what was missed.
                let is_moved =
                    durable.is_some_and(|durable| durable.floor + 1 == source.state.first_seq);
                let known = [
                    last.filter(|last| last.is_of_this)
                        .map(|last| last.sequence),
                    marked.map(|mark| mark.sequence),
                ];
                let known = known.into_iter().flatten().max().filter(|_| is_moved);
                self.check_gap(source, known.unwrap_or(sequence))?;
                From::Behind(sequence)
            }
            Choice::Anew => {
                self.made_anew("the source stream was deleted and made anew".to_owned())?;
                From::Behind(0)
            }
            Choice::Lost(sequence) => {
                self.trouble(format!(
                    "the target has lost messages that it had: {sequence} is the last one that is there"
                ));
                From::Behind(sequence)
            }
            Choice::Start => match durable {
                Some(durable) => From::Behind(durable.floor),
                None => start,
            },
        };
        Ok(Decision {
            from,
            incarnation: life,
            rewinds: matches!(choice, Choice::Anew | Choice::Lost(_)),
        })
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
        self.metrics.recreated();
        if self.config.on_recreated == Reaction::Stop && !self.goes_on {
            return Err(End::Stopped(words));
        }
        self.trouble(words);
        Ok(())
    }

    /// Counts messages that are gone before they were copied.
    fn check_gap(&mut self, source: &StreamInfo, handled: u64) -> Result<(), End> {
        let missed = source.state.first_seq.saturating_sub(handled + 1);
        if missed == 0 || handled == 0 {
            return Ok(());
        }
        let words = format!("{missed} messages are gone from the source before they were copied");
        if self.config.on_gap == Reaction::Stop && !self.goes_on {
            return Err(End::Stopped(words));
        }
        self.metrics.missed(missed);
        self.trouble(words);
        Ok(())
    }
}
