//! Closed loops: each caller asks, waits for the answer, checks it, and asks again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::process::{cpu_seconds, peak_mib, resident_mib};
use super::report::at;

/// Somebody who asks one thing after the other.
pub(crate) trait Caller: Send + 'static {
    /// Asks once and checks the answer.
    fn once(&mut self) -> impl Future<Output = Result<()>> + Send;
}

/// How long is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    /// Before anything counts.
    pub(crate) warm: Duration,
    /// What counts.
    pub(crate) measured: Duration,
    /// How long one answer is waited for.
    pub(crate) patience: Duration,
}

/// What a run saw.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Milliseconds of each answer, sorted.
    pub(crate) took_ms: Vec<f64>,
    /// Requests without an answer, or with a wrong one.
    pub(crate) lost: usize,
    pub(crate) first_error: Option<String>,
    pub(crate) seconds: f64,
    /// Processor seconds of each process watched.
    pub(crate) spent: Vec<f64>,
    /// Of this process.
    pub(crate) driver: f64,
    /// Memory of the first process watched at the begin of what counts, in its middle and at its end, in MiB.
    pub(crate) resident: [f64; 3],
    /// The most that it ever was.
    pub(crate) peak: f64,
}

const WARMING: u8 = 0;
const MEASURING: u8 = 1;
const ENDING: u8 = 2;

impl Seen {
    pub(crate) fn per_second(&self) -> f64 {
        self.took_ms.len() as f64 / self.seconds.max(f64::EPSILON)
    }

    /// Processor seconds of a process for a thousand answers.
    pub(crate) fn per_thousand(&self, process: usize) -> f64 {
        let spent = self.spent.get(process).copied().unwrap_or_default();
        spent * 1000.0 / (self.took_ms.len().max(1) as f64)
    }

    pub(crate) fn row(&self) -> Value {
        json!({
            "answers": self.took_ms.len(), "seconds": self.seconds, "per_second": self.per_second(),
            "p50_ms": at(&self.took_ms, 500), "p99_ms": at(&self.took_ms, 990), "p999_ms": at(&self.took_ms, 999),
            "max_ms": self.took_ms.last(), "lost": self.lost, "first_error": self.first_error,
            "cpu_s": self.spent, "driver_cpu_s": self.driver,
            "resident_mib": self.resident, "peak_mib": self.peak,
        })
    }
}

/// Runs all callers at once and watches the processes.
pub(crate) async fn run<C: Caller>(callers: Vec<C>, span: Span, watched: &[u32]) -> Result<Seen> {
    let phase = Arc::new(AtomicU8::new(WARMING));
    let mut loops = JoinSet::new();
    for mut caller in callers {
        let phase = Arc::clone(&phase);
        loops.spawn(async move {
            let mut seen = Seen::default();
            while phase.load(Ordering::Relaxed) != ENDING {
                let began = Instant::now();
                let before = phase.load(Ordering::Relaxed);
                let outcome = tokio::time::timeout(span.patience, caller.once()).await;
                // What ends after the measured time is neither counted nor lost.
                if before == WARMING || phase.load(Ordering::Relaxed) == ENDING {
                    continue;
                }
                let error = match outcome {
                    Ok(Ok(())) => {
                        seen.took_ms.push(began.elapsed().as_secs_f64() * 1000.0);
                        continue;
                    }
                    Ok(Err(error)) => format!("{error:#}"),
                    Err(_) => "no answer in time".to_owned(),
                };
                seen.lost += 1;
                seen.first_error.get_or_insert(error);
            }
            (seen, caller)
        });
    }
    tokio::time::sleep(span.warm).await;
    let spent = || -> Result<Vec<f64>> { watched.iter().map(|pid| cpu_seconds(*pid)).collect() };
    let (before, own_before) = (spent()?, cpu_seconds(std::process::id())?);
    let began = Instant::now();
    phase.store(MEASURING, Ordering::Relaxed);
    let service = watched.first().copied().unwrap_or(std::process::id());
    let at_begin = resident_mib(service)?;
    tokio::time::sleep(span.measured / 2).await;
    let in_middle = resident_mib(service)?;
    tokio::time::sleep(span.measured.saturating_sub(began.elapsed())).await;
    phase.store(ENDING, Ordering::Relaxed);
    let seconds = began.elapsed().as_secs_f64();
    let (after, own_after) = (spent()?, cpu_seconds(std::process::id())?);
    let mut all = Seen {
        seconds,
        spent: after
            .iter()
            .zip(&before)
            .map(|(after, before)| after - before)
            .collect(),
        driver: own_after - own_before,
        resident: [at_begin, in_middle, resident_mib(service)?],
        peak: peak_mib(service)?,
        ..Seen::default()
    };
    while let Some(ended) = loops.join_next().await {
        let (seen, caller) = ended.context("a caller of the driver ended")?;
        all.took_ms.extend(seen.took_ms);
        all.lost += seen.lost;
        all.first_error = all.first_error.or(seen.first_error);
        drop(caller);
    }
    all.took_ms.sort_by(f64::total_cmp);
    Ok(all)
}
