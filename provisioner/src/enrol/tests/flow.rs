//! What happens when nothing goes wrong, and what the helper may want instead.

use std::time::Duration;

use overlay_protocol::provisioning::NodeState;
use overlay_protocol::provisioning::audit::Kind;
use overlay_testkit::mint::Organisation;
use overlay_tokens::claims::ServerClaims;
use overlay_tokens::issue::ClientToken;
use overlay_tokens::key_transport::decrypt_private_key;
use overlay_tokens::{Unverified, VerifyError};
use regex::Regex;
use serde_json::{Value, json};

use super::super::*;
use super::World;
use super::node::Fault;
use super::world::{NAME, SECRET, configuration_with, issuer};
use crate::answer::{AnswerError, HelperFault};
use crate::policy::{Pki, Placement, Upgrades};

#[test]
fn provision_case_16_a_bare_node_becomes_a_member() {
    let mut world = World::new();
    assert_eq!(world.verdict(), ("enrolled", ""));
    let order = [
        "jwt",
        "inventory",
        "gen25519",
        "helper",
        "issue",
        "configure",
        "restart",
    ];
    assert_eq!(world.order, order);
    assert_eq!(world.vetted, ["startup", "provisioned", "shutdown"]);
    assert_eq!(world.audits, [(Kind::Enrolled, None)]);

    let [sent] = world.node.configured.as_slice() else {
        panic!("configured once");
    };
    assert_eq!(sent["token"], SECRET);
    let config: Value = serde_json::from_str(sent["config"].as_str().unwrap()).unwrap();
    assert_eq!(config["identity"], NAME);
    let token = sent["server_jwt"].as_str().unwrap();
    let token = Unverified::<ServerClaims>::decode(token).unwrap();
    let token = token
        .verify(&world.organisation.issuers(), world.now)
        .unwrap();
    assert_eq!(token.identity, NAME);
    assert_eq!(token.public_key().unwrap(), world.node.key.public());
    assert_eq!(token.collectives, ["choria"]);

    let record = world.record.as_ref().unwrap();
    assert_eq!(record.state, NodeState::Member);
    assert_eq!(record.enrolments.len(), 1);
    let issued = record.issued.as_ref().unwrap();
    assert_eq!(issued.id, token.standard.jti);
    assert_eq!(issued.public_key, world.node.key.public().to_string());
    assert_eq!((record.failures, record.reason.as_deref()), (0, None));
    assert_eq!(record.site.as_deref(), Some("lon"));
}

#[test]
fn a_record_that_is_put_away_while_the_node_is_awaited_changes_nothing() {
    for joins in [true, false] {
        let ends = [true, false].map(|rests| {
            let mut world = World::new();
            world.enlist(3600);
            world.name = NameState::Live;
            (world.rests, world.joins) = (rests, joins);
            let verdict = world.verdict();
            let record = world.record.unwrap();
            let counted = (record.failures, record.attempts, record.enrolments.len());
            let issued = record.issued.map(|issued| issued.public_key);
            let renewed = issued == Some(world.node.key.public().to_string());
            let last = world.details.last().cloned().unwrap();
            let told = last.public_key == Some(world.node.key.public().to_string());
            let token = last.token.is_some() && last.issued.is_some();
            (
                verdict,
                record.state,
                counted,
                world.audits,
                (renewed, told, token),
            )
        });
        let [put_away, kept] = ends;
        assert_eq!(put_away, kept);
        assert_eq!(kept.4, (true, true, true), "{kept:?}");
    }
}

#[test]
fn an_audit_tells_who_which_key_which_token_and_what_the_helper_said() {
    let mut world = World::new();
    world.helper = Ok(configuration_with(json!({"placement": "cell-7"})));
    world.run();
    let details = world.details.first().unwrap();
    let token = details.token.as_ref().unwrap();
    assert_eq!(token.sha256.len(), 64);
    assert!(token.id.is_some() && token.expires.is_some() && !token.one_time);
    let key = world.node.key.public().to_string();
    assert_eq!(details.public_key.as_ref(), Some(&key));
    assert_eq!(details.issued.as_ref().unwrap().public_key, key);
    let helper = details.helper.as_ref().unwrap();
    assert_eq!(
        (helper.decision.as_str(), helper.message.as_deref()),
        ("enrol", Some("welcome"))
    );
    assert_eq!(helper.sha256.as_ref().unwrap().len(), 64);
    assert_eq!(details.placement.as_deref(), Some("cell-7"));
    assert_eq!(details.provisioner, "provisioner");
    // Nothing that is secret is in it.
    let text = serde_json::to_string(details).unwrap();
    assert!(!text.contains(SECRET) && !text.contains(&world.node.jwt));
}

#[test]
fn provision_case_18_the_nonce_is_signed_as_text_and_fresh_with_each_try() {
    let mut world = World::new();
    let refused = Fault::Aborts("not now");
    world.node.fail(Action::Gen25519, refused, 4);
    assert_eq!(world.verdict(), ("enrolled", ""));
    assert_eq!(world.node.times(Action::Gen25519), 5);
    let asked = world.questions.first().unwrap();
    let key = asked.ed25519_pubkey.as_ref().unwrap();
    assert_eq!(key.public_key, world.node.key.public().to_string());
    assert_eq!(
        (key.signature.len(), key.directory.as_str()),
        (128, "/etc/choria")
    );
}

#[test]
fn provision_case_29_the_helper_gets_exactly_five_keys() {
    let mut world = World::new();
    world.run();
    let question = world.questions.pop().unwrap();
    let json: Value = serde_json::from_slice(&question.to_json()).unwrap();
    let keys: Vec<_> = json
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(
        keys,
        ["csr", "ed25519_pubkey", "identity", "inventory", "jwt"]
    );
    assert!(json["csr"].is_null());
    let inventory: Value = serde_json::from_str(json["inventory"].as_str().unwrap()).unwrap();
    assert_eq!(inventory, world.node.inventory);
    // The node's secrets are not the helper's business.
    assert_eq!(json["jwt"]["cht"], "");
    assert_eq!(json["jwt"]["extensions"]["site"], "lon");
    assert!(!String::from_utf8_lossy(&question.to_json()).contains('\n'));
}

#[test]
fn the_helper_gets_secrets_and_details_where_they_are_wanted() {
    let mut world = World::new();
    world.policy.helper.secrets = true;
    world.policy.helper.details = true;
    world.run();
    let question = world.questions.pop().unwrap();
    let json: Value = serde_json::from_slice(&question.to_json()).unwrap();
    assert_eq!(json["jwt"]["cht"], SECRET);
    let details = &json["overlay"];
    assert_eq!(details["name"], "free");
    assert_eq!(details["site"], "lon");
    assert_eq!(details["must_confirm"], false);
    assert!(!format!("{question:?}").contains(SECRET));
}

#[test]
fn provision_case_30_a_deferred_node_is_not_configured_and_comes_again_later_each_time() {
    let mut world = World::new();
    world.helper = Ok(r#"{"defer":true,"msg":"not in the CMDB yet"}"#.to_owned());
    let mut pauses = Vec::new();
    for round in 1..=4 {
        let finished = world.run();
        assert_eq!(finished.outcome.as_str(), "deferred");
        let pause = finished.pause.unwrap();
        pauses.push(pause);
        let record = world.record.as_ref().unwrap();
        assert_eq!(record.state, NodeState::Deferred);
        assert_eq!((record.deferrals, record.failures), (round, 0));
        world.now = after(world.now, pause);
    }
    let base = world.policy.retry.defer_first;
    assert!(pauses[0] >= base / 2 && pauses[0] <= base * 3 / 2);
    assert!(pauses[3] >= base * 4, "{pauses:?}");
    assert!(world.node.configured.is_empty());
    assert!(world.audits.iter().all(|(kind, _)| *kind == Kind::Deferred));
    world.helper = Ok(super::world::configuration());
    assert_eq!(world.verdict(), ("enrolled", ""));
    assert_eq!(world.record.as_ref().unwrap().deferrals, 0);
}

#[test]
fn provision_case_31_a_shutdown_is_called_and_a_deferral_comes_first() {
    let mut world = World::new();
    world.helper = Ok(r#"{"shutdown":true,"msg":"decommissioned"}"#.to_owned());
    assert_eq!(world.verdict(), ("shutdown", ""));
    assert_eq!(world.node.times(Action::Shutdown), 1);
    assert_eq!(world.audits, [(Kind::Shutdown, None)]);

    let mut world = World::new();
    world.helper = Ok(r#"{"shutdown":true,"defer":true}"#.to_owned());
    assert_eq!(world.verdict(), ("deferred", "deferred"));
    assert_eq!(world.node.times(Action::Shutdown), 0);

    let mut world = World::new();
    world.helper = Ok(r#"{"shutdown":true}"#.to_owned());
    world.node.fail(Action::Shutdown, Fault::Aborts("no"), 9);
    assert_eq!(world.verdict(), ("failed", "aborted"), "a refusal is none");
}

#[test]
fn provision_case_32_what_the_helper_does_wrong_is_a_failure_and_the_node_comes_again() {
    let output = |text: &str| Ok(text.to_owned());
    for (helper, reason) in [
        (
            Err(HelperFault::Failed("exit code 1".to_owned())),
            "helper_failed",
        ),
        (
            Err(HelperFault::TimedOut(Duration::from_secs(10))),
            "helper_failed",
        ),
        (
            Err(HelperFault::Output(AnswerError::Empty)),
            "helper_output",
        ),
        (output(""), "helper_output"),
        (output("{"), "helper_output"),
        (output("{}"), "helper_output"),
        (output("[]"), "helper_output"),
        (output("{} {}"), "helper_output"),
        (output(r#"{"configuration":{"a":1}}"#), "helper_output"),
        (output(r#"{"defer":"yes"}"#), "helper_output"),
    ] {
        let mut world = World::new();
        world.helper = helper;
        let finished = world.run();
        assert_eq!(finished.outcome.why().unwrap().reason.as_str(), reason);
        assert!(finished.pause.is_some() && world.node.configured.is_empty());
        let record = world.record.as_ref().unwrap();
        assert_eq!(
            (record.attempts, record.failures),
            (1, 0),
            "no fault of the node's"
        );
        world.helper = Ok(super::world::configuration());
        world.now = after(world.now, finished.pause.unwrap());
        assert_eq!(world.verdict(), ("enrolled", ""));
    }
}

#[test]
fn provision_case_34_a_token_never_outlives_its_issuer() {
    let mut world = World::new();
    let chain = world.organisation.chain(ClientToken {
        validity: Duration::from_secs(7200),
        ..ClientToken::new("provisioner=short")
    });
    world.issuer = issuer(&world.organisation, &chain);
    world.run();
    let issued = world.record.unwrap().issued.unwrap();
    let left = issued.expires - world.now.secs;
    assert!((7000..=7200).contains(&left), "{left}");
}

#[test]
fn provision_case_36_a_private_key_is_sent_only_encrypted_for_the_node() {
    let pem = rcgen::KeyPair::generate().unwrap().serialize_pem();
    let mut world = World::new();
    world.helper = Ok(configuration_with(
        json!({"key": pem, "certificate": "c", "ca": "a", "ssldir": "/ssl"}),
    ));
    assert_eq!(world.verdict(), ("enrolled", ""));
    let sent = &world.node.configured[0];
    assert_eq!(
        (&sent["certificate"], &sent["ssldir"]),
        (&json!("c"), &json!("/ssl"))
    );
    let shared = world
        .node
        .exchange
        .shared(sent["ecdh_public"].as_str().unwrap());
    let key = decrypt_private_key(sent["key"].as_str().unwrap(), &shared.unwrap()).unwrap();
    assert!(key.contains(pem.lines().nth(1).unwrap()));

    let mut world = World::new();
    world.helper = Ok(configuration_with(json!({"key": pem})));
    world
        .node
        .fail(Action::Jwt, Fault::Says("ecdh_public", json!("")), 1);
    assert_eq!(world.verdict(), ("failed", "key_transport"));
    assert!(world.node.configured.is_empty() && world.issued.is_empty());
}

#[test]
fn provision_case_37_only_another_version_is_upgraded_to() {
    let upgrades = |optional| {
        let mut world = World::new();
        world.policy.features.upgrades = Some(Upgrades {
            repository: "https://repo.example.net".to_owned(),
            optional,
        });
        world
    };
    let wanting = |version: &str| Ok(configuration_with(json!({"upgrade": version})));

    let mut world = upgrades(false);
    world.helper = wanting("0.30.2");
    assert_eq!(world.verdict(), ("enrolled", ""));
    assert_eq!(world.node.times(Action::ReleaseUpdate), 0);

    let mut world = upgrades(false);
    world.helper = wanting("0.30.1");
    let finished = world.run();
    assert_eq!(finished.outcome.as_str(), "upgraded");
    assert_eq!(
        finished.pause, None,
        "it comes as soon as it announces itself"
    );
    assert!(world.node.configured.is_empty());
    assert_eq!(world.audits, [(Kind::Upgraded, None)]);
    assert_eq!(world.vetted, ["startup", "upgraded"]);
    // It came back as it was: it is not told for ever.
    assert_eq!(world.verdict(), ("failed", "upgrade_failed"));
    // It came back as it should.
    world.node.inventory["version"] = json!("0.30.1");
    world.now = after(world.now, Duration::from_secs(60));
    assert_eq!(world.verdict(), ("enrolled", ""));

    for (optional, verdict) in [
        (false, ("failed", "upgrade_failed")),
        (true, ("enrolled", "")),
    ] {
        let mut world = upgrades(optional);
        world.helper = wanting("9.9.9");
        world.node.inventory["upgradable"] = json!(false);
        assert_eq!(world.verdict(), verdict);
        assert_eq!(world.node.times(Action::ReleaseUpdate), 0);

        let mut world = upgrades(optional);
        world.helper = wanting("9.9.9");
        let failed = Fault::Aborts("Update to version 9.9.9 failed, release rolled back");
        world.node.fail(Action::ReleaseUpdate, failed, 9);
        assert_eq!(world.verdict(), verdict);
        assert_eq!(world.node.times(Action::ReleaseUpdate), 3);
    }
    // A node that fell silent may be at it still.
    let mut world = upgrades(true);
    world.helper = wanting("9.9.9");
    world.node.fail(Action::ReleaseUpdate, Fault::Silent, 9);
    assert_eq!(world.verdict(), ("failed", "no_answer"));

    // Without the feature the wish is passed over.
    let mut world = World::new();
    world.helper = wanting("9.9.9");
    assert_eq!(world.verdict(), ("enrolled", ""));
}

#[test]
fn a_signing_request_is_made_checked_and_shown_to_the_helper() {
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, NAME);
    let key = rcgen::KeyPair::generate().unwrap();
    let csr = params.serialize_request(&key).unwrap().pem().unwrap();
    let pki = || {
        let mut world = World::new();
        world.policy.features.pki = Some(Pki {
            denied: vec![Regex::new(r"\.choria$").unwrap()],
        });
        world.node.csr = Some(csr.clone());
        world
    };
    let mut world = pki();
    world.helper = Ok(configuration_with(json!({"ssldir": "/elsewhere"})));
    assert_eq!(world.verdict(), ("enrolled", ""));
    let asked = world.questions[0].csr.as_ref().unwrap();
    assert_eq!(
        (&asked.csr, asked.ssldir.as_str()),
        (&csr, "/etc/choria/ssl")
    );
    assert_eq!(world.node.configured[0]["ssldir"], "/etc/choria/ssl");

    let mut world = pki();
    world.node.csr = Some("not pem".to_owned());
    assert_eq!(world.verdict(), ("refused", "csr_invalid"));
    assert!(world.questions.is_empty());

    let mut world = pki();
    world.node.fail(Action::Gencsr, Fault::Lacks("csr"), 9);
    assert_eq!(world.verdict(), ("failed", "bad_answer"));
}

#[test]
fn a_placement_fills_in_brokers_and_is_recorded() {
    let mut world = World::new();
    let lon = Placement {
        hosts: vec!["nats://lon:4222".to_owned()],
        collectives: vec!["choria".to_owned(), "lon".to_owned()],
    };
    world.policy.placements.insert("lon".to_owned(), lon);
    world.helper = Ok(configuration_with(json!({"placement": "lon"})));
    assert_eq!(world.verdict(), ("enrolled", ""));
    let sent = world.node.configured[0]["config"].as_str().unwrap();
    assert!(sent.contains(r#""plugin.choria.middleware_hosts":"nats://lon:4222""#));
    assert_eq!(world.issued[0].collectives, ["choria", "lon"]);
    assert_eq!(world.record.unwrap().placement.as_deref(), Some("lon"));
}

#[test]
fn a_node_that_is_not_seen_in_the_fleet_has_failed_and_keeps_no_name() {
    let mut world = World::new();
    world.joins = false;
    assert_eq!(world.verdict(), ("failed", "not_seen"));
    let kinds: Vec<_> = world.audits.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [Kind::Enrolled, Kind::Failed]);
    world.joins = true;
    world.now = after(world.now, Duration::from_secs(60));
    assert_eq!(world.verdict(), ("enrolled", ""));
}

#[test]
fn a_node_that_was_restarted_by_an_instance_that_is_gone_is_reported_when_it_never_arrives() {
    let mut world = World::new();
    assert_eq!(world.verdict(), ("enrolled", ""));
    world.audits.clear();
    world.record.as_mut().unwrap().state = NodeState::Restarting;
    for action in [Action::Jwt, Action::Inventory] {
        world.node.fail(action, Fault::Gone, 99);
    }
    world.found = Found::Retry;
    // It may live where nobody can look.
    for name in [NameState::Unknown, NameState::Live] {
        world.name = name;
        assert_eq!(world.run().outcome.as_str(), "stopped");
        assert!(world.audits.is_empty());
    }
    world.name = NameState::Free;
    assert_eq!(world.verdict(), ("failed", "not_seen"));
    assert_eq!(world.audits, [(Kind::Failed, Some("not_seen".to_owned()))]);
    // Once.
    let record = world.record.clone();
    assert_eq!(world.run().outcome.as_str(), "stopped");
    assert_eq!((world.record, world.audits.len()), (record, 1));
}

#[test]
fn a_restart_that_is_not_answered_may_have_been_heard() {
    for fault in [Fault::Silent, Fault::Gone, Fault::Unreadable] {
        let mut world = World::new();
        world.node.fail(Action::Restart, fault.clone(), 9);
        assert_eq!(world.verdict(), ("enrolled", ""), "{fault:?}");
        let mut world = World::new();
        world.node.fail(Action::Restart, fault, 9);
        world.joins = false;
        assert_eq!(world.verdict(), ("failed", "not_seen"));
    }
    let mut world = World::new();
    let refused = Fault::Aborts("Configuration F enables provisioning, restart cannot continue");
    world.node.fail(Action::Restart, refused, 9);
    assert_eq!(world.verdict(), ("failed", "aborted"));
}

#[test]
fn a_node_that_was_not_there_to_hear_its_restart_is_told_again() {
    let mut world = World::new();
    world.node.fail(Action::Restart, Fault::Gone, 2);
    assert_eq!(world.verdict(), ("enrolled", ""));
    assert_eq!(world.node.times(Action::Restart), 3);
    assert_eq!(world.node.times(Action::Configure), 1);
}

#[test]
fn provision_case_25_a_node_that_comes_back_each_time_is_left_alone() {
    let mut world = World::new();
    let without = json!({"configuration": {"identity": NAME}}).to_string();
    world.helper = Ok(without);
    for _ in 0..world.policy.quarantine.enrolments.get() {
        // Its restart is seen, or not; in a loop it comes back unprovisioned either way.
        world.joins = false;
        assert_eq!(world.verdict(), ("failed", "not_seen"));
        assert!(
            world
                .notes
                .iter()
                .any(|note| note.contains("switch provisioning off"))
        );
        world.now = after(world.now, Duration::from_secs(60));
    }
    assert_eq!(world.verdict(), ("quarantined", "quarantined"));
    let heard = world.node.heard.len();
    assert_eq!(world.verdict(), ("quarantined", "quarantined"));
    assert_eq!(world.node.heard.len(), heard, "it is not even asked");
    assert_eq!(world.node.configured.len(), 3);

    let record = world.record.as_mut().unwrap();
    crate::record::release(record, "up=ops", world.now.secs);
    world.joins = true;
    assert_eq!(world.verdict(), ("enrolled", ""));
}

#[test]
fn provision_case_42_and_43_what_is_issued_verifies_through_the_chain_and_not_otherwise() {
    let mut world = World::new();
    world.run();
    let text = world.node.configured[0]["server_jwt"].as_str().unwrap();
    let token = || Unverified::<ServerClaims>::decode(text).unwrap();
    let claims = token();
    let issexp = claims.claims_unverified().standard.issexp;
    assert!(issexp.is_some() && claims.claims_unverified().standard.iss.starts_with("C-"));
    let attacker = Organisation::new();
    assert!(matches!(
        token().verify(&attacker.issuers(), world.now),
        Err(VerifyError::Chain(_))
    ));
}

#[test]
fn a_broken_off_attempt_is_told_by_the_next_one() {
    let mut world = World::new();
    let mut enrolment = world.begin();
    let mut inputs = vec![Input::Start];
    // Until the token is on its way; then this instance dies.
    'died: while let Some(input) = inputs.pop() {
        for command in enrolment.on(input, world.now) {
            if matches!(&command, Command::Call(call) if call.action == Action::Configure) {
                break 'died;
            }
            inputs.extend(world.perform(command));
        }
    }
    let record = world.record.clone().unwrap();
    assert_eq!(record.state, NodeState::Enrolling);
    let first = record.issued.unwrap();
    world.found = Found::Scan;
    assert_eq!(world.verdict(), ("enrolled", ""));
    let lost = &world.details[0];
    assert_eq!(lost.issued.as_ref(), Some(&first));
    assert_eq!(world.audits[0].0, Kind::Failed);
    assert_ne!(world.record.unwrap().issued.unwrap().id, first.id);
}

#[test]
fn a_node_that_announces_itself_again_is_asked_again_at_once() {
    let mut world = World::new();
    let mut enrolment = world.begin();
    let calls = |commands: Vec<Command>| -> Vec<Call> {
        commands
            .into_iter()
            .filter_map(|command| {
                let Command::Call(call) = command else {
                    return None;
                };
                Some(call)
            })
            .collect()
    };
    let first = calls(enrolment.on(Input::Start, world.now));
    assert!(enrolment.on(Input::Announced, world.now).is_empty());
    world.now = after(world.now, Duration::from_secs(5));
    let second = calls(enrolment.on(Input::Announced, world.now));
    assert_eq!(second.len(), 2);
    // What was asked of the node that is gone has no answer any more.
    for call in first {
        let fault = CallFault::TimedOut;
        let input = Input::CallFailed {
            call: call.id,
            fault,
        };
        assert!(enrolment.on(input, world.now).is_empty());
    }
    let mut inputs: Vec<_> = second
        .into_iter()
        .filter_map(|call| world.perform(Command::Call(call)))
        .collect();
    inputs.push(Input::Name(NameState::Free));
    let mut asked_for = Vec::new();
    for input in inputs {
        asked_for.extend(enrolment.on(input, world.now));
    }
    assert!(matches!(asked_for.last(), Some(Command::TakeRates { .. })));
}

#[test]
fn an_announcement_decides_nothing_while_the_member_is_awaited() {
    let mut world = World::new();
    world.joins = false;
    let mut enrolment = world.begin();
    let mut inputs = std::collections::VecDeque::from([Input::Start]);
    while let Some(input) = inputs.pop_front() {
        for command in enrolment.on(input, world.now) {
            inputs.extend(world.perform(command));
        }
    }
    world.now = after(world.now, Duration::from_secs(4));
    assert!(enrolment.on(Input::Announced, world.now).is_empty());
    let commands = enrolment.on(Input::Member, world.now);
    assert!(commands.iter().any(|command| matches!(
        command,
        Command::Finish(finished) if finished.outcome.as_str() == "enrolled"
    )));
}

#[test]
fn a_member_whose_event_was_missed_is_found_by_its_name() {
    let mut world = World::new();
    world.joins = false;
    let mut enrolment = world.begin();
    let mut inputs = std::collections::VecDeque::from([Input::Start]);
    let mut outcome = None;
    while outcome.is_none() {
        let input = inputs.pop_front().unwrap_or_else(|| {
            // It is connected by now.
            world.name = NameState::Live;
            world.now = enrolment.deadline().unwrap();
            Input::Tick
        });
        for command in enrolment.on(input, world.now) {
            if let Command::Finish(finished) = &command {
                outcome = Some(finished.outcome.clone());
            }
            inputs.extend(world.perform(command));
        }
    }
    assert_eq!(outcome.unwrap().as_str(), "enrolled");
}
