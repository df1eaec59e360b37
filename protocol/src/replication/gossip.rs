//! What is known of one value: replicas tell each other, and it is what is kept in files.

use serde::Serialize;
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::error::{DecodeError, Layer};
use crate::json::{self, Limits};

/// Go's time without a value.
const NO_TIME: &str = "0001-01-01T00:00:00Z";

/// Largest value whose neighbours can still be told apart as a JSON number in every language.
const MAX_SIZE: f64 = 9_007_199_254_740_992.0;

/// Returns where the replica that works tells the others of a worker what it saw; names have no dots, wildcards or spaces.
#[must_use]
pub fn sync_subject(stream: &str, worker: &str) -> String {
    format!("choria.stream-replicator.sync.{stream}.{worker}")
}

/// Returns where a replica that joins asks the others for all that they know.
///
/// Not below the subject of [`sync_subject`]: the original's readers of it end at what they don't know.
#[must_use]
pub fn state_subject(stream: &str, worker: &str) -> String {
    format!("choria.stream-replicator.state.{stream}.{worker}")
}

/// What is known of one value, in the form of Choria's stream replicator.
///
/// The members behind `value` are ours, written only when they say something; the original skips them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TrackedItem {
    /// When it was seen last.
    pub seen: Option<OffsetDateTime>,
    /// When it was copied last.
    pub copied: Option<OffsetDateTime>,
    /// Whether its silence was told of.
    pub advised: bool,
    /// Bytes of the body that was seen last.
    pub size: u64,
    /// The value; may be empty where it is the name of the member.
    pub value: String,
    /// Bytes of the body that was copied last, when they are others.
    pub copied_size: Option<u64>,
    /// When it said that it stops, unless it was seen since.
    pub stopped: Option<OffsetDateTime>,
    /// Whether it was silent for so long that it is forgotten.
    pub gone: bool,
}

#[derive(Serialize)]
struct Wire<'a> {
    seen: String,
    copied: String,
    #[serde(skip_serializing_if = "is_false")]
    advised: bool,
    size: u64,
    #[serde(skip_serializing_if = "str::is_empty")]
    value: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    copied_size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stopped: Option<String>,
    #[serde(skip_serializing_if = "is_false")]
    gone: bool,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde asks for a reference"
)]
fn is_false(flag: &bool) -> bool {
    !flag
}

impl TrackedItem {
    /// Encodes the item.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        json::encode(&Wire {
            seen: written(self.seen),
            copied: written(self.copied),
            advised: self.advised,
            size: self.size,
            value: &self.value,
            copied_size: self.copied_size.filter(|size| *size != self.size),
            stopped: self.stopped.map(|at| written(Some(at))),
            gone: self.gone,
        })
    }

    /// Decodes an item as leniently as Go does: names in any case, members missing, null or unknown.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] says which member is of another kind.
    pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Self, DecodeError> {
        let layer = Layer::Replication;
        limits.check(layer, bytes)?;
        let members: Map<String, Value> =
            serde_json::from_slice(bytes).map_err(|source| DecodeError::Json { layer, source })?;
        let mut item = Self::default();
        for (name, value) in &members {
            if !value.is_null() {
                item.take(&name.to_ascii_lowercase(), value)?;
            }
        }
        Ok(item)
    }

    fn take(&mut self, name: &str, value: &Value) -> Result<(), DecodeError> {
        match name {
            "seen" => self.seen = time("seen", value)?,
            "copied" => self.copied = time("copied", value)?,
            "advised" => self.advised = flag("advised", value)?,
            "size" => self.size = size("size", value)?,
            "value" => value
                .as_str()
                .ok_or_else(|| bad("value", "is no text"))?
                .clone_into(&mut self.value),
            "copied_size" => self.copied_size = Some(size("copied_size", value)?),
            "stopped" => self.stopped = time("stopped", value)?,
            "gone" => self.gone = flag("gone", value)?,
            _ => {}
        }
        Ok(())
    }
}

fn bad(member: &'static str, reason: &str) -> DecodeError {
    DecodeError::Member {
        layer: Layer::Replication,
        member,
        reason: reason.to_owned(),
    }
}

fn written(at: Option<OffsetDateTime>) -> String {
    at.and_then(|at| at.format(&Rfc3339).ok())
        .unwrap_or_else(|| NO_TIME.to_owned())
}

fn time(member: &'static str, value: &Value) -> Result<Option<OffsetDateTime>, DecodeError> {
    let text = value.as_str().ok_or_else(|| bad(member, "is no text"))?;
    let at = OffsetDateTime::parse(text, &Rfc3339)
        .map_err(|_error| bad(member, "is no time in the form of RFC 3339"))?;
    // Go's zero, in whatever zone it was written.
    Ok((at.year() > 1).then_some(at))
}

fn flag(member: &'static str, value: &Value) -> Result<bool, DecodeError> {
    value
        .as_bool()
        .ok_or_else(|| bad(member, "is neither true nor false"))
}

fn size(member: &'static str, value: &Value) -> Result<u64, DecodeError> {
    let size = value.as_f64().ok_or_else(|| bad(member, "is no number"))?;
    if !(0.0..=MAX_SIZE).contains(&size) {
        return Err(bad(member, "is no size"));
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range was checked, and a part of a byte is nothing"
    )]
    let whole = size as u64;
    Ok(whole)
}

#[cfg(test)]
mod tests;
