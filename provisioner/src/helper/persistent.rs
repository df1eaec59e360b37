//! Processes that stay: a line for each question, a line for each answer, in any order.
//!
//! A question is the object of the original's standard input with one more member `id`, on one line; the answer is the
//! object of the original's standard output with that `id`, on one line. Several questions may be under way. A process
//! that ends, answers too late, writes what is no answer or more than it may, is killed with its group and started anew
//! after a pause that grows; what it was asked meanwhile is asked once more.

mod worker;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use overlay_runtime::{CancellationToken, Part, Tasks};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::{AskError, Bounds, HelperStartError};
use worker::{Shared, Worker};

/// Questions that wait for one process to take them.
const QUEUE: usize = 1024;

/// How often a question is asked that was under way when the process ended.
const ASKED: usize = 2;

/// All processes of the helper.
#[derive(Debug)]
pub(super) struct Pool {
    seats: Vec<Seat>,
    bounds: Bounds,
}

/// The way to one process.
#[derive(Debug)]
struct Seat {
    questions: mpsc::Sender<Asked>,
    shared: Arc<Shared>,
}

/// A question under way.
#[derive(Debug)]
struct Asked {
    question: Bytes,
    until: Instant,
    answer: oneshot::Sender<Result<Vec<u8>, AskError>>,
}

impl Pool {
    pub(super) fn start(
        command: &[String],
        processes: NonZeroUsize,
        bounds: Bounds,
        tasks: &Tasks,
        shutdown: &CancellationToken,
        part: &Part,
    ) -> Result<Self, HelperStartError> {
        if command.is_empty() {
            return Err(HelperStartError::NoCommand);
        }
        let up = Arc::new(AtomicUsize::new(0));
        let seats = (0..processes.get())
            .map(|number| {
                let (sender, questions) = mpsc::channel(QUEUE);
                let shared = Arc::new(Shared {
                    is_up: AtomicBool::new(false),
                    busy: AtomicUsize::new(0),
                    up: Arc::clone(&up),
                    part: part.clone(),
                });
                let worker = Worker::new(number, command, bounds, questions, Arc::clone(&shared));
                let shutdown = shutdown.clone();
                tasks.spawn("helper", async move {
                    worker.run(shutdown).await;
                    Ok(())
                });
                Seat {
                    questions: sender,
                    shared,
                }
            })
            .collect();
        Ok(Self { seats, bounds })
    }

    pub(super) async fn ask(&self, question: &Bytes) -> Result<Vec<u8>, AskError> {
        let until = Instant::now() + self.bounds.limit;
        let mut fault = AskError::TimedOut(self.bounds.limit);
        for _ in 0..ASKED {
            fault = match self.ask_once(question, until).await {
                Err(fault @ AskError::Died(_)) if Instant::now() < until => fault,
                outcome => return outcome,
            };
        }
        Err(fault)
    }

    async fn ask_once(&self, question: &Bytes, until: Instant) -> Result<Vec<u8>, AskError> {
        // Whoever is there and has the least to do; a dead one is as good as any when all are dead.
        let seat = self
            .seats
            .iter()
            .min_by_key(|seat| {
                let is_down = !seat.shared.is_up.load(Ordering::Relaxed);
                (is_down, seat.shared.busy.load(Ordering::Relaxed))
            })
            .ok_or_else(|| AskError::Unavailable("there is none".to_owned()))?;
        let (sender, answer) = oneshot::channel();
        let asked = Asked {
            question: question.clone(),
            until,
            answer: sender,
        };
        let _busy = Busy::new(&seat.shared.busy);
        let talk = async {
            let taken = seat.questions.send(asked).await.is_ok();
            match (taken, answer.await) {
                (true, Ok(outcome)) => outcome,
                (_, _) => Err(AskError::Unavailable("the helper is stopped".to_owned())),
            }
        };
        tokio::time::timeout_at(until, talk)
            .await
            .unwrap_or(Err(AskError::TimedOut(self.bounds.limit)))
    }
}

/// Counts a question while it is under way, however that ends.
struct Busy<'a>(&'a AtomicUsize);

impl<'a> Busy<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
