//! What the helper says and what becomes of the node; and helpers that fail while nodes wait for them.

use overlay_protocol::provisioning::NodeState;
use overlay_testkit::emulated::{Fault, Step};
use overlay_testkit::eventually;

use crate::cell::{Cell, OFTEN, SOON, all_enrolled_once, leaving};

const ONCE: &str = "[retry]\nfirst = \"1h\"\ndefer_first = \"1h\"\n";

#[tokio::test(flavor = "multi_thread")]
async fn provision_case_31_a_node_is_shut_down_when_the_helper_says_so_and_deferral_wins() {
    let cell = Cell::start().await;
    let provisioner = cell.provisioner(ONCE);
    let names = ["shutdown-1.example.net", "both-1.example.net"];
    let fleet = cell.nodes().names(names).start().await;
    fleet.announce().await;
    provisioner.wait_for_outcome("shutdown", 1.0).await;
    provisioner.wait_for_outcome("deferred", 1.0).await;
    assert_eq!(fleet.node(names[0]).calls_of(Step::Shutdown), 1);
    assert_eq!(fleet.node(names[1]).calls_of(Step::Shutdown), 0);
    for name in names {
        assert_eq!(fleet.node(name).configured, 0);
    }
    assert_eq!(cell.audit_of(names[0]).await, ["shutdown"]);
    assert_eq!(cell.audit_of(names[1]).await, ["deferred"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn provision_case_32_faults_of_the_helper_are_the_nodes_and_nobody_else_s() {
    let cell = Cell::start().await;
    let more = format!(
        "[helper]\nmode = \"process\"\ncommand = [{:?}, \"once\"]\ntimeout = \"10s\"\n{ONCE}",
        cell.helper()
    );
    let provisioner = cell.provisioner(&more);
    let names = [
        "hang-1.example.net",
        "die-1.example.net",
        "wrong-1.example.net",
        "nothing-1.example.net",
    ];
    let bad = cell.nodes().names(names).start().await;
    let good = cell.nodes().count(10).start().await;
    bad.announce().await;
    good.announce().await;
    all_enrolled_once(&good, &provisioner).await;
    provisioner.wait_for_outcome("failed", 4.0).await;
    for (name, reason) in names.into_iter().zip([
        "helper_failed",
        "helper_failed",
        "helper_output",
        "helper_output",
    ]) {
        let record = cell.record(name).await.unwrap();
        assert_eq!(
            (record.state, record.reason.as_deref()),
            (NodeState::Failed, Some(reason)),
            "{name}"
        );
        assert_eq!(bad.node(name).configured, 0);
    }
    assert_eq!(
        provisioner.metric("choria_provisioner_helper_errors{site=\"lon\"}"),
        3.0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_persistent_helper_that_dies_or_hangs_costs_no_other_node() {
    let cell = Cell::start().await;
    let more = format!(
        "[helper]\nmode = \"persistent\"\ncommand = [{:?}]\ntimeout = \"10s\"\nprocesses = 2\n{ONCE}",
        cell.helper()
    );
    let provisioner = cell.provisioner(&more);
    let names = ["die-1.example.net", "hang-1.example.net"];
    let bad = cell.nodes().names(names).start().await;
    bad.announce().await;
    provisioner.wait_for_outcome("failed", 2.0).await;
    let good = cell.nodes().count(20).start().await;
    good.announce().await;
    all_enrolled_once(&good, &provisioner).await;
    for name in names {
        assert_eq!(
            cell.record(name).await.unwrap().reason.as_deref(),
            Some("helper_failed")
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn provision_case_36_a_key_is_not_sent_to_a_node_that_gave_nothing_to_protect_it_with() {
    let cell = Cell::start().await;
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)
        .unwrap()
        .serialize_pem();
    let helper = cell.program(
        "key.sh",
        &format!(
            "#!/bin/sh\nHELPER_KEY='{key}' exec {} once\n",
            cell.helper()
        ),
    );
    let more = format!("[helper]\nmode = \"process\"\ncommand = [{helper:?}]\n{ONCE}");
    let provisioner = cell.provisioner(&more);
    let fleet = cell
        .nodes()
        .names(["key-1.example.net"])
        .behaviour(leaving().fault(Fault::Lacks(Step::Jwt, "ecdh_public")))
        .start()
        .await;
    fleet.announce().await;
    provisioner.wait_for_reason("key_transport").await;
    assert_eq!(fleet.node("key-1.example.net").calls_of(Step::Configure), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn provision_case_37_only_another_version_is_upgraded_to() {
    let cell = Cell::start().await;
    let more = format!("[upgrades]\nrepository = \"https://packages.example.net/\"\n{ONCE}");
    let provisioner = cell.provisioner(&more);
    let names = [
        "same-1.example.net",
        "upgrade-1.example.net",
        "upgrade-2.example.net",
    ];
    let fleet = cell
        .nodes()
        .names(names)
        .behave(|index, _| leaving().version("0.30.2", index == 2))
        .start()
        .await;
    fleet.announce().await;
    eventually(SOON, OFTEN, || async { fleet.node(names[0]).restarts == 1 }).await;
    assert_eq!(fleet.node(names[0]).calls_of(Step::ReleaseUpdate), 0);
    provisioner.wait_for_reason("upgrade_failed").await;
    assert_eq!(fleet.node(names[1]).configured, 0);
    provisioner.wait_for_outcome("upgraded", 1.0).await;
    // It comes again with the other version, and only then is configured.
    let order = fleet.node(names[2]).order;
    let place = |step| order.iter().position(|one| *one == step);
    assert!(place(Step::ReleaseUpdate).is_some());
    assert!(
        place(Step::Configure).is_none_or(|configure| Some(configure) > place(Step::ReleaseUpdate))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn provision_case_29_the_helper_gets_the_five_keys_and_no_secret() {
    let cell = Cell::start().await;
    let log = cell.dir.path().join("questions");
    let helper = cell.program(
        "logged.sh",
        &format!(
            "#!/bin/sh\nHELPER_LOG={} exec {} once\n",
            log.display(),
            cell.helper()
        ),
    );
    let more = format!("[helper]\nmode = \"process\"\ncommand = [{helper:?}]\n{ONCE}");
    let provisioner = cell.provisioner(&more);
    let fleet = cell.nodes().count(1).start().await;
    fleet.announce().await;
    all_enrolled_once(&fleet, &provisioner).await;
    let text = std::fs::read_to_string(log).unwrap();
    let question: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
    let keys: Vec<_> = question.as_object().unwrap().keys().cloned().collect();
    assert_eq!(
        keys,
        ["csr", "ed25519_pubkey", "identity", "inventory", "jwt"]
    );
    assert!(question["csr"].is_null() && question["inventory"].is_string());
    assert!(!text.contains(crate::cell::SECRET));
}
