//! Sessions that have ended before their token: nothing is signed for them any more.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_nats::jetstream::kv::Operation;
use futures_util::StreamExt as _;
use overlay_runtime::{CancellationToken, Tasks, err_chain};

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
}

impl Revocations {
    /// Follows the bucket of `memory`, where there is one, until the shutdown.
    pub(crate) fn start(memory: &Memory, tasks: &Tasks, shutdown: CancellationToken) -> Self {
        let revocations = Self {
            memory: memory.clone(),
            ended: Arc::default(),
        };
        if memory.bucket().is_some() {
            let follower = revocations.clone();
            tasks.spawn("revocations", async move {
                shutdown.run_until_cancelled(follower.follow()).await;
                Ok(())
            });
        }
        revocations
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

    async fn follow(&self) {
        loop {
            if let Err(error) = self.follow_once().await {
                tracing::warn!(error, "ended sessions of other instances are not followed");
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn follow_once(&self) -> Result<(), String> {
        let Some(bucket) = self.memory.bucket() else {
            return Ok(());
        };
        let mut watch = bucket
            .store()
            .watch_with_history(KEYS)
            .await
            .map_err(|error| err_chain(&error))?;
        while let Some(entry) = watch.next().await {
            let entry = entry.map_err(|error| err_chain(&error))?;
            match entry.operation {
                Operation::Put => {
                    let expires = str::from_utf8(&entry.value)
                        .ok()
                        .and_then(|text| text.parse().ok());
                    self.note(entry.key, expires.unwrap_or(i64::MAX));
                }
                // Nobody deletes; a session that has ended does not begin again.
                Operation::Delete | Operation::Purge => {}
            }
        }
        Ok(())
    }
}
