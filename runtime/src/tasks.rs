//! Every task has a name, an owner and an end.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The tasks of a process; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    tracker: TaskTracker,
    /// Drops the tasks that outlast the grace period.
    abort: CancellationToken,
    next: AtomicU64,
    running: Mutex<BTreeMap<u64, &'static str>>,
    first: Mutex<Option<TaskEnd>>,
    ended: Notify,
}

/// The end of a task that was to work as long as the process.
#[derive(Debug)]
pub(crate) struct TaskEnd {
    name: &'static str,
    /// `None` when it ended without a fault, which is one before the shutdown.
    fault: Option<anyhow::Error>,
}

impl Tasks {
    /// Begins without tasks.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a task that works until the shutdown.
    ///
    /// When it ends before, for whatever reason, the process stops and fails. At the shutdown it
    /// has the grace period to end by itself; then it is dropped where it waits.
    pub fn spawn<F>(&self, name: &'static str, work: F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let tasks = self.clone();
        self.track(name, work, move |outcome| {
            let fault = match outcome {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error),
                Err(panic) => Some(anyhow::anyhow!("panicked: {panic}")),
            };
            tracing::debug!(task = name, ?fault, "task ended");
            let mut first = tasks.inner.lock_first();
            // An end without fault may be due to the stop; a fault never is.
            if first.as_ref().is_none_or(|end| end.fault.is_none()) {
                *first = Some(TaskEnd { name, fault });
            }
            drop(first);
            tasks.inner.ended.notify_waiters();
        });
    }

    /// Starts a task that ends by itself, such as the work on one request.
    ///
    /// A panic in it is logged and ends nothing else. The caller bounds how many there are.
    pub fn spawn_job<F>(&self, name: &'static str, work: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.track(name, work, move |outcome| {
            if let Err(panic) = outcome {
                tracing::error!(task = name, panic, "job panicked");
            }
        });
    }

    /// Names of the tasks that run now.
    pub fn running(&self) -> Vec<&'static str> {
        let running = &self.inner.running;
        let running = running.lock().unwrap_or_else(PoisonError::into_inner);
        running.values().copied().collect()
    }

    fn track<F, T>(
        &self,
        name: &'static str,
        work: F,
        done: impl FnOnce(Result<T, String>) + Send + 'static,
    ) where
        F: Future<Output = T> + Send + 'static,
        T: Send,
    {
        let inner = Arc::clone(&self.inner);
        let id = inner.next.fetch_add(1, Ordering::Relaxed);
        inner.edit_running(|running| {
            running.insert(id, name);
        });
        self.inner.tracker.spawn(async move {
            let outcome = tokio::select! {
                biased;
                () = inner.abort.cancelled() => None,
                outcome = AssertUnwindSafe(work).catch_unwind() => Some(outcome),
            };
            inner.edit_running(|running| {
                running.remove(&id);
            });
            if let Some(outcome) = outcome {
                done(outcome.map_err(|panic| panic_text(panic.as_ref())));
            }
        });
    }

    /// Waits until the first task of [`Self::spawn`] ends.
    pub(crate) async fn first_end(&self) -> TaskEnd {
        loop {
            let ended = self.inner.ended.notified();
            tokio::pin!(ended);
            // Counts from here on, so that no end falls between the look and the wait.
            ended.as_mut().enable();
            if let Some(end) = self.inner.lock_first().take() {
                return end;
            }
            ended.await;
        }
    }

    /// The fault of a task that ended while stopping.
    pub(crate) fn take_fault(&self) -> Option<anyhow::Error> {
        let end = self.inner.lock_first().take_if(|end| end.fault.is_some());
        end.map(TaskEnd::into_error)
    }

    /// Waits for all tasks within `grace`, then names and drops those left over.
    pub(crate) async fn join(&self, grace: Duration) {
        self.inner.tracker.close();
        if tokio::time::timeout(grace, self.inner.tracker.wait())
            .await
            .is_ok()
        {
            return;
        }
        tracing::warn!(tasks = ?self.running(), ?grace, "grace period over, dropping tasks");
        self.inner.abort.cancel();
        // What does not even yield is left to the end of the async runtime.
        let yielded = self.inner.tracker.wait();
        if tokio::time::timeout(Duration::from_secs(1), yielded)
            .await
            .is_err()
        {
            tracing::error!(tasks = ?self.running(), "tasks that do not yield are abandoned");
        }
    }
}

impl Inner {
    fn lock_first(&self) -> MutexGuard<'_, Option<TaskEnd>> {
        self.first.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn edit_running(&self, edit: impl FnOnce(&mut BTreeMap<u64, &'static str>)) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        edit(&mut running);
    }
}

impl TaskEnd {
    /// The end as the fault that it is before the shutdown.
    pub(crate) fn into_error(self) -> anyhow::Error {
        match self.fault {
            None => anyhow::anyhow!("task {} ended before the shutdown", self.name),
            Some(fault) => fault.context(format!("task {}", self.name)),
        }
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no text".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn the_first_end_has_its_name_and_reason() {
        let tasks = Tasks::new();
        tasks.spawn("idle", std::future::pending());
        tasks.spawn("reader", async { anyhow::bail!("disk is full") });
        let error = tasks.first_end().await.into_error();
        assert_eq!(format!("{error:#}"), "task reader: disk is full");
        assert_eq!(tasks.running(), ["idle"]);
    }

    #[tokio::test]
    async fn an_early_end_without_fault_is_a_fault() {
        let tasks = Tasks::new();
        tasks.spawn("reader", async { Ok(()) });
        let error = tasks.first_end().await.into_error();
        assert_eq!(error.to_string(), "task reader ended before the shutdown");
    }

    #[tokio::test]
    async fn a_panic_is_an_end_of_a_task_but_not_of_a_job() {
        let tasks = Tasks::new();
        tasks.spawn_job("request", async { panic!("first") });
        tasks.inner.tracker.close();
        tasks.inner.tracker.wait().await;
        assert!(tasks.inner.lock_first().is_none());
        tasks.spawn("reader", async { panic!("second") });
        let error = tasks.first_end().await.into_error();
        assert_eq!(format!("{error:#}"), "task reader: panicked: second");
    }

    #[tokio::test]
    async fn joining_waits_for_work_in_flight() {
        let tasks = Tasks::new();
        let stop = CancellationToken::new();
        let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
        let stopped = stop.clone();
        tasks.spawn("worker", async move {
            stopped.cancelled().await;
            sender.send("done").await?;
            Ok(())
        });
        stop.cancel();
        tasks.join(LONG).await;
        assert_eq!(receiver.recv().await, Some("done"));
    }

    #[tokio::test]
    async fn what_outlasts_the_grace_period_is_dropped() {
        let tasks = Tasks::new();
        tasks.spawn("stuck", std::future::pending());
        tasks.join(Duration::from_millis(10)).await;
        assert!(tasks.running().is_empty());
    }
}
