//! Why foreign bytes were refused.

use std::fmt;

/// A message layer, named in errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Layer {
    /// Outermost layer: routing headers around opaque data.
    Transport,
    /// Signed request around the request's bytes.
    SecureRequest,
    /// Request: who asks which agent, and until when.
    Request,
    /// Hashed and perhaps signed reply around the reply's bytes.
    SecureReply,
    /// Reply of one node.
    Reply,
    /// Body of a request: agent, action and inputs.
    RpcRequest,
    /// Body of a reply: status and data.
    RpcReply,
    /// Description of an agent.
    Ddl,
    /// Lifecycle event.
    Event,
    /// What the provisioner remembers of a node, or of itself.
    NodeRecord,
    /// What was decided and done: a record of the provisioner or of the signing service.
    AuditRecord,
    /// Question for a signature, or its answer.
    Signing,
    /// Pause of a replicator's worker.
    ReplicationPause,
    /// What replicators tell each other, and the fleet.
    Replication,
}

/// Bytes that are no message of the kind they should be.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Larger than the receiver's limit.
    #[error("{layer} of {size} bytes is above the limit of {limit}")]
    TooLarge {
        /// Layer that was decoded.
        layer: Layer,
        /// Size in bytes.
        size: usize,
        /// Limit in bytes.
        limit: usize,
    },
    /// Nested deeper than the receiver's limit.
    #[error("{layer} is nested deeper than {limit} levels")]
    TooDeep {
        /// Layer that was decoded.
        layer: Layer,
        /// Limit in levels.
        limit: usize,
    },
    /// No JSON object, or a broken one.
    #[error("{layer} is not a JSON object")]
    Json {
        /// Layer that was decoded.
        layer: Layer,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// A member stands there twice, so that two readers may see two messages.
    #[error("{layer} has member {member} twice")]
    Duplicate {
        /// Layer that was decoded.
        layer: Layer,
        /// Name of the member.
        member: &'static str,
    },
    /// A member differs from a known one in letter case only, which some readers take for the same.
    #[error("{layer} spells member {member} as {found:?}")]
    Misspelt {
        /// Layer that was decoded.
        layer: Layer,
        /// Name as it should be.
        member: &'static str,
        /// Name as it was found.
        found: String,
    },
    /// Another protocol than this layer's, or none.
    #[error("{layer} has protocol {found:?}")]
    Protocol {
        /// Layer that was decoded.
        layer: Layer,
        /// Protocol that was found, shortened; empty when there was none.
        found: String,
    },
    /// A required member is absent or empty.
    #[error("{layer} lacks member {member}")]
    Missing {
        /// Layer that was decoded.
        layer: Layer,
        /// Name of the member.
        member: &'static str,
    },
    /// A member's value is not of the kind it must be.
    #[error("{layer} has a bad member {member}: {reason}")]
    Member {
        /// Layer that was decoded.
        layer: Layer,
        /// Name of the member.
        member: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The hash in a secure reply is not that of its reply.
    #[error("secure reply's hash does not match its reply")]
    Hash,
}

impl Layer {
    /// Returns the layer's name in words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Transport => "transport",
            Self::SecureRequest => "secure request",
            Self::Request => "request",
            Self::SecureReply => "secure reply",
            Self::Reply => "reply",
            Self::RpcRequest => "rpc request",
            Self::RpcReply => "rpc reply",
            Self::Ddl => "agent description",
            Self::Event => "event",
            Self::NodeRecord => "record of a node",
            Self::AuditRecord => "audit record",
            Self::Signing => "question for a signature",
            Self::ReplicationPause => "pause of a worker",
            Self::Replication => "word of a replicator",
        }
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl DecodeError {
    /// Returns the layer that was refused.
    #[must_use]
    pub fn layer(&self) -> Layer {
        match self {
            Self::TooLarge { layer, .. }
            | Self::TooDeep { layer, .. }
            | Self::Json { layer, .. }
            | Self::Duplicate { layer, .. }
            | Self::Misspelt { layer, .. }
            | Self::Protocol { layer, .. }
            | Self::Missing { layer, .. }
            | Self::Member { layer, .. } => *layer,
            Self::Hash => Layer::SecureReply,
        }
    }
}
