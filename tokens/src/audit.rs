//! The chain of audit records: its writer's half, and its verification.
//!
//! ```text
//! Chain ── append, seal ──> lines ──> Verifier::line ──> Verdict: what is whole, and where it is not
//! ```
//!
//! Whoever changes, removes or moves a line breaks the hash that the next line names. Whoever makes all later lines anew
//! cannot sign their checkpoints. Whoever cuts the end off is found out by what lies elsewhere: a [`SignedHead`], an
//! expectation, the last sequence of a stream.

mod chain;
mod seal;
mod verdict;
mod verify;

pub use chain::Chain;
pub use seal::{SealError, Sealer, SealerError, SignedHead};
pub use verdict::{ChainVerdict, Fault, FaultKind, NoticeAt, Place, Verdict};
pub use verify::Verifier;

#[cfg(test)]
mod tests;
