//! Replays the vectors that this crate handles.

use overlay_testkit::vectors::{Handler, replay_with_brought};

const HANDLERS: &[(&str, Handler)] = &[
    ("aaa/client-login.json", crate::client_login::replay),
    ("tokens/jwt-cli.json", crate::jwt_cli::replay),
    (
        "stream-replicator/admin.json",
        crate::replicate_admin::replay,
    ),
];

/// Output of the original's command line is not kept in the tree.
const BROUGHT: &[(&str, Handler)] = &[("rpc/cli/runs.json", crate::runs::replay)];

#[test]
fn vectors_replay() {
    replay_with_brought(
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors"),
        HANDLERS,
        BROUGHT,
    )
    .assert_passed();
}
