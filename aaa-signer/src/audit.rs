//! The record of what was decided: no signature and no token leaves before its line is durable.
//!
//! ```text
//! record() ─> bounded queue ─> engine: whatever waits becomes one batch of a chain ─┬─> file, fdatasync ─┬─> answers
//!                                                                                   └─> stream, ack ─────┘
//!                                                               outage, if allowed: ──> spool, fdatasync
//! ```
//!
//! What must hold:
//!
//! * One batch is on its way at a time. Where it is known that a batch was stored nowhere, its numbers are used again;
//!   where that is not known, the same batch is tried until it is.
//! * The chain goes on where it ended, whatever ended its writer. What does not fit is said in the record that opens it.
//! * Two writers never extend one chain: a file is locked, a stream compares the sequence that the writer expects.

mod batch;
mod blocking;
mod engine;
mod file;
mod keeper;
mod metrics;
mod open;
mod original;
mod spool;
mod stream;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use overlay_protocol::audit::{Data, Kind, TokenFacts};
use overlay_protocol::id::Identity;
use overlay_runtime::{CancellationToken, Clock, Part, Tasks};
use overlay_tokens::Issuers;
use overlay_tokens::audit::Sealer;
use overlay_tokens::claims::ClientClaims;
use prometheus::Registry;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::time::Instant;

pub use crate::config::{
    Audit as Settings, AuditSpool, AuditStream, Checkpoints, Link, OnOutage, OriginalForm,
};

use engine::Engine;
use metrics::Metrics;

/// Kilobytes of requests that may wait to be written, whatever their number.
const WAITING_KILOBYTES: u32 = 64 << 10;

/// The handle of the record; clones write to the same chain.
#[derive(Debug, Clone)]
pub struct Audit {
    queue: mpsc::Sender<Asked>,
    room: Arc<Semaphore>,
    limit: Duration,
    ready: watch::Receiver<bool>,
    metrics: Metrics,
}

/// What is to be recorded.
#[derive(Debug, Clone)]
pub struct Entry {
    /// What it tells.
    pub kind: Kind,
    /// What it says; its `callerid` is whom it concerns.
    pub data: Data,
}

/// Proof that a record is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Durable {
    /// Number of the record in its chain.
    pub sequence: u64,
}

/// Why nothing was recorded, or why that is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuditError {
    /// No place took it.
    #[error("the record could not be stored: {0}")]
    Refused(String),
    /// No place took it in time.
    #[error("the record was not stored within {0:?}")]
    TimedOut(Duration),
    /// Another process writes the same chain.
    #[error("another process writes to the chain of this one")]
    Taken,
    /// The service stops.
    #[error("the record is closed")]
    Closed,
}

/// An entry and whoever waits for it.
#[derive(Debug)]
struct Asked {
    entry: Entry,
    answer: oneshot::Sender<Result<Durable, AuditError>>,
    /// Room for it among those that wait.
    room: OwnedSemaphorePermit,
}

/// Who signs the chain at the moment; nothing without a server token.
pub type Seals = Arc<dyn Fn() -> Option<Arc<Sealer>> + Send + Sync>;

/// What the record works with.
pub struct Parts {
    /// Where it is kept.
    pub settings: Settings,
    /// The chain; of whoever signs it, where somebody does.
    pub chain: Identity,
    /// Who signs it.
    pub seals: Seals,
    /// Whose signatures count: those of the head that is kept beside a file.
    pub issuers: Issuers,
    /// Site, for copies and labels.
    pub site: String,
    /// A connection into the account of the audit; needed for the stream and for a topic.
    pub client: Option<async_nats::Client>,
    /// The time.
    pub clock: Clock,
    /// Where it is told whether records can be made.
    pub part: Part,
}

/// Why the record cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The metrics are there already.
    #[error("metrics of the record")]
    Metrics(#[from] prometheus::Error),
    /// Records are to go into a stream, and there is no connection.
    #[error("the record needs a connection to the account of the audit")]
    NoConnection,
}

impl Audit {
    /// Begins: the chain is taken up and opened in the background, tried until it works; [`is_ready`](Self::is_ready) tells.
    ///
    /// The work ends some time after the shutdown, when all handles are dropped or nothing more comes; the chain is closed
    /// then. It ends with an error when another process takes the chain.
    ///
    /// # Errors
    ///
    /// [`StartError`] for what no time mends.
    pub fn start(
        parts: Parts,
        registry: &Registry,
        tasks: &Tasks,
        shutdown: &CancellationToken,
    ) -> Result<Self, StartError> {
        let metrics = Metrics::register(registry, &parts.site)?;
        if (parts.settings.stream.is_some() || parts.settings.original.topic.is_some())
            && parts.client.is_none()
        {
            return Err(StartError::NoConnection);
        }
        let (queue, asked) = mpsc::channel(parts.settings.queue);
        let (told, ready) = watch::channel(false);
        let limit = parts.settings.limit;
        let engine = Engine::new(parts, asked, told, metrics.clone(), shutdown.clone(), tasks);
        tasks.spawn("audit", engine.run());
        Ok(Self {
            queue,
            room: Arc::new(Semaphore::new(WAITING_KILOBYTES as usize)),
            limit,
            ready,
            metrics,
        })
    }

    /// Records a decision, and returns when the record is durable.
    ///
    /// Dropped before it returns, or at its time limit, the record may still come to be; if it allowed something, a
    /// further record then says that nobody received it.
    ///
    /// # Errors
    ///
    /// [`AuditError`]: what was decided must not be done.
    pub async fn record(&self, mut entry: Entry) -> Result<Durable, AuditError> {
        entry.data.bound();
        let began = Instant::now();
        let (answer, heard) = oneshot::channel();
        let recorded = async {
            let room = Arc::clone(&self.room)
                .acquire_many_owned(kilobytes(&entry.data))
                .await
                .map_err(|_closed| AuditError::Closed)?;
            let asked = Asked {
                entry,
                answer,
                room,
            };
            if self.queue.send(asked).await.is_err() {
                return Err(AuditError::Closed);
            }
            heard.await.unwrap_or(Err(AuditError::Closed))
        };
        let outcome = tokio::time::timeout(self.limit, recorded)
            .await
            .unwrap_or(Err(AuditError::TimedOut(self.limit)));
        self.metrics.recorded(&outcome, began.elapsed());
        outcome
    }

    /// Whether records can be made, as far as it is known.
    pub fn is_ready(&self) -> bool {
        *self.ready.borrow()
    }
}

/// What a record says of a token, marked as proved or not.
pub(crate) fn token_facts(claims: &ClientClaims, verified: bool) -> TokenFacts {
    TokenFacts {
        verified,
        jti: claims.standard.jti.clone(),
        issuer: claims.standard.iss.clone(),
        organisation: claims.ou.clone().unwrap_or_default(),
        callerid: claims.callerid.clone(),
        expires: claims.standard.expires_at(),
        permissions: claims
            .granted()
            .names()
            .into_iter()
            .map(str::to_owned)
            .collect(),
        public_key: claims.standard.public_key.clone(),
    }
}

/// What an entry takes of the room for those that wait.
fn kilobytes(data: &Data) -> u32 {
    let bytes = data
        .request
        .as_ref()
        .map_or(0, |request| request.get().len());
    u32::try_from(bytes >> 10).map_or(WAITING_KILOBYTES, |kilobytes| {
        (kilobytes + 1).min(WAITING_KILOBYTES)
    })
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts")
            .field("settings", &self.settings)
            .field("chain", &self.chain)
            .finish_non_exhaustive()
    }
}
