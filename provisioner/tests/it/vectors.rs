//! What the original's programs were seen to do, replayed against ours.

mod faulty;
mod files;
mod flow;
mod helper;
mod helper_faults;
mod live;
mod machine;
mod tokens;
mod upgrade;
mod v1;

use overlay_testkit::vectors::{self, Handler};

const HANDLERS: &[(&str, Handler)] = &[
    ("provisioner/config.json", files::config),
    ("provisioner/election.json", live::elections),
    ("provisioner/faulty-nodes.json", faulty::nodes),
    ("provisioner/flow-full.json", flow::flows),
    ("provisioner/flow-minimal.json", flow::flows),
    ("provisioner/flow-others.json", flow::flows),
    ("provisioner/flow-private-key.json", flow::flows),
    ("provisioner/flow-v1.json", v1::flow),
    ("provisioner/helper-faults.json", helper_faults::helpers),
    ("provisioner/helper.json", helper::exchanges),
    ("provisioner/log.json", live::log_lines),
    ("provisioner/metrics.json", live::metrics),
    ("provisioner/pairs-and-restart.json", live::pairs),
    ("provisioner/server-jwt.json", tokens::server_tokens),
    ("provisioner/upgrade.json", upgrade::upgrades),
    ("provisioner/versions.json", files::versions),
];

#[test]
fn recorded_vectors_replay() {
    vectors::replay(
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors"),
        HANDLERS,
    )
    .assert_passed();
}
