//! Lines of what changed: `<checksum> <kind> <content>`.

use overlay_protocol::envelope::Limits;
use overlay_protocol::id::Ksuid;
use overlay_protocol::replication::{Advisory, TrackedItem};
use sha2::{Digest as _, Sha256};

use crate::advise::{Entry, Owed};
use crate::track::Nanos;

/// Bytes of a hash that are written, in hex.
const CHECKSUM: usize = 4;

const ITEM: &str = "value";
const OWED: &str = "owed";
const TOLD: &str = "told";

/// A line.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Line {
    /// What is known of a value, or that it is forgotten.
    Item(TrackedItem),
    /// What is to be told, or was.
    Advisory(Entry),
}

impl Line {
    /// Writes the line behind others.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let content = match self {
            Self::Item(item) => text(ITEM, &item.encode()),
            Self::Advisory(Entry::Owed(owed)) => {
                let mut rest = owed.seen.number().to_string().into_bytes();
                rest.push(b' ');
                rest.extend_from_slice(&owed.advisory.encode());
                text(OWED, &rest)
            }
            Self::Advisory(Entry::Told(id)) => text(TOLD, id.to_string().as_bytes()),
        };
        out.extend_from_slice(checksum(&content).as_bytes());
        out.push(b' ');
        out.extend_from_slice(&content);
        out.push(b'\n');
    }

    fn read(line: &[u8]) -> Option<Self> {
        let (sum, content) = split(line)?;
        if sum != checksum(content).as_bytes() {
            return None;
        }
        let (kind, rest) = split(content)?;
        let limits = Limits::default();
        match str::from_utf8(kind).ok()? {
            ITEM => TrackedItem::decode(rest, &limits).ok().map(Self::Item),
            OWED => {
                let (seen, document) = split(rest)?;
                let seen = str::from_utf8(seen).ok()?.parse().ok()?;
                let owed = Owed {
                    advisory: Advisory::decode(document, &limits).ok()?,
                    seen: Nanos::of_number(seen),
                };
                Some(Self::Advisory(Entry::Owed(owed)))
            }
            TOLD => {
                let id: Ksuid = str::from_utf8(rest).ok()?.parse().ok()?;
                Some(Self::Advisory(Entry::Told(id)))
            }
            _ => None,
        }
    }
}

/// Reads lines; gives how many are damaged, but for the last one, which a stop may have torn.
pub(crate) fn read(text: &[u8]) -> (Vec<Line>, usize) {
    let mut lines = Vec::new();
    let mut bad = 0;
    let (whole, _torn) = match text.iter().rposition(|byte| *byte == b'\n') {
        Some(end) => text.split_at(end),
        None => (&[][..], text),
    };
    for line in whole
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
    {
        match Line::read(line) {
            Some(line) => lines.push(line),
            None => bad += 1,
        }
    }
    (lines, bad)
}

fn text(kind: &str, rest: &[u8]) -> Vec<u8> {
    let mut content = Vec::with_capacity(kind.len() + 1 + rest.len());
    content.extend_from_slice(kind.as_bytes());
    content.push(b' ');
    content.extend_from_slice(rest);
    content
}

fn split(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|byte| *byte == b' ')?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

fn checksum(content: &[u8]) -> String {
    use std::fmt::Write as _;

    let digest = Sha256::digest(content);
    digest
        .iter()
        .take(CHECKSUM)
        .fold(String::new(), |mut sum, byte| {
            // Writing to a text does not fail.
            let _infallible = write!(sum, "{byte:02x}");
            sum
        })
}
