//! Whether a request is signed: every rule of it, without clock, disk and broker.

mod reason;

use bytes::Bytes;

use crate::via::Via;

pub use reason::Reason;

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

impl std::fmt::Debug for Submission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Submission")
            .field("token_bytes", &self.token.len())
            .field("request_bytes", &self.request.len())
            .field("is_signed", &self.signature.is_some())
            .field("via", &self.via)
            .field("peer", &self.peer)
            .finish()
    }
}
