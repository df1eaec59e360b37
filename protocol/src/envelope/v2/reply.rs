use serde::Serialize;

use super::{FRAME_BYTES, REPLY};
use crate::b64::{self, Bytes};
use crate::error::{DecodeError, Layer};
use crate::json::{Limits, Member, Object, encode_about, json, text};

const MEMBERS: &[Member] = &[
    text("protocol"),
    text("message"),
    text("request"),
    text("sender"),
    text("agent"),
    json("time"),
];

/// What one node answered.
///
/// Whoever waits for replies compares `request` with its own id and `sender` with the token: a reply may claim anything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reply {
    /// Payload.
    pub message: Vec<u8>,
    /// Id of the request.
    pub request: String,
    /// Identity of the node.
    pub sender: String,
    /// Agent that answered.
    pub agent: String,
    /// When the reply was made, in Unix nanoseconds; 0 when not said.
    pub time_ns: i64,
}

impl Reply {
    /// Decodes the reply of a secure reply.
    ///
    /// Members may be missing, and the protocol is not looked at: the layer around has said what this is, and the
    /// original's published schema demands the protocol of a request here.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] says which limit or member was broken.
    pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Self, DecodeError> {
        let object = Object::decode(Layer::Reply, MEMBERS, bytes, limits)?;
        let message = b64::decode(object.str("message")?.as_bytes());
        Ok(Self {
            message: message.map_err(|error| object.bad("message", error))?,
            request: object.str("request")?.to_owned(),
            sender: object.str("sender")?.to_owned(),
            agent: object.str("agent")?.to_owned(),
            time_ns: object.optional("time")?.unwrap_or_default(),
        })
    }

    /// Encodes the bytes to hash and sign.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let wire = Wire {
            protocol: REPLY,
            message: Bytes(&self.message),
            request: &self.request,
            sender: &self.sender,
            agent: &self.agent,
            time: self.time_ns,
        };
        encode_about(&wire, b64::length(&self.message) + FRAME_BYTES)
    }
}

#[derive(Serialize)]
struct Wire<'a> {
    protocol: &'static str,
    message: Bytes<'a>,
    request: &'a str,
    sender: &'a str,
    agent: &'a str,
    time: i64,
}
