//! Pauses: an operator's word, kept in a bucket at the source, which all replicas follow and no restart forgets.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::kv::{self, Operation, Store};
use futures_util::StreamExt as _;
use overlay_protocol::json::Limits;
use overlay_protocol::replication::control::{BUCKET, Pause, decode_pause, pause_key};
use overlay_runtime::{Backoff, CancellationToken, err_chain};
use tokio::sync::watch;
use tokio::time::timeout;

use super::bucket;
use super::places::Place;

/// How long the broker may take for an answer.
const ANSWER: Duration = Duration::from_secs(5);
/// How often what is followed is looked at in any case.
const LOOK: Duration = Duration::from_secs(15);
/// How often it is looked for a bucket that is not there.
const RETRY: Backoff = Backoff {
    first: Duration::from_secs(1),
    last: Duration::from_secs(5),
    steps: 4,
};

/// The pause of one worker; clones share it.
#[derive(Clone, Debug)]
pub(super) struct Pausing {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    key: String,
    place: Arc<Place>,
    pause: watch::Sender<Option<Pause>>,
    /// For the worker: why it is paused.
    reason: watch::Sender<Option<String>>,
    /// Whether it was asked once.
    is_known: watch::Sender<bool>,
}

/// Why a pause cannot be set or ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum PauseError {
    #[error("the source is not connected")]
    Away,
    #[error("the bucket cannot be opened")]
    Bucket(#[source] bucket::BucketError),
    #[error("the pause cannot be written")]
    Put(#[source] kv::PutError),
    #[error("the pause cannot be ended")]
    Delete(#[source] kv::DeleteError),
    #[error("the source does not answer in time")]
    Silence,
}

impl Pausing {
    pub(super) fn new(stream: &str, worker: &str, place: Arc<Place>) -> Self {
        let inner = Inner {
            key: pause_key(stream, worker),
            place,
            pause: watch::Sender::default(),
            reason: watch::Sender::default(),
            is_known: watch::Sender::new(false),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// The pause, if there is one.
    pub(super) fn now(&self) -> Option<Pause> {
        self.inner.pause.borrow().clone()
    }

    /// Why the worker is paused, followed.
    pub(super) fn reasons(&self) -> watch::Receiver<Option<String>> {
        self.inner.reason.subscribe()
    }

    /// Waits until the source was asked once, whatever it said.
    pub(super) async fn known(&self) {
        let mut is_known = self.inner.is_known.subscribe();
        // The sender lives as long as this value.
        is_known.wait_for(|known| *known).await.ok();
    }

    /// Follows the bucket until the shutdown.
    pub(super) async fn follow(self, shutdown: CancellationToken) {
        let Ok(link) = self.inner.place.link(&shutdown).await else {
            return;
        };
        let followed = async {
            let mut told = String::new();
            for attempt in 0.. {
                let problem = self.look(&link.jetstream).await;
                self.inner.is_known.send_replace(true);
                if problem != told {
                    tracing::debug!(key = self.inner.key, problem, "pause not followed");
                    told = problem;
                }
                tokio::time::sleep(RETRY.jittered(attempt)).await;
            }
        };
        shutdown.run_until_cancelled(followed).await;
    }

    /// Follows the key; what comes back is why it ended.
    async fn look(&self, jetstream: &jetstream::Context) -> String {
        let key = &self.inner.key;
        let store = match timeout(ANSWER, jetstream.get_key_value(BUCKET)).await {
            Ok(Ok(store)) => store,
            Ok(Err(error)) => return err_chain(&error),
            Err(_) => return "no answer in time".to_owned(),
        };
        if let Err(problem) = self.read(&store).await {
            return problem;
        }
        self.inner.is_known.send_replace(true);
        let mut changes = match timeout(ANSWER, store.watch_with_history(key)).await {
            Ok(Ok(changes)) => changes,
            Ok(Err(error)) => return err_chain(&error),
            Err(_) => return "no answer in time".to_owned(),
        };
        let mut looks = tokio::time::interval_at(tokio::time::Instant::now() + LOOK, LOOK);
        loop {
            tokio::select! {
                change = changes.next() => match change {
                    Some(Ok(entry)) => self.take(entry.operation, &entry.value),
                    Some(Err(error)) => return err_chain(&error),
                    None => return "the watch ended".to_owned(),
                },
                // A watch over a broken connection may miss what it does not know of.
                _ = looks.tick() => if let Err(problem) = self.read(&store).await {
                    return problem;
                },
            }
        }
    }

    async fn read(&self, store: &Store) -> Result<(), String> {
        match timeout(ANSWER, store.entry(&self.inner.key)).await {
            Ok(Ok(Some(entry))) => self.take(entry.operation, &entry.value),
            Ok(Ok(None)) => self.set(None),
            Ok(Err(error)) => return Err(err_chain(&error)),
            Err(_) => return Err("no answer in time".to_owned()),
        }
        Ok(())
    }

    fn take(&self, operation: Operation, value: &[u8]) {
        match operation {
            Operation::Put => {
                let pause = decode_pause(value, &Limits::default()).unwrap_or_else(|error| {
                    // Whoever wrote it wanted a pause.
                    tracing::warn!(error = err_chain(&error), "a pause that cannot be read");
                    Pause::default()
                });
                self.set(Some(pause));
            }
            Operation::Delete | Operation::Purge => self.set(None),
        }
    }

    fn set(&self, pause: Option<Pause>) {
        let reason = pause.as_ref().map(reason);
        self.inner.pause.send_if_modified(|now| {
            let changed = *now != pause;
            *now = pause;
            changed
        });
        self.inner.reason.send_if_modified(|now| {
            let changed = *now != reason;
            *now = reason;
            changed
        });
    }

    /// Pauses the worker, in all replicas.
    pub(super) async fn pause(&self, pause: Pause) -> Result<(), PauseError> {
        let store = self.store().await?;
        let value = overlay_protocol::json::encode(&pause);
        let put = timeout(ANSWER, store.put(&self.inner.key, value.into()));
        put.await
            .map_err(|_| PauseError::Silence)?
            .map_err(PauseError::Put)?;
        self.set(Some(pause));
        Ok(())
    }

    /// Ends the pause, in all replicas.
    pub(super) async fn resume(&self) -> Result<(), PauseError> {
        let store = self.store().await?;
        let deleted = timeout(ANSWER, store.delete(&self.inner.key));
        deleted
            .await
            .map_err(|_| PauseError::Silence)?
            .map_err(PauseError::Delete)?;
        self.set(None);
        // A worker that waits for an operator hears it even if it was not paused.
        self.inner.reason.send_replace(None);
        Ok(())
    }

    async fn store(&self) -> Result<Store, PauseError> {
        let link = self.inner.place.link_now().ok_or(PauseError::Away)?;
        timeout(ANSWER, bucket::open(&link.jetstream))
            .await
            .map_err(|_| PauseError::Silence)?
            .map_err(PauseError::Bucket)
    }
}

/// A pause as a worker tells of it.
fn reason(pause: &Pause) -> String {
    match (pause.by.as_str(), pause.reason.as_str()) {
        ("", "") => "paused".to_owned(),
        (by, "") => format!("paused by {by}"),
        ("", reason) => format!("paused: {reason}"),
        (by, reason) => format!("paused by {by}: {reason}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_tells_who_and_why() {
        let pause = |by: &str, why: &str| Pause {
            by: by.to_owned(),
            reason: why.to_owned(),
            since: 1,
        };
        assert_eq!(
            reason(&pause("up=bob", "upgrade")),
            "paused by up=bob: upgrade"
        );
        assert_eq!(reason(&pause("up=bob", "")), "paused by up=bob");
        assert_eq!(reason(&Pause::default()), "paused");
    }
}
