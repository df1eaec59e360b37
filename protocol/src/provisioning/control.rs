//! Requests to the provisioner's service agent [`SERVICE`](super::SERVICE), and its replies.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::audit::Record;
use super::{NodeRecord, NodeState};
use crate::id::Identity;
use crate::json::Limits;

/// Names of the actions.
pub mod name {
    /// Tells how the instances are doing.
    pub const STATUS: &str = "status";
    /// Takes up no further nodes.
    pub const PAUSE: &str = "pause";
    /// Takes up nodes again.
    pub const RESUME: &str = "resume";
    /// Lists nodes.
    pub const NODES: &str = "nodes";
    /// Shows one node.
    pub const NODE: &str = "node";
    /// Takes a node up at once.
    pub const RETRY: &str = "retry";
    /// Leaves a node alone until it is released.
    pub const QUARANTINE: &str = "quarantine";
    /// Ends a quarantine, frees the name and a token that was used.
    pub const RELEASE: &str = "release";
}

/// Most nodes that one reply lists.
pub const MAX_NODES: usize = 200;

/// Request of `pause`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PauseRequest {
    /// Why, for other operators.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// Request of `nodes`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodesRequest {
    /// Only those in this state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<NodeState>,
    /// How many to leave out, in order of identity.
    #[serde(default)]
    pub offset: usize,
    /// How many to list, at most [`MAX_NODES`]; 0 stands for all that fit.
    #[serde(default)]
    pub limit: usize,
}

/// Request of `node`, `retry`, `quarantine` and `release`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRequest {
    /// The node.
    pub identity: Identity,
    /// Why, for other operators.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// Reply of `status`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StatusReply {
    /// Whether no further nodes are taken up.
    pub paused: bool,
    /// Who said so, why, and when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pause: Option<Pause>,
    /// Instances that are alive.
    pub instances: Vec<InstanceStatus>,
    /// Nodes by state.
    pub nodes: BTreeMap<NodeState, u64>,
}

/// A pause, kept in a bucket for all instances.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pause {
    /// Caller id of the operator.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Since when, in Unix seconds.
    pub since: i64,
}

/// What an instance tells of itself, kept in a bucket while it is alive.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct InstanceStatus {
    /// Name of the instance, made anew at each start.
    pub id: String,
    /// Identity that it was configured with.
    pub identity: String,
    /// Site that it was configured with.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub site: String,
    /// Version of the software.
    pub version: String,
    /// When it started, in Unix seconds.
    pub started: i64,
    /// When it said so last, in Unix seconds.
    pub seen: i64,
    /// Whether it works, waits for its turn as leader, or is paused.
    pub mode: InstanceMode,
    /// Nodes that wait for their turn.
    pub waiting: u64,
    /// Nodes that were called and have not answered yet.
    pub contacting: u64,
    /// Nodes that are worked on.
    pub enrolling: u64,
    /// Helpers that run.
    pub helpers: u64,
    /// Nodes enrolled since it started.
    pub enrolled: u64,
    /// Attempts that failed since it started.
    pub failed: u64,
    /// Nodes that the helper put off since it started.
    pub deferred: u64,
    /// Nodes refused since it started.
    pub refused: u64,
}

/// What an instance does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InstanceMode {
    /// It enrols nodes.
    #[default]
    Active,
    /// Another one leads.
    Standby,
    /// An operator paused it.
    Paused,
    /// It finishes what it has begun, and stops.
    Draining,
}

/// Reply of `nodes`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodesReply {
    /// Nodes in order of identity.
    pub nodes: Vec<NodeRecord>,
    /// How many there are in all, with the state that was asked for.
    pub total: u64,
}

/// Reply of `node`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeReply {
    /// What is known of the node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<NodeRecord>,
    /// The last decisions about it, newest first.
    pub audit: Vec<Record>,
}

/// Reply of `pause`, `resume`, `retry`, `quarantine` and `release`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DoneReply {
    /// What was done, for people.
    pub message: String,
}

impl InstanceMode {
    /// Returns the word for the mode.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Standby => "standby",
            Self::Paused => "paused",
            Self::Draining => "draining",
        }
    }
}

impl NodesRequest {
    /// Returns how many nodes to list.
    #[must_use]
    pub fn page(&self) -> usize {
        match self.limit {
            0 => MAX_NODES,
            limit => limit.min(MAX_NODES),
        }
    }
}

/// Reads what a bucket of the provisioner holds: a [`Pause`] or an [`InstanceStatus`].
///
/// # Errors
///
/// [`DecodeError`](crate::DecodeError) says which limit was broken, or why it is none.
pub fn decode<T: DeserializeOwned>(bytes: &[u8], limits: &Limits) -> Result<T, crate::DecodeError> {
    let layer = crate::Layer::NodeRecord;
    limits.check(layer, bytes)?;
    serde_json::from_slice(bytes).map_err(|source| crate::DecodeError::Json { layer, source })
}
