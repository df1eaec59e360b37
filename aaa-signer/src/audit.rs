//! The record of what was decided.

use bytes::Bytes;

use crate::via::Via;

/// The handle of the record; clones write to the same.
#[derive(Debug, Clone)]
pub struct Audit {}

/// What is to be recorded of one decision.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Whether it was allowed.
    pub allowed: bool,
    /// Why, in a word.
    pub reason: &'static str,
    /// Why, for people.
    pub message: String,
    /// The rule that said so.
    pub rule: Option<String>,
    /// SHA-256 of the policy that said so.
    pub policy: Option<String>,
    /// The caller's tenant.
    pub tenant: Option<String>,
    /// Who called.
    pub callerid: String,
    /// Whether that was proved.
    pub verified: bool,
    /// The request: the one that is signed, or the bytes received.
    pub request: Bytes,
    /// The agent and action.
    pub action: Option<(String, String)>,
    /// By which way it came.
    pub via: Via,
    /// From where.
    pub peer: String,
}

/// Proof that a record is durable.
#[derive(Debug)]
pub struct Durable(());

/// Why nothing was recorded.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// No place took it in time.
    #[error("the record was not made durable")]
    Unavailable,
}

impl Audit {
    /// Records a decision, and returns when the record is durable.
    #[expect(clippy::unused_async, reason = "the skeleton")]
    pub async fn record(&self, entry: Entry) -> Result<Durable, AuditError> {
        drop(entry);
        Err(AuditError::Unavailable)
    }

    /// Whether records can be made.
    pub fn is_ready(&self) -> bool {
        false
    }
}
