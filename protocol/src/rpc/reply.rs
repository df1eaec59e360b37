use std::fmt;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::error::{DecodeError, Layer};
use crate::json::{Limits, Member, Object, encode, json, text};

const MEMBERS: &[Member] = &[
    text("action"),
    json("statuscode"),
    text("statusmsg"),
    json("data"),
];

/// How an action ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StatusCode {
    /// It was done.
    Ok,
    /// It was not done, or not by this caller.
    Aborted,
    /// The agent has no such action.
    UnknownAction,
    /// An input is missing.
    MissingData,
    /// An input or the whole request cannot be understood.
    InvalidData,
    /// Something else went wrong; a code outside of the protocol reads as this one.
    UnknownError,
}

/// Body of a reply.
#[derive(Debug, Clone, PartialEq)]
pub struct RpcReply {
    /// Action that was run; empty when the request could not be read.
    pub action: String,
    /// How it ended.
    pub statuscode: StatusCode,
    /// The same for people.
    pub statusmsg: String,
    /// Outputs by name; some agents send other JSON.
    pub data: Value,
}

impl StatusCode {
    /// Returns the number on the wire.
    #[must_use]
    pub fn as_u8(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Aborted => 1,
            Self::UnknownAction => 2,
            Self::MissingData => 3,
            Self::InvalidData => 4,
            Self::UnknownError => 5,
        }
    }

    /// Reads the number on the wire.
    #[must_use]
    pub fn from_wire(code: u64) -> Self {
        match code {
            0 => Self::Ok,
            1 => Self::Aborted,
            2 => Self::UnknownAction,
            3 => Self::MissingData,
            4 => Self::InvalidData,
            _ => Self::UnknownError,
        }
    }

    /// Returns the words that people see.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Aborted => "Aborted",
            Self::UnknownAction => "Unknown Action",
            Self::MissingData => "Missing Data",
            Self::InvalidData => "Invalid Data",
            Self::UnknownError => "Unknown Error",
        }
    }
}

impl fmt::Display for StatusCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for StatusCode {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(self.as_u8())
    }
}

impl RpcReply {
    /// Makes a reply of an action that was done.
    #[must_use]
    pub fn ok(action: impl Into<String>, data: Value) -> Self {
        Self {
            action: action.into(),
            statuscode: StatusCode::Ok,
            statusmsg: "OK".to_owned(),
            data,
        }
    }

    /// Makes a reply of an action that was not done; its data is an empty object.
    #[must_use]
    pub fn failed(
        action: impl Into<String>,
        statuscode: StatusCode,
        statusmsg: impl Into<String>,
    ) -> Self {
        Self {
            action: action.into(),
            statuscode,
            statusmsg: statusmsg.into(),
            data: Value::Object(Map::new()),
        }
    }

    /// Decodes the message of a reply.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] says which limit or member was broken.
    pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Self, DecodeError> {
        let object = Object::decode(Layer::RpcReply, MEMBERS, bytes, limits)?;
        let data: Option<Value> = object.optional("data")?;
        Ok(Self {
            action: object.str("action")?.to_owned(),
            statuscode: StatusCode::from_wire(object.optional("statuscode")?.unwrap_or_default()),
            statusmsg: object.str("statusmsg")?.to_owned(),
            data: data.unwrap_or_else(|| Value::Object(Map::new())),
        })
    }

    /// Encodes for the message of a reply.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode(&Wire {
            action: &self.action,
            statuscode: self.statuscode,
            statusmsg: &self.statusmsg,
            data: &self.data,
        })
    }
}

#[derive(Serialize)]
struct Wire<'a> {
    action: &'a str,
    statuscode: StatusCode,
    statusmsg: &'a str,
    data: &'a Value,
}
