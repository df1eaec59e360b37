//! What the original was seen to do, replayed against ours.

mod config;
mod start;

use overlay_testkit::vectors::{self, Handler};

use crate::copy;
use crate::operation::vectors as operation;
use crate::sampling::vectors as sampling;

const HANDLERS: &[(&str, Handler)] = &[
    (
        "stream-replicator/behaviour.json",
        copy::behaviour::situations,
    ),
    ("stream-replicator/config.json", config::documents),
    ("stream-replicator/copy.json", copy::vectors::runs),
    ("stream-replicator/durations.json", config::durations),
    ("stream-replicator/election.json", operation::elections),
    ("stream-replicator/gossip.json", sampling::gossip),
    ("stream-replicator/heartbeat.json", config::heartbeats),
    ("stream-replicator/metrics.json", operation::metrics),
    (
        "stream-replicator/sampling-decisions.json",
        sampling::decisions,
    ),
    (
        "stream-replicator/sampling-messages.json",
        sampling::messages,
    ),
    ("stream-replicator/sampling-series.json", sampling::series),
    (
        "stream-replicator/start-positions.json",
        copy::positions::start_positions,
    ),
    ("stream-replicator/start.json", start::starts),
    ("stream-replicator/state-files.json", sampling::files),
    ("stream-replicator/subject-mapping.json", config::mappings),
    ("stream-replicator/tracker-scrub.json", sampling::scrub),
    ("stream-replicator/tracker-seen.json", sampling::seen),
];

#[test]
fn recorded_vectors_replay() {
    vectors::replay(
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors"),
        HANDLERS,
    )
    .assert_passed();
}
