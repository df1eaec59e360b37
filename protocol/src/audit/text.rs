//! What is signed.

use super::{Head, Kind, LineHash};

/// Returns what the signature of a checkpoint covers; `time` is the record's `data.time` in Unix seconds.
///
/// The first line keeps it apart from all else that the same key signs.
#[must_use]
pub fn checkpoint_text(
    kind: Kind,
    chain: &str,
    sequence: u64,
    previous: LineHash,
    time: i64,
) -> String {
    format!("overlay-audit-{kind}\n{chain}\n{sequence}\n{previous}\n{time}")
}

/// Returns what the signature of a head covers that is kept beside a file of records.
#[must_use]
pub fn head_text(chain: &str, head: Head, time: i64) -> String {
    let Head { sequence, hash } = head;
    format!("overlay-audit-head\n{chain}\n{sequence}\n{hash}\n{time}")
}
