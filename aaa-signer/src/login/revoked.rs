//! Sessions that have ended before their token: nothing is signed for them any more.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_nats::jetstream::consumer::{DeliverPolicy, push};
use futures_util::StreamExt as _;
use overlay_protocol::subject::stream::AAA_LOGINS_BUCKET;
use overlay_runtime::{CancellationToken, Tasks, err_chain};
use tokio::sync::watch;

use super::memory::{Memory, MemoryError, revoked_key};

/// So many ended sessions are known; those whose token expires first make room.
const MAX_SESSIONS: usize = 200_000;
/// Pause before the bucket is followed again.
const PAUSE: Duration = Duration::from_secs(1);
/// Keys of the bucket that are followed.
const KEYS: &str = "revoked.*";

/// Knows which sessions have ended, also those that ended at other instances; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Revocations {
    memory: Memory,
    ended: Arc<RwLock<HashMap<String, i64>>>,
    /// Whether it is known what had ended before the start.
    known: watch::Receiver<bool>,
}

/// The sessions that have ended could not be read in time.
#[derive(Debug, thiserror::Error)]
#[error("the ended sessions in the bucket {AAA_LOGINS_BUCKET} were not read within {} s", .0.as_secs())]
pub(crate) struct NotKnown(Duration);

impl Revocations {
    /// Follows the bucket of `memory`, where there is one, until the shutdown.
    pub(crate) fn start(memory: &Memory, tasks: &Tasks, shutdown: CancellationToken) -> Self {
        let (known, receiver) = watch::channel(memory.bucket().is_none());
        let revocations = Self {
            memory: memory.clone(),
            ended: Arc::default(),
            known: receiver,
        };
        if memory.bucket().is_some() {
            let follower = revocations.clone();
            tasks.spawn("revocations", async move {
                shutdown.run_until_cancelled(follower.follow(&known)).await;
                Ok(())
            });
        }
        revocations
    }

    /// Waits until it is known which sessions had ended before the start. Afterwards the list may be old while the broker is
    /// away, but never empty by mistake.
    pub(crate) async fn known(&self, limit: Duration) -> Result<(), NotKnown> {
        let mut known = self.known.clone();
        let waited = tokio::time::timeout(limit, known.wait_for(|is_known| *is_known)).await;
        match waited {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(NotKnown(limit)),
        }
    }

    /// Whether the session of a token has ended.
    pub(crate) fn is_revoked(&self, jti: &str) -> bool {
        let ended = self.ended.read().unwrap_or_else(PoisonError::into_inner);
        !ended.is_empty() && ended.contains_key(&revoked_key(jti))
    }

    /// Ends a session, here and at all instances; its token would have been good until `expires`.
    pub(super) async fn revoke(&self, jti: &str, expires: i64) -> Result<(), MemoryError> {
        self.memory.revoke(jti, expires).await?;
        self.note(revoked_key(jti), expires);
        Ok(())
    }

    fn note(&self, key: String, expires: i64) {
        let now = self.memory.now();
        let mut ended = self.ended.write().unwrap_or_else(PoisonError::into_inner);
        if ended.len() >= MAX_SESSIONS {
            ended.retain(|_, expires| now <= *expires);
        }
        if ended.len() >= MAX_SESSIONS {
            let first = ended.iter().min_by_key(|(_, expires)| **expires);
            if let Some(first) = first.map(|(key, _)| key.clone()) {
                ended.remove(&first);
            }
        }
        ended.insert(key, expires);
    }

    async fn follow(&self, known: &watch::Sender<bool>) {
        let mut told = false;
        loop {
            let followed = self.follow_once(known, &mut told).await;
            if let Err(error) = followed
                && !told
            {
                tracing::warn!(error, "ended sessions of other instances are not followed");
                told = true;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Reads what there is, and follows until something goes wrong.
    async fn follow_once(
        &self,
        known: &watch::Sender<bool>,
        told: &mut bool,
    ) -> Result<(), String> {
        let Some(bucket) = self.memory.bucket() else {
            return Ok(());
        };
        let store = bucket.store();
        let consumer = store
            .stream
            .create_consumer(push::OrderedConfig {
                deliver_subject: bucket.inbox(),
                description: Some("ended sessions".to_owned()),
                filter_subjects: vec![format!("{}{KEYS}", store.prefix)],
                deliver_policy: DeliverPolicy::LastPerSubject,
                ..push::OrderedConfig::default()
            })
            .await
            .map_err(|error| err_chain(&error))?;
        let mut left = consumer.cached_info().num_pending;
        let mut entries = consumer
            .messages()
            .await
            .map_err(|error| err_chain(&error))?;
        loop {
            if left == 0 {
                known.send_replace(true);
                if std::mem::take(told) {
                    tracing::info!("ended sessions of other instances are followed again");
                }
            }
            let Some(entry) = entries.next().await else {
                return Err("the subscription has ended".to_owned());
            };
            let entry = entry.map_err(|error| err_chain(&error))?;
            left = entry.info().map_err(|error| error.to_string())?.pending;
            // Nobody deletes, and what has lived its time is as good as there; an empty value is the broker's mark of that.
            if let Some(key) = entry.subject.strip_prefix(&store.prefix)
                && !entry.payload.is_empty()
            {
                let expires = str::from_utf8(&entry.payload)
                    .ok()
                    .and_then(|text| text.parse().ok());
                self.note(key.to_owned(), expires.unwrap_or(i64::MAX));
            }
        }
    }
}
