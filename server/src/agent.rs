//! What an agent is: a name, metadata, and actions that turn a call into an outcome.
//!
//! An agent sees the node through [`Node`] and nothing else: neither the broker nor the
//! request envelope can be reached from here.

use std::future::Future;
use std::pin::Pin;

use overlay_protocol::rpc::StatusCode;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::node::Node;

/// A running action.
pub type Running<'a> = Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>;

/// Who answers to an agent's name, in the words `rpcutil#agent_inventory` uses on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Metadata {
    /// The name requests are addressed to.
    pub name: String,
    /// One line for people.
    pub description: String,
    /// Who wrote it.
    pub author: String,
    /// The licence it is under.
    pub license: String,
    /// One to three numbers with dots.
    pub version: String,
    /// Where to read more.
    pub url: String,
    /// Seconds after which a running action is ended.
    pub timeout: u64,
    /// What runs it, where that is not this program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// Whether one of many hosts answers for all.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub service: bool,
}

/// How an agent's payload is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// An RPC body: parsed, authorised and audited before the agent sees it.
    Rpc,
    /// Bytes of the agent's own, as `discovery` has them.
    Raw,
}

/// What the agent is asked.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// The action, empty for [`Form::Raw`].
    pub action: &'a str,
    /// The inputs as they came.
    pub data: &'a Map<String, Value>,
    /// The payload, for [`Form::Raw`].
    pub payload: &'a [u8],
    /// The caller, verified by members, for logs and for agents that care.
    pub caller: &'a str,
    /// The host that the request came from, as it says itself.
    pub sender: &'a str,
    /// The request's id.
    pub request_id: &'a str,
    /// Unix seconds at which the call was taken up.
    pub now: i64,
}

/// What an agent answers.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// An RPC reply.
    Reply(Answer),
    /// A reply of the agent's own form.
    Bytes(Vec<u8>),
    /// Nothing is sent.
    Silence,
}

/// Status and data of an RPC reply; the action's name is added by the dispatcher.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// How it went.
    pub status: StatusCode,
    /// `OK`, or what went wrong, for people.
    pub message: String,
    /// The outputs.
    pub data: Value,
}

/// Something that answers requests addressed to its name.
pub trait Agent: Send + Sync + std::fmt::Debug + 'static {
    /// Who it is.
    fn metadata(&self) -> &Metadata;

    /// How its payload is read.
    fn form(&self) -> Form {
        Form::Rpc
    }

    /// Whether it knows an action of this name.
    fn has_action(&self, action: &str) -> bool;

    /// Starts the action. Dropping the future must end it.
    fn run<'a>(&'a self, call: Call<'a>, node: &'a Node) -> Running<'a>;
}

impl Answer {
    /// All went well.
    pub fn ok(data: Value) -> Self {
        Self {
            status: StatusCode::Ok,
            message: "OK".to_owned(),
            data,
        }
    }

    /// It did not go well; no outputs.
    pub fn failed(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            data: Value::Object(Map::new()),
        }
    }

    /// The action gave up for a reason of its own.
    pub fn aborted(message: impl Into<String>) -> Self {
        Self::failed(StatusCode::Aborted, message)
    }
}

impl Outcome {
    /// Wraps outputs into a good reply.
    pub fn ok(data: Value) -> Self {
        Self::Reply(Answer::ok(data))
    }
}

/// An input that is not what the action needs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("input '{input}' must be a string, not {found}")]
pub struct InputError {
    input: String,
    found: &'static str,
}

/// One input's text.
///
/// Absent and null inputs read as empty, undeclared ones are ignored: that is what Choria's
/// compiled agents do.
pub fn text<'a>(data: &'a Map<String, Value>, input: &str) -> Result<&'a str, InputError> {
    match data.get(input) {
        None | Some(Value::Null) => Ok(""),
        Some(Value::String(text)) => Ok(text),
        Some(other) => Err(InputError {
            input: input.to_owned(),
            found: json_type(other),
        }),
    }
}

fn json_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
