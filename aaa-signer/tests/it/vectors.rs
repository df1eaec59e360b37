//! Recorded requests and configurations of the original, replayed. Where we differ on purpose, a rule tells it from the
//! data; the rules are listed in `docs/conformance/aaa-signer.md`.

mod audit;
mod config;
mod http;
mod keys;
mod login;
mod metrics;
mod rpc;
mod sign;
mod swagger;

use overlay_testkit::vectors::{self, Handler};

const HANDLERS: &[(&str, Handler)] = &[
    ("aaa/crypt.json", login::hashes),
    ("aaa/login-bruteforce.json", login::guesses),
    ("aaa/login-http.json", login::over_http),
    ("aaa/login-modes.json", login::configurations),
    ("aaa/userlist.json", login::users),
    ("aaa/audit-jetstream.json", audit::documents),
    ("aaa/audit-logfile.json", audit::logfile),
    ("aaa/config.json", config::files),
    ("aaa/http-paths.json", http::paths),
    ("aaa/metrics.json", metrics::increments),
    ("aaa/rpc-crash.json", rpc::crashes),
    ("aaa/sign-http-request.json", sign::over_http),
    ("aaa/sign-http-token.json", sign::over_http),
    ("aaa/sign-rpc.json", rpc::messages),
];

/// The original's own description is not kept in the tree.
const BROUGHT: &[(&str, Handler)] = &[("aaa/swagger.json", swagger::document)];

#[test]
fn recorded_vectors_replay() {
    vectors::replay_with_brought(
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors"),
        HANDLERS,
        BROUGHT,
    )
    .assert_passed();
}
