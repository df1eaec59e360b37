//! What instances of the service must agree on: requests and codes that were used, names that are locked, sessions that ended.
//!
//! It is in a bucket of the broker, where each key has a time to live. Without a broker, and while it is away, each instance
//! has a memory of its own, bounded: what was used is then refused by the instance that took it.

mod local;
mod shared;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use overlay_runtime::{Clock, err_chain};
use overlay_tokens::UnixTime;
use prometheus::{IntCounter, Opts, Registry};
use sha2::{Digest as _, Sha256};

use super::limits::{Failures, Lockout};

use local::Local;
use shared::Shared;

pub(crate) use shared::SharedError;

/// Names share so many places for their failures: a bounded memory that nobody can make forget. As hexadecimal digits.
const SLOT_DIGITS: usize = 5;

/// For so long a source is remembered from which somebody logged in.
const FAMILIAR: Duration = Duration::from_secs(30 * 24 * 3600);

/// Why something cannot be remembered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MemoryError {
    /// The memory of this instance is full.
    #[error("too much is remembered already")]
    Full,
    /// The bucket did not take it.
    #[error("the bucket of the login service")]
    Shared(#[from] SharedError),
    /// A metric is registered already.
    #[error("metrics of the login service")]
    Metrics(#[from] prometheus::Error),
}

/// Remembers; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Memory {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    local: Local,
    shared: Option<Shared>,
    clock: Clock,
    faults: IntCounter,
    away: AtomicBool,
}

impl Memory {
    /// Remembers in the bucket of the client's account, which is made if need be; without a client by itself.
    pub(crate) async fn open(
        client: Option<&async_nats::Client>,
        replicas: usize,
        clock: Clock,
        registry: &Registry,
    ) -> Result<Self, MemoryError> {
        let faults = IntCounter::with_opts(Opts::new(
            "overlay_aaa_login_memory_errors_total",
            "Times that the bucket shared by the instances could not be asked, and the instance's own memory served",
        ))?;
        registry.register(Box::new(faults.clone()))?;
        let shared = match client {
            Some(client) => Some(Shared::open(client.clone(), replicas).await?),
            None => None,
        };
        Ok(Self::with(shared, clock, faults))
    }

    fn with(shared: Option<Shared>, clock: Clock, faults: IntCounter) -> Self {
        Self {
            inner: Arc::new(Inner {
                local: Local::default(),
                shared,
                clock,
                faults,
                away: AtomicBool::new(false),
            }),
        }
    }

    /// Remembers by itself only.
    #[cfg(test)]
    pub(crate) fn alone(clock: Clock) -> Self {
        let faults = IntCounter::new("faults", "faults").unwrap();
        Self::with(None, clock, faults)
    }

    /// Whether `key` is used for the first time; it is remembered for `seconds`. Keys are made of letters, digits, `-`, `_` and `.`.
    pub(crate) async fn once(&self, key: &str, seconds: u64) -> Result<bool, MemoryError> {
        let first = self
            .inner
            .local
            .create(key, self.now().saturating_add_unsigned(seconds), self.now())
            .map_err(|_full| MemoryError::Full)?;
        if !first {
            return Ok(false);
        }
        let Some(shared) = self.shared() else {
            return Ok(true);
        };
        let created = shared
            .create(key, Vec::new(), Duration::from_secs(seconds))
            .await;
        Ok(self.heard(created).unwrap_or(true))
    }

    /// What went wrong for a name so far, at whichever instance.
    pub(crate) async fn failures(&self, name: &str) -> Failures {
        let key = slot(name);
        if let Some(shared) = self.shared()
            && let Some(entry) = self.heard(shared.read(&key).await)
        {
            return failures(&entry.value);
        }
        self.inner.local.failures(&key, self.now())
    }

    /// Remembers one more wrong password for a name; returns what is known now.
    pub(crate) async fn failed(&self, name: &str, lockout: Lockout) -> Failures {
        let key = slot(name);
        let now = self.now();
        let step = |before| {
            let after = lockout.failed(before, now);
            (after, lockout.remembered(after, now))
        };
        if let Some(shared) = self.shared() {
            let written = shared.change(&key, |before| {
                let (after, remembered) = step(failures(before));
                (encode(after), remembered, (after, remembered))
            });
            if let Some((after, remembered)) = self.heard(written.await) {
                // For the time when the broker is away.
                self.inner.local.note(&key, after, now, remembered);
                return after;
            }
        }
        self.inner.local.failed(&key, now, step)
    }

    /// Forgets what went wrong for a name.
    pub(crate) async fn forgive(&self, name: &str) {
        let key = slot(name);
        self.inner.local.forget(&key);
        if let Some(shared) = self.shared() {
            // A value that says nothing, gone in a second: a mark of deletion would stay for ever.
            let cleared = shared
                .write(&key, encode(Failures::default()), Duration::from_secs(1))
                .await;
            self.heard(cleared);
        }
    }

    /// Whether somebody of this name has logged in from this source of late.
    pub(crate) async fn is_familiar(&self, name: &str, source: &str) -> bool {
        let key = familiar_key(name, source);
        if self.inner.local.has(&key, self.now()) {
            return true;
        }
        let Some(shared) = self.shared() else {
            return false;
        };
        let read = self.heard(shared.read(&key).await);
        read.is_some_and(|entry| !entry.value.is_empty())
    }

    /// Remembers that somebody of this name has logged in from this source.
    pub(crate) async fn familiarise(&self, name: &str, source: &str) {
        let key = familiar_key(name, source);
        let expires = self.now().saturating_add_unsigned(FAMILIAR.as_secs());
        // Full or known already: it is no matter.
        drop(self.inner.local.create(&key, expires, self.now()));
        if let Some(shared) = self.shared() {
            self.heard(shared.write(&key, b"1".to_vec(), FAMILIAR).await);
        }
    }

    /// Says to all instances that a session has ended; its token would have been good until `expires`.
    pub(super) async fn revoke(&self, jti: &str, expires: i64) -> Result<(), MemoryError> {
        let left = u64::try_from(expires.saturating_sub(self.now())).unwrap_or_default();
        match &self.inner.shared {
            None => Ok(()),
            Some(shared) => Ok(shared
                .write(
                    &revoked_key(jti),
                    expires.to_string().into_bytes(),
                    Duration::from_secs(left.saturating_add(60)),
                )
                .await?),
        }
    }

    /// The bucket, for who follows it.
    pub(super) fn bucket(&self) -> Option<&Shared> {
        self.inner.shared.as_ref()
    }

    /// The time in Unix seconds.
    pub(super) fn now(&self) -> i64 {
        UnixTime::from(self.inner.clock.now()).secs
    }

    /// The bucket, unless the broker is away.
    fn shared(&self) -> Option<&Shared> {
        let shared = self.inner.shared.as_ref()?;
        if shared.is_connected() {
            Some(shared)
        } else {
            self.fault("no connection to the broker");
            None
        }
    }

    /// Notes whether the bucket answered.
    fn heard<T>(&self, answer: Result<T, SharedError>) -> Option<T> {
        match answer {
            Ok(value) => {
                if self.inner.away.swap(false, Ordering::Relaxed) {
                    tracing::info!("the instances of the login service share their memory again");
                }
                Some(value)
            }
            Err(error) => {
                self.fault(&err_chain(&error));
                None
            }
        }
    }

    fn fault(&self, error: &str) {
        self.inner.faults.inc();
        if !self.inner.away.swap(true, Ordering::Relaxed) {
            tracing::error!(
                error,
                "the instances of the login service do not share their memory: each has its own"
            );
        }
    }
}

/// Key of a session that has ended; ids that could not be part of a key are hashed.
pub(super) fn revoked_key(jti: &str) -> String {
    let plain =
        !jti.is_empty() && jti.len() <= 64 && jti.bytes().all(|b| b.is_ascii_alphanumeric());
    if plain {
        format!("revoked.{jti}")
    } else {
        format!("revoked.{}", hex::encode(Sha256::digest(jti)))
    }
}

fn familiar_key(name: &str, source: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(name.len().to_be_bytes());
    hash.update(name);
    hash.update(source);
    format!("familiar.{}", hex::encode(&hash.finalize()[..16]))
}

fn slot(name: &str) -> String {
    let mut hash = hex::encode(Sha256::digest(name));
    hash.truncate(SLOT_DIGITS);
    format!("fail.{hash}")
}

fn failures(value: &[u8]) -> Failures {
    serde_json::from_slice(value).unwrap_or_default()
}

fn encode(failures: Failures) -> Vec<u8> {
    serde_json::to_vec(&failures).unwrap_or_default()
}
