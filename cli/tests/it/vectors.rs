//! Replays the vectors that this crate handles.

use overlay_testkit::vectors::{Handler, replay};

const HANDLERS: &[(&str, Handler)] = &[("tokens/jwt-cli.json", crate::jwt_cli::replay)];

#[test]
fn vectors_replay() {
    replay(
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors"),
        HANDLERS,
    )
    .assert_passed();
}
