//! Who may have a name, and whose token is good for it.

use std::time::Duration;

use overlay_protocol::provisioning::NodeState;
use overlay_protocol::provisioning::audit::Kind;
use overlay_tokens::Key;
use serde_json::json;

use super::super::*;
use super::World;
use super::world::{NAME, configuration_with};
use crate::policy::Conflict;
use crate::time::after;

#[test]
fn a_live_name_is_refused_unless_the_helper_confirms() {
    let mut world = World::new();
    world.name = NameState::Live;
    assert_eq!(world.verdict(), ("refused", "name_live"));
    assert_eq!(
        world.audits,
        [(Kind::Refused, Some("name_live".to_owned()))]
    );
    assert!(world.node.configured.is_empty() && world.issued.is_empty());

    let mut world = World::new();
    world.name = NameState::Live;
    world.helper = Ok(configuration_with(json!({"confirm": true})));
    world.policy.helper.details = true;
    assert_eq!(world.verdict(), ("enrolled", ""));
    assert!(world.questions[0].overlay.as_ref().unwrap().must_confirm);
    assert!(world.details[0].helper.as_ref().unwrap().confirmed);
}

#[test]
fn a_live_name_is_refused_at_once_or_never_where_that_is_the_rule() {
    let mut world = World::new();
    world.name = NameState::Live;
    world.policy.names.live = Conflict::Refuse;
    world.helper = Ok(configuration_with(json!({"confirm": true})));
    assert_eq!(world.verdict(), ("refused", "name_live"));
    assert_eq!(world.node.times(Action::Gen25519), 0);

    let mut world = World::new();
    world.name = NameState::Live;
    world.policy.names.live = Conflict::Allow;
    assert_eq!(world.verdict(), ("enrolled", ""));
}

#[test]
fn a_name_that_cannot_be_checked_is_no_free_name() {
    let mut world = World::new();
    world.name = NameState::Unknown;
    assert_eq!(world.verdict(), ("refused", "name_unknown"));
}

#[test]
fn a_held_name_is_refused_until_its_token_ends_or_an_operator_releases_it() {
    let mut world = World::new();
    world.enlist(1000);
    world.node.member = None;
    assert_eq!(world.verdict(), ("refused", "name_held"));
    // The refusal does not free it.
    world.now = after(world.now, Duration::from_secs(100));
    assert_eq!(world.verdict(), ("refused", "name_held"));
    let mut held = world.record.clone().unwrap();
    crate::record::release(&mut held, "up=ops", world.now.secs);
    let mut released = World::new();
    released.record = Some(held);
    assert_eq!(released.verdict(), ("enrolled", ""));
    assert!(!released.record.unwrap().confirmed, "that was for once");
    // What an operator gives away is a name that nobody lives under.
    let mut live = World::new();
    live.enlist(1000);
    live.node.member = None;
    crate::record::release(live.record.as_mut().unwrap(), "up=ops", live.now.secs);
    live.name = NameState::Live;
    assert_eq!(live.verdict(), ("refused", "name_live"));

    world.now = after(world.now, Duration::from_secs(1000));
    assert_eq!(world.verdict(), ("enrolled", ""));
}

#[test]
fn a_member_that_proves_its_old_key_renews_though_it_is_live() {
    let mut world = World::new();
    world.enlist(1000);
    world.name = NameState::Live;
    let old = world.node.member.as_ref().unwrap().1.public().to_string();
    assert_eq!(world.verdict(), ("renewed", ""));
    assert_eq!(world.audits, [(Kind::Renewed, None)]);
    assert_eq!(world.details[0].former_key.as_ref(), Some(&old));
    let record = world.record.as_ref().unwrap();
    assert_eq!(record.state, NodeState::Member);
    assert!(record.enrolments.is_empty(), "a renewal is no loop");
    assert_eq!(
        record.issued.as_ref().unwrap().public_key,
        world.node.key.public().to_string()
    );
}

#[test]
fn a_stolen_token_without_its_key_renews_nothing() {
    let mut world = World::new();
    world.enlist(1000);
    world.name = NameState::Live;
    let before = world.record.clone();
    let (_, key) = world.node.member.as_mut().unwrap();
    *key = Key::from_seed([0x66; 32]);
    assert_eq!(world.verdict(), ("refused", "key_unproven"));
    assert_eq!(world.record, before, "the member's record is as it was");

    // A member of another name.
    let mut world = World::new();
    world.enlist(1000);
    let other = world.chain.server(overlay_tokens::issue::ServerToken {
        identity: "n2.example.net".to_owned(),
        ..Default::default()
    });
    world.node.member = Some((other.token, other.key));
    assert_eq!(world.verdict(), ("refused", "name_held"));
    world.record = None;
    assert_eq!(world.verdict(), ("refused", "key_unproven"));

    // A token that is over, and is not the last one of the name: it proves nothing, and the name decides.
    let mut world = World::new();
    world.enlist(2);
    world.name = NameState::Live;
    let issued = world.record.as_mut().unwrap().issued.as_mut().unwrap();
    issued.public_key = Key::from_seed([0x44; 32]).public().to_string();
    world.now = after(world.now, Duration::from_secs(10));
    assert_eq!(world.verdict(), ("refused", "name_live"));
}

#[test]
fn a_member_whose_token_ended_renews_by_the_key_that_was_issued_last() {
    let ended = || {
        let mut world = World::new();
        world.enlist(2);
        world.name = NameState::Live;
        let key = world.node.member.as_ref().unwrap().1.public().to_string();
        let record = world.record.as_mut().unwrap();
        record.issued.as_mut().unwrap().public_key = key;
        world.now = after(world.now, Duration::from_secs(10));
        world
    };
    assert_eq!(ended().verdict(), ("renewed", ""));
    let mut world = ended();
    world.node.member.as_mut().unwrap().1 = Key::from_seed([0x66; 32]);
    assert_eq!(world.verdict(), ("refused", "key_unproven"));
}

#[test]
fn a_member_that_came_back_bare_and_proves_its_old_key_is_enrolled_anew() {
    let mut world = World::new();
    world.enlist(1000);
    assert_eq!(world.verdict(), ("enrolled", ""));
    assert_eq!(world.audits, [(Kind::Enrolled, None)]);
    assert!(world.details[0].former_key.is_some());
    assert!(world.record.unwrap().enrolments.is_empty());
}

#[test]
fn a_token_for_one_name_is_good_for_that_name() {
    let mut world = World::new();
    world.node.jwt = world.token_with(json!({"overlay": {"identity": "n2.example.net"}}));
    assert_eq!(world.verdict(), ("refused", "token_other_name"));
    world.node.jwt = world.token_with(json!({"overlay": {"identity": NAME}}));
    world.now = after(world.now, Duration::from_secs(60));
    assert_eq!(world.verdict(), ("enrolled", ""));

    let mut world = World::new();
    world.node.jwt = world.token_with(json!({"overlay": {"idenity": NAME}}));
    assert_eq!(world.verdict(), ("refused", "token_extension"));
}

#[test]
fn a_token_that_is_good_once_is_good_once() {
    let once = json!({"overlay": {"one_time": true}});
    let mut world = World::new();
    world.node.jwt = world.token_with(once.clone());
    assert_eq!(world.verdict(), ("enrolled", ""));
    assert!(world.details[0].token.as_ref().unwrap().one_time);

    for by in ["n2.example.net", NAME] {
        let mut world = World::new();
        world.node.jwt = world.token_with(once.clone());
        world.token_use = TokenUse::Used { by: by.to_owned() };
        assert_eq!(world.verdict(), ("refused", "token_used"));
        assert_eq!(world.node.times(Action::Gen25519), 0);
    }
    let mut world = World::new();
    world.node.jwt = world.token_with(once.clone());
    world.token_use = TokenUse::Unknown("no quorum".to_owned());
    assert_eq!(world.verdict(), ("failed", "store_failed"));

    // A member renews with the token that made it one.
    let mut world = World::new();
    world.enlist(1000);
    world.name = NameState::Live;
    world.node.jwt = world.token_with(once);
    world.token_use = TokenUse::Used {
        by: NAME.to_owned(),
    };
    assert_eq!(world.verdict(), ("renewed", ""));
}

#[test]
fn two_nodes_that_answer_by_one_name_are_found_out() {
    let mut world = World::new();
    let mut enrolment = world.begin();
    let mut commands = enrolment.on(Input::Start, world.now);
    let call = commands
        .iter()
        .find_map(|command| {
            let Command::Call(call) = command else {
                return None;
            };
            (call.action == Action::Jwt).then(|| call.clone())
        })
        .unwrap();
    let reply = |world: &mut World| Input::Reply {
        call: call.id,
        sender: NAME.to_owned(),
        reply: world.node.answer(&call).unwrap(),
    };
    let first = reply(&mut world);
    assert!(enrolment.on(first.clone(), world.now).is_empty());
    assert!(
        enrolment.on(first, world.now).is_empty(),
        "the same again is no other"
    );
    world.node.exchange = overlay_tokens::key_transport::ExchangeKey::from_bytes([9; 32]);
    let second = reply(&mut world);
    commands = enrolment.on(second, world.now);
    let finished = commands.iter().find_map(|command| {
        let Command::Finish(finished) = command else {
            return None;
        };
        Some(finished.clone())
    });
    assert_eq!(
        finished.unwrap().outcome.why().unwrap().reason,
        Reason::TwoAnswers
    );
}

#[test]
fn a_reply_in_the_name_of_another_node_is_passed_over() {
    let mut world = World::new();
    let mut enrolment = world.begin();
    let calls = enrolment.on(Input::Start, world.now);
    for command in calls {
        let Command::Call(call) = command else {
            continue;
        };
        let reply = world.node.answer(&call).unwrap();
        let input = Input::Reply {
            call: call.id,
            sender: "n2.example.net".to_owned(),
            reply,
        };
        let commands = enrolment.on(input, world.now);
        assert!(matches!(commands.as_slice(), [Command::Tell(Note::Odd(_))]));
    }
}

#[test]
fn a_rate_lets_a_node_wait_without_counting_against_it() {
    let mut world = World::new();
    let pause = Duration::from_secs(7);
    world.rates = Admission::Later(pause);
    let finished = world.run();
    assert_eq!(finished.outcome.why().unwrap().reason, Reason::RateLimited);
    assert_eq!(finished.pause, Some(pause));
    assert!(world.record.is_none() && world.audits.is_empty());
}

#[test]
fn a_connection_under_a_members_name_leaves_the_member_as_it_is() {
    use super::node::Fault;
    let faults: [fn(&mut World); 5] = [
        |_| {},
        |world| world.node.fail(Action::Gen25519, Fault::Silent, 99),
        |world| world.node.fail(Action::Jwt, Fault::Aborts("no"), 99),
        |world| {
            world
                .node
                .fail(Action::Inventory, Fault::Says("version", json!(1)), 99)
        },
        |world| world.helper = Ok("{\"defer\":true}".to_owned()),
    ];
    for fault in faults {
        let mut world = World::new();
        world.enlist(3000);
        let proof = world.node.member.take();
        let before = world.record.clone();
        world.name = NameState::Live;
        fault(&mut world);
        for _ in 0..12 {
            let finished = world.run();
            assert!(!matches!(finished.outcome, Outcome::Enrolled { .. }));
            assert_eq!(world.record, before);
            assert!(finished.pause.unwrap() < Duration::from_secs(120));
        }
        // The member itself renews as ever.
        world.node.faults.clear();
        world.helper = Ok(super::world::configuration());
        world.node.member = proof;
        assert_eq!(world.verdict(), ("renewed", ""));
    }
}

#[test]
fn a_token_that_another_has_replaced_or_that_is_denied_renews_nothing() {
    let mut world = World::new();
    world.enlist(1000);
    world.name = NameState::Live;
    let record = world.record.as_mut().unwrap();
    record.issued.as_mut().unwrap().public_key = Key::from_seed([0x44; 32]).public().to_string();
    assert_eq!(world.verdict(), ("refused", "name_live"));

    let mut world = World::new();
    world.enlist(1000);
    world.name = NameState::Live;
    let token = &world.node.member.as_ref().unwrap().0;
    let token = overlay_tokens::Unverified::<overlay_tokens::claims::ServerClaims>::decode(token);
    let id = token.unwrap().claims_unverified().standard.jti.clone();
    world.policy.denied_tokens.insert(id);
    assert_eq!(world.verdict(), ("refused", "name_live"));
}

#[test]
fn a_key_or_a_configuration_is_for_one_pair_of_ears() {
    use super::node::Fault;
    for action in [Action::Gen25519, Action::Configure] {
        let mut world = World::new();
        world.node.fail(action, Fault::Overheard, 1);
        assert_eq!(world.verdict(), ("failed", "shared_name"), "{action}");
        assert!(world.node.configured.is_empty());
        world.now = after(world.now, Duration::from_secs(60));
        assert_eq!(
            world.verdict(),
            ("enrolled", ""),
            "an old connection lingers for a while"
        );
    }
    let mut world = World::new();
    world.run();
    let mut enrolment = world.begin();
    world.record = None;
    let alone: Vec<_> = enrolment
        .on(Input::Start, world.now)
        .into_iter()
        .filter_map(|command| {
            let Command::Call(call) = command else {
                return None;
            };
            Some(call.alone)
        })
        .collect();
    assert!(
        alone.iter().all(|alone| !alone),
        "first contact is for all to hear"
    );
}
