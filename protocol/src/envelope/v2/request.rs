use std::time::Duration;

use serde::Serialize;

use super::{FRAME_BYTES, REQUEST};
use crate::b64::{self, Bytes};
use crate::error::{DecodeError, Layer};
use crate::filter::Filter;
use crate::json::{Limits, Member, Object, encode_about, json, text};

const MEMBERS: &[Member] = &[
    text("protocol"),
    text("message"),
    text("id"),
    text("sender"),
    text("caller"),
    text("collective"),
    text("agent"),
    json("ttl"),
    json("time"),
    json("filter"),
];

/// Longest life of a request in seconds that its nanoseconds can be counted for.
const MAX_TTL_SECONDS: u64 = 9_223_372_036;

/// What is asked, of whom, and until when; these bytes are signed.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// Payload as sent; agents see [`Request::payload`].
    pub message: Vec<u8>,
    /// Id of the request, mostly a [`Ksuid`](crate::id::Ksuid).
    pub id: String,
    /// Identity of the sending host, which is not the caller.
    pub sender: String,
    /// Id of the caller.
    pub caller: String,
    /// Collective in which the request holds.
    pub collective: String,
    /// Agent that is asked.
    pub agent: String,
    /// Time for which the request is good, before and after `time_ns`; whole seconds on the wire.
    pub ttl: Duration,
    /// When the request was made, in Unix nanoseconds.
    pub time_ns: i64,
    /// Which nodes are meant; none means all.
    pub filter: Option<Filter>,
}

impl Request {
    /// Decodes bytes whose signature has been verified.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] says which limit, member or rule was broken.
    pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Self, DecodeError> {
        let object = Object::decode(Layer::Request, MEMBERS, bytes, limits)?;
        object.protocol(REQUEST)?;
        let ttl: u64 = object.required("ttl")?;
        if ttl == 0 || ttl > MAX_TTL_SECONDS {
            return Err(object.bad("ttl", format_args!("{ttl} seconds is out of range")));
        }
        let time_ns: i64 = object.required("time")?;
        if time_ns < 1 {
            return Err(object.bad("time", "not after 1970"));
        }
        let filter = match object.raw("filter") {
            None => None,
            // serde takes a list for a struct as well
            Some(raw) if !raw.get().starts_with('{') => {
                return Err(object.bad("filter", "no object"));
            }
            Some(_) => {
                let filter: Filter = object.required("filter")?;
                filter
                    .check_wire()
                    .map_err(|error| object.bad("filter", error))?;
                Some(filter)
            }
        };
        Ok(Self {
            message: object.base64("message")?,
            id: object.text("id")?,
            sender: object.text("sender")?,
            caller: object.text("caller")?,
            collective: object.text("collective")?,
            agent: object.text("agent")?,
            ttl: Duration::from_secs(ttl),
            time_ns,
            filter,
        })
    }

    /// Encodes the bytes to sign; they must be kept, since another encoding has another signature.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let wire = Wire {
            protocol: REQUEST,
            message: Bytes(&self.message),
            id: &self.id,
            sender: &self.sender,
            caller: &self.caller,
            collective: &self.collective,
            agent: &self.agent,
            ttl: self.ttl.as_secs(),
            time: self.time_ns,
            filter: self.filter.as_ref(),
        };
        encode_about(&wire, b64::length(&self.message) + FRAME_BYTES)
    }

    /// Returns what the agent sees: a payload that is base64 itself is decoded once more.
    ///
    /// Discovery relies on it, and bodies in JSON are never base64.
    #[must_use]
    pub fn payload(&self) -> Vec<u8> {
        b64::decode(&self.message).unwrap_or_else(|_plain| self.message.clone())
    }

    /// Tells whether the request is good at a time: strictly later than its time less its life, strictly earlier than
    /// its time plus its life.
    #[must_use]
    pub fn is_live(&self, now_ns: i64) -> bool {
        let age = i128::from(now_ns) - i128::from(self.time_ns);
        age.unsigned_abs() < self.ttl.as_nanos()
    }
}

#[derive(Serialize)]
struct Wire<'a> {
    protocol: &'static str,
    message: Bytes<'a>,
    id: &'a str,
    sender: &'a str,
    caller: &'a str,
    collective: &'a str,
    agent: &'a str,
    ttl: u64,
    time: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    filter: Option<&'a Filter>,
}
