//! What nodes do wrong: each ends with its reason, none as a success.

use std::num::NonZeroU32;
use std::time::Duration;

use overlay_protocol::provisioning::audit::Kind;
use overlay_testkit::mint::{Login, Organisation};
use overlay_tokens::issue::{ClientToken, ProvisioningToken};
use regex::Regex;
use serde_json::json;

use super::super::*;
use super::World;
use super::node::Fault;
use super::world::{SECRET, provisioning_token};
use crate::policy::NodeSecret;
use crate::time::after;

#[test]
fn answers_that_lack_something_are_failed_tries_and_never_a_success() {
    for (action, member) in [
        (Action::Jwt, "jwt"),
        (Action::Inventory, "version"),
        (Action::Gen25519, "public_key"),
        (Action::Gen25519, "signature"),
        (Action::Gen25519, "directory"),
        (Action::Configure, "message"),
    ] {
        let mut world = World::new();
        world.node.fail(action, Fault::Lacks(member), 99);
        assert_eq!(
            world.verdict(),
            ("failed", "bad_answer"),
            "{action} {member}"
        );
        let tries = if action == Action::Jwt { 3 } else { 5 };
        assert_eq!(world.node.times(action), tries, "{action} {member}");

        let mut world = World::new();
        world.node.fail(action, Fault::Lacks(member), 2);
        assert_eq!(world.verdict(), ("enrolled", ""), "{action} {member}");
    }
}

#[test]
fn answers_of_another_form_are_refused_at_once() {
    for (action, member, value, reason) in [
        (Action::Jwt, "jwt", json!(1), "bad_answer"),
        (Action::Jwt, "jwt", json!("a.b.c"), "token_malformed"),
        (Action::Jwt, "jwt", json!(["x"]), "bad_answer"),
        (Action::Inventory, "version", json!(0.3), "bad_answer"),
        (Action::Inventory, "upgradable", json!("yes"), "bad_answer"),
        (Action::Gen25519, "public_key", json!("00"), "key_malformed"),
        (
            Action::Gen25519,
            "public_key",
            json!("zz".repeat(32)),
            "key_malformed",
        ),
        (
            Action::Gen25519,
            "public_key",
            json!("0".repeat(64)),
            "key_malformed",
        ),
        (Action::Gen25519, "signature", json!("00"), "key_malformed"),
        (
            Action::Gen25519,
            "signature",
            json!("00".repeat(64)),
            "key_unproven",
        ),
        (Action::Gen25519, "directory", json!(7), "bad_answer"),
        (Action::Configure, "message", json!({}), "bad_answer"),
    ] {
        let mut world = World::new();
        world.node.fail(action, Fault::Says(member, value), 99);
        assert_eq!(world.verdict(), ("refused", reason), "{action} {member}");
        assert_eq!(world.node.times(action), 1);
        assert_eq!(world.audits.last().unwrap().0, Kind::Refused);
    }
    for action in [
        Action::Jwt,
        Action::Inventory,
        Action::Gen25519,
        Action::Configure,
    ] {
        let mut world = World::new();
        world.node.fail(action, Fault::NoObject, 99);
        assert_eq!(world.verdict(), ("refused", "bad_answer"), "{action}");
    }
}

#[test]
fn answers_that_cannot_be_read_are_failed_tries() {
    for action in [
        Action::Jwt,
        Action::Inventory,
        Action::Gen25519,
        Action::Configure,
    ] {
        let mut world = World::new();
        world.node.fail(action, Fault::Unreadable, 99);
        assert_eq!(world.verdict(), ("failed", "bad_answer"), "{action}");
    }
}

#[test]
fn a_node_that_leaves_or_falls_silent_frees_its_place() {
    for action in [Action::Gen25519, Action::Configure] {
        let mut world = World::new();
        let started = world.now;
        world.node.fail(action, Fault::Silent, 99);
        assert_eq!(world.verdict(), ("failed", "no_answer"), "{action}");
        assert_eq!(world.node.times(action), 2, "the original waits five times");
        let took = crate::time::until(started, world.now);
        assert!(took < Duration::from_secs(60), "{took:?}");

        let mut world = World::new();
        world.node.fail(action, Fault::Gone, 99);
        assert_eq!(world.verdict(), ("failed", "gone"), "{action}");
    }
    let mut world = World::new();
    world.node.fail(Action::Inventory, Fault::Silent, 99);
    assert_eq!(world.verdict(), ("failed", "no_answer"));
}

#[test]
fn a_node_that_leaves_after_its_first_word_is_on_record() {
    for action in [Action::Jwt, Action::Inventory] {
        let mut world = World::new();
        world.node.fail(action, Fault::Gone, 99);
        assert_eq!(world.verdict(), ("failed", "gone"), "{action}");
        assert_eq!(world.audits, [(Kind::Failed, Some("gone".to_owned()))]);
        let record = world.record.unwrap();
        assert_eq!(record.reason.as_deref(), Some("gone"), "{action}");
    }
    // A word that says no is one, too.
    let mut world = World::new();
    world.node.fail(Action::Jwt, Fault::Gone, 99);
    world
        .node
        .fail(Action::Inventory, Fault::Aborts("not now"), 99);
    assert_eq!(world.verdict().0, "failed");
}

#[test]
fn a_name_that_nobody_answers_for_leaves_no_trace() {
    let mut world = World::new();
    world.node.fail(Action::Jwt, Fault::Gone, 99);
    world.node.fail(Action::Inventory, Fault::Gone, 99);
    let finished = world.run();
    assert_eq!(finished.outcome.as_str(), "stopped");
    assert_eq!(finished.pause, None);
    assert!(world.record.is_none() && world.audits.is_empty() && world.vetted.is_empty());

    let mut world = World::new();
    world.node.fail(Action::Jwt, Fault::Gone, 2);
    assert_eq!(world.verdict(), ("enrolled", ""), "it was on its way back");
}

#[test]
fn provision_case_17_a_name_is_told_the_secrets_that_are_for_it() {
    let of = |secret: &str, name: &str| NodeSecret {
        names: vec![Regex::new(name).unwrap()],
        ..NodeSecret::of_all(secret)
    };
    let mut world = World::new();
    world.policy.secrets = vec![
        of("other", r"\.fra\.example\.net$"),
        of(SECRET, r"^n1\."),
        NodeSecret::of_all("another"),
    ];
    assert_eq!(world.verdict(), ("enrolled", ""));
    assert_eq!(world.node.times(Action::Jwt), 1);

    // A node that says no to it hears none of other names.
    let mut world = World::new();
    world.policy.secrets = vec![of("other", r"^n1\."), NodeSecret::of_all(SECRET)];
    assert_eq!(world.verdict(), ("refused", "wrong_secret"));

    // While a secret is being replaced there are two for the same names.
    let mut world = World::new();
    world.policy.secrets = vec![NodeSecret::of_all("new"), NodeSecret::of_all(SECRET)];
    assert_eq!(world.verdict(), ("enrolled", ""));
    assert_eq!(world.node.times(Action::Jwt), 2);
}

#[test]
fn provision_case_19_a_node_that_another_provisioner_holds_is_left_to_it() {
    let mut world = World::new();
    let locked = Fault::Aborts("Could not obtain provisioning lock");
    world.node.fail(Action::Jwt, locked, 1);
    let finished = world.run();
    assert_eq!(finished.outcome.why().unwrap().reason, Reason::Busy);
    assert!(finished.pause.is_some());
    assert!(world.record.is_none(), "that is no fault of the node's");
}

#[test]
fn provisioning_tokens_that_are_not_good_are_refused_with_their_reason() {
    let stranger = Organisation::new();
    let mut world = World::new();
    world.node.jwt = stranger.provisioning(provisioning_token());
    assert_eq!(world.verdict(), ("refused", "token_untrusted"));

    let mut world = World::new();
    world.node.jwt = world.organisation.provisioning(ProvisioningToken {
        ou: "elsewhere".to_owned(),
        ..provisioning_token()
    });
    assert_eq!(world.verdict(), ("refused", "token_untrusted"));

    let mut world = World::new();
    world.now = after(world.now, Duration::from_secs(7200));
    assert_eq!(world.verdict(), ("refused", "token_expired"));

    let mut world = World::new();
    let Login { token, .. } = world.organisation.client(ClientToken::new("up=rip"));
    world.node.jwt = token;
    assert_eq!(world.verdict(), ("refused", "token_purpose"));

    let mut world = World::new();
    world.run();
    let id = world.details[0].token.clone().unwrap().id.unwrap();
    let mut denying = World::new();
    denying.policy.issuers = world.organisation.issuers();
    denying.policy.denied_tokens.insert(id);
    denying.node.jwt = world.node.jwt;
    assert_eq!(denying.verdict(), ("refused", "token_denied"));
}

#[test]
fn a_token_that_was_good_for_one_node_is_judged_for_the_next() {
    let mut first = World::new();
    assert_eq!(first.verdict(), ("enrolled", ""));
    let id = first.details[0].token.clone().unwrap().id.unwrap();
    let next = || {
        let mut world = World::new();
        world.policy.issuers = first.organisation.issuers();
        world.policy.known_tokens = first.policy.known_tokens.clone();
        world.node.jwt.clone_from(&first.node.jwt);
        world
    };

    let mut denying = next();
    denying.policy.denied_tokens.insert(id);
    assert_eq!(denying.verdict(), ("refused", "token_denied"));

    let mut elsewhere = next();
    elsewhere.policy.issuers = World::new().organisation.issuers();
    assert_eq!(elsewhere.verdict(), ("refused", "token_untrusted"));

    let mut forged = next();
    let (signed, signature) = first.node.jwt.rsplit_once('.').unwrap();
    let swapped: String = signature.chars().rev().collect();
    forged.node.jwt = format!("{signed}.{swapped}");
    assert_eq!(forged.verdict().0, "refused");

    let mut late = next();
    late.now = after(late.now, Duration::from_secs(7200));
    assert_eq!(late.verdict(), ("refused", "token_expired"));
}

#[test]
fn provision_case_12_a_token_with_a_line_end_is_taken_and_one_with_a_leading_space_is_not() {
    let mut world = World::new();
    world.node.jwt.push('\n');
    assert_eq!(world.verdict(), ("enrolled", ""));
    let mut world = World::new();
    world.node.jwt.insert(0, ' ');
    assert_eq!(world.verdict(), ("refused", "token_malformed"));
}

#[test]
fn a_token_that_ends_while_the_node_waits_for_a_place_is_not_good_any_more() {
    let mut world = World::new();
    let mut enrolment = world.begin();
    let mut inputs = vec![Input::Start];
    let mut last = Vec::new();
    while let Some(input) = inputs.pop() {
        if matches!(input, Input::Worker) {
            world.now = after(world.now, Duration::from_secs(7200));
        }
        last = enrolment.on(input, world.now);
        for command in last.clone() {
            inputs.extend(world.perform(command));
        }
        if enrolment.deadline().is_none() && inputs.is_empty() {
            break;
        }
    }
    assert!(last.iter().any(|command| matches!(
        command,
        Command::Finish(finished) if finished.outcome.why().unwrap().reason == Reason::TokenExpired
    )));
}

#[test]
fn failures_in_a_row_make_longer_pauses_and_end_in_quarantine() {
    let mut world = World::new();
    world.policy.quarantine.failures = NonZeroU32::new(5).unwrap();
    world
        .node
        .fail(Action::Gen25519, Fault::Aborts("not ready"), 99);
    let mut pauses = Vec::new();
    for _ in 0..4 {
        let finished = world.run();
        assert_eq!(finished.outcome.as_str(), "failed");
        let pause = finished.pause.unwrap();
        world.now = after(world.now, pause);
        pauses.push(pause);
    }
    assert!(pauses[3] > pauses[0] * 2, "{pauses:?}");
    assert_eq!(world.verdict(), ("quarantined", "quarantined"));
    let message = world.record.as_ref().unwrap().message.clone().unwrap();
    assert!(
        message.contains("5 failures") && message.contains("not ready"),
        "{message}"
    );
    assert_eq!(world.audits.last().unwrap().0, Kind::Quarantined);
}

#[test]
fn failures_that_are_long_ago_do_not_count() {
    let mut world = World::new();
    world.policy.quarantine.failures = NonZeroU32::new(2).unwrap();
    world
        .node
        .fail(Action::Gen25519, Fault::Aborts("not ready"), 99);
    for _ in 0..4 {
        // Longer ago than the window; the token is good for longer.
        world.policy.quarantine.window = Duration::from_secs(60);
        assert_eq!(world.verdict(), ("failed", "aborted"));
        world.now = after(world.now, Duration::from_secs(120));
    }
}

#[test]
fn a_quarantine_may_end_by_itself() {
    let mut world = World::new();
    world.policy.quarantine.failures = NonZeroU32::MIN;
    world.policy.quarantine.duration = Some(Duration::from_secs(600));
    world
        .node
        .fail(Action::Gen25519, Fault::Aborts("not ready"), 5);
    let finished = world.run();
    assert_eq!(finished.outcome.as_str(), "quarantined");
    assert_eq!(finished.pause, Some(Duration::from_secs(600)));
    world.now = after(world.now, Duration::from_secs(590));
    assert_eq!(world.verdict(), ("quarantined", "quarantined"));
    world.now = after(world.now, Duration::from_secs(60));
    assert_eq!(world.verdict(), ("enrolled", ""));
}

#[test]
fn what_is_not_the_nodes_fault_never_ends_in_quarantine() {
    let faults: [fn(&mut World); 3] = [
        |world| world.helper = Err(crate::answer::HelperFault::NotRun("gone".to_owned())),
        |world| world.helper = Ok("nonsense".to_owned()),
        |world| world.issues = false,
    ];
    for fault in faults {
        let mut world = World::new();
        fault(&mut world);
        let mut last = Duration::ZERO;
        for _ in 0..12 {
            let finished = world.run();
            assert_eq!(finished.outcome.as_str(), "failed");
            last = finished.pause.unwrap();
            // The token is good for an hour; the clock goes on without it.
            world.record.as_mut().unwrap().not_before = None;
        }
        assert!(last > world.policy.retry.longest / 3, "{last:?}");
        assert_eq!(world.record.as_ref().unwrap().failures, 0);
        assert_eq!(world.audits.len(), 1, "told once");
        world.helper = Ok(super::world::configuration());
        world.issues = true;
        assert_eq!(world.verdict(), ("enrolled", ""));
    }
}

#[test]
fn what_a_node_says_is_one_line_of_the_log() {
    let mut world = World::new();
    let text = Fault::Aborts("no\n2026-11-21 INFO enrolled \u{1b}[2J");
    world.node.fail(Action::Gen25519, text, 99);
    let finished = world.run();
    let message = &finished.outcome.why().unwrap().message;
    assert!(!message.contains(char::is_control), "{message:?}");
    assert!(
        world
            .notes
            .iter()
            .all(|note| !note.contains(char::is_control))
    );
}

#[test]
fn a_token_that_cannot_be_issued_leaves_the_node_as_it_is() {
    let mut world = World::new();
    world.issues = false;
    assert_eq!(world.verdict(), ("failed", "issue_failed"));
    assert!(world.node.configured.is_empty());
}

#[test]
fn nothing_is_issued_that_could_not_be_delivered() {
    let mut world = World::new();
    world.helper = Ok(super::world::configuration_with(
        json!({"action_policies": {"../x.policy": "policy"}}),
    ));
    assert_eq!(world.verdict(), ("failed", "helper_output"));
    assert!(world.issued.is_empty());
}

#[test]
fn a_pause_stops_what_has_not_begun_to_change_the_node_for_good() {
    for (until, stops) in [
        (Action::Jwt, true),
        (Action::Gen25519, true),
        (Action::Configure, false),
        (Action::Restart, false),
    ] {
        let mut world = World::new();
        let mut enrolment = world.begin();
        let mut inputs = std::collections::VecDeque::from([Input::Start]);
        let mut outcome = None;
        while let Some(input) = inputs.pop_front() {
            for command in enrolment.on(input, world.now) {
                let pause = matches!(&command, Command::Call(call) if call.action == until);
                if let Command::Finish(finished) = &command {
                    outcome = Some(finished.outcome.clone());
                }
                let answer = world.perform(command);
                if pause {
                    inputs.push_back(Input::Paused);
                }
                inputs.extend(answer);
            }
        }
        let stopped = outcome.unwrap().as_str() == "stopped";
        assert_eq!(stopped, stops, "{until}");
    }
}

#[test]
fn whoever_lost_the_claim_does_nothing_more() {
    let mut world = World::new();
    let mut enrolment = world.begin();
    drop(enrolment.on(Input::Start, world.now));
    let commands = enrolment.on(Input::FenceLost, world.now);
    assert!(matches!(commands.as_slice(), [Command::Finish(_)]));
    world.record = None;
}

#[test]
fn what_is_kept_of_a_node_stays_small_whatever_it_says() {
    let long = "x".repeat(70_000);
    let small = |world: &World| {
        let record = world
            .record
            .as_ref()
            .map(|record| serde_json::to_vec(record).unwrap().len());
        let audits = world.details.iter();
        let audits = audits.map(|details| serde_json::to_vec(details).unwrap().len());
        record.into_iter().chain(audits).all(|bytes| bytes < 32_768)
    };
    for (action, member) in [
        (Action::Inventory, "version"),
        (Action::Gen25519, "public_key"),
        (Action::Gen25519, "signature"),
        (Action::Jwt, "jwt"),
        (Action::Jwt, "ecdh_public"),
        (Action::Configure, "message"),
    ] {
        let mut world = World::new();
        world
            .node
            .fail(action, Fault::Says(member, json!(long)), 99);
        world.run();
        assert!(small(&world), "{action} {member}");
    }
    let text: &'static str = String::leak(long.clone());
    let mut world = World::new();
    world.node.fail(Action::Gen25519, Fault::Aborts(text), 99);
    assert_eq!(world.verdict(), ("failed", "aborted"));
    assert!(small(&world));
    assert!(world.notes.iter().all(|note| note.len() < 2000));

    let many: Vec<_> = (0..5000).map(|number| format!("c{number}")).collect();
    for members in [
        json!({"msg": long}),
        json!({"placement": long}),
        json!({"server_claims": {"ou": long}}),
        json!({"server_claims": {"collectives": many}}),
    ] {
        let mut world = World::new();
        world.helper = Ok(super::world::configuration_with(members));
        world.run();
        assert!(small(&world));
    }
    let mut world = World::new();
    world.node.jwt = world.token_with(json!({"site": long[..20_000]}));
    world.run();
    assert!(small(&world));
}
