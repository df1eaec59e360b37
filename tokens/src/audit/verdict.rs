//! What verification found.

use std::fmt;
use std::sync::Arc;

use overlay_protocol::audit::LineHash;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

/// Where a line was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A line of a file.
    File {
        /// Name of the file.
        name: Arc<str>,
        /// Number of the line, from 1.
        line: u64,
    },
    /// A line of a message of a stream.
    Stream {
        /// Sequence of the message in the stream.
        sequence: u64,
        /// Number of the line in the message, from 1.
        line: u64,
    },
    /// Nothing of the chain was read at all.
    Nowhere,
}

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// A line is not as it was written.
    Changed,
    /// Lines are not there.
    Missing,
    /// A line is not where it was written.
    Reordered,
    /// A line is there twice.
    Repeated,
    /// The end is not there.
    Truncated,
    /// A line that is to be signed by the writer is not.
    BadCheckpoint,
    /// A chain begins a second time, so that nothing says what came before.
    Restarted,
}

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// What is wrong.
    pub kind: FaultKind,
    /// Name of the chain, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chain: Option<String>,
    /// Number of the line in the chain, where it is known; the first of several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// Where it shows.
    pub place: Place,
    /// For people.
    pub message: String,
}

/// What the writer of a chain says of it, at its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NoticeAt {
    /// Name of the chain.
    pub chain: String,
    /// Number of the line.
    pub sequence: u64,
    /// Where it stands.
    pub place: Place,
    /// What happened, as a word for machines.
    pub what: String,
    /// What happened, for people.
    pub message: String,
}

/// One chain as it was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChainVerdict {
    /// Its name.
    pub name: String,
    /// Number of the first line; above 1 when the beginning is elsewhere or has expired.
    pub first: u64,
    /// Number of the last line.
    pub last: u64,
    /// Hash of the last line, for a later comparison.
    #[serde(serialize_with = "as_text")]
    pub hash: LineHash,
    /// Lines that were read.
    pub records: u64,
    /// The last line that a good signature of the writer covers; none when there is no such signature.
    pub sealed: Option<u64>,
    /// Whether the writer ended it in good order.
    pub closed: bool,
}

/// What verification found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Lines that were read and understood.
    pub records: u64,
    /// Whether signatures were checked; without a known issuer only the hashes are.
    pub signatures: bool,
    /// The chains, by name.
    pub chains: Vec<ChainVerdict>,
    /// What is wrong, in the order in which it showed.
    pub faults: Vec<Fault>,
    /// Faults beyond those that are listed.
    pub more_faults: u64,
    /// What writers say of their chains.
    pub notices: Vec<NoticeAt>,
}

impl Verdict {
    /// Tells whether nothing is wrong.
    pub fn is_whole(&self) -> bool {
        self.faults.is_empty()
    }
}

impl FaultKind {
    /// The word for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Missing => "missing",
            Self::Reordered => "reordered",
            Self::Repeated => "repeated",
            Self::Truncated => "truncated",
            Self::BadCheckpoint => "bad checkpoint",
            Self::Restarted => "restarted",
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { name, line } => write!(f, "{name}:{line}"),
            Self::Stream { sequence, line } => write!(f, "message {sequence}, line {line}"),
            Self::Nowhere => f.write_str("nowhere"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, kind, .. } = self;
        write!(f, "{place}: {kind}: {}", self.message)
    }
}

impl Serialize for Place {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        match self {
            Self::File { name, line } => {
                map.serialize_entry("file", &**name)?;
                map.serialize_entry("line", line)?;
            }
            Self::Stream { sequence, line } => {
                map.serialize_entry("message", sequence)?;
                map.serialize_entry("line", line)?;
            }
            Self::Nowhere => {}
        }
        map.end()
    }
}

fn as_text<S: Serializer>(hash: &LineHash, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(hash)
}
