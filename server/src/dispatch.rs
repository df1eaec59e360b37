//! From an accepted request to the body of its reply: find, parse, authorise, audit, run.
//!
//! Every RPC request that reaches an agent is answered, also when the action runs out of time or
//! ends in a fault of its own; only an unknown agent and `discovery` may stay silent.

use std::borrow::Cow;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use overlay_protocol::envelope::Limits;
use overlay_protocol::provisioning;
use overlay_protocol::rpc::{RpcReply, RpcRequest, StatusCode};
use overlay_tokens::UnixTime;
use serde_json::{Map, Value};

use crate::agent::{Agent, Answer, Call, Form, Outcome};
use crate::audit::Audit;
use crate::authorise::Accepted;
use crate::config::Config;
use crate::node::Node;
use crate::policy::Judge;
use crate::stats::Count;

/// What callers are told who may not; why is in the node's log.
const NOT_AUTHORISED: &str = "You are not authorized to call this agent or action";

/// Runs requests on the node's agents.
#[derive(Debug)]
pub struct Dispatcher {
    /// The node.
    pub node: Arc<Node>,
    /// Who may call what.
    pub judge: Judge,
    /// Where calls are recorded.
    pub audit: Option<Audit>,
    /// Bounds of bodies.
    pub limits: Limits,
    /// Ends actions whose agent allows itself longer.
    pub max_action_time: Duration,
}

/// What is to be done with a request, before anything is done.
#[derive(Debug)]
pub enum Decision {
    /// Run the agent with the payload as it is.
    Raw,
    /// Run this action.
    Run(RpcRequest),
    /// Answer at once.
    Answer(RpcReply),
}

/// The body of a reply.
#[derive(Debug, Clone, PartialEq)]
pub struct Body {
    /// The action, for the log and for a reply in its place.
    pub action: String,
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Whether the bytes are an RPC reply.
    pub is_rpc: bool,
}

impl Dispatcher {
    /// The dispatcher of a configuration.
    pub fn new(config: &Config, node: Arc<Node>) -> Self {
        Self {
            node,
            judge: Judge::new(config),
            audit: config.audit_file.clone().map(Audit::new),
            limits: config.rpc.limits(),
            max_action_time: config.rpc.max_action_time,
        }
    }

    /// Does what the request asks; `None` means that nothing is to be sent.
    pub async fn handle(&self, accepted: &Accepted, now: UnixTime) -> Option<Body> {
        let request = &accepted.request;
        let Some(agent) = self.node.agents.get(&request.agent) else {
            tracing::warn!(
                agent = request.agent,
                request = request.id,
                "no such agent here"
            );
            return None;
        };
        match self.decide(agent.as_ref(), accepted) {
            Decision::Answer(reply) => Some(Body::rpc(&reply)),
            Decision::Raw => self.run_raw(agent.as_ref(), accepted, now).await,
            Decision::Run(body) => {
                self.record(accepted, &body, now);
                self.run(agent.as_ref(), accepted, body, now).await
            }
        }
    }

    /// Says what is to be done; runs nothing and records nothing but counts.
    pub fn decide(&self, agent: &dyn Agent, accepted: &Accepted) -> Decision {
        let request = &accepted.request;
        if agent.form() == Form::Raw {
            return Decision::Raw;
        }
        let body = match RpcRequest::decode(&accepted.payload, &self.limits) {
            Ok(body) => body,
            Err(error) => {
                let message = format!(
                    "Could not process request: {}",
                    overlay_runtime::err_chain(&error)
                );
                return Decision::Answer(RpcReply::failed("", StatusCode::InvalidData, message));
            }
        };
        if !agent.has_action(&body.action) {
            let message = format!("Unknown action {} for agent {}", body.action, request.agent);
            return Decision::Answer(RpcReply::failed(
                body.action,
                StatusCode::UnknownAction,
                message,
            ));
        }
        let claims = accepted.caller.as_deref().map(|caller| &**caller);
        let judged = self
            .judge
            .judge(request, &body, claims, &|| self.node.view());
        if let Err(denial) = judged {
            self.node.stats.add(Count::Denied);
            tracing::warn!(
                caller = request.caller,
                agent = request.agent,
                action = body.action,
                request = request.id,
                reason = %denial,
                "denied"
            );
            return Decision::Answer(RpcReply::failed(
                body.action,
                StatusCode::Aborted,
                NOT_AUTHORISED,
            ));
        }
        Decision::Run(body)
    }

    fn record(&self, accepted: &Accepted, body: &RpcRequest, now: UnixTime) {
        let request = &accepted.request;
        tracing::info!(
            caller = request.caller,
            agent = request.agent,
            action = body.action,
            request = request.id,
            "running"
        );
        let Some(audit) = &self.audit else { return };
        let data = without_secrets(&request.agent, &body.data);
        if let Err(error) = audit.record(request, &body.action, &data, now.as_nanos()) {
            self.node.stats.add(Count::Unaudited);
            tracing::error!(error = %error, request = request.id, "could not write to the audit file");
        }
    }

    async fn run(
        &self,
        agent: &dyn Agent,
        accepted: &Accepted,
        body: RpcRequest,
        now: UnixTime,
    ) -> Option<Body> {
        let request = &accepted.request;
        let call = Call {
            action: &body.action,
            data: &body.data,
            payload: &accepted.payload,
            caller: &request.caller,
            sender: &request.sender,
            request_id: &request.id,
            now: now.secs,
        };
        let answer = match self.bounded(agent, call).await {
            Ok(Outcome::Reply(answer)) => answer,
            Ok(Outcome::Silence) => return None,
            Ok(Outcome::Bytes(bytes)) => {
                return Some(Body {
                    action: body.action,
                    bytes,
                    is_rpc: false,
                });
            }
            Err(reason) => Answer::failed(StatusCode::UnknownError, reason),
        };
        Some(Body::rpc(&RpcReply {
            action: body.action,
            statuscode: answer.status,
            statusmsg: answer.message,
            data: answer.data,
        }))
    }

    async fn run_raw(&self, agent: &dyn Agent, accepted: &Accepted, now: UnixTime) -> Option<Body> {
        let request = &accepted.request;
        let data = Map::new();
        let call = Call {
            action: "",
            data: &data,
            payload: &accepted.payload,
            caller: &request.caller,
            sender: &request.sender,
            request_id: &request.id,
            now: now.secs,
        };
        match self.bounded(agent, call).await {
            Ok(Outcome::Bytes(bytes)) => Some(Body {
                action: String::new(),
                bytes,
                is_rpc: false,
            }),
            Ok(Outcome::Reply(_) | Outcome::Silence) | Err(_) => None,
        }
    }

    /// Runs within the agent's time; a fault inside of the agent stays inside of the call.
    async fn bounded(&self, agent: &dyn Agent, call: Call<'_>) -> Result<Outcome, String> {
        let metadata = agent.metadata();
        let limit = Duration::from_secs(metadata.timeout).min(self.max_action_time);
        let running = AssertUnwindSafe(async { agent.run(call, &self.node).await }).catch_unwind();
        match tokio::time::timeout(limit, running).await {
            Ok(Ok(outcome)) => Ok(outcome),
            Ok(Err(_panic)) => {
                tracing::error!(
                    agent = metadata.name,
                    action = call.action,
                    "the agent panicked"
                );
                Err(format!(
                    "{}#{} failed inside of the node",
                    metadata.name, call.action
                ))
            }
            Err(_elapsed) => {
                self.node.stats.add(Count::TimedOut);
                tracing::warn!(
                    agent = metadata.name,
                    action = call.action,
                    request = call.request_id,
                    "out of time"
                );
                Err(format!(
                    "{}#{} did not finish within {} s",
                    metadata.name,
                    call.action,
                    limit.as_secs_f64()
                ))
            }
        }
    }
}

/// The inputs as they may be written down: those of the provisioning agent carry tokens and keys.
fn without_secrets<'a>(agent: &str, data: &'a Map<String, Value>) -> Cow<'a, Map<String, Value>> {
    if agent != provisioning::AGENT {
        return Cow::Borrowed(data);
    }
    let masked = data.iter().map(|(name, value)| {
        let value = match name.as_str() {
            "token" | "config" | "key" | "server_jwt" => Value::from("****"),
            _ => value.clone(),
        };
        (name.clone(), value)
    });
    Cow::Owned(masked.collect())
}

impl Body {
    fn rpc(reply: &RpcReply) -> Self {
        Self {
            action: reply.action.clone(),
            bytes: reply.encode(),
            is_rpc: true,
        }
    }
}
