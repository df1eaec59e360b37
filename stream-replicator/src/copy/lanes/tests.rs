//! The lanes against a target that is a model.

mod model;

use std::collections::HashSet;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::copy::window::Want;
use model::{LAST, World, lane, subject};

fn settled(guard: Guard) -> World {
    let mut world = World::new(guard, Vec::new());
    world.step(0);
    world
}

#[test]
fn a_key_that_the_target_does_not_take_holds_up_no_other() {
    for guard in [Guard::Subjects, Guard::Ids] {
        let mut world = settled(guard);
        world.stream.stuck = Some(subject(1));
        let held: HashSet<u64> = (1..=LAST)
            .filter(|sequence| Some(subject(*sequence)) == world.stream.stuck)
            .map(|sequence| lane(sequence, guard).key)
            .collect();
        // All keys that have a message of the subject stop there, each by itself.
        for _turn in 0..400 {
            world.step(8);
            world.arrive();
            world.answer();
            world.now += Duration::from_millis(50);
            world.write_down();
        }
        assert_eq!(world.worker.lanes.handled(), 0);
        let free = world
            .due()
            .into_iter()
            .take(19)
            .filter(|sequence| !held.contains(&lane(*sequence, guard).key));
        let copied = world.stream.ours();
        for sequence in free {
            assert!(copied.contains(&sequence), "{guard:?}: {sequence} waits");
        }
        assert!(world.worker.lanes.keys().1 > 0);
        // Neither a restart nor a forgetful target doubles what is beyond.
        world.stream.ids.clear();
        world.restart(0);
        world.heal();
    }
}

#[test]
fn poison_is_given_up_by_name_and_its_key_goes_on() {
    for guard in [Guard::Subjects, Guard::Ids] {
        let mut world = World::new(guard, vec![1, 8, 9, LAST]);
        world.heal();
        let mut buried = world.buried.clone();
        buried.sort_unstable();
        assert_eq!(buried, [1, 8, 9, LAST]);
    }
}

/// Sends the only message that is open.
fn send(world: &mut World) -> Token {
    world.worker.lanes.next_send(world.now).unwrap().token
}

/// The target says that it does not have the message that it is asked about.
fn is_not_there(world: &mut World) {
    let lanes = &mut world.worker.lanes;
    assert_eq!(lanes.want(world.now), Want::Asks);
    let index = lanes.asks().next().unwrap().index;
    let nothing = Found {
        is_all: true,
        ..Found::default()
    };
    lanes.found(index, nothing, world.now, |_done| panic!("nothing is done"));
    world.now += Duration::from_secs(5);
}

#[test]
fn what_is_not_answered_or_still_on_its_way_makes_no_poison_of_a_message() {
    let mut world = settled(Guard::Subjects);
    world.worker.lanes.push(1, 100, lane(1, Guard::Subjects), 1);
    for _silence in 0..4 {
        let _unanswered = send(&mut world);
        world.now += Duration::from_secs(10);
        is_not_there(&mut world);
        let token = send(&mut world);
        world
            .worker
            .lanes
            .refused(token, Refusal::InProcess, world.now);
        is_not_there(&mut world);
    }
    // The model's limit is two.
    let refusal = Refusal::Poison(Poison::NotTaken);
    let token = send(&mut world);
    world
        .worker
        .lanes
        .refused(token, refusal.clone(), world.now);
    is_not_there(&mut world);
    let token = send(&mut world);
    world.worker.lanes.refused(token, refusal, world.now);
    is_not_there(&mut world);
    let now = world.now;
    assert_eq!(world.worker.lanes.want(now), Want::Dead(Poison::NotTaken));
}

#[test]
fn a_message_that_alone_is_never_answered_is_told_and_given_up_where_others_arrive() {
    for guard in [Guard::Subjects, Guard::Ids] {
        let mut world = settled(guard);
        world.stream.mute = vec![8];
        world.restart(0);
        let is_told = |world: &World| {
            let told = world.worker.lanes.unanswered();
            told.map(|(sequence, _)| sequence)
        };
        for _turn in 0..2000 {
            world.step(8);
            world.arrive();
            world.answer();
            world.now += Duration::from_millis(100);
        }
        // Nothing comes any more that would show whether the target takes anything.
        assert_eq!(is_told(&world), Some(8));
        assert!(world.buried.is_empty());
        world.heal();
        assert_eq!((is_told(&world), &world.buried[..]), (None, &[8][..]));
    }
}

#[test]
fn a_refused_message_is_given_up_however_much_others_write_to_its_subject() {
    for guard in [Guard::Subjects, Guard::Ids] {
        let mut world = World::new(guard, vec![21]);
        for _turn in 0..100 {
            world.step(8);
            world.arrive();
            world.answer();
            world.stream.messages.push((subject(21), None));
            world.now += Duration::from_millis(100);
        }
        world.heal();
        assert_eq!(world.buried, [21]);
    }
}

#[test]
fn nothing_is_sent_too_far_beyond_what_is_open() {
    let mut world = settled(Guard::Subjects);
    let lanes = &mut world.worker.lanes;
    let far = SPAN + 2;
    lanes.push(1, 100, lane(1, Guard::Subjects), 1);
    lanes.push(far, 100, lane(2, Guard::Subjects), far);
    assert!(!lanes.has_room());
    let first = lanes.next_send(world.now).unwrap().token;
    assert!(lanes.next_send(world.now).is_none());
    lanes.stored(first, 1, false, |_done| {});
    let second = lanes.next_send(world.now).unwrap();
    assert_eq!(second.sequence, far);
    let second = second.token;
    lanes.stored(second, 2, false, |_done| {});
    assert!(lanes.has_room());
}

#[test]
fn a_subject_of_which_nothing_is_known_is_asked_about_once_it_is_refused() {
    let mut world = settled(Guard::Subjects);
    world.stream.messages = vec![(subject(1), Some(1)), (subject(1), None)];
    world.stream.ids.clear();
    world.heal();
}

#[test]
fn somebody_else_s_message_of_our_identifier_is_a_conflict() {
    for guard in [Guard::Subjects, Guard::Ids] {
        let mut world = World::new(guard, Vec::new());
        world.stream.messages.push((9, None));
        world.stream.ids.insert((3, 0), 1);
        world.heal();
        assert_eq!(world.worker.lanes.conflicts(), 1);
    }
}

#[test]
fn a_target_that_lost_what_it_had_ends_the_lanes() {
    for guard in [Guard::Subjects, Guard::Ids] {
        let mut world = settled(guard);
        for _turn in 0..40 {
            world.step(4);
            world.arrive();
            world.answer();
        }
        assert!(world.worker.lanes.target() > 8);
        world.stream.messages.truncate(5);
        world.lose(0);
        world.worker.lanes.link_lost();
        world.worker.lanes.link_back();
        world.step(0);
        world.step(0);
        assert_eq!(world.worker.ended, Some(Stop::Lost(None)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn whatever_happens_everything_is_there_once_and_in_the_order_of_its_key(
        events in proptest::collection::vec((any::<u8>(), any::<u8>()), 0..400),
        poison in proptest::collection::vec(1..=LAST, 0..3),
        mute in proptest::collection::vec(1..=LAST, 0..3),
        guard in prop_oneof![Just(Guard::Subjects), Just(Guard::Ids)],
    ) {
        let mut world = World::new(guard, poison);
        world.stream.mute = mute;
        world.restart(0);
        for (event, number) in events {
            world.happen(event, number);
        }
        world.heal();
    }
}
