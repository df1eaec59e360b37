//! One worker: a stream, and where it goes. Finds its brokers, streams and position, waits for its turn, copies, and
//! begins again when something ended the copying.

mod behind;
mod course;
mod gap;
mod told;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use overlay_runtime::nats::election::Leadership;
use overlay_runtime::{CancellationToken, Clock, Tasks};
use tokio::sync::{mpsc, watch};

use crate::config::StreamConfig;
use crate::copy::position::Bookmark;
use crate::metrics;
use crate::status::{Phase, Status};

use super::connect::{Link, LinkError, Links};
use super::copier::{Copier, End};
use super::questions::Question;
use super::sampling::{Sampling, SamplingContext, SamplingError};
use super::source_time::SourceTime;
use super::trace::Trace;

use behind::Behind;
use gap::Counted;
use told::Told;

/// Wait before something that is missing is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Wait after an end of the copying, doubled with each one that follows soon.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_LAST: Duration = Duration::from_secs(10);
/// How often sampling is let work while nothing is copied.
const BEAT: Duration = Duration::from_secs(1);
/// A copying that went well for so long forgives what was before.
const WENT_WELL: Duration = Duration::from_secs(30);

/// What a worker needs.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) config: Arc<StreamConfig>,
    /// Name of the site.
    pub(super) site: String,
    pub(super) links: Links,
    pub(super) clock: Clock,
    pub(super) metrics: metrics::Worker,
    pub(super) status: Status,
    /// Without it there is no election, and this replica always works.
    pub(super) leadership: Option<Leadership>,
    /// Why an operator paused the worker, while one did.
    pub(super) paused: watch::Receiver<Option<String>>,
    pub(super) trace: Trace,
    /// What operators ask of it.
    pub(super) questions: mpsc::Receiver<Question>,
    pub(super) state_dir: Option<PathBuf>,
    pub(super) tasks: Tasks,
}

/// Why a worker ends before the shutdown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum WorkerError {
    /// There is no sampling.
    #[error("sampling")]
    Sampling(#[from] SamplingError),
    /// Nobody changes what operators want any more.
    #[error("the switch for pauses is gone")]
    NoPauses,
}

/// A worker with its connections.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) config: Arc<StreamConfig>,
    pub(super) name: String,
    pub(super) source: Link,
    pub(super) target: Link,
    pub(super) clock: Clock,
    /// What time it is at the source.
    pub(super) time: SourceTime,
    pub(super) metrics: metrics::Worker,
    pub(super) status: Status,
    pub(super) leadership: Option<Leadership>,
    pub(super) paused: watch::Receiver<Option<String>>,
    pub(super) trace: Trace,
    pub(super) questions: mpsc::Receiver<Question>,
    /// What decides; without it, everything is copied.
    pub(super) sampling: Option<Sampling>,
    /// When this worker began, for streams that are copied anew at each start.
    started: SystemTime,
    /// Where it stood when it last copied.
    memory: Option<Bookmark>,
    told: Told,
    /// Whether an operator said that it may go on whatever was lost.
    goes_on: bool,
    /// What is gone from the source and was counted.
    counted: Counted,
    /// How often in a row the source did not say where the copying stood.
    silences: u32,
}

impl Worker {
    /// Copies until the shutdown.
    ///
    /// # Errors
    ///
    /// When it cannot go on by itself; whatever may mend is waited for.
    pub(super) async fn run(self, shutdown: CancellationToken) -> Result<(), WorkerError> {
        let (state_dir, tasks) = (self.state_dir.clone(), self.tasks.clone());
        let Ok(mut site) = Box::pin(self.open(&shutdown)).await else {
            return Ok(());
        };
        let context = SamplingContext {
            config: Arc::clone(&site.config),
            site: site.name.clone(),
            source: site.source.clone(),
            target: site.target.clone(),
            state_dir,
            clock: site.clock.clone(),
            time: site.time.clone(),
            metrics: site.metrics.clone(),
            status: site.status.clone(),
            tasks,
        };
        site.sampling = Sampling::open(context, &shutdown).await?;
        let worked = site.work(&shutdown).await;
        if let Some(sampling) = site.sampling.take() {
            sampling.close().await;
        }
        worked
    }

    async fn open(self, shutdown: &CancellationToken) -> Result<Site, LinkError> {
        let config = self.config;
        let of = |side: &str| format!("{side} {}/{}", config.source.stream, config.name);
        let (at_source, at_target) = (of("source of"), of("target of"));
        let (opened, source) = (self.links.clone(), watch::Sender::new(None));
        let time = SourceTime::new(self.clock.clone());
        let behind = Behind {
            config: Arc::clone(&config),
            time: time.clone(),
            metrics: self.metrics.clone(),
            status: self.status.clone(),
        };
        let from = async {
            let link = opened
                .open(&at_source, &config.source.endpoint, shutdown)
                .await?;
            source.send_replace(Some(link.clone()));
            Ok::<_, LinkError>(link)
        };
        let to = self
            .links
            .open(&at_target, &config.target.endpoint, shutdown);
        let both = async { tokio::try_join!(from, to) };
        let (source, target) = tokio::select! {
            biased;
            both = both => both?,
            // A target that cannot be reached at the start is told of in the lag, too.
            never = behind.reckon_while_waiting(source.subscribe()) => match never {},
        };
        Ok(Site {
            started: self.clock.now(),
            time,
            config,
            name: self.site,
            source,
            target,
            clock: self.clock,
            metrics: self.metrics,
            status: self.status,
            leadership: self.leadership,
            paused: self.paused,
            trace: self.trace,
            questions: self.questions,
            sampling: None,
            memory: None,
            told: Told::default(),
            goes_on: false,
            counted: Counted::default(),
            silences: 0,
        })
    }
}

impl Site {
    /// Whether this replica may work.
    pub(super) fn leads(&self) -> bool {
        self.leadership.as_ref().is_none_or(Leadership::is_leader)
    }

    /// Name of this replica.
    pub(super) fn replica(&self) -> String {
        self.config
            .candidate
            .clone()
            .unwrap_or_else(|| self.name.clone())
    }

    /// Tells what is wrong: each time in the status and the count, in the log as [`Told`] says.
    pub(super) fn trouble(&mut self, words: String) {
        let now = self.clock.now();
        self.status.fault(now, words.clone());
        self.metrics.handler_error();
        if !self.told.is_due(&words, now) {
            return;
        }
        tracing::warn!(
            stream = self.config.source.stream,
            worker = self.config.name,
            "{words}"
        );
    }

    /// What was wrong is so no more.
    pub(super) fn untroubled(&mut self) {
        self.told = Told::default();
    }

    /// Whether a durable consumer shows the position, for the original.
    pub(super) fn keeps_durable(&self) -> bool {
        !self.config.target_initiated && !self.config.ephemeral
    }

    /// Copies whenever it is this replica's turn, until the shutdown.
    async fn work(&mut self, shutdown: &CancellationToken) -> Result<(), WorkerError> {
        let mut pause = PAUSE_FIRST;
        loop {
            let Some(turn) = shutdown.run_until_cancelled(self.turn()).await else {
                return Ok(());
            };
            turn?;
            if let Some(sampling) = &mut self.sampling {
                sampling.lead(true).await;
            }
            let began = tokio::time::Instant::now();
            let end = Box::pin(self.period(shutdown)).await;
            if began.elapsed() > WENT_WELL {
                pause = PAUSE_FIRST;
            }
            let still = matches!(end, End::Again(_)) && self.leads();
            if !still && let Some(sampling) = &mut self.sampling {
                sampling.lead(false).await;
            }
            let wait = match end {
                End::Shutdown => return Ok(()),
                End::NotLeading | End::Paused => {
                    pause = PAUSE_FIRST;
                    continue;
                }
                End::Again(why) => {
                    self.trouble(why);
                    let wait = pause;
                    pause = (pause * 2).min(PAUSE_LAST);
                    shutdown
                        .run_until_cancelled(tokio::time::sleep(wait))
                        .await
                        .map(Ok)
                }
                End::Stopped(why) => {
                    self.trouble(why.clone());
                    self.status.enter(Phase::Stopped(why));
                    shutdown.run_until_cancelled(self.resumed()).await
                }
            };
            match wait {
                None => return Ok(()),
                Some(mended) => mended?,
            }
        }
    }

    /// Waits until this replica is to copy.
    async fn turn(&mut self) -> Result<(), WorkerError> {
        let behind = self.behind().reckon_while_resting(self.source.clone());
        tokio::pin!(behind);
        loop {
            let paused = self.paused.borrow_and_update().clone();
            if let Some(why) = paused {
                self.status.enter(Phase::Paused(why));
                tokio::select! {
                    never = &mut behind => match never {},
                    changed = self.paused.changed() => changed.map_err(|_| WorkerError::NoPauses)?,
                    () = tokio::time::sleep(BEAT) => beat(&mut self.sampling).await,
                    Some(question) = self.questions.recv() => answer(question, self.sampling.as_ref()),
                }
                continue;
            }
            if self.leads() {
                return Ok(());
            }
            self.status.enter(Phase::Standby);
            self.metrics.sequence(0);
            self.stand_by();
            let Some(leadership) = self.leadership.as_mut() else {
                return Ok(());
            };
            tokio::select! {
                () = leadership.won() => {}
                changed = self.paused.changed() => changed.map_err(|_| WorkerError::NoPauses)?,
                () = tokio::time::sleep(BEAT) => beat(&mut self.sampling).await,
                Some(question) = self.questions.recv() => answer(question, self.sampling.as_ref()),
            }
        }
    }

    /// Waits until an operator says that it may go on, by a resume, whether it was paused or not; or until another replica
    /// leads, whose turn it is then.
    async fn resumed(&mut self) -> Result<(), WorkerError> {
        let mut leadership = self.leadership.clone();
        let behind = self.behind().reckon_while_resting(self.source.clone());
        tokio::pin!(behind);
        loop {
            tokio::select! {
                never = &mut behind => match never {},
                changed = self.paused.changed() => {
                    changed.map_err(|_| WorkerError::NoPauses)?;
                    self.goes_on = true;
                    return Ok(());
                }
                () = lost(&mut leadership) => return Ok(()),
                () = tokio::time::sleep(BEAT) => beat(&mut self.sampling).await,
                Some(question) = self.questions.recv() => answer(question, self.sampling.as_ref()),
            }
        }
    }

    /// Finds streams and position, and copies from there.
    async fn period(&mut self, shutdown: &CancellationToken) -> End {
        self.status.enter(Phase::Starting);
        let course = loop {
            let found = shutdown.run_until_cancelled(self.course()).await;
            match found {
                None => return End::Shutdown,
                Some(Ok(course)) => {
                    self.goes_on = false;
                    break course;
                }
                Some(Err(End::Again(missing))) => {
                    self.trouble(missing.clone());
                    self.status.enter(Phase::Waiting(missing));
                }
                Some(Err(end)) => return end,
            }
            let mut paused = self.paused.clone();
            tokio::select! {
                () = shutdown.cancelled() => return End::Shutdown,
                () = self.wait_behind() => {}
                changed = paused.changed() => if changed.is_ok() && paused.borrow().is_some() {
                    return End::Paused;
                },
            }
            if !self.leads() {
                return End::NotLeading;
            }
        };
        let begun = shutdown
            .run_until_cancelled(Copier::begin(self, course))
            .await;
        match begun {
            None => End::Shutdown,
            Some(Ok(copier)) => copier.run(shutdown).await,
            Some(Err(words)) => End::Again(words),
        }
    }

    /// Waits before something that is missing is looked at again.
    async fn wait_behind(&self) {
        self.fall_behind().await;
        tokio::time::sleep(LOOK_AGAIN).await;
    }

    /// Remembers where the copying stands, for another period.
    pub(super) fn remember(&mut self, mark: Bookmark) {
        self.memory = Some(mark);
    }
}

/// Waits until another replica may lead; without an election, for ever.
pub(super) async fn lost(leadership: &mut Option<Leadership>) {
    match leadership {
        Some(leadership) => leadership.lost().await,
        None => std::future::pending().await,
    }
}

/// Lets sampling do what time brings while nothing is copied.
async fn beat(sampling: &mut Option<Sampling>) {
    if let Some(sampling) = sampling {
        sampling.tick().await;
    }
}

/// Answers an operator while nothing is copied.
fn answer(question: Question, sampling: Option<&Sampling>) {
    match question {
        Question::Values(reply) => {
            drop(reply.send(sampling.map(Sampling::values).unwrap_or_default()));
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
