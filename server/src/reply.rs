//! From an agent's answer to the bytes that go on the reply subject.

use overlay_protocol::envelope::v2::{Federation, Reply, SecureReply, Transport};
use overlay_protocol::rpc::{RpcReply, StatusCode};
use overlay_tokens::own::Holder;
use overlay_tokens::request::sign_reply;

/// What a reply is an answer to, and from whom.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    /// The request's id.
    pub request: &'a str,
    /// The agent that answers.
    pub agent: &'a str,
    /// This node.
    pub identity: &'a str,
    /// The broker in use, for the trace.
    pub server: &'a str,
    /// What a federation broker needs back.
    pub federation: Option<&'a Federation>,
    /// Nanoseconds since 1970.
    pub time_ns: i64,
    /// Who signs; none = the reply is only hashed.
    pub signer: Option<&'a Holder>,
}

/// Puts all layers around a body.
pub fn seal(body: Vec<u8>, frame: &Frame<'_>) -> Vec<u8> {
    let reply = Reply {
        message: body,
        request: frame.request.to_owned(),
        sender: frame.identity.to_owned(),
        agent: frame.agent.to_owned(),
        time_ns: frame.time_ns,
    }
    .encode();
    let secure = match frame.signer {
        Some(holder) => sign_reply(reply, holder.key(), holder.text()),
        None => SecureReply::new(reply),
    };
    let mut transport = Transport::new(secure.encode());
    transport.sender = Some(frame.identity.to_owned());
    let hop = frame.server.to_owned();
    transport.trace = vec![[hop.clone(), frame.identity.to_owned(), hop]];
    transport.federation = frame.federation.cloned();
    transport.encode()
}

/// Says in place of a reply that it was too large.
pub fn too_large(action: &str, bytes: usize, most: usize) -> Vec<u8> {
    RpcReply::failed(
        action,
        StatusCode::UnknownError,
        format!("the reply takes {bytes} bytes on the wire, the broker takes at most {most}"),
    )
    .encode()
}
