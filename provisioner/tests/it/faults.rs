//! Nodes that do wrong, each next to one that does not: never a crash, never a worker that is held, always a reason.

use std::time::Duration;

use overlay_protocol::provisioning::NodeState;
use overlay_testkit::emulated::{Behaviour, Fault, Step};
use overlay_testkit::{eventually, mint};
use overlay_tokens::claims::OverlayExtension;
use serde_json::{Map, json};

use crate::cell::{Cell, OFTEN, SOON, all_enrolled_once, leaving, provisioning_token};

/// One attempt, and not much patience.
const ONCE: &str = "[retry]\nfirst = \"1h\"\n[calls]\nfirst_contact = \"6s\"\nanswer = \"6s\"\npause = \"50ms\"\n[limits]\nworkers = 4\nreply_bytes = 65536\n";

/// Each fault with the reasons that may stand in the node's record; none: it is counted and named in the log, and has no
/// record, for a name of which nobody said a word may be made up.
fn faults() -> Vec<(&'static str, Fault, &'static [&'static str])> {
    let mut faults = vec![
        (
            "wrong-signature",
            Fault::WrongSignature,
            &["key_unproven"][..],
        ),
        ("decoded-nonce", Fault::SignsDecodedNonce, &["key_unproven"]),
        (
            "replayed-signature",
            Fault::ReplaysSignature,
            &["key_unproven"],
        ),
        (
            "no-token",
            Fault::Lacks(Step::Jwt, "jwt"),
            &["token_missing", "bad_answer"],
        ),
        (
            "token-of-another-kind",
            Fault::Says(Step::Jwt, "jwt", json!(7)),
            &["bad_answer"],
        ),
        (
            "token-that-is-none",
            Fault::Says(Step::Jwt, "jwt", json!("a.b.c")),
            &["token_malformed"],
        ),
        (
            "no-key",
            Fault::Lacks(Step::Gen25519, "public_key"),
            &["bad_answer", "key_malformed"],
        ),
        (
            "short-key",
            Fault::Says(Step::Gen25519, "public_key", json!("00ff")),
            &["key_malformed"],
        ),
        (
            "no-message",
            Fault::NotJson(Step::Configure),
            &["bad_answer"],
        ),
        (
            "inventory-not-json",
            Fault::NotJson(Step::Inventory),
            &["bad_answer"],
        ),
        ("jwt-not-json", Fault::NotJson(Step::Jwt), &["bad_answer"]),
        ("bad-hash", Fault::BadHash(Step::Jwt), &["bad_answer"]),
        (
            "too-large",
            Fault::Padded(Step::Inventory, 100_000),
            &["bad_answer"],
        ),
        (
            "as-another",
            Fault::AsNode(Step::Jwt, "healthy-0.example.net".to_owned()),
            &["bad_answer", "two_answers", "no_answer"],
        ),
        (
            "replays",
            Fault::Replays(Step::Jwt),
            &["bad_answer", "no_answer"],
        ),
        (
            "aborts",
            Fault::Aborts(Step::Configure, "no".to_owned()),
            &["aborted"],
        ),
        (
            "wrong-secret",
            Fault::Aborts(Step::Jwt, "Incorrect provision token supplied".to_owned()),
            &["wrong_secret"],
        ),
    ];
    let names = [
        ("silent-jwt", "vanish-jwt", Step::Jwt),
        ("silent-inventory", "vanish-inventory", Step::Inventory),
        ("silent-gen25519", "vanish-gen25519", Step::Gen25519),
        ("silent-configure", "vanish-configure", Step::Configure),
    ];
    for (silent, vanish, step) in names {
        faults.push((silent, Fault::Silent(step), &["no_answer"]));
        // The first question is `jwt`: who leaves with it never said a word.
        let reasons: &[&str] = if step == Step::Jwt { &[] } else { &["gone"] };
        faults.push((vanish, Fault::VanishBefore(step), reasons));
    }
    faults
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_ends_with_its_reason_and_harms_nobody_else() {
    let cell = Cell::start().await;
    let faults = faults();
    let name = |kind: &str| format!("bad-{kind}.example.net");
    let names: Vec<_> = faults.iter().map(|(kind, _, _)| name(kind)).collect();
    let behaviours: Vec<_> = faults.iter().map(|(_, fault, _)| fault.clone()).collect();
    let bad = cell
        .nodes()
        .names(names.clone())
        .behave(move |index, _| leaving().fault(behaviours[index].clone()))
        .start()
        .await;
    let good = cell
        .nodes()
        .names((0..30).map(|index| format!("healthy-{index}.example.net")))
        .start()
        .await;
    let provisioner = cell.provisioner(ONCE);
    bad.announce().await;
    good.announce().await;
    all_enrolled_once(&good, &provisioner).await;
    for (kind, _, reasons) in &faults {
        let name = name(kind);
        if reasons.is_empty() {
            eventually(SOON, OFTEN, || async {
                let log = provisioner.process.stderr();
                let line = format!("stopped with {name}: ");
                let is_told = |told: &str| told.contains(&line) && told.contains("INFO");
                if log.lines().any(is_told) {
                    Ok(())
                } else {
                    Err(log)
                }
            })
            .await;
            assert_eq!(cell.record(&name).await, None, "{kind}");
            assert_eq!(bad.node(&name).restarts, 0, "{kind}");
            continue;
        }
        let found = eventually(SOON, OFTEN, || async {
            let record = cell.record(&name).await;
            match record
                .as_ref()
                .map(|record| (record.state, record.reason.clone()))
            {
                Some((NodeState::Failed | NodeState::Refused | NodeState::Quarantined, reason)) => {
                    Ok(reason.unwrap_or_default())
                }
                other => Err(format!(
                    "{kind}: {other:?}\n{}",
                    provisioner.process.stderr()
                )),
            }
        })
        .await;
        assert!(reasons.contains(&found.as_str()), "{kind}: {found}");
        assert_eq!(bad.node(&name).restarts, 0, "{kind}");
    }
    let left = faults
        .iter()
        .filter(|(_, fault, _)| matches!(fault, Fault::VanishBefore(_)))
        .count();
    let left = f64::from(u32::try_from(left).unwrap());
    let gone = "overlay_provisioner_not_enrolled_total{reason=\"gone\"}";
    provisioner.wait_for(gone, left).await;
    assert!(provisioner.is_active());
}

#[tokio::test(flavor = "multi_thread")]
async fn provision_case_18_only_a_signature_over_the_nonce_as_text_proves_the_key() {
    let cell = Cell::start().await;
    let provisioner = cell.provisioner(ONCE);
    let fleet = cell
        .nodes()
        .names(["text.example.net", "bytes.example.net"])
        .behave(|index, _| match index {
            0 => leaving(),
            _ => leaving().fault(Fault::SignsDecodedNonce),
        })
        .start()
        .await;
    fleet.announce().await;
    provisioner.wait_for_reason("key_unproven").await;
    eventually(SOON, OFTEN, || async {
        fleet.node("text.example.net").restarts == 1
    })
    .await;
    assert_eq!(fleet.node("bytes.example.net").configured, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn provision_case_17_a_node_with_another_secret_is_refused_and_untouched() {
    let cell = Cell::start().await;
    let provisioner = cell.provisioner(ONCE);
    let fleet = cell
        .nodes()
        .names(["other.example.net"])
        .behaviour(leaving().secret("another secret"))
        .start()
        .await;
    fleet.announce().await;
    provisioner.wait_for_reason("wrong_secret").await;
    let seen = fleet.node("other.example.net");
    assert_eq!((seen.configured, seen.calls_of(Step::Configure)), (0, 0));
    assert!(
        seen.refusals
            .iter()
            .all(|(_, text)| text == "Incorrect provision token supplied")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_are_forged_over_or_of_another_name_are_refused_with_the_reason() {
    let cell = Cell::start().await;
    let provisioner = cell.provisioner(ONCE);
    let port = cell.broker.port();
    let stranger = mint::Organisation::new();
    let bound = |name: &str, one_time: bool| {
        let mut extensions = Map::new();
        OverlayExtension {
            identity: Some(name.parse().unwrap()),
            one_time,
            ..OverlayExtension::default()
        }
        .write(&mut extensions);
        cell.token_of(|token| overlay_tokens::issue::ProvisioningToken {
            extensions: Some(extensions),
            ..token
        })
    };
    let nodes = [
        (
            "forged.example.net",
            stranger.provisioning(provisioning_token(port)),
            Some("token_untrusted"),
        ),
        (
            "other.example.net",
            bound("somebody.example.net", false),
            Some("token_other_name"),
        ),
        ("bound.example.net", bound("bound.example.net", true), None),
        (
            "unknown.example.net",
            cell.token_of(|token| overlay_tokens::issue::ProvisioningToken {
                ou: "elsewhere".to_owned(),
                ..token
            }),
            Some("token_untrusted"),
        ),
    ];
    let behaviours: Vec<Behaviour> = nodes
        .iter()
        .map(|(_, token, _)| leaving().shows_token(token.clone()))
        .collect();
    let fleet = cell
        .nodes()
        .names(nodes.iter().map(|(name, _, _)| *name))
        .behave(move |index, _| behaviours[index].clone())
        .start()
        .await;
    fleet.announce().await;
    for (name, _, reason) in &nodes {
        match reason {
            Some(reason) => {
                eventually(SOON, OFTEN, || async {
                    let record = cell.record(name).await.ok_or("no record")?;
                    let found = record.reason.unwrap_or_default();
                    if found == *reason {
                        Ok(())
                    } else {
                        Err("another reason")
                    }
                })
                .await;
                assert_eq!(fleet.node(name).configured, 0, "{name}");
            }
            None => eventually(SOON, OFTEN, || async { fleet.node(name).restarts == 1 }).await,
        }
    }
    assert!(provisioner.is_active());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_live_is_refused_unless_the_helper_confirms() {
    let cell = Cell::start().await;
    let provisioner = cell.provisioner(ONCE);
    let members = cell.fleet().await;
    let names = [
        "live.example.net",
        "confirm-live.example.net",
        "free.example.net",
    ];
    let mut held = Vec::new();
    for name in &names[..2] {
        held.push(
            members
                .subscribe(format!("choria.node.{name}"))
                .await
                .unwrap(),
        );
    }
    members.flush().await.unwrap();
    let fleet = cell.nodes().names(names).start().await;
    fleet.announce().await;
    provisioner.wait_for_reason("name_live").await;
    for name in &names[1..] {
        eventually(SOON, OFTEN, || async { fleet.node(name).restarts == 1 }).await;
    }
    assert_eq!(fleet.node(names[0]).configured, 0);
    assert_eq!(cell.audit_of(names[0]).await, ["refused"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_to_everything_makes_no_name_free_or_live() {
    let cell = Cell::start().await;
    let provisioner = cell.provisioner(ONCE);
    let spy = cell.fleet().await;
    let _all = spy.subscribe(">").await.unwrap();
    spy.flush().await.unwrap();
    let fleet = cell.nodes().count(1).start().await;
    fleet.announce().await;
    provisioner.wait_for_reason("name_unknown").await;
    assert!(provisioner.metric("overlay_provisioner_names_unknown_total") >= 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_of_one_name_are_found_out() {
    let cell = Cell::start().await;
    let name = ["twin.example.net"];
    let one = cell.nodes().names(name).start().await;
    let other = cell.nodes().names(name).start().await;
    let provisioner = cell.provisioner(ONCE);
    one.announce().await;
    // By their answers, or by the broker's count of those who listen, whichever comes first.
    eventually(SOON, OFTEN, || async {
        let reason = cell.record(name[0]).await.and_then(|record| record.reason);
        let counted = ["two_answers", "shared_name"].map(|reason| {
            provisioner.metric(&format!(
                "overlay_provisioner_not_enrolled_total{{reason=\"{reason}\"}}"
            ))
        });
        if counted.iter().sum::<f64>() >= 1.0 {
            Ok(())
        } else {
            Err(format!("{reason:?}"))
        }
    })
    .await;
    assert_eq!(one.node(name[0]).restarts + other.node(name[0]).restarts, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn provision_case_25_a_node_that_comes_back_again_and_again_is_left_alone() {
    assert!(loops().await <= 2);
}

/// How often a node is enrolled that comes back unprovisioned each time, where two enrolments are enough.
pub(crate) async fn loops() -> u32 {
    let cell = Cell::start().await;
    let more = "[names]\nheld = \"allow\"\n[quarantine]\nenrolments = 2\n[retry]\nfirst = \"100ms\"\nlongest = \"200ms\"\n[streams.claims]\nkeep = \"1s\"\nlease = \"5s\"\n[scan]\ninterval = \"1s\"\n";
    let provisioner = cell.provisioner(more);
    let fleet = cell
        .nodes()
        .count(1)
        .behaviour(Behaviour::default().after_restart(
            overlay_testkit::emulated::AfterRestart::Loops(Duration::from_millis(300)),
        ))
        .start()
        .await;
    fleet.announce().await;
    eventually(SOON, OFTEN, || async {
        let record = cell
            .record("n00000.example.net")
            .await
            .ok_or("no record".to_owned())?;
        if record.state == NodeState::Quarantined {
            Ok(())
        } else {
            Err(format!("{record:?}\n{}", provisioner.process.stderr()))
        }
    })
    .await;
    let restarts = fleet.node("n00000.example.net").restarts;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(fleet.node("n00000.example.net").restarts, restarts);
    restarts
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_meant_for_a_node_is_not_sent_while_a_silent_one_listens_under_its_name() {
    let cell = Cell::start().await;
    let name = ["quiet.example.net"];
    let node = cell.nodes().names(name).start().await;
    let spy = cell
        .nodes()
        .names(name)
        .behaviour(Behaviour::dead())
        .start()
        .await;
    let provisioner = cell.provisioner(ONCE);
    node.announce().await;
    provisioner.wait_for_reason("shared_name").await;
    assert_eq!(node.node(name[0]).calls_of(Step::Configure), 0);
    assert_eq!(spy.node(name[0]).calls_of(Step::Configure), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_says_too_much_of_itself_holds_nothing_up() {
    let cell = Cell::start().await;
    let long = cell
        .nodes()
        .names(["long.example.net"])
        .behaviour(leaving().version("9".repeat(70_000), false))
        .start()
        .await;
    // Its announcement is too long as well: the scan finds it.
    let provisioner = cell.provisioner("[limits]\nworkers = 1\n");
    eventually(SOON, OFTEN, || async {
        long.node("long.example.net").calls_of(Step::Inventory) > 0
    })
    .await;
    let good = cell.nodes().count(5).start().await;
    good.announce().await;
    all_enrolled_once(&good, &provisioner).await;
    // It is not believed, and gave its place back.
    provisioner.wait_for_reason("bad_answer").await;
    assert_eq!(long.node("long.example.net").configured, 0);
}
