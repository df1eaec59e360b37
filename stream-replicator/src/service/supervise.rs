//! A worker's life: started, watched, started anew with back-off. What goes wrong in one is not the others' concern.
//!
//! ```text
//! pause known ── election ── work ──┬── shutdown: the work ends, then the key is given back
//!      ^                            └── fault or panic: the key is given back, told, waited
//!      └────────────────────────────────────────────────────────────────────────────┘
//! ```

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use overlay_runtime::nats::election::{Figures, Leadership};
use overlay_runtime::{Backoff, CancellationToken, Clock, Part, Tasks};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::Instrument as _;

use super::election;
use super::pause::Pausing;
use super::places::Place;
use super::questions::Question;
use super::trace::Trace;
use crate::config::StreamConfig;
use crate::metrics::{self, Metrics};
use crate::status::{Phase, Status};

/// Waits before a worker that failed is started anew.
const RESTART: Backoff = Backoff {
    first: Duration::from_secs(1),
    last: Duration::from_secs(30),
    steps: 10,
};
/// A worker that ran for so long begins with the first wait again.
const LASTED: Duration = Duration::from_secs(60);
/// Questions that wait for a worker.
const QUESTIONS: usize = 16;

/// What is known of a worker however often it is started anew.
#[derive(Debug)]
pub(super) struct Post {
    pub(super) config: Arc<StreamConfig>,
    pub(super) status: Status,
    pub(super) trace: Trace,
    pub(super) metrics: metrics::Worker,
    pub(super) pausing: Pausing,
    /// The source, for what is not copying.
    pub(super) place: Arc<Place>,
    /// Key of its election, if it has one.
    pub(super) key: Option<String>,
    restarts: AtomicU64,
    now: Mutex<Now>,
}

/// What holds while the worker runs.
#[derive(Debug, Default)]
struct Now {
    questions: Option<mpsc::Sender<Question>>,
    figures: Option<Figures>,
    /// Why there is no election.
    trouble: Option<String>,
}

/// What a worker gets at each start.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) leadership: Option<Leadership>,
    pub(super) questions: mpsc::Receiver<Question>,
    pub(super) shutdown: CancellationToken,
}

/// Does the work of one start: ends well only at the shutdown; else with why, for people.
pub(super) type Work = Box<dyn Fn(Start) -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// Keeps a worker at work.
pub(super) struct Supervisor {
    pub(super) post: Arc<Post>,
    pub(super) work: Work,
    /// `worker:<stream>/<name>` of readiness.
    pub(super) part: Part,
    pub(super) metrics: Metrics,
    pub(super) tasks: Tasks,
    pub(super) clock: Clock,
}

impl Post {
    pub(super) fn new(config: Arc<StreamConfig>, place: Arc<Place>, metrics: &Metrics) -> Self {
        let (stream, worker) = (&config.source.stream, &config.name);
        Self {
            status: Status::default(),
            trace: Trace::default(),
            metrics: metrics.worker(stream, worker),
            pausing: Pausing::new(stream, worker, Arc::clone(&place)),
            place,
            key: config
                .candidate
                .as_ref()
                .map(|_| election::key(worker, stream)),
            restarts: AtomicU64::new(0),
            now: Mutex::default(),
            config,
        }
    }

    /// How people call it: source stream and name.
    pub(super) fn name(&self) -> String {
        format!("{}/{}", self.config.source.stream, self.config.name)
    }

    /// How often it was started anew after a fault.
    pub(super) fn restarts(&self) -> u64 {
        self.restarts.load(Ordering::Relaxed)
    }

    /// Whether it is this replica that works, or would if it were not paused.
    pub(super) fn leads(&self) -> bool {
        self.key.is_none() || self.now().figures.as_ref().is_some_and(Figures::leads)
    }

    /// Why there is no election.
    pub(super) fn trouble(&self) -> Option<String> {
        self.now().trouble.clone()
    }

    /// Where to put questions while the worker runs.
    pub(super) fn questions(&self) -> Option<mpsc::Sender<Question>> {
        self.now().questions.clone()
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Supervisor {
    /// Keeps the worker at work until the shutdown.
    pub(super) async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let span = tracing::info_span!(
            "worker",
            stream = self.post.config.source.stream,
            worker = self.post.config.name
        );
        self.keep(shutdown).instrument(span).await;
        Ok(())
    }

    async fn keep(self, shutdown: CancellationToken) {
        let mut failures = 0;
        loop {
            self.enter(Phase::Starting);
            let began = Instant::now();
            let Err(fault) = self.start(&shutdown).await else {
                return;
            };
            if shutdown.is_cancelled() {
                tracing::warn!(fault, "worker failed at the stop");
                return;
            }
            if began.elapsed() >= LASTED {
                failures = 0;
            }
            let wait = RESTART.jittered(failures);
            failures += 1;
            tracing::error!(fault, again_in = ?wait, "worker failed");
            self.post.status.fault(self.clock.now(), fault.as_str());
            self.enter(Phase::Failed(fault));
            let slept = shutdown.run_until_cancelled(tokio::time::sleep(wait)).await;
            if slept.is_none() {
                return;
            }
            self.post.restarts.fetch_add(1, Ordering::Relaxed);
            self.post.metrics.restarted();
        }
    }

    /// Works once; the key is given back when it comes back.
    async fn start(&self, shutdown: &CancellationToken) -> Result<(), String> {
        if self.post.place.link_now().is_none() {
            self.enter(Phase::Waiting("no connection to the source yet".to_owned()));
        }
        let known = self.post.pausing.known();
        if shutdown.run_until_cancelled(known).await.is_none() {
            return Ok(());
        }
        let election = CancellationToken::new();
        let _ends = election.clone().drop_guard();
        let leadership = match (&self.post.key, &self.post.config.candidate) {
            (Some(key), Some(candidate)) => {
                let Ok(link) = self.post.place.link(shutdown).await else {
                    return Ok(());
                };
                let client = link.client.clone();
                let (leadership, candidacy) =
                    election::candidate(key, candidate, &self.post.place, client, &self.metrics);
                // Its end is not the worker's: a worker that stops still leads while it finishes what is under way.
                self.tasks.spawn_job("election", candidacy.run(election));
                Some(leadership)
            }
            (_, _) => None,
        };
        let (sender, questions) = mpsc::channel(QUESTIONS);
        {
            let mut now = self.post.now();
            now.questions = Some(sender);
            now.figures = leadership.as_ref().map(Leadership::figures);
        }
        let start = Start {
            leadership: leadership.clone(),
            questions,
            shutdown: shutdown.clone(),
        };
        let work = AssertUnwindSafe((self.work)(start)).catch_unwind();
        let outcome = tokio::select! {
            biased;
            outcome = work => outcome,
            never = self.follow(leadership) => match never {},
        };
        *self.post.now() = Now::default();
        match outcome {
            Ok(Ok(())) if shutdown.is_cancelled() => Ok(()),
            Ok(Ok(())) => Err("it ended before the shutdown".to_owned()),
            Ok(Err(fault)) => Err(fault),
            Err(panic) => Err(format!("panicked: {}", text(panic.as_ref()))),
        }
    }

    /// Tells readiness and metrics how the worker is doing.
    async fn follow(&self, mut leadership: Option<Leadership>) -> Infallible {
        let mut phases = self.post.status.follow();
        loop {
            let trouble = leadership.as_ref().and_then(Leadership::trouble);
            self.post.now().trouble.clone_from(&trouble);
            let phase = phases.borrow_and_update().clone();
            self.tell(&phase, trouble);
            tokio::select! {
                // The post has the other end.
                changed = phases.changed() => drop(changed),
                is_on = changed(&mut leadership) => if !is_on {
                    leadership = None;
                },
            }
        }
    }

    fn enter(&self, phase: Phase) {
        self.tell(&phase, None);
        self.post.status.enter(phase);
    }

    fn tell(&self, phase: &Phase, no_election: Option<String>) {
        let trouble = no_election
            .map(|why| format!("no election: {why}"))
            .or_else(|| phase.trouble());
        let metrics = &self.post.metrics;
        metrics.running(trouble.is_none());
        metrics.active(matches!(phase, Phase::Copying));
        metrics.paused(matches!(phase, Phase::Paused(_)));
        if matches!(phase, Phase::Standby) {
            metrics.sequence(0);
        }
        // It copies, but one message does not arrive, or none does for now, or what it knows would not outlive it.
        let report = self.post.status.report();
        metrics.unanswered(report.unanswered.is_some());
        let unready = trouble
            .or(report.unanswered)
            .or(report.blocked)
            .or(report.unwritten);
        match unready {
            None => self.part.up(),
            Some(why) => self.part.down(why),
        }
    }
}

/// Waits for a change; without an election, for ever.
async fn changed(leadership: &mut Option<Leadership>) -> bool {
    match leadership {
        Some(leadership) => leadership.changed().await,
        None => std::future::pending().await,
    }
}

fn text(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no text".to_owned())
}

#[cfg(test)]
mod tests;
