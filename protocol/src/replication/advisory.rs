//! Word of values that appeared, fell silent and returned.

use serde::{Deserialize, Serialize};

use crate::error::{DecodeError, Layer};
use crate::id::Ksuid;
use crate::json::{self, Limits};
use crate::subject;

/// Protocol of word about ages, as Choria's consumers know it.
pub const AGE_PROTOCOL: &str = "io.choria.sr.v2.age_advisory";
/// Protocol of word about values that said themselves that they stop, which the former has no event for.
pub const LIFECYCLE_PROTOCOL: &str = "io.overlay.sr.v1.lifecycle_advisory";

/// What stands in an advisory's subject for the event.
const EVENT_MARK: &str = "%s";
/// What stands in an advisory's subject for the value.
const VALUE_MARK: &str = "%v";
/// What takes the place of what a subject can't have.
const FILLER: char = '_';

/// What happened to a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AdvisoryEvent {
    /// It was seen for the first time.
    New,
    /// It has been silent for longer than the warning time.
    Timeout,
    /// It was seen again after such a silence.
    Recover,
    /// It was silent for so long that it is forgotten.
    Expire,
    /// It said that it stops: its silence from now on is no fault.
    Shutdown,
}

impl AdvisoryEvent {
    /// Returns the word for the event in documents and subjects.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Timeout => "timeout",
            Self::Recover => "recover",
            Self::Expire => "expire",
            Self::Shutdown => "shutdown",
        }
    }

    /// Returns the protocol of documents about the event.
    #[must_use]
    pub fn protocol(self) -> &'static str {
        match self {
            Self::New | Self::Timeout | Self::Recover | Self::Expire => AGE_PROTOCOL,
            Self::Shutdown => LIFECYCLE_PROTOCOL,
        }
    }
}

/// One advisory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advisory {
    /// Id; that of the message too.
    pub event_id: Ksuid,
    /// Where the value was found: a path, the name of a header, a token of the subject.
    pub inspect_field: String,
    /// Seconds since the value was seen last, -1 when it never was.
    pub age: i64,
    /// When it was seen last, in Unix seconds.
    pub seen: i64,
    /// Who says it: the site.
    pub replicator: String,
    /// When it was found out, in Unix seconds.
    pub timestamp: i64,
    /// What happened.
    pub event: AdvisoryEvent,
    /// The value.
    pub value: String,
}

/// The document: members in the order in which the original writes them.
#[derive(Serialize, Deserialize)]
struct Document {
    protocol: String,
    event_id: Ksuid,
    inspect_field: String,
    age: i64,
    seen: i64,
    replicator: String,
    timestamp: i64,
    event: AdvisoryEvent,
    value: String,
}

impl Advisory {
    /// Encodes the document.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let this = self.clone();
        json::encode(&Document {
            protocol: this.event.protocol().to_owned(),
            event_id: this.event_id,
            inspect_field: this.inspect_field,
            age: this.age,
            seen: this.seen,
            replicator: this.replicator,
            timestamp: this.timestamp,
            event: this.event,
            value: this.value,
        })
    }

    /// Decodes a document of either protocol; further members are skipped.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] says what is missing or wrong.
    pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Self, DecodeError> {
        let layer = Layer::Replication;
        limits.check(layer, bytes)?;
        let document: Document =
            serde_json::from_slice(bytes).map_err(|source| DecodeError::Json { layer, source })?;
        let bad = |member, reason: &str| DecodeError::Member {
            layer,
            member,
            reason: reason.to_owned(),
        };
        if document.protocol != document.event.protocol() {
            return Err(bad("protocol", "is not that of the event"));
        }
        if document.inspect_field.is_empty() {
            return Err(bad("inspect_field", "is empty"));
        }
        if document.value.is_empty() {
            return Err(bad("value", "is empty"));
        }
        Ok(Self {
            event_id: document.event_id,
            inspect_field: document.inspect_field,
            age: document.age,
            seen: document.seen,
            replicator: document.replicator,
            timestamp: document.timestamp,
            event: document.event,
            value: document.value,
        })
    }
}

/// Returns where an advisory is published: `%s` of the template is the event, `%v` the value.
///
/// What a subject can't have in the place of the value (white space, wildcards, empty tokens) becomes `_`, and so does
/// a `$` at the beginning, behind which the broker's own subjects are: values are foreign text.
#[must_use]
pub fn advisory_subject(template: &str, event: AdvisoryEvent, value: &str) -> String {
    let template = template.replace(EVENT_MARK, event.name());
    let plain = template.replace(VALUE_MARK, value);
    let is_plain = subject::is_valid(&plain)
        && !value.contains(['*', '>'])
        && (template.starts_with('$') || !plain.starts_with('$'));
    if is_plain {
        return plain;
    }
    let mut safe = String::with_capacity(value.len());
    for (index, token) in value.split('.').enumerate() {
        if index > 0 {
            safe.push('.');
        }
        if token.is_empty() {
            safe.push(FILLER);
        }
        safe.extend(token.chars().enumerate().map(|(place, char)| {
            let is_refused = char.is_whitespace()
                || char.is_control()
                || matches!(char, '*' | '>' | char::REPLACEMENT_CHARACTER)
                || (char == '$' && index == 0 && place == 0);
            if is_refused { FILLER } else { char }
        }));
    }
    template.replace(VALUE_MARK, &safe)
}

#[cfg(test)]
mod tests;
