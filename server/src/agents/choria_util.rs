//! Agent `choria_util`: how the node is connected, and the state of its autonomous agents.
//!
//! This node runs no autonomous agents, so the `machine_` actions say so in the words of a Choria
//! server without any.

use overlay_protocol::rpc::StatusCode;
use serde_json::{Value, json};

use crate::VERSION;
use crate::agent::{Agent, Answer, Call, InputError, Metadata, Outcome, Running, text};
use crate::node::Node;

const ACTIONS: [&str; 4] = [
    "info",
    "machine_state",
    "machine_states",
    "machine_transition",
];

/// The agent; it holds nothing of its own.
#[derive(Debug)]
pub struct ChoriaUtil {
    metadata: Metadata,
}

impl ChoriaUtil {
    /// Makes the agent. Its actions may take longer than its DDL lets clients wait.
    pub fn new() -> Self {
        Self {
            metadata: super::builtin_metadata("choria_util", 10),
        }
    }
}

impl Default for ChoriaUtil {
    fn default() -> Self {
        Self::new()
    }
}

impl Agent for ChoriaUtil {
    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn has_action(&self, action: &str) -> bool {
        ACTIONS.contains(&action)
    }

    fn run<'a>(&'a self, call: Call<'a>, node: &'a Node) -> Running<'a> {
        Box::pin(async move { Outcome::Reply(act(call, node)) })
    }
}

fn act(call: Call<'_>, node: &Node) -> Answer {
    let done = match call.action {
        "info" => Ok(Answer::ok(info(node))),
        "machine_states" => Ok(Answer::ok(json!({
            "machine_ids": [], "machine_names": [], "states": {},
        }))),
        "machine_state" => machine_state(call),
        "machine_transition" => machine_transition(call),
        other => Ok(Answer::failed(
            StatusCode::UnknownAction,
            format!("Unknown action {other} for agent choria_util"),
        )),
    };
    done.unwrap_or_else(|error| {
        Answer::failed(
            StatusCode::InvalidData,
            format!(
                "Could not parse request data for choria_util#{}: {error}",
                call.action
            ),
        )
    })
}

fn info(node: &Node) -> Value {
    let traffic = node.link.traffic();
    let servers = node.link.known_servers();
    json!({
        "security": "choria",
        "connector": "choria",
        "client_version": VERSION,
        "client_flavour": "async-nats (rust)",
        "client_options": {
            "servers": servers,
            "dont_randomize_servers": false,
            "name": node.identity.as_str(),
            "pedantic": false,
            "secure": node.link.secure(),
            "allow_reconnect": true,
            "max_reconnect_attempts": -1,
            "reconnect_time_wait": 0.5,
            "connect_timeout": node.link.connect_timeout().as_secs_f64(),
            "ping_interval": crate::link::PING_INTERVAL.as_secs(),
            "max_outstanding_pings": 2,
        },
        "client_stats": {
            "in_msgs": traffic.in_messages,
            "out_msgs": traffic.out_messages,
            "in_bytes": traffic.in_bytes,
            "out_bytes": traffic.out_bytes,
            "reconnects": node.link.reconnects(),
        },
        "connected_server": node.link.connected_server().unwrap_or_default(),
        "facter_domain": node.domain(),
        "facter_command": "",
        "srv_domain": node.link.srv_domain(),
        "using_srv": node.link.uses_srv(),
        "middleware_servers": servers.iter().map(|url| host_port(url)).collect::<Vec<_>>(),
        "path": node.path,
        "choria_version": format!("overlay {VERSION}"),
        "secure_protocol": true,
        "connector_tls": node.link.secure(),
    })
}

fn host_port(url: &str) -> &str {
    url.split_once("://").map_or(url, |(_, rest)| rest)
}

fn machine_state(call: Call<'_>) -> Result<Answer, InputError> {
    let asked = [
        text(call.data, "instance")?,
        text(call.data, "name")?,
        text(call.data, "path")?,
    ];
    let message = if asked.iter().all(|text| text.is_empty()) {
        "No search criteria given"
    } else {
        "No running machines"
    };
    Ok(Answer {
        data: json!({
            "name": "unknown machine",
            "version": "unknown machine",
            "state": "unknown machine",
            "path": "",
            "id": "",
            "start_time": 0,
            "available_transitions": null,
            "scout": false,
        }),
        ..Answer::aborted(message)
    })
}

fn machine_transition(call: Call<'_>) -> Result<Answer, InputError> {
    for input in ["instance", "version", "name", "path"] {
        let _checked = text(call.data, input)?;
    }
    let transition = text(call.data, "transition")?;
    Ok(Answer {
        data: json!({ "success": false }),
        ..Answer::aborted(format!(
            "Could not perform {transition} transition: this node runs no machines"
        ))
    })
}
