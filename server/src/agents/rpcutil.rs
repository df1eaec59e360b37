//! Agent `rpcutil`: what the node is, what it runs, what it counted.

use overlay_protocol::rpc::StatusCode;
use serde_json::{Map, Value, json};

use super::data;
use crate::VERSION;
use crate::agent::{Agent, Answer, Call, InputError, Metadata, Outcome, Running, text};
use crate::node::Node;

const ACTIONS: [&str; 9] = [
    "agent_inventory",
    "collective_info",
    "daemon_stats",
    "get_config_item",
    "get_data",
    "get_fact",
    "get_facts",
    "inventory",
    "ping",
];

/// The agent; it holds nothing of its own.
#[derive(Debug)]
pub struct RpcUtil {
    metadata: Metadata,
}

impl RpcUtil {
    /// Makes the agent.
    pub fn new() -> Self {
        Self {
            metadata: super::builtin_metadata("rpcutil", 2),
        }
    }
}

impl Default for RpcUtil {
    fn default() -> Self {
        Self::new()
    }
}

impl Agent for RpcUtil {
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
        "ping" => Ok(Answer::ok(json!({ "pong": call.now }))),
        "inventory" => Ok(Answer::ok(inventory(node))),
        "agent_inventory" => Ok(Answer::ok(agent_inventory(node))),
        "collective_info" => Ok(Answer::ok(json!({
            "main_collective": node.main_collective.as_str(),
            "collectives": node.collective_names(),
        }))),
        "daemon_stats" => Ok(Answer::ok(daemon_stats(node))),
        "get_fact" => get_fact(call, node),
        "get_facts" => get_facts(call, node),
        "get_data" => get_data(call, node),
        "get_config_item" => get_config_item(call, node),
        other => Ok(Answer::failed(
            StatusCode::UnknownAction,
            format!("Unknown action {other} for agent rpcutil"),
        )),
    };
    done.unwrap_or_else(|error| {
        Answer::failed(
            StatusCode::InvalidData,
            format!(
                "Could not parse request data for rpcutil#{}: {error}",
                call.action
            ),
        )
    })
}

fn inventory(node: &Node) -> Value {
    let data_plugins: &[&str] = if node.is_unprovisioned() {
        &[]
    } else {
        &data::NAMES
    };
    json!({
        "agents": node.agent_names(),
        "classes": node.classes.current().as_slice(),
        "collectives": node.collective_names(),
        "data_plugins": data_plugins,
        "facts": *node.facts.current(),
        "machines": [],
        "main_collective": node.main_collective.as_str(),
        "version": VERSION,
        "upgradable": node.is_upgradable(),
    })
}

fn agent_inventory(node: &Node) -> Value {
    let agents = node
        .agents
        .metadata()
        .into_iter()
        .map(|metadata| {
            let name = metadata.name.clone();
            let mut shown = match serde_json::to_value(metadata) {
                Ok(Value::Object(map)) => map,
                Ok(_) | Err(_) => Map::new(),
            };
            drop(shown.insert("agent".to_owned(), Value::String(name)));
            Value::Object(shown)
        })
        .collect::<Vec<_>>();
    json!({ "agents": agents })
}

fn daemon_stats(node: &Node) -> Value {
    let stats = node.stats.snapshot();
    json!({
        "agents": node.agent_names(),
        "configfile": node.config_file,
        "filtered": stats.filtered,
        "pid": std::process::id(),
        "passed": stats.passed,
        "threads": [node.threads()],
        "replies": stats.replies,
        "starttime": node.started,
        "ttlexpired": stats.ttl_expired,
        "events": stats.events,
        "times": { "cstime": 0, "cutime": 0, "stime": 0, "utime": 0 },
        "total": stats.total,
        "unvalidated": stats.invalid,
        "validated": stats.valid,
        "version": VERSION,
    })
}

fn get_fact(call: Call<'_>, node: &Node) -> Result<Answer, InputError> {
    let fact = text(call.data, "fact")?;
    Ok(Answer::ok(
        json!({ "fact": fact, "value": node.fact(fact) }),
    ))
}

fn get_facts(call: Call<'_>, node: &Node) -> Result<Answer, InputError> {
    let facts = text(call.data, "facts")?;
    let values = facts
        .split(',')
        .map(str::trim)
        .map(|fact| (fact.to_owned(), node.fact(fact)))
        .collect::<Map<_, _>>();
    Ok(Answer::ok(json!({ "values": values })))
}

fn get_data(call: Call<'_>, node: &Node) -> Result<Answer, InputError> {
    let source = text(call.data, "source")?;
    let query = text(call.data, "query")?;
    Ok(match data::look_up(source, query, node, call.now) {
        Some(found) => Answer::ok(found),
        None => Answer::aborted("Unknown data plugin"),
    })
}

fn get_config_item(call: Call<'_>, node: &Node) -> Result<Answer, InputError> {
    let item = text(call.data, "item")?;
    Ok(match node.config_items.get(item) {
        Some(value) => Answer::ok(json!({ "item": item, "value": value })),
        None => Answer::aborted("Unknown key"),
    })
}
