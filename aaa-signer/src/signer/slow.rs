//! Policies that take their time, away from the threads that everything else runs on.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

/// How long somebody waits for a thread: those before may be slower than themselves.
const PATIENCE: Duration = Duration::from_secs(2);

/// Threads for slow work, and a bounded queue before them.
#[derive(Debug)]
pub(super) struct Slow {
    places: Semaphore,
    threads: Arc<Semaphore>,
}

/// Why there is no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoResult {
    /// Too many wait already, or it would take too long until it begins.
    Crowded,
    /// The work panicked.
    Lost,
}

impl Slow {
    /// At most `places` are worked on or wait.
    pub(super) fn new(threads: NonZeroUsize, places: usize) -> Self {
        Self {
            places: Semaphore::new(places.clamp(threads.get(), Semaphore::MAX_PERMITS)),
            threads: Arc::new(Semaphore::new(threads.get())),
        }
    }

    /// With as many threads as the machine runs at once.
    pub(super) fn of_machine(places: usize) -> Self {
        let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Self::new(threads, places)
    }

    /// Does work when its turn comes. Who no longer waits for it gives up the place in the queue; what was begun is ended.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NoResult> {
        let _place = self
            .places
            .try_acquire()
            .map_err(|_full| NoResult::Crowded)?;
        let thread = Arc::clone(&self.threads).acquire_owned();
        let thread = tokio::time::timeout(PATIENCE, thread).await;
        let thread = thread
            .map_err(|_late| NoResult::Crowded)?
            .map_err(|_closed| NoResult::Lost)?;
        let done = tokio::task::spawn_blocking(move || {
            let result = work();
            drop(thread);
            result
        });
        done.await.map_err(|_panicked| NoResult::Lost)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    // On one thread: whoever held it up would wait for ever.
    #[tokio::test]
    async fn slow_work_holds_nobody_up_and_too_much_of_it_is_turned_away() {
        let slow = Slow::new(NonZeroUsize::MIN, 9);
        let (go, wait) = mpsc::channel();
        let first = slow.run(move || wait.recv().is_ok());
        let others = futures_util::future::join_all((0..10).map(|n| slow.run(move || n)));
        let leave = async {
            assert_eq!(slow.places.available_permits(), 0);
            go.send(()).unwrap();
        };
        let (first, others, ()) = tokio::join!(first, others, leave);
        assert_eq!(first, Ok(true));
        let expected = (0..10).map(|n| if n < 8 { Ok(n) } else { Err(NoResult::Crowded) });
        assert_eq!(others, expected.collect::<Vec<_>>());
        assert_eq!(slow.run(|| 1).await, Ok(1), "there is room again");
        let lost = slow.run(|| panic!("on purpose")).await;
        assert_eq!(lost, Err::<(), _>(NoResult::Lost));
        assert_eq!(slow.run(|| 1).await, Ok(1));
    }

    #[tokio::test]
    async fn nobody_waits_for_ever_for_those_before() {
        let slow = Slow::new(NonZeroUsize::MIN, 9);
        let (go, wait) = mpsc::channel();
        let first = slow.run(move || wait.recv().is_ok());
        let second = async {
            let late = slow.run(|| 1).await;
            go.send(()).unwrap();
            late
        };
        let (first, second) = tokio::join!(first, second);
        assert_eq!((first, second), (Ok(true), Err(NoResult::Crowded)));
    }
}
