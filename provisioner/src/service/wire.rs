//! Requests to nodes as they go over the broker, and what comes back.

use bytes::Bytes;
use overlay_protocol::envelope::Limits;
use overlay_protocol::envelope::v2::{Reply, Request, SecureReply, Transport};
use overlay_protocol::filter::Filter;
use overlay_protocol::id::Ksuid;
use overlay_protocol::provisioning::COLLECTIVE;
use overlay_protocol::rpc::{DISCOVERY_PING, RpcReply, RpcRequest};
use overlay_protocol::subject;
use overlay_tokens::own::Holder;
use overlay_tokens::request::sign_request;
use serde_json::{Map, Value};

use crate::enrol::CallFault;

/// How long a request is good, as the original's are: a node whose clock is off by more does not hear it.
const TTL: std::time::Duration = std::time::Duration::from_secs(60);

/// The agent that nodes of all kinds have in common.
const DISCOVERY: &str = "discovery";

/// Makes requests in the name of one instance.
#[derive(Debug)]
pub(super) struct Speaker {
    sender: String,
    uid: String,
    instance: String,
    limits: Limits,
}

/// A request, ready to be published.
#[derive(Debug)]
pub(super) struct Spoken {
    /// Where the answers go, for the broker and in the envelope.
    pub(super) reply: String,
    /// The message.
    pub(super) payload: Bytes,
}

/// A reply of a node.
#[derive(Debug)]
pub(super) struct Heard {
    /// Who says that it replies; the broker's permissions are what it is believed for.
    pub(super) sender: String,
    /// What it says.
    pub(super) reply: RpcReply,
}

impl Speaker {
    /// `sender` differs from instance to instance, so that no two share the lock of a node.
    pub(super) fn new(identity: &str, instance: &str, uid: &str, reply_bytes: usize) -> Self {
        Self {
            sender: format!("{identity}-{instance}"),
            uid: uid.to_owned(),
            instance: instance.to_owned(),
            limits: Limits {
                max_bytes: reply_bytes,
                ..Limits::default()
            },
        }
    }

    /// What to subscribe to for all answers.
    pub(super) fn replies(&self) -> Option<String> {
        subject::replies_of_instance(&self.uid, &self.instance)
    }

    /// A call of an action on one node.
    pub(super) fn call(
        &self,
        holder: &Holder,
        id: &Ksuid,
        sender: Option<&str>,
        (agent, action): (&str, &str),
        data: Map<String, Value>,
        now_ns: i64,
    ) -> Option<Spoken> {
        let message = RpcRequest {
            agent: agent.to_owned(),
            action: action.to_owned(),
            data,
        }
        .encode();
        let filter = Filter {
            agent: vec![agent.to_owned()],
            ..Filter::default()
        };
        let sender = sender.unwrap_or(&self.sender);
        self.speak((holder, sender), id, agent, (message, filter), now_ns)
    }

    /// As whom this instance calls.
    pub(super) fn sender(&self) -> &str {
        &self.sender
    }

    /// A question to all nodes that wait.
    pub(super) fn scan(&self, holder: &Holder, id: &Ksuid, now_ns: i64) -> Option<Spoken> {
        let filter = Filter {
            agent: vec![overlay_protocol::provisioning::AGENT.to_owned()],
            ..Filter::default()
        };
        let message = DISCOVERY_PING.to_vec();
        let speaker = (holder, self.sender.as_str());
        self.speak(speaker, id, DISCOVERY, (message, filter), now_ns)
    }

    /// Nothing when the instance's name would break the subject.
    fn speak(
        &self,
        (holder, sender): (&Holder, &str),
        id: &Ksuid,
        agent: &str,
        (message, filter): (Vec<u8>, Filter),
        now_ns: i64,
    ) -> Option<Spoken> {
        let id = id.to_string();
        let reply = subject::reply_of_instance(&self.uid, &self.instance, &id)?;
        let request = Request {
            message,
            id,
            sender: sender.to_owned(),
            caller: holder.name().to_owned(),
            collective: COLLECTIVE.to_owned(),
            agent: agent.to_owned(),
            ttl: TTL,
            time_ns: now_ns,
            filter: Some(filter),
        };
        let secure = sign_request(request.encode(), holder.key(), holder.text());
        let transport = Transport {
            data: secure.encode(),
            reply: Some(reply.clone()),
            sender: Some(sender.to_owned()),
            ..Transport::default()
        };
        Some(Spoken {
            reply,
            payload: transport.encode().into(),
        })
    }

    /// Reads a node's reply to the request `id`.
    pub(super) fn hear(&self, id: &Ksuid, payload: &[u8]) -> Result<Heard, CallFault> {
        if payload.len() > self.limits.max_bytes {
            return Err(CallFault::TooLarge);
        }
        let unreadable = |error: overlay_protocol::DecodeError| {
            CallFault::Unreadable(overlay_runtime::err_chain(&error))
        };
        let transport = Transport::decode(payload, &self.limits).map_err(unreadable)?;
        let secure = SecureReply::decode(&transport.data, &self.limits).map_err(unreadable)?;
        let reply = Reply::decode(&secure.reply, &self.limits).map_err(unreadable)?;
        if reply.request != id.to_string() {
            let other = "it is the reply to another request".to_owned();
            return Err(CallFault::Unreadable(other));
        }
        let sender = reply.sender;
        let reply = RpcReply::decode(&reply.message, &self.limits).map_err(unreadable)?;
        Ok(Heard { sender, reply })
    }

    /// Who answers a scan: what the answer says of itself, which is a hint.
    pub(super) fn hear_scan(&self, payload: &[u8]) -> Option<String> {
        if payload.len() > self.limits.max_bytes {
            return None;
        }
        Transport::decode(payload, &self.limits).ok()?.sender
    }
}

/// The request that a subject of ours is for: its last part.
pub(super) fn id_of(subject: &str) -> Option<Ksuid> {
    subject.rsplit('.').next()?.parse().ok()
}

/// Where questions to all nodes that wait go.
pub(super) fn scan_subject() -> String {
    format!("{COLLECTIVE}.broadcast.agent.{DISCOVERY}")
}
