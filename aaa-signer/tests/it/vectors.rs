//! Recorded requests and configurations of the original, replayed. Where we differ on purpose, a rule tells it from the
//! data; the rules are listed in `docs/conformance/aaa-signer.md`.

mod keys;
mod rpc;
mod sign;

use overlay_testkit::vectors::{self, Handler};

const HANDLERS: &[(&str, Handler)] = &[
    ("aaa/rpc-crash.json", rpc::crashes),
    ("aaa/sign-http-request.json", sign::over_http),
    ("aaa/sign-http-token.json", sign::over_http),
    ("aaa/sign-rpc.json", rpc::messages),
];

#[test]
fn recorded_vectors_replay() {
    vectors::replay(
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors"),
        HANDLERS,
    )
    .assert_passed();
}
