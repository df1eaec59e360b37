//! The one place that asks what time it is.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// The time of day, real or set by a test.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    set: Option<Arc<Mutex<SystemTime>>>,
}

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Self::default()
    }

    /// A clock that stands at `now` until [`Self::advance`] moves it; its clones move with it.
    pub fn manual(now: SystemTime) -> Self {
        Self {
            set: Some(Arc::new(Mutex::new(now))),
        }
    }

    /// The time of day.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where the time is read"
    )]
    pub fn now(&self) -> SystemTime {
        match &self.set {
            Some(set) => *set.lock().unwrap_or_else(PoisonError::into_inner),
            None => SystemTime::now(),
        }
    }

    /// Moves a manual clock on; the system's clock is not ours to move and stays.
    pub fn advance(&self, by: Duration) {
        if let Some(set) = &self.set {
            *set.lock().unwrap_or_else(PoisonError::into_inner) += by;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_when_told_and_with_its_clones() {
        let clock = Clock::manual(SystemTime::UNIX_EPOCH);
        let other = clock.clone();
        clock.advance(Duration::from_secs(5));
        assert_eq!(other.now(), SystemTime::UNIX_EPOCH + Duration::from_secs(5));
    }

    #[test]
    fn the_system_clock_runs_on_its_own() {
        let clock = Clock::system();
        clock.advance(Duration::from_secs(1_000_000));
        let year = Duration::from_secs(365 * 24 * 3600);
        assert!(clock.now() > SystemTime::UNIX_EPOCH + 50 * year);
    }
}
