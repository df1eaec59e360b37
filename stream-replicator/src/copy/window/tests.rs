//! The window against a target that is a model.

mod model;

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use model::{LAST, Reply, Worker, World};

#[test]
fn without_trouble_few_answers_are_asked_for_and_everything_is_there() {
    let mut world = World::new(Sharing::Alone, false, Vec::new());
    let mut asked = 0;
    while world.worker.window.handled() < LAST {
        world.step(12);
        world.arrive_all();
        asked += world.worker.to_worker.len();
        world.answer_all();
    }
    assert!(asked <= usize::try_from(LAST).unwrap() / 4 + 1, "{asked}");
    world.heal();
}

#[test]
fn sr_case_48_a_writer_that_was_overtaken_stores_nothing_more_and_knows_it() {
    let mut world = World::new(Sharing::Alone, false, Vec::new());
    world.step(4);
    for _message in 0..4 {
        world.arrive();
    }
    // Frozen with four messages stored and unanswered; another one goes on.
    let other = Worker::begin(&world.stream, Chain::Ids, Sharing::Alone, world.now, &[]);
    let mut old = std::mem::replace(&mut world.worker, other);
    for _turn in 0..6 {
        world.step(8);
        for _message in 0..8 {
            world.arrive();
        }
        world.answer_all();
    }
    let before = world.stream.messages.clone();
    assert!(before.len() > 16);
    old.step(&mut world.stream, &mut world.buried, world.now, 3, false);
    while let Some(wire) = old.to_target.pop_front() {
        let reply = world.stream.take(&wire);
        assert!(!matches!(reply, Some(Reply::Stored(_, false))), "{reply:?}");
        if let Some(reply) = reply.filter(|_| wire.asks) {
            old.to_worker.push_back((wire.token, reply));
        }
    }
    assert_eq!(world.stream.messages, before);
    for _turn in 0..8 {
        while !old.to_worker.is_empty() {
            old.answer(&world.stream.messages, &world.buried, world.now);
        }
        world.now += Duration::from_secs(1);
        old.step(&mut world.stream, &mut world.buried, world.now, 0, false);
    }
    assert!(
        matches!(old.ended, Some(Stop::Overtaken(_))),
        "{:?}",
        old.ended
    );
}

#[test]
fn sr_case_30_a_duplicate_that_is_not_ours_is_a_conflict_and_the_message_is_copied_all_the_same() {
    let mut world = World::new(Sharing::Alone, false, Vec::new());
    world.stream.messages.push(None);
    world.stream.ids.insert((3, 0), 1);
    world.worker = Worker::begin(&world.stream, Chain::Ids, Sharing::Alone, world.now, &[]);
    world.heal();
    assert_eq!(world.worker.window.conflicts(), 1);
}

#[test]
fn poison_is_given_up_by_name_and_what_is_behind_it_goes_on() {
    let mut world = World::new(Sharing::Alone, false, vec![1, 7, 8, LAST]);
    world.heal();
    assert_eq!(world.buried, [1, 7, 8, LAST]);
}

#[test]
fn each_poison_in_a_row_costs_no_longer_than_the_first() {
    let poison: Vec<u64> = (1..=20).collect();
    let mut world = World::new(Sharing::Alone, false, poison.clone());
    let (mut since, mut cost) = (world.now, Vec::new());
    while world.buried.len() < poison.len() {
        let before = world.buried.len();
        world.step(12);
        world.arrive_all();
        world.answer_all();
        if world.buried.len() > before {
            cost.push(world.now - since);
            since = world.now;
        } else if let Want::Wait(until) = world.worker.window.want(world.now) {
            world.now = until;
        }
    }
    assert!(cost.iter().all(|each| *each <= cost[0]), "{cost:?}");
    world.heal();
}

#[test]
fn a_message_that_alone_is_never_answered_is_given_up_and_the_next_one_with_it_known() {
    for chain in [Chain::Ids, Chain::Sequences] {
        let mut world = World::with(chain, Sharing::Alone, false, Vec::new());
        world.stream.mute = vec![3, 4, 20];
        let start = world.now;
        while world.worker.window.handled() < LAST {
            world.step(12);
            world.arrive_all();
            world.answer_all();
            world.now += Duration::from_millis(100);
            // Two silences at least, and what is silent beside it costs no more.
            if world.now - start < Duration::from_secs(20) {
                assert!(world.buried.is_empty());
            }
            assert!(world.now - start < Duration::from_secs(70), "{chain:?}");
        }
        assert_eq!(world.buried, [3, 4, 20]);
        world.heal();
    }
}

#[test]
fn nothing_is_given_up_while_nobody_shows_that_the_target_answers() {
    let mut world = World::new(Sharing::Alone, false, Vec::new());
    // The last one: whatever becomes of it, nothing waits behind it. Then: nothing at all is answered.
    for mute in [vec![LAST], (1..=LAST).collect()] {
        world.stream.mute = mute;
        world.stream.messages.clear();
        world.stream.ids.clear();
        world.restart(0);
        for _turn in 0..2000 {
            world.step(8);
            world.arrive();
            world.answer();
            world.now += Duration::from_millis(100);
        }
        assert!(world.buried.is_empty());
        let (sequence, _) = world.worker.window.unanswered().unwrap();
        assert_eq!(sequence, world.stream.mute[0], "it is told");
        // It was allowed again.
        world.stream.mute.clear();
        world.heal();
        assert!(world.worker.window.unanswered().is_none());
    }
}

#[test]
fn what_is_still_on_its_way_makes_no_poison_of_a_message() {
    let mut world = World::with(Chain::Sequences, Sharing::Alone, false, Vec::new());
    let window = &mut world.worker.window;
    window.push(1, 100, 1);
    let mut answer = |refusal: Refusal| {
        let token = window.next_send(world.now).unwrap().token;
        window.refused(token, refusal, world.now);
        loop {
            match window.want(world.now) {
                Want::Wait(until) => world.now = until,
                Want::Tail(_) => {
                    let tail = world.stream.tail(0, Chain::Sequences, false);
                    window.tail(tail, world.now, |_done| panic!("nothing is done"));
                    return window.want(world.now);
                }
                other @ (Want::Nothing
                | Want::Answers(_)
                | Want::Look(_)
                | Want::Asks
                | Want::Over
                | Want::Dead(_)
                | Want::Link
                | Want::Stop(_)) => panic!("{other:?}"),
            }
        }
    };
    for _try in 0..4 {
        assert_eq!(answer(Refusal::InProcess), Want::Nothing);
    }
    // The model's limit is two.
    assert_eq!(answer(Refusal::Nobody), Want::Nothing);
    assert_eq!(answer(Refusal::Nobody), Want::Dead(Poison::NotTaken));
}

#[test]
fn a_target_that_lost_what_it_had_ends_the_window() {
    let mut world = World::new(Sharing::Alone, false, Vec::new());
    for _turn in 0..4 {
        world.step(4);
        for _message in 0..4 {
            world.arrive();
            world.answer();
        }
    }
    assert!(world.worker.window.target() > 8);
    world.stream.messages.truncate(5);
    world.stream.last_id = None;
    world.cut(0);
    world.step(0);
    world.step(0);
    assert_eq!(world.worker.ended, Some(Stop::Lost(None)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn whatever_happens_to_a_single_writer_everything_is_there_once_and_in_order(
        events in proptest::collection::vec((any::<u8>(), any::<u8>()), 0..400),
        skips in any::<bool>(),
        poison in proptest::collection::vec(1..=LAST, 0..3),
        mute in proptest::collection::vec(1..LAST - 1, 0..3),
    ) {
        let mut world = World::new(Sharing::Alone, skips, poison);
        world.stream.mute = mute;
        for (event, number) in events {
            world.happen(event, number, false);
        }
        world.heal();
    }

    #[test]
    fn whatever_happens_to_a_replicated_target_everything_is_there_once_and_in_order(
        events in proptest::collection::vec((any::<u8>(), any::<u8>()), 0..400),
        skips in any::<bool>(),
        poison in proptest::collection::vec(1..=LAST, 0..3),
        mute in proptest::collection::vec(1..LAST - 1, 0..3),
    ) {
        let mut world = World::with(Chain::Sequences, Sharing::Alone, skips, poison);
        world.stream.mute = mute;
        for (event, number) in events {
            // A frozen replica's message may find just the sequence that it names: then identifiers must still be known.
            if !(223..=230).contains(&event) {
                world.happen(event, number, false);
            }
        }
        world.heal();
    }

    #[test]
    fn another_writer_among_the_copies_in_a_replicated_target_costs_no_message_and_doubles_none(
        events in proptest::collection::vec((any::<u8>(), any::<u8>()), 0..400),
    ) {
        let mut world = World::with(Chain::Sequences, Sharing::Alone, false, Vec::new());
        for (event, number) in events {
            // Neither restarts nor replicas: who begins anew sees the last message alone.
            if !(191..=200).contains(&event) && event <= 230 {
                world.happen(event, number, true);
            }
        }
        world.heal_in_any_order();
    }

    #[test]
    fn whatever_happens_among_others_everything_is_there_once_and_in_order(
        events in proptest::collection::vec((any::<u8>(), any::<u8>()), 0..400),
        begins in prop_oneof![Just(Sharing::Alone), Just(Sharing::Shared), Just(Sharing::Exclusive)],
        has_own in any::<bool>(),
        mute in proptest::collection::vec(1..LAST - 1, 0..3),
    ) {
        let mut world = World::new(begins, false, Vec::new());
        world.stream.has_own = has_own;
        world.stream.mute = mute;
        world.restart(0);
        for (event, number) in events {
            world.happen(event, number, true);
            if event % 32 == 0 {
                // Identifiers are kept for a moment, whoever writes.
                world.stream.ids.clear();
            }
        }
        prop_assert!(begins != Sharing::Exclusive || !world.worker.window.is_shared());
        world.heal();
    }
}
