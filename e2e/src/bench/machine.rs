//! What else the machine did: time that its host gave to others, and the longest moment in which it stood still.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

const LOOK: Duration = Duration::from_millis(10);

/// Watches the machine until dropped. A figure without this says little on a host that several share.
#[derive(Debug)]
pub(crate) struct Machine {
    since: Option<Times>,
    pause_us: Arc<AtomicU64>,
}

/// Processor time of the whole machine so far, in clock ticks.
#[derive(Debug, Clone, Copy)]
struct Times {
    all: f64,
    stolen: f64,
}

/// What was seen since the last look.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Disturbance {
    /// Percent of the processors' time in which one was wanted and the host ran something else; none where that is not told.
    pub(crate) stolen: Option<f64>,
    /// The longest time by which a sleep of 10 ms was late, in milliseconds: some tens under load, hundreds where the
    /// machine stood.
    pub(crate) pause_ms: f64,
}

impl Machine {
    pub(crate) fn watch() -> Self {
        let pause_us = Arc::new(AtomicU64::new(0));
        let watched = Arc::downgrade(&pause_us);
        thread::spawn(move || {
            while let Some(longest) = watched.upgrade() {
                let began = Instant::now();
                thread::sleep(LOOK);
                let late = began.elapsed().saturating_sub(LOOK).as_micros();
                longest.fetch_max(u64::try_from(late).unwrap_or(u64::MAX), Ordering::Relaxed);
            }
        });
        Self {
            since: times(),
            pause_us,
        }
    }

    /// What was seen since the start or the last call.
    pub(crate) fn disturbance(&mut self) -> Disturbance {
        let now = times();
        let before = std::mem::replace(&mut self.since, now);
        let stolen = before.zip(now).map(|(before, now)| {
            100.0 * (now.stolen - before.stolen) / (now.all - before.all).max(1.0)
        });
        Disturbance {
            stolen,
            pause_ms: self.pause_us.swap(0, Ordering::Relaxed) as f64 / 1000.0,
        }
    }
}

impl Disturbance {
    pub(crate) fn line(&self) -> String {
        let stolen = self
            .stolen
            .map_or_else(|| "?".to_owned(), |share| format!("{share:.1}"));
        format!(
            "  the machine meanwhile: {stolen} % of its time stolen, longest pause {:.0} ms",
            self.pause_ms
        )
    }

    pub(crate) fn json(&self) -> Value {
        json!({ "stolen_percent": self.stolen, "longest_pause_ms": self.pause_ms })
    }
}

/// The first line of `/proc/stat`: user, nice, system, idle, iowait, irq, softirq, steal (proc_stat(5)).
fn times() -> Option<Times> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let line = text.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<f64> = line
        .split_whitespace()
        .take(8)
        .map_while(|field| field.parse().ok())
        .collect();
    Some(Times {
        all: ticks.iter().sum(),
        stolen: *ticks.get(7)?,
    })
}
