//! One handler per vector file.
//!
//! Where a rule of ours differs from the original, it is stated in `docs/conformance/protocol.md`.

mod agents;
mod ddl;
mod events;
mod filters;
mod requests;
mod subjects;

use overlay_protocol::envelope::Limits;
use overlay_testkit::vectors::{Handler, replay_with_brought};
use serde_json::Value;

const HANDLERS: &[(&str, Handler)] = &[
    ("ingest/events-live.json", events::live),
    ("ingest/events-made.json", events::made),
    ("ingest/events-parsed.json", events::parsed),
    ("provisioner/events.json", events::provisioner),
    ("rpc/agents-provisioning.json", agents::agents),
    ("rpc/agents.json", agents::agents),
    ("rpc/filter-match.json", filters::matching),
    ("rpc/filter-parse.json", filters::parsing),
    ("rpc/huge.json", requests::huge),
    ("rpc/make-request.json", requests::make_request),
    ("rpc/subjects.json", subjects::subjects),
];

/// Descriptions that belong to others are not kept in the tree.
const BROUGHT: &[(&str, Handler)] = &[("rpc/ddl/*.json", ddl::descriptions)];

#[test]
fn every_vector_holds() {
    replay_with_brought(
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors"),
        HANDLERS,
        BROUGHT,
    )
    .assert_passed();
}

fn limits() -> Limits {
    Limits::default()
}

/// The text at a path of member names.
fn text<'a>(value: &'a Value, pointer: &str) -> Result<&'a str, String> {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .ok_or_else(|| format!("no text at {pointer}"))
}

/// The base64 at a path of member names, decoded.
fn bytes(value: &Value, pointer: &str) -> Result<Vec<u8>, String> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD
        .decode(text(value, pointer)?)
        .map_err(|error| format!("{pointer}: {error}"))
}

/// Compares, and says what differs.
fn same<T: PartialEq + std::fmt::Debug>(what: &str, ours: &T, theirs: &T) -> Result<(), String> {
    if ours == theirs {
        Ok(())
    } else {
        Err(format!("{what}: ours {ours:?}, theirs {theirs:?}"))
    }
}

/// Turns an error into the reason of a failed case.
fn fault<E: std::error::Error>(what: &'static str) -> impl Fn(E) -> String {
    move |error| match error.source() {
        Some(source) => format!("{what}: {error}: {source}"),
        None => format!("{what}: {error}"),
    }
}
