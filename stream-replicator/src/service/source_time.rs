//! The time at the source, by its own clock: what a message's age and a value's silence are measured by. The clock of this
//! host may be any.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use overlay_runtime::Clock;
use tokio::time::Instant;

/// The time at a source; clones share it.
#[derive(Debug, Clone)]
pub(super) struct SourceTime {
    clock: Clock,
    /// What the source said, and when.
    told: Arc<Mutex<Option<(SystemTime, Instant)>>>,
}

impl SourceTime {
    /// Goes by this host's clock until the source says something.
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            clock,
            told: Arc::default(),
        }
    }

    /// The source said what time it is; brokers before 2.10 do not.
    pub(super) fn hear(&self, time: Option<SystemTime>) {
        if let Some(time) = time {
            *self.told() = Some((time, Instant::now()));
        }
    }

    /// The time at the source.
    pub(super) fn now(&self) -> SystemTime {
        match *self.told() {
            Some((time, at)) => time + at.elapsed(),
            None => self.clock.now(),
        }
    }

    fn told(&self) -> MutexGuard<'_, Option<(SystemTime, Instant)>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_source_s_word_counts_and_goes_on_from_there() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let clock = Clock::manual(at(1_000_000));
        let time = SourceTime::new(clock.clone());
        assert_eq!(time.now(), at(1_000_000));
        time.hear(None);
        time.hear(Some(at(500)));
        // What happens to this host's clock is nothing to it.
        clock.advance(Duration::from_secs(86_400));
        tokio::time::advance(Duration::from_secs(7)).await;
        assert_eq!(time.now(), at(507));
    }
}
