//! How nodes are enrolled: the agent that does it on the node, the provisioner's control and records.
//!
//! ```text
//! node      choria_provision: jwt, gen25519, gencsr, configure, restart, ...   action, inventory, messages
//! operator  provisioner: status, pause, resume, nodes, node, retry, ...         control
//! buckets   one record per node, under record_key                               record, key
//! streams   one record per decision                                             audit
//! ```

pub mod action;
pub mod audit;
pub mod control;
mod field;
mod inventory;
mod key;
pub mod messages;
mod record;

pub use field::{DataError, Excess};
pub use inventory::InventoryReply;
pub use key::{identity_of_key, record_key};
pub use record::{
    Issued, KEPT_ENROLMENTS, MAX_COLLECTIVES, MAX_REASON_BYTES, MAX_WORD_BYTES, NodeRecord,
    NodeState, StateError, TokenFacts,
};

/// Agent on a node that is to be enrolled.
pub const AGENT: &str = "choria_provision";
/// Collective of all nodes that are not enrolled.
pub const COLLECTIVE: &str = "provisioning";
/// Component name of a node that is not enrolled.
pub const COMPONENT: &str = crate::lifecycle::COMPONENT_PROVISION_MODE;
/// Component name of the provisioner.
pub const PROVISIONER_COMPONENT: &str = crate::lifecycle::COMPONENT_PROVISIONER;
/// Service agent of the provisioner, and its queue group.
pub const SERVICE: &str = "provisioner";
/// User name that provisioners log in with.
pub const USER: &str = "provisioner";
/// Longest nonce in bytes.
pub const MAX_NONCE_BYTES: usize = 64;

#[cfg(test)]
mod tests;
