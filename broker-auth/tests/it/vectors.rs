//! Recorded logins, permission lists and callout requests, replayed through the decision.

mod broker;
mod callout;
mod lists;
mod provisioner;
mod rules;
mod statistics;

use overlay_testkit::vectors::{self, Handler};

const HANDLERS: &[(&str, Handler)] = &[
    ("broker/logins.json", broker::logins),
    ("broker/permission-lists.json", lists::permission_lists),
    ("broker/permissions-client.json", broker::permissions),
    ("broker/permissions-other.json", broker::permissions),
    ("broker/permissions-server.json", broker::permissions),
    ("broker/settings.json", broker::settings),
    ("broker/varz/endpoints.json", statistics::endpoints),
    ("broker/varz/metrics.json", statistics::metrics),
    ("broker/websocket.json", broker::logins),
    ("provisioner/login.json", provisioner::logins),
    ("provisioner/provisioning-jwt.json", provisioner::tokens),
    ("stock-broker/callout-requests.json", callout::requests),
];

#[test]
fn recorded_vectors_replay() {
    vectors::replay(
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors"),
        HANDLERS,
    )
    .assert_passed();
}
