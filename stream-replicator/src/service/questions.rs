//! What operators want of a worker that runs.

use overlay_protocol::replication::control::StateEntry;
use tokio::sync::oneshot;

/// A question to a worker; one that is dropped unanswered was not understood.
#[derive(Debug)]
pub(super) enum Question {
    /// All values that are tracked, in any order; none without sampling.
    Values(oneshot::Sender<Vec<StateEntry>>),
}
