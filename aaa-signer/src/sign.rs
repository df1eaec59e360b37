//! Whether a request is signed: every rule of it, without clock, disk and broker.
//!
//! ```text
//! Submission ── token ── signature over the bytes ── request ── message ── tenant ── policy ──> Decision
//! ```

mod decision;
mod judge;
mod reason;
mod rules;

use std::fmt;

use bytes::Bytes;

use crate::via::Via;

pub use decision::{Approved, Authority, Decision};
pub use judge::Judge;
pub use reason::Reason;
pub use rules::Rules;

/// A request that somebody wants to have signed.
#[derive(Clone)]
pub struct Submission {
    /// The caller's token, as received.
    pub token: String,
    /// The request, exactly as the caller signed it.
    pub request: Bytes,
    /// The caller's signature over it, hexadecimal.
    pub signature: Option<String>,
    /// By which way it came.
    pub via: Via,
    /// From where, for the record.
    pub peer: String,
}

impl fmt::Debug for Submission {
    // A token with its key is a login: keep it out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Submission")
            .field("token_bytes", &self.token.len())
            .field("request_bytes", &self.request.len())
            .field("is_signed", &self.signature.is_some())
            .field("via", &self.via)
            .field("peer", &self.peer)
            .finish()
    }
}

#[cfg(test)]
mod tests;
