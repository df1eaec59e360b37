//! What operators want of a worker that runs.

use bytes::Bytes;
use overlay_protocol::replication::control::StateEntry;
use tokio::sync::oneshot;

/// A question to a worker; one that is dropped unanswered was not understood.
#[derive(Debug)]
pub(super) enum Question {
    /// All values that are tracked, in any order; none without sampling.
    Values(oneshot::Sender<Vec<StateEntry>>),
    /// A message that was kept aside, to be sent again: the sequence that the target gave it, or why not.
    Retry(Kept, oneshot::Sender<Result<u64, String>>),
}

/// A message that was kept aside, as it was at the source.
#[derive(Debug)]
pub(super) struct Kept {
    /// Sequence at the source.
    pub(super) sequence: u64,
    /// Subject at the source.
    pub(super) subject: String,
    pub(super) headers: async_nats::HeaderMap,
    pub(super) body: Bytes,
}
