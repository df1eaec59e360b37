//! What the original was seen to do, replayed against ours.

mod config;
mod start;

use overlay_testkit::vectors::{self, Handler};

const HANDLERS: &[(&str, Handler)] = &[
    ("stream-replicator/config.json", config::documents),
    ("stream-replicator/durations.json", config::durations),
    ("stream-replicator/heartbeat.json", config::heartbeats),
    ("stream-replicator/start.json", start::starts),
    ("stream-replicator/subject-mapping.json", config::mappings),
];

#[test]
fn recorded_vectors_replay() {
    vectors::replay(
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors"),
        HANDLERS,
    )
    .assert_passed();
}
