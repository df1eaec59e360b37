//! One password of a name at a time: guesses do not overtake the count of those that failed.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Gates; names share them, and nobody can choose which.
const GATES: usize = 4096;
/// So many may wait at one gate.
const WAITING: usize = 8;

#[derive(Debug)]
pub(super) struct Gates {
    gates: Vec<Gate>,
    key: RandomState,
}

#[derive(Debug)]
struct Gate {
    one: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
}

/// The way is free until this is dropped.
#[derive(Debug)]
pub(super) struct Pass {
    _permit: OwnedSemaphorePermit,
}

/// Too many wait at the gate.
#[derive(Debug)]
pub(super) struct Crowded;

/// Leaves the count of those who wait, however the waiting ends.
struct Waiting(Arc<AtomicUsize>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Gates {
    pub(super) fn new() -> Self {
        let gate = || Gate {
            one: Arc::new(Semaphore::new(1)),
            waiting: Arc::default(),
        };
        Self {
            gates: std::iter::repeat_with(gate).take(GATES).collect(),
            key: RandomState::new(),
        }
    }

    /// Waits for the others of the same name.
    pub(super) async fn enter(&self, name: &str) -> Result<Pass, Crowded> {
        let count = u64::try_from(self.gates.len()).unwrap_or(u64::MAX).max(1);
        let chosen = usize::try_from(self.key.hash_one(name) % count).unwrap_or_default();
        let gate = self.gates.get(chosen).ok_or(Crowded)?;
        let waiting = Waiting(Arc::clone(&gate.waiting));
        if waiting.0.fetch_add(1, Ordering::AcqRel) >= WAITING {
            return Err(Crowded);
        }
        let permit = Arc::clone(&gate.one)
            .acquire_owned()
            .await
            .map_err(|_closed| Crowded)?;
        drop(waiting);
        Ok(Pass { _permit: permit })
    }
}
