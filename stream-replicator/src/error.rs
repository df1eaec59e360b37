//! Why the replicator does not begin.

/// Why the replicator does not begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {}
