//! Where a request goes, by its kind.

use std::str::FromStr;

use crate::id::{AgentName, Collective, Identity};

/// How a request finds its nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RequestKind {
    /// One message to all nodes with the agent; the filter chooses among them.
    Broadcast,
    /// One message to any one host of a service.
    Service,
    /// The same bytes to each node that is meant.
    Direct,
}

/// Why a request has no subject.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// The word for a kind that does not exist, or that is no request.
    #[error("{0:?} is no kind of request")]
    Kind(String),
    /// A direct request without a node.
    #[error("a direct request needs a node")]
    NoNode,
    /// A request to a service that names a node.
    #[error("a request to a service cannot name a node")]
    ServiceNode,
}

impl RequestKind {
    /// Returns the word for the kind.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Broadcast => "request",
            Self::Service => "service_request",
            Self::Direct => "direct_request",
        }
    }

    /// Tells whether the filter must name the agent as well: the subject of a direct request does not.
    #[must_use]
    pub fn filters_agent(self) -> bool {
        match self {
            Self::Direct => true,
            Self::Broadcast | Self::Service => false,
        }
    }
}

impl FromStr for RequestKind {
    type Err = TargetError;

    fn from_str(word: &str) -> Result<Self, TargetError> {
        [Self::Broadcast, Self::Service, Self::Direct]
            .into_iter()
            .find(|kind| kind.as_str() == word)
            .ok_or_else(|| TargetError::Kind(word.chars().take(64).collect()))
    }
}

/// Returns the subject of a request; a direct one is published once per node.
///
/// # Errors
///
/// [`TargetError`] when kind and node do not go together.
pub fn target(
    kind: RequestKind,
    collective: &Collective,
    agent: &AgentName,
    node: Option<&Identity>,
) -> Result<String, TargetError> {
    match (kind, node) {
        (RequestKind::Broadcast, _) => Ok(super::broadcast_agent(collective, agent)),
        (RequestKind::Service, None) => Ok(super::broadcast_service(collective, agent)),
        (RequestKind::Service, Some(_)) => Err(TargetError::ServiceNode),
        (RequestKind::Direct, Some(node)) => Ok(super::node(collective, node)),
        (RequestKind::Direct, None) => Err(TargetError::NoNode),
    }
}
