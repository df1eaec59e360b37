//! Why a node does not start or does not go on.

use crate::identity::IdentityError;
use crate::provisioning::TicketError;

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It cannot show who it is.
    #[error("the node has no usable identity")]
    Identity(#[from] IdentityError),
    /// Its name is none.
    #[error("`{name}` is no name for a node: {reason}")]
    Name {
        /// The name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// It cannot be enrolled by the token it has.
    #[error("the provisioning token is of no use")]
    Ticket(#[from] TicketError),
}

/// Why a node does not go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It did not start.
    #[error(transparent)]
    Start(#[from] StartError),
}
