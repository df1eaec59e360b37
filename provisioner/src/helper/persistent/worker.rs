//! One process, kept alive, and the questions that it has.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use overlay_runtime::{Backoff, CancellationToken, Part};
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{ChildStdin, ChildStdout};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Asked;
use crate::helper::group::{Group, Pipes, describe};
use crate::helper::stderr::{self, Budget};
use crate::helper::{AskError, Bounds};

/// The pause before a process is started anew.
const PAUSE: Backoff = Backoff {
    first: Duration::from_millis(100),
    last: Duration::from_secs(10),
    steps: 8,
};

/// A process that lived so long and answered did not fail at its start.
const PROVEN: Duration = Duration::from_secs(10);

/// Answers in a row to questions that nobody asked, after which a process is not believed any more.
const UNASKED: usize = 16;

/// Bytes of questions that wait in front of the pipe; above it no further ones are taken.
const OUTGOING: usize = 1 << 20;

/// How long the process has to end by itself when its standard input is closed.
const FAREWELL: Duration = Duration::from_secs(1);

/// Lines of standard error.
const STDERR: Budget = Budget {
    lines: 200,
    period: Some(Duration::from_secs(10)),
};

/// What others may know of it.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) is_up: AtomicBool,
    /// Questions that wait for it.
    pub(super) busy: AtomicUsize,
    /// How many of the pool are up.
    pub(super) up: Arc<AtomicUsize>,
    pub(super) part: Part,
}

/// Keeps one process.
#[derive(Debug)]
pub(super) struct Worker {
    name: String,
    command: Vec<String>,
    bounds: Bounds,
    questions: mpsc::Receiver<Asked>,
    shared: Arc<Shared>,
    /// Ids are never used again, not even for another process.
    next: u64,
    /// Processes in a row that did not prove themselves.
    failures: usize,
}

/// One life of the process.
struct Life {
    stdin: ChildStdin,
    stdout: ChildStdout,
    outgoing: BytesMut,
    incoming: BytesMut,
    /// How much of `incoming` has no line break.
    scanned: usize,
    pending: BTreeMap<u64, Asked>,
    answered: u64,
    unasked: usize,
}

/// Why a life ended.
enum End {
    Shutdown,
    /// All who could ask are gone.
    Unwanted,
    Fault(String),
    TooMuchOutput,
}

#[derive(Deserialize)]
struct Tagged<'a> {
    #[serde(borrow)]
    id: std::borrow::Cow<'a, str>,
}

impl Worker {
    pub(super) fn new(
        number: usize,
        command: &[String],
        bounds: Bounds,
        questions: mpsc::Receiver<Asked>,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            name: format!("helper-{}", number + 1),
            command: command.to_vec(),
            bounds,
            questions,
            shared,
            next: 1,
            failures: 0,
        }
    }

    pub(super) async fn run(mut self, shutdown: CancellationToken) {
        loop {
            let started = Instant::now();
            let (why, answered) = match Group::spawn(&self.command) {
                Ok((group, pipes)) => {
                    self.set_up(true);
                    let (end, answered) = self.live(group, pipes, &shutdown).await;
                    self.set_up(false);
                    match end {
                        End::Shutdown | End::Unwanted => break,
                        End::Fault(why) => (why, answered),
                        End::TooMuchOutput => {
                            let limit = self.bounds.max_output;
                            (
                                format!("it wrote more than {limit} bytes in a line"),
                                answered,
                            )
                        }
                    }
                }
                Err(fault) => (fault.to_string(), 0),
            };
            let proven = answered > 0 && started.elapsed() >= PROVEN;
            self.failures = if proven { 0 } else { self.failures + 1 };
            if self.shared.up.load(Ordering::Relaxed) == 0 {
                self.shared.part.down(why.clone());
            }
            let wait = PAUSE.jittered(self.failures.saturating_sub(1));
            tracing::warn!(
                helper = self.name,
                why,
                answered,
                ?wait,
                "helper is started anew"
            );
            if !self.pause(wait, &why, &shutdown).await {
                break;
            }
        }
    }

    fn set_up(&self, is_up: bool) {
        self.shared.is_up.store(is_up, Ordering::Relaxed);
        if is_up {
            self.shared.up.fetch_add(1, Ordering::Relaxed);
            self.shared.part.up();
        } else {
            self.shared.up.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Waits, and refuses what is asked meanwhile when the failures go on; says whether to go on.
    async fn pause(&mut self, wait: Duration, why: &str, shutdown: &CancellationToken) -> bool {
        let until = Instant::now() + wait;
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return false,
                () = tokio::time::sleep_until(until) => return true,
                // The first pauses are short: who asks then waits. In a long one nobody shall wait for the time limit.
                asked = self.questions.recv(), if self.failures > 2 => match asked {
                    Some(asked) => answer(asked, Err(AskError::Unavailable(why.to_owned()))),
                    None => return false,
                },
            }
        }
    }

    async fn live(
        &mut self,
        mut group: Group,
        pipes: Pipes,
        shutdown: &CancellationToken,
    ) -> (End, u64) {
        let mut life = Life {
            stdin: pipes.stdin,
            stdout: pipes.stdout,
            outgoing: BytesMut::new(),
            incoming: BytesMut::new(),
            scanned: 0,
            pending: BTreeMap::new(),
            answered: 0,
            unasked: 0,
        };
        let end = {
            let told = stderr::log(pipes.stderr, &self.name, STDERR);
            let serve = life.serve(&mut self.questions, &mut self.next, self.bounds, shutdown);
            tokio::pin!(told, serve);
            let mut stderr_open = true;
            loop {
                tokio::select! {
                    biased;
                    end = &mut serve => break end,
                    () = &mut told, if stderr_open => stderr_open = false,
                }
            }
        };
        let Life {
            stdin,
            stdout,
            pending,
            answered,
            ..
        } = life;
        let end = match end {
            End::Shutdown | End::Unwanted => {
                drop(stdin);
                if tokio::time::timeout(FAREWELL, group.wait()).await.is_err() {
                    tracing::debug!(helper = self.name, "helper is killed at the stop");
                }
                end
            }
            // Its exit status says more than the closed pipe, if it has one.
            End::Fault(why) => match tokio::time::timeout(Duration::from_millis(50), group.wait())
                .await
            {
                Ok(Ok(status)) => End::Fault(format!("{why}; it ended with {}", describe(status))),
                Ok(Err(_)) | Err(_) => End::Fault(why),
            },
            End::TooMuchOutput => end,
        };
        drop(stdout);
        group.end().await;
        for asked in pending.into_values() {
            let fault = match &end {
                _ if asked.until <= Instant::now() => AskError::TimedOut(self.bounds.limit),
                End::TooMuchOutput => AskError::TooMuchOutput {
                    limit: self.bounds.max_output,
                },
                End::Fault(why) => AskError::Died(why.clone()),
                End::Shutdown | End::Unwanted => AskError::Died("the provisioner stops".to_owned()),
            };
            answer(asked, Err(fault));
        }
        (end, answered)
    }
}

impl Life {
    /// Works until something ends it.
    async fn serve(
        &mut self,
        questions: &mut mpsc::Receiver<Asked>,
        next: &mut u64,
        bounds: Bounds,
        shutdown: &CancellationToken,
    ) -> End {
        loop {
            // Ids grow and all questions have the same limit: the first is the next that may be late.
            let first_until = self.pending.first_key_value().map(|(_, asked)| asked.until);
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return End::Shutdown,
                read = self.stdout.read_buf(&mut self.incoming) => match read {
                    Ok(0) => return End::Fault("it closed its output".to_owned()),
                    Ok(_) => if let Some(end) = self.take_lines(bounds) {
                        return end;
                    },
                    Err(error) => return End::Fault(format!("unreadable output: {error}")),
                },
                written = self.stdin.write(&self.outgoing), if !self.outgoing.is_empty() => match written {
                    Ok(0) => return End::Fault("it closed its input".to_owned()),
                    Ok(written) => self.outgoing.advance(written),
                    Err(error) => return End::Fault(format!("it does not take questions: {error}")),
                },
                () = sleep_until(first_until) => {
                    if let Some(end) = self.find_late(bounds) {
                        return end;
                    }
                }
                asked = questions.recv(), if self.outgoing.len() < OUTGOING => match asked {
                    Some(asked) => self.send(asked, next),
                    None => return End::Unwanted,
                },
            }
        }
    }

    fn send(&mut self, asked: Asked, next: &mut u64) {
        if asked.answer.is_closed() {
            return;
        }
        let id = *next;
        *next += 1;
        let members = asked
            .question
            .trim_ascii()
            .strip_prefix(b"{")
            .unwrap_or_default();
        self.outgoing
            .extend_from_slice(format!("{{\"id\":\"{id}\"").as_bytes());
        if members.trim_ascii() != b"}" {
            self.outgoing.extend_from_slice(b",");
        }
        self.outgoing.extend_from_slice(members);
        self.outgoing.extend_from_slice(b"\n");
        self.pending.insert(id, asked);
    }

    fn take_lines(&mut self, bounds: Bounds) -> Option<End> {
        while let Some(found) = memchr::memchr(b'\n', self.incoming.get(self.scanned..)?) {
            let line = self.incoming.split_to(self.scanned + found + 1);
            self.scanned = 0;
            if line.len() > bounds.max_output {
                return Some(End::TooMuchOutput);
            }
            if !line.trim_ascii().is_empty()
                && let Some(end) = self.take(line.trim_ascii())
            {
                return Some(end);
            }
        }
        self.scanned = self.incoming.len();
        (self.scanned > bounds.max_output).then_some(End::TooMuchOutput)
    }

    fn take(&mut self, line: &[u8]) -> Option<End> {
        let tagged: Tagged<'_> = match serde_json::from_slice(line) {
            Ok(tagged) => tagged,
            Err(error) => return Some(End::Fault(format!("a line is no answer: {error}"))),
        };
        let asked = tagged
            .id
            .parse()
            .ok()
            .and_then(|id: u64| self.pending.remove(&id));
        let Some(asked) = asked else {
            self.unasked += 1;
            tracing::warn!(id = ?tagged.id.chars().take(64).collect::<String>(), "the helper answers what was not asked");
            return (self.unasked >= UNASKED)
                .then(|| End::Fault("it answers what was not asked".to_owned()));
        };
        self.unasked = 0;
        self.answered += 1;
        answer(asked, Ok(line.to_vec()));
        None
    }

    /// A late question ends the process, unless nobody waits for its answer any more.
    fn find_late(&mut self, bounds: Bounds) -> Option<End> {
        let now = Instant::now();
        let is_late = self
            .pending
            .first_key_value()
            .is_some_and(|(_, asked)| asked.until <= now);
        is_late.then(|| End::Fault(format!("no answer within {:?}", bounds.limit)))
    }
}

fn answer(asked: Asked, outcome: Result<Vec<u8>, AskError>) {
    if asked.answer.send(outcome).is_err() {
        tracing::debug!("nobody waits for the helper's answer any more");
    }
}

async fn sleep_until(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}
