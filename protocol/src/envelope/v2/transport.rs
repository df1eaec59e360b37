use serde::Serialize;

use super::{FRAME_BYTES, TRANSPORT};
use crate::b64::{self, Bytes};
use crate::error::{DecodeError, Layer};
use crate::json::{Limits, Member, Object, encode_about, json, text};

const MEMBERS: &[Member] = &[text("protocol"), text("data"), json("headers")];
const HEADERS: &[Member] = &[
    text("reply"),
    text("sender"),
    json("trace"),
    json("federation"),
];
const FEDERATION: &[Member] = &[text("request"), text("reply"), json("targets")];

/// Outermost layer. Nothing in it is signed: `reply`, `sender` and `trace` are what somebody on the way said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Transport {
    /// The secure request or secure reply, as bytes.
    pub data: Vec<u8>,
    /// Subject for replies.
    pub reply: Option<String>,
    /// Identity of the sending host.
    pub sender: Option<String>,
    /// One triplet a hop: broker in, who passed it on, broker out.
    pub trace: Vec<[String; 3]>,
    /// Set on the way through a federation broker only.
    pub federation: Option<Federation>,
}

/// What a federation broker needs to find the way back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Federation {
    /// Id of the request.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub request: String,
    /// Subject for replies in the federation.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reply: String,
    /// Subjects to publish the request to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<String>,
}

impl Transport {
    /// Wraps bytes, without headers.
    #[must_use]
    pub fn new(data: Vec<u8>) -> Self {
        Self {
            data,
            ..Self::default()
        }
    }

    /// Decodes a message as it came off the broker.
    ///
    /// Missing headers are empty ones; `null` headers are refused, as is a transport without data.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] says which limit, member or rule was broken.
    pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Self, DecodeError> {
        let object = Object::decode(Layer::Transport, MEMBERS, bytes, limits)?;
        object.protocol(TRANSPORT)?;
        let data = object.base64("data")?;
        let Some(raw) = object.raw("headers") else {
            return Ok(Self::new(data));
        };
        if raw.get() == "null" {
            return Err(object.bad("headers", "null instead of an object"));
        }
        let headers = object.object("headers", HEADERS, raw)?;
        let federation = match headers.raw("federation") {
            Some(raw) if raw.get() != "null" => {
                let object = headers.object("federation", FEDERATION, raw)?;
                Some(Federation {
                    request: object.str("request")?.to_owned(),
                    reply: object.str("reply")?.to_owned(),
                    targets: object.optional("targets")?.unwrap_or_default(),
                })
            }
            _ => None,
        };
        Ok(Self {
            data,
            reply: headers.optional_text("reply")?,
            sender: headers.optional_text("sender")?,
            trace: headers.optional("trace")?.unwrap_or_default(),
            federation,
        })
    }

    /// Encodes for the broker.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let wire = Wire {
            protocol: TRANSPORT,
            data: Bytes(&self.data),
            headers: WireHeaders {
                reply: self.reply.as_deref(),
                sender: self.sender.as_deref(),
                trace: &self.trace,
                federation: self.federation.as_ref(),
            },
        };
        encode_about(&wire, b64::length(&self.data) + FRAME_BYTES)
    }
}

#[derive(Serialize)]
struct Wire<'a> {
    protocol: &'static str,
    data: Bytes<'a>,
    headers: WireHeaders<'a>,
}

#[derive(Serialize)]
struct WireHeaders<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    reply: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sender: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    trace: &'a [[String; 3]],
    #[serde(skip_serializing_if = "Option::is_none")]
    federation: Option<&'a Federation>,
}
