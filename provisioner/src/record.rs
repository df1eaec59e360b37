//! Records of nodes and of what was done to them.

pub use overlay_protocol::provisioning::audit::Record as AuditRecord;
pub use overlay_protocol::provisioning::{Issued, NodeRecord, NodeState, TokenFacts};
