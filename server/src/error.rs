//! Why a node does not start or does not go on.

use crate::identity::IdentityError;

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It cannot show who it is.
    #[error("the node has no usable identity")]
    Identity(#[from] IdentityError),
}

/// Why a node does not go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It did not start.
    #[error(transparent)]
    Start(#[from] StartError),
}
