//! The keys as they are now: read whole at the start and on change, or the ones before stay.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use overlay_runtime::{CancellationToken, Clock, Part, Secrets, err_chain};
use overlay_tokens::UnixTime;
use tokio::sync::watch;

use crate::config::{Config, Keys};
use crate::metrics::Metrics;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// The keys as they are now; clones show the same.
#[derive(Debug, Clone)]
pub(crate) struct Keyring {
    keys: watch::Receiver<Arc<Keys>>,
}

impl Keyring {
    /// The newest keys that were found good.
    pub(crate) fn current(&self) -> Arc<Keys> {
        Arc::clone(&self.keys.borrow())
    }
}

/// Looks after the files.
#[derive(Debug)]
pub(crate) struct Keeper {
    config: Config,
    secrets: Secrets,
    clock: Clock,
    metrics: Metrics,
    part: Part,
    keys: watch::Sender<Arc<Keys>>,
    seen: Vec<Option<Stamp>>,
}

/// What tells a file from the one that was there before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
}

impl Keeper {
    /// Begins with keys that were read a moment ago.
    pub(crate) fn new(
        config: &Config,
        keys: Keys,
        secrets: &Secrets,
        clock: &Clock,
        metrics: Metrics,
        part: Part,
    ) -> (Keyring, Self) {
        let (keys, receiver) = watch::channel(Arc::new(keys));
        let mut keeper = Self {
            config: config.clone(),
            secrets: secrets.clone(),
            clock: clock.clone(),
            metrics,
            part,
            keys,
            seen: Vec::new(),
        };
        keeper.seen = keeper.stamps();
        keeper.part.up();
        keeper.note_expiry();
        (Keyring { keys: receiver }, keeper)
    }

    /// Reads the files again when one of them changes.
    pub(crate) async fn keep(mut self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                _ = looks.tick() => {}
            }
            // Looked at before they are read: what is replaced meanwhile is seen at the next look.
            let stamps = self.stamps();
            if stamps != self.seen {
                self.seen = stamps;
                self.read();
            }
            self.note_expiry();
        }
    }

    fn read(&self) {
        let now = UnixTime::from(self.clock.now());
        match Keys::load(&self.config, &self.secrets, now) {
            Ok(keys) => {
                self.keys.send_replace(Arc::new(keys));
                self.metrics.key_reloads(true).inc();
                tracing::info!("keys and tokens read again");
            }
            Err(errors) => {
                self.metrics.key_reloads(false).inc();
                let errors: Vec<_> = errors.iter().map(|error| err_chain(error)).collect();
                tracing::error!(
                    error = errors.join("; "),
                    "keys and tokens were changed and cannot be used; those before stay in use"
                );
            }
        }
    }

    /// A delegator or issuer that has expired signs what nobody takes: say so.
    fn note_expiry(&self) {
        let now = UnixTime::from(self.clock.now());
        let keys = Arc::clone(&self.keys.borrow());
        let expires = keys.expires_at();
        self.metrics.keys_expire.set(expires.unwrap_or_default());
        match expires {
            Some(expires) if now.is_past(expires) => {
                self.part.down("a token of this service has expired");
            }
            Some(_) | None => self.part.up(),
        }
    }

    fn stamps(&self) -> Vec<Option<Stamp>> {
        self.files().iter().map(|path| stamp(path)).collect()
    }

    fn files(&self) -> Vec<PathBuf> {
        let signer = self.config.signer.as_ref().map(|signer| &signer.delegator);
        [self.config.identity.as_ref(), signer]
            .into_iter()
            .flatten()
            .flat_map(|files| [files.token_file.clone(), files.seed_file.clone()])
            .collect()
    }
}

fn stamp(path: &std::path::Path) -> Option<Stamp> {
    let metadata = std::fs::metadata(path).ok()?;
    Some(Stamp {
        device: metadata.dev(),
        inode: metadata.ino(),
        bytes: metadata.size(),
        changed: (metadata.mtime(), metadata.mtime_nsec()),
    })
}
