//! Signs what was decided, once the record of it is durable.

use bytes::Bytes;

use crate::sign::{Reason, Submission};

/// Decides, records and signs.
#[derive(Debug)]
pub struct Signer {}

/// A request was not signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Denied {
    /// Why; not for the caller.
    pub reason: Reason,
}

impl Denied {
    /// Whether the same request may be signed when less is to be done.
    pub fn is_busy(self) -> bool {
        self.reason == Reason::Busy
    }
}

impl Signer {
    /// Decides about a request, records the decision, and signs what is allowed: the text of a secure request.
    ///
    /// # Errors
    ///
    /// When it is denied, or cannot be recorded.
    #[expect(clippy::unused_async, reason = "the skeleton")]
    pub async fn sign(&self, submission: Submission) -> Result<Bytes, Denied> {
        drop(submission);
        Err(Denied {
            reason: Reason::Busy,
        })
    }
}
