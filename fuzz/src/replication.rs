//! What replicators read of others: marks, gossip, state, answers, configuration.

use overlay_protocol::json::Limits;
use overlay_protocol::replication::{SourceMark, TrackedItem, heartbeat_body, heartbeat_time};
use overlay_stream_replicator::compat::{Original, duration};
use overlay_stream_replicator::{Config, foreign};

/// The first byte chooses the reader, the rest is its input.
///
/// Holds: a mark, an item, a state file and a journal that are written again read the same; an answer that counts has a place
/// in a stream; a field that is not there has no value and is not true; a span of time can be counted by the original; what
/// is read of the original's file becomes keys that are checked without a panic.
pub fn replication(data: &[u8]) {
    let Some((reader, rest)) = data.split_first() else {
        return;
    };
    let text = std::str::from_utf8(rest).unwrap_or_default();
    match reader % 8 {
        0 => mark(text),
        1 => item(rest),
        2 => foreign::state_file(rest),
        3 => foreign::journal(rest),
        4 => foreign::answer(rest),
        5 => foreign::body(rest),
        6 => times(text),
        _ => document(text),
    }
}

fn mark(text: &str) {
    let Ok(mark) = text.parse::<SourceMark>() else {
        return;
    };
    let again: SourceMark = mark.to_string().parse().expect("what we write parses");
    assert_eq!(again, mark, "a mark changes when written");
}

fn item(bytes: &[u8]) {
    let limits = Limits::default();
    let Ok(item) = TrackedItem::decode(bytes, &limits) else {
        return;
    };
    let roomy = Limits {
        max_bytes: limits.max_bytes * 8,
        ..limits
    };
    let again = TrackedItem::decode(&item.encode(), &roomy).expect("what we write decodes");
    // What is the same as the last size is not written.
    assert_eq!(
        (again.seen, again.copied, again.advised, again.size),
        (item.seen, item.copied, item.advised, item.size),
        "an item changes when written"
    );
    assert_eq!(again.value, item.value, "an item changes its value");
}

fn times(text: &str) {
    if let Some(time) = heartbeat_time(text.as_bytes()) {
        assert_eq!(heartbeat_time(heartbeat_body(time).as_bytes()), Some(time));
    }
    if let Ok(span) = duration(text) {
        assert!(
            i64::try_from(span.as_nanos()).is_ok(),
            "a span that the original cannot count"
        );
    }
}

fn document(text: &str) {
    let Ok(original) = Original::read(text) else {
        return;
    };
    let Ok(table) = original.table() else {
        return;
    };
    let text = toml::to_string(&table).expect("a table is written");
    drop(overlay_runtime::config::load_text::<Config>(&text));
}
