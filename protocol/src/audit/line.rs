//! A record as a line, and back.

use std::borrow::Cow;
use std::io::Write as _;

use serde::Deserialize;
use serde_json::value::RawValue;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Data, Head, Kind, LineHash, MAX_LINE_BYTES, SOURCE_PREFIX, TYPE_PREFIX};
use crate::error::{DecodeError, Layer};
use crate::json::{self, Limits};

/// Digits of a sequence number: as text these sort as the numbers do, which CloudEvents asks for.
const DIGITS: usize = 12;
/// Deepest nesting of a line: a request within the data within the event.
const MAX_DEPTH: usize = 40;

/// Writes the line that follows `previous` in a chain, without a line end.
///
/// `time_ns` is Unix time in nanoseconds, of which microseconds are kept. `data` is an object in JSON on one line.
#[must_use]
pub fn write_line(
    chain: &str,
    previous: Head,
    kind: Kind,
    subject: &str,
    time_ns: i64,
    data: &[u8],
) -> Vec<u8> {
    let sequence = previous.sequence + 1;
    let hash = previous.hash;
    let name = json::encode_text(chain);
    let source = name.get(1..name.len() - 1).unwrap_or_default();
    let mut id = hash.to_string();
    id.truncate(16);
    let mut line = Vec::with_capacity(data.len() + 512);
    let written = write!(
        line,
        r#"{{"specversion":"1.0","id":"{sequence:0DIGITS$}-{id}","source":"{SOURCE_PREFIX}{source}","type":"{TYPE_PREFIX}{kind}","#
    )
    .and_then(|()| {
        if subject.is_empty() {
            return Ok(());
        }
        write!(line, r#""subject":{},"#, json::encode_text(subject))
    })
    .and_then(|()| {
        write!(
            line,
            r#""time":"{}","datacontenttype":"application/json","chain":{name},"sequence":"{sequence:0DIGITS$}","previous":"{hash}","data":"#,
            rfc3339(time_ns),
        )
    });
    debug_assert!(written.is_ok(), "a vector takes all that is written");
    line.extend_from_slice(data);
    line.push(b'}');
    line
}

/// A line with its place in the chain read and its data left as it stands: enough to verify with.
#[derive(Debug, Clone)]
pub struct Envelope<'a> {
    /// What it tells.
    pub kind: Kind,
    /// Name of the chain.
    pub chain: Cow<'a, str>,
    /// Its number, from 1.
    pub sequence: u64,
    /// Hash of the line before.
    pub previous: LineHash,
    /// Whom it concerns.
    pub subject: Option<Cow<'a, str>>,
    /// When, as text.
    pub time: Cow<'a, str>,
    /// Its data.
    pub data: &'a RawValue,
}

/// A line, read whole.
#[derive(Debug, Clone)]
pub struct Record {
    /// What it tells.
    pub kind: Kind,
    /// Name of the chain.
    pub chain: String,
    /// Its number, from 1.
    pub sequence: u64,
    /// Hash of the line before.
    pub previous: LineHash,
    /// Whom it concerns: the caller, or nobody.
    pub subject: Option<String>,
    /// When, in RFC 3339.
    pub time: String,
    /// What it says.
    pub data: Data,
}

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    specversion: Cow<'a, str>,
    #[serde(borrow)]
    source: Cow<'a, str>,
    #[serde(borrow, rename = "type")]
    type_: Cow<'a, str>,
    #[serde(borrow, default)]
    subject: Option<Cow<'a, str>>,
    #[serde(borrow)]
    time: Cow<'a, str>,
    #[serde(borrow)]
    chain: Cow<'a, str>,
    #[serde(borrow)]
    sequence: Cow<'a, str>,
    #[serde(borrow)]
    previous: Cow<'a, str>,
    #[serde(borrow)]
    data: &'a RawValue,
}

const LAYER: Layer = Layer::AuditRecord;

impl<'a> Envelope<'a> {
    /// Reads a line without its line end.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] says which limit was broken, or why it is no record.
    pub fn decode(line: &'a [u8]) -> Result<Self, DecodeError> {
        let limits = Limits {
            max_bytes: MAX_LINE_BYTES,
            max_depth: MAX_DEPTH,
        };
        limits.check(LAYER, line)?;
        let wire: Wire<'a> = serde_json::from_slice(line).map_err(|source| DecodeError::Json {
            layer: LAYER,
            source,
        })?;
        let bad = |member, reason: String| DecodeError::Member {
            layer: LAYER,
            member,
            reason,
        };
        let kind = wire
            .type_
            .strip_prefix(TYPE_PREFIX)
            .filter(|_kind| wire.specversion == "1.0")
            .and_then(|kind| kind.parse().ok())
            .ok_or_else(|| DecodeError::Protocol {
                layer: LAYER,
                found: wire.type_.chars().take(64).collect(),
            })?;
        if wire.source.strip_prefix(SOURCE_PREFIX) != Some(&*wire.chain) {
            return Err(bad("source", "it is not that of the chain".to_owned()));
        }
        let digits =
            wire.sequence.len() >= DIGITS && wire.sequence.bytes().all(|b| b.is_ascii_digit());
        let sequence = wire
            .sequence
            .parse()
            .ok()
            .filter(|sequence| digits && *sequence > 0)
            .ok_or_else(|| bad("sequence", "it is no number of a line".to_owned()))?;
        let previous = wire
            .previous
            .parse()
            .map_err(|error: super::NoHash| bad("previous", error.to_string()))?;
        if !wire.data.get().starts_with('{') {
            return Err(bad("data", "it is no object".to_owned()));
        }
        Ok(Self {
            kind,
            chain: wire.chain,
            sequence,
            previous,
            subject: wire.subject,
            time: wire.time,
            data: wire.data,
        })
    }

    /// Reads the data too.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] when a member of the data has another type.
    pub fn data(&self) -> Result<Data, DecodeError> {
        serde_json::from_str(self.data.get()).map_err(|source| DecodeError::Json {
            layer: LAYER,
            source,
        })
    }
}

impl Record {
    /// Reads a line without its line end.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] says which limit was broken, or why it is no record.
    pub fn decode(line: &[u8]) -> Result<Self, DecodeError> {
        let envelope = Envelope::decode(line)?;
        Ok(Self {
            data: envelope.data()?,
            kind: envelope.kind,
            chain: envelope.chain.into_owned(),
            sequence: envelope.sequence,
            previous: envelope.previous,
            subject: envelope.subject.map(Cow::into_owned),
            time: envelope.time.into_owned(),
        })
    }
}

/// A time outside of the calendar is nobody's: it is written as the begin of Unix time.
fn rfc3339(time_ns: i64) -> String {
    let micros = i128::from(time_ns.div_euclid(1000));
    OffsetDateTime::from_unix_timestamp_nanos(micros * 1000)
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
        .format(&Rfc3339)
        .unwrap_or_default()
}
