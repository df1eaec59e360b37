//! Records of what was decided about nodes: CloudEvents 1.0 on [`subject::audit`](crate::subject::audit), kept in a stream.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::record::MAX_WORD_BYTES;
use super::{Issued, TokenFacts};
use crate::error::{DecodeError, Layer};
use crate::id::Identity;
use crate::json::{self, Limits};
use crate::shorten::shorten;

/// Source of the records as CloudEvents.
pub const SOURCE: &str = "io.overlay.provisioner";
/// What comes before the kind in the type of a record.
pub const TYPE_PREFIX: &str = "io.overlay.provisioning.v1.";
/// Longest text for people in a record, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 2048;

/// What was decided or done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A node was enrolled: it has a server token and its configuration.
    Enrolled,
    /// A node may not be enrolled as it presents itself.
    Refused,
    /// A member got a new server token.
    Renewed,
    /// The helper put a node off.
    Deferred,
    /// An attempt went wrong.
    Failed,
    /// A node is left alone until it is released.
    Quarantined,
    /// A quarantine ended.
    Released,
    /// An operator asked for an attempt at once.
    Retried,
    /// No further nodes are taken up.
    Paused,
    /// Nodes are taken up again.
    Resumed,
    /// A node was told to stop for good.
    Shutdown,
    /// A node replaced its own software.
    Upgraded,
}

/// One record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Wire", into = "Wire")]
pub struct Record {
    /// Id; a record that is published twice keeps it, and the stream keeps one.
    pub id: String,
    /// What was decided or done.
    pub kind: Kind,
    /// When, in Unix seconds.
    pub time: i64,
    /// Whom it concerns; none for a pause.
    pub identity: Option<Identity>,
    /// The rest.
    pub details: Details,
}

/// What a record tells beside whom, what and when.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Details {
    /// Identity of the provisioner.
    pub provisioner: String,
    /// Instance of it.
    pub instance: String,
    /// Site that it was configured with.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub site: String,
    /// Caller id of the operator, for what operators do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operator: Option<String>,
    /// Id of the operator's request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// Reason as a word for machines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Reason or outcome for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Step of the enrolment at which it was decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// Number of the attempt, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// How the node was found: `event`, `scan` or `retry`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
    /// Provisioning token that was shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenFacts>,
    /// Public key that was proved, 64 hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
    /// Public key that the node had before, proved as well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub former_key: Option<String>,
    /// Server token that was issued.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issued: Option<Issued>,
    /// What the helper decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub helper: Option<HelperFacts>,
    /// Overlay that the helper placed the node in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub placement: Option<String>,
    /// Version of the node's software; for an upgrade the one that it changes to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// How long it took, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub took_ms: Option<u64>,
}

/// What the helper decided, without what it configured.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HelperFacts {
    /// `configure`, `defer`, `shutdown`, `upgrade`, or what went wrong.
    pub decision: String,
    /// What it said, cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Whether it confirmed that the name may be taken although it is live or holds a valid token.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub confirmed: bool,
    /// SHA-256 of its output, 64 hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// How long it took, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub took_ms: Option<u64>,
}

/// The record as a CloudEvent.
#[derive(Clone, Serialize, Deserialize)]
struct Wire {
    specversion: String,
    id: String,
    source: String,
    #[serde(rename = "type")]
    type_: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    subject: Option<Identity>,
    #[serde(default)]
    datacontenttype: String,
    time: String,
    #[serde(deserialize_with = "object")]
    data: Details,
}

/// Reads a struct from an object only; serde takes a list of its members as well.
fn object<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    struct Members<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
            T::deserialize(MapAccessDeserializer::new(map))
        }
    }

    deserializer.deserialize_map(Members(PhantomData))
}

/// Why a CloudEvent is no record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Another version, source or type.
    #[error("{0:?} is no record of a provisioner")]
    Type(String),
    /// A time that is none.
    #[error("the time of a record is no RFC 3339 time")]
    Time,
    /// No id.
    #[error("a record has no id")]
    Id,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 12] = [
        Self::Enrolled,
        Self::Refused,
        Self::Renewed,
        Self::Deferred,
        Self::Failed,
        Self::Quarantined,
        Self::Released,
        Self::Retried,
        Self::Paused,
        Self::Resumed,
        Self::Shutdown,
        Self::Upgraded,
    ];

    /// Returns the word for the kind in types and subjects.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enrolled => "enrolled",
            Self::Refused => "refused",
            Self::Renewed => "renewed",
            Self::Deferred => "deferred",
            Self::Failed => "failed",
            Self::Quarantined => "quarantined",
            Self::Released => "released",
            Self::Retried => "retried",
            Self::Paused => "paused",
            Self::Resumed => "resumed",
            Self::Shutdown => "shutdown",
            Self::Upgraded => "upgraded",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = RecordError;

    fn from_str(word: &str) -> Result<Self, RecordError> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == word)
            .ok_or_else(|| RecordError::Type(word.chars().take(64).collect()))
    }
}

impl Details {
    /// Cuts texts for people to [`MAX_MESSAGE_BYTES`] and all others to [`MAX_WORD_BYTES`].
    fn bound(&mut self) {
        if let Some(message) = &mut self.message {
            shorten(message, MAX_MESSAGE_BYTES);
        }
        if let Some(helper) = &mut self.helper {
            shorten(&mut helper.decision, MAX_WORD_BYTES);
            if let Some(message) = &mut helper.message {
                shorten(message, MAX_MESSAGE_BYTES);
            }
        }
        let words = [
            &mut self.operator,
            &mut self.request,
            &mut self.reason,
            &mut self.step,
            &mut self.found,
            &mut self.public_key,
            &mut self.former_key,
            &mut self.placement,
            &mut self.version,
        ];
        for text in words.into_iter().flatten() {
            shorten(text, MAX_WORD_BYTES);
        }
        if let Some(token) = &mut self.token {
            token.bound();
        }
        if let Some(issued) = &mut self.issued {
            issued.bound();
        }
    }
}

impl Record {
    /// Makes a record; what nodes, helpers and tokens may have said at length is cut.
    #[must_use]
    pub fn new(
        id: impl Into<String>,
        kind: Kind,
        identity: Option<Identity>,
        time: i64,
        mut details: Details,
    ) -> Self {
        details.bound();
        Self {
            id: id.into(),
            kind,
            time,
            identity,
            details,
        }
    }

    /// Returns where the record is published.
    #[must_use]
    pub fn subject(&self) -> String {
        crate::subject::audit(self.kind, self.identity.as_ref())
    }

    /// Encodes as a CloudEvent in JSON.
    #[must_use]
    pub fn to_cloudevent_json(&self) -> Vec<u8> {
        json::encode(self)
    }

    /// Decodes a CloudEvent in JSON.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] says which limit was broken, or why it is no record.
    pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Self, DecodeError> {
        let layer = Layer::AuditRecord;
        limits.check(layer, bytes)?;
        serde_json::from_slice(bytes).map_err(|source| DecodeError::Json { layer, source })
    }
}

impl fmt::Display for Record {
    /// Writes one line for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.as_str())?;
        if let Some(identity) = &self.identity {
            write!(f, " {identity}")?;
        }
        if let Some(operator) = &self.details.operator {
            write!(f, " by {operator}")?;
        }
        match (&self.details.message, &self.details.reason) {
            (Some(text), _) | (None, Some(text)) => write!(f, ": {text}"),
            (None, None) => Ok(()),
        }
    }
}

impl From<Record> for Wire {
    fn from(record: Record) -> Self {
        let time = OffsetDateTime::from_unix_timestamp(record.time);
        Self {
            specversion: "1.0".to_owned(),
            id: record.id,
            source: SOURCE.to_owned(),
            type_: format!("{TYPE_PREFIX}{}", record.kind),
            subject: record.identity,
            datacontenttype: "application/json".to_owned(),
            // a time outside of the calendar is nobody's: it is written as the begin of Unix time
            time: time
                .unwrap_or(OffsetDateTime::UNIX_EPOCH)
                .format(&Rfc3339)
                .unwrap_or_default(),
            data: record.details,
        }
    }
}

impl TryFrom<Wire> for Record {
    type Error = RecordError;

    fn try_from(wire: Wire) -> Result<Self, RecordError> {
        let kind = wire.type_.strip_prefix(TYPE_PREFIX);
        let (Some(kind), "1.0", SOURCE) = (kind, wire.specversion.as_str(), wire.source.as_str())
        else {
            return Err(RecordError::Type(wire.type_.chars().take(64).collect()));
        };
        if wire.id.is_empty() {
            return Err(RecordError::Id);
        }
        let time =
            OffsetDateTime::parse(&wire.time, &Rfc3339).map_err(|_error| RecordError::Time)?;
        Ok(Self {
            id: wire.id,
            kind: kind.parse()?,
            time: time.unix_timestamp(),
            identity: wire.subject,
            details: wire.data,
        })
    }
}
