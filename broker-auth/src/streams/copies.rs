//! Streams that take what another cell's replicator copies.
//!
//! They are made here because their writer must not: whoever may make a stream may have it store any subject of the
//! account, and pass it on to any other.

use serde_json::{Map, Value, json};

use super::{Action, Settings, lasting, reconcile};

/// A stream for copies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyStream {
    /// Name on the broker.
    pub name: String,
    /// What it stores: subjects that nobody but its writer may publish.
    pub subjects: Vec<String>,
    /// Retention, replicas and size.
    pub settings: Settings,
}

impl CopyStream {
    /// Says what is to be done, given the configuration that the broker has for the stream, if it has it.
    #[must_use]
    pub fn reconcile(&self, current: Option<&Map<String, Value>>) -> Action {
        let mut wanted = lasting(json!(self.subjects), self.settings.retention);
        // Its writer reads what it wrote last, and has no right to a consumer.
        wanted.extend([("discard", json!("old")), ("allow_direct", json!(true))]);
        let bounds = match self.settings.max_bytes {
            0 => Vec::new(),
            bytes => vec![("max_bytes", json!(bytes))],
        };
        reconcile(&self.name, wanted, bounds, self.settings.replicas, current)
    }
}
