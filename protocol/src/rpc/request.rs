use serde::Serialize;
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::error::{DecodeError, Layer};
use crate::json::{Limits, Member, Object, encode, json, text};

const MEMBERS: &[Member] = &[
    text("agent"),
    text("action"),
    json("data"),
    text("requestid"),
    text("senderid"),
    text("callerid"),
    text("collective"),
    json("ttl"),
    text("time"),
];

/// Body of a request.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct RpcRequest {
    /// Agent as the body names it; the signed envelope decides who runs, and a mismatch is to be refused.
    pub agent: String,
    /// Action to run.
    pub action: String,
    /// Inputs by name.
    pub data: Map<String, Value>,
}

impl RpcRequest {
    /// Decodes the payload of a request.
    ///
    /// Agent, action and data may be missing. What the envelope says as well is not taken from here, but must be of the
    /// right type. `process_results`, which Ruby clients add to the data, is dropped.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] says which limit or member was broken.
    pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Self, DecodeError> {
        let object = Object::decode(Layer::RpcRequest, MEMBERS, bytes, limits)?;
        for member in ["requestid", "senderid", "callerid", "collective"] {
            object.str(member)?;
        }
        object.optional::<i64>("ttl")?;
        if let Some(time) = object.optional_text("time")? {
            OffsetDateTime::parse(&time, &Rfc3339).map_err(|error| object.bad("time", error))?;
        }
        let mut data: Map<String, Value> = object.optional("data")?.unwrap_or_default();
        data.remove("process_results");
        Ok(Self {
            agent: object.str("agent")?.to_owned(),
            action: object.str("action")?.to_owned(),
            data,
        })
    }

    /// Encodes for the message of a request.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }
}
