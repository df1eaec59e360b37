//! Denials of those for whom there was no place.

use std::sync::Arc;

use async_nats::Client;
use bytes::Bytes;
use overlay_runtime::Tasks;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;

use crate::metrics::Metrics;
use crate::rpc::Dropped;

/// Sends denials, so many at a time: they wait while the broker takes nothing.
#[derive(Debug)]
pub(super) struct Denials {
    client: Client,
    metrics: Metrics,
    tasks: Tasks,
    open: TaskTracker,
    places: Arc<Semaphore>,
}

/// Leave to send one.
#[derive(Debug)]
pub(super) struct Leave {
    _permit: OwnedSemaphorePermit,
}

impl Denials {
    /// At most `most` wait; `open` knows of those that do.
    pub(super) fn new(
        client: Client,
        metrics: Metrics,
        tasks: Tasks,
        open: TaskTracker,
        most: usize,
    ) -> Self {
        Self {
            client,
            metrics,
            tasks,
            open,
            places: Arc::new(Semaphore::new(most)),
        }
    }

    /// Leave to send one more; who gets none is counted, and is not answered.
    pub(super) fn leave(&self) -> Option<Leave> {
        let leave = Arc::clone(&self.places).try_acquire_owned();
        if leave.is_err() {
            self.metrics.dropped(Dropped::Crowded).inc();
        }
        leave.ok().map(|permit| Leave { _permit: permit })
    }

    /// Sends one, without waiting for it.
    pub(super) fn send(&self, leave: Leave, subject: String, answer: Bytes) {
        let (client, metrics) = (self.client.clone(), self.metrics.clone());
        let work = async move {
            super::publish(&client, &metrics, subject, answer).await;
            drop(leave);
        };
        self.tasks.spawn_job("denial", self.open.track_future(work));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use async_nats::ConnectOptions;
    use overlay_testkit::eventually;
    use prometheus::Registry;

    use super::*;

    #[tokio::test]
    async fn of_those_who_cannot_be_answered_so_many_wait_and_the_others_are_counted() {
        // Never connected, and with room for one message: whatever comes after it waits.
        let client = ConnectOptions::new()
            .retry_on_initial_connect()
            .client_capacity(1)
            .connect("127.0.0.1:1")
            .await
            .unwrap();
        let metrics = Metrics::register(&Registry::new(), "x").unwrap();
        let open = TaskTracker::new();
        let denials = Denials::new(client, metrics.clone(), Tasks::new(), open.clone(), 4);
        let send = || {
            let leave = denials.leave();
            let is_taken = leave.is_some();
            if let Some(leave) = leave {
                denials.send(leave, "x".to_owned(), Bytes::new());
            }
            is_taken
        };
        let taken = [0; 6].map(|_| send());
        assert_eq!(taken, [true, true, true, true, false, false]);
        assert_eq!(metrics.dropped(Dropped::Crowded).get(), 2);
        // The one that was sent made room for another.
        let (limit, period) = (Duration::from_secs(10), Duration::from_millis(5));
        eventually(limit, period, || async { open.len() < 4 }).await;
        assert!(send());
    }
}
