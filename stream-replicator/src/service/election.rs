//! Which replica works: Choria's election, with its bucket, keys and values.
//!
//! What the leader writes is fenced, so it begins at once. Only a key that was deleted makes it wait: Choria's replicas
//! delete it at every stop, and one that still leads sees that with its next vote, 0.75 s later at most.

use std::time::Duration;

use overlay_runtime::nats::election::{self, Candidacy, Caution, Leadership, Settings};

use super::places::Place;
use crate::metrics::Metrics;

/// How often a candidate tries: a leader that stops hands over within one and a half of it.
const CANDIDATE_INTERVAL: Duration = Duration::from_millis(500);
/// How often a leader votes: before one of Choria's, that took a key which was deleted, begins to work.
const LEADER_INTERVAL: Duration = Duration::from_millis(400);
/// By then one of Choria's, whose key was deleted, has seen it.
const AFTER_DELETION: Duration = Duration::from_millis(800);

/// The key of a worker's election.
pub(super) fn key(worker: &str, stream: &str) -> String {
    format!("SR_{worker}_{stream}")
}

/// How a replica takes part in a worker's election.
pub(super) fn settings(key: &str, candidate: &str, api_prefix: Option<&str>) -> Settings {
    Settings {
        api_prefix: api_prefix.map(str::to_owned),
        caution: Caution::AfterDeletion(AFTER_DELETION),
        candidate_interval: Some(CANDIDATE_INTERVAL),
        leader_interval: Some(LEADER_INTERVAL),
        retake: true,
        ..Settings::new(key, candidate)
    }
}

/// Makes a candidate, and shows how it fares in the metrics.
pub(super) fn candidate(
    key: &str,
    candidate: &str,
    place: &Place,
    client: async_nats::Client,
    metrics: &Metrics,
) -> (Leadership, Candidacy) {
    let settings = settings(key, candidate, place.api_prefix());
    let (leadership, candidacy) =
        election::candidate(client, settings, metrics.elections().clone());
    metrics.follow_election(key, candidate, leadership.figures());
    (leadership, candidacy)
}
