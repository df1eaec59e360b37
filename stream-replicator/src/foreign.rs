//! Readers of foreign bytes, with what must hold of what they take: for the fuzzer, which sees nothing else of them.
//!
//! Each of them panics when that does not hold.

use std::time::Duration;

use overlay_protocol::replication::TrackedItem;
use sha2::{Digest as _, Sha256};

use crate::copy::answer::Answer;
use crate::copy::incoming::Delivery;
use crate::sample::Reader;
use crate::{Inspect, Sampling, state};

/// A state file: what is taken of it and written again reads the same.
pub fn state_file(bytes: &[u8]) {
    let Ok((items, _faults)) = state::read_snapshot(bytes) else {
        return;
    };
    let again = state::read_snapshot(&state::encode_file(&items)).map(|(items, _faults)| items);
    let same = |one: &TrackedItem, other: &TrackedItem| {
        (&one.value, one.seen, one.copied, one.size)
            == (&other.value, other.seen, other.copied, other.size)
    };
    assert!(
        again.is_ok_and(|again| {
            again.len() == items.len() && again.iter().zip(&items).all(|(a, b)| same(a, b))
        }),
        "a state file changes when written"
    );
}

/// Lines of a journal; their checksums are put before them, so that what is behind is reached by any bytes.
pub fn journal(bytes: &[u8]) {
    let mut text = Vec::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        let digest = Sha256::digest(line);
        let sum: String = digest
            .iter()
            .take(4)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        text.extend_from_slice(sum.as_bytes());
        text.push(b' ');
        text.extend_from_slice(line);
        text.push(b'\n');
    }
    let (lines, _bad) = state::read_journal(&text);
    let mut written = Vec::new();
    for line in &lines {
        line.write(&mut written);
    }
    let (again, bad) = state::read_journal(&written);
    assert_eq!(
        (again.len(), bad),
        (lines.len(), 0),
        "a journal changes when written"
    );
}

/// What a broker answers to a message, and what it says of one that it delivers.
pub fn answer(bytes: &[u8]) {
    if let Answer::Stored { sequence, .. } = Answer::read(bytes) {
        assert!(sequence > 0, "an answer without a place counts");
    }
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    if let Some(delivery) = Delivery::read(text) {
        assert!(text.starts_with("$JS.ACK."), "{delivery:?}");
    }
}

/// A body, and the paths to fields before its first line end.
pub fn body(bytes: &[u8]) {
    let end = bytes.iter().position(|byte| *byte == b'\n');
    let (path, body) = bytes.split_at(end.unwrap_or_default());
    let Ok(path) = std::str::from_utf8(path) else {
        return;
    };
    let reader = |force_is_strict| {
        Reader::new(&Sampling {
            inspect: Inspect::Field(path.to_owned()),
            force: Some(path.to_owned()),
            force_is_strict,
            interval: Duration::from_secs(60),
            warn: Duration::from_secs(30),
            size_trigger: 0.0,
            lifecycle: false,
        })
    };
    let (strict, lenient) = (reader(true), reader(false));
    assert!(
        lenient.is_forced(body) || !strict.is_forced(body),
        "a field is true that is not there"
    );
    assert!(
        lenient.is_forced(body) || lenient.value("a.b", None, body).is_none(),
        "a field has a value that is not there"
    );
}
