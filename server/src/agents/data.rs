//! Data sources of `rpcutil#get_data`, which compound filters of Choria call data plugins.
//!
//! `machine_state` and `scout` of the original are about autonomous agents, which this node does
//! not run: they are unknown here rather than answered with invented outputs.

use serde_json::{Value, json};

use crate::VERSION;
use crate::node::Node;

/// The sources there are, sorted.
pub const NAMES: [&str; 2] = ["choria", "config_item"];

/// Outputs of a source, or `None` when there is none of that name.
pub fn look_up(source: &str, query: &str, node: &Node, now: i64) -> Option<Value> {
    match source {
        "choria" => Some(choria(node, now)),
        "config_item" => {
            let value = node.config_items.get(query);
            Some(json!({ "present": value.is_some(), "value": value }))
        }
        _ => None,
    }
}

fn choria(node: &Node, now: i64) -> Value {
    let stats = node.stats.snapshot();
    let agents = node.agent_names();
    let classes = node.classes.current();
    json!({
        "agents_count": agents.len(),
        "agents": agents,
        "built": "unknown",
        "classes_count": classes.len(),
        "classes": classes.as_slice(),
        "commit": "unknown",
        "configfile": node.config_file,
        "connected_broker": node.link.connected_server().unwrap_or_default(),
        "cpus": crate::node::cpus(),
        "events": stats.events,
        "filtered": stats.filtered,
        "go_version": "",
        "goroutines": 0,
        "license": "Apache-2.0",
        "machines_count": 0,
        "machines": [],
        "passed": stats.passed,
        "pid": std::process::id(),
        "provisioning": node.is_unprovisioned(),
        "replies": stats.replies,
        "total": stats.total,
        "ttlexpired": stats.ttl_expired,
        "unvalidated": stats.invalid,
        "uptime": now.saturating_sub(node.started).max(0),
        "validated": stats.valid,
        "version": VERSION,
    })
}
