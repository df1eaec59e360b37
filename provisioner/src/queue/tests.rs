use proptest::prelude::*;

use super::*;
use crate::enrol::Why;

const NOW: UnixTime = UnixTime::from_secs(1000);

fn some(number: usize) -> NonZeroUsize {
    NonZeroUsize::new(number).unwrap()
}

fn queue(first_contact: usize, workers: usize) -> Queue {
    Queue::new(Bounds {
        first_contact: some(first_contact),
        workers: some(workers),
        waiting: some(100),
    })
}

fn node(name: &str) -> Identity {
    Identity::new(name).unwrap()
}

fn failed(pause: u64) -> Finished {
    Finished {
        outcome: Outcome::Failed(Why::new(Reason::NoAnswer, "")),
        pause: Some(Duration::from_secs(pause)),
    }
}

fn enrolled(pause: u64) -> Finished {
    Finished {
        outcome: Outcome::Enrolled { renewed: false },
        pause: Some(Duration::from_secs(pause)),
    }
}

#[test]
fn a_node_is_there_once_however_often_it_is_found() {
    let mut queue = queue(10, 10);
    assert_eq!(queue.offer(node("a"), Found::Event, NOW), Offer::Queued);
    assert_eq!(queue.offer(node("a"), Found::Scan, NOW), Offer::Known);
    assert_eq!(queue.next(NOW), Some((node("a"), Found::Event)));
    assert_eq!(queue.offer(node("a"), Found::Event, NOW), Offer::Known);
    assert_eq!(queue.next(NOW), None);
}

#[test]
fn dead_nodes_hold_no_place() {
    let mut queue = queue(3, 1);
    for name in ["dead1", "dead2", "alive"] {
        queue.offer(node(name), Found::Event, NOW);
        assert!(queue.next(NOW).is_some());
    }
    queue.offer(node("more"), Found::Event, NOW);
    assert_eq!(queue.next(NOW), None, "three are asked already");
    assert!(queue.want_place(&node("alive")));
    assert_eq!(queue.next(NOW), Some((node("more"), Found::Event)));
    assert!(!queue.want_place(&node("more")));
    queue.settle(&node("alive"));
    assert_eq!(queue.next_placed(), Some(node("more")));
    assert_eq!((queue.working(), queue.settling()), (1, 1));
}

#[test]
fn a_failed_node_comes_again_after_its_pause_and_no_event_makes_it_earlier() {
    let mut queue = queue(10, 10);
    queue.offer(node("a"), Found::Event, NOW);
    queue.next(NOW);
    queue.finish(&node("a"), &failed(5), NOW);
    let due = UnixTime::from_secs(1005);
    assert_eq!(queue.offer(node("a"), Found::Event, NOW), Offer::Later(due));
    assert_eq!(queue.due_in(NOW), Some(Duration::from_secs(5)));
    assert_eq!(queue.next(due), Some((node("a"), Found::Retry)));
}

#[test]
fn an_enrolled_node_is_forgotten_after_its_pause() {
    let mut queue = queue(10, 10);
    queue.offer(node("a"), Found::Event, NOW);
    queue.next(NOW);
    assert!(queue.want_place(&node("a")));
    queue.settle(&node("a"));
    queue.finish(&node("a"), &enrolled(60), NOW);
    let due = UnixTime::from_secs(1060);
    assert_eq!(queue.offer(node("a"), Found::Event, NOW), Offer::Later(due));
    assert_eq!(queue.next(due), None);
    assert_eq!(queue.known(), 0);
    assert_eq!(queue.offer(node("a"), Found::Scan, due), Offer::Queued);
}

#[test]
fn an_operator_hurries_a_node() {
    let mut queue = queue(10, 10);
    queue.offer(node("a"), Found::Event, NOW);
    queue.next(NOW);
    assert_eq!(queue.hurry(node("a")), Offer::Known);
    queue.finish(&node("a"), &failed(500), NOW);
    assert_eq!(queue.hurry(node("a")), Offer::Queued);
    assert_eq!(queue.next(NOW), Some((node("a"), Found::Retry)));
    assert_eq!(queue.due_in(NOW), None);
}

#[test]
fn newcomers_and_those_tried_again_take_turns() {
    let mut queue = queue(10, 10);
    for name in ["r1", "r2"] {
        queue.offer(node(name), Found::Retry, NOW);
    }
    for name in ["n1", "n2", "n3"] {
        queue.offer(node(name), Found::Event, NOW);
    }
    let order: Vec<_> = std::iter::from_fn(|| queue.next(NOW))
        .map(|(identity, _)| identity.to_string())
        .collect();
    assert_eq!(order, ["n1", "r1", "n2", "r2", "n3"]);
}

#[test]
fn what_is_known_is_bounded_and_what_waits_can_be_forgotten() {
    let mut queue = queue(1, 1);
    for number in 0..100 {
        let offer = queue.offer(node(&format!("n{number}")), Found::Scan, NOW);
        assert_eq!(offer, Offer::Queued);
    }
    assert_eq!(queue.offer(node("late"), Found::Scan, NOW), Offer::Full);
    assert_eq!(queue.hurry(node("late")), Offer::Full);
    let (first, _) = queue.next(NOW).unwrap();
    queue.forget_waiting();
    assert_eq!((queue.known(), queue.waiting()), (1, 0));
    queue.finish(&first, &enrolled(1), NOW);
    assert_eq!(queue.contacting(), 0);
}

#[derive(Debug, Clone)]
enum Step {
    Offer(u8, bool),
    Hurry(u8),
    Next,
    Want(u8),
    Placed,
    Settle(u8),
    Finish(u8, bool, u64),
    Wait(u64),
    Forget,
}

fn step() -> impl Strategy<Value = Step> {
    let name = 0_u8..12;
    prop_oneof![
        4 => (name.clone(), any::<bool>()).prop_map(|(n, event)| Step::Offer(n, event)),
        1 => name.clone().prop_map(Step::Hurry),
        4 => Just(Step::Next),
        3 => name.clone().prop_map(Step::Want),
        2 => Just(Step::Placed),
        2 => name.clone().prop_map(Step::Settle),
        3 => (name, any::<bool>(), 0_u64..20).prop_map(|(n, well, pause)| Step::Finish(n, well, pause)),
        2 => (0_u64..10).prop_map(Step::Wait),
        1 => Just(Step::Forget),
    ]
}

proptest! {
    /// Whatever happens in whatever order, the bounds hold, the counts fit the nodes, and in the end all are idle.
    #[test]
    fn bounds_and_counts_hold(steps in prop::collection::vec(step(), 1..300)) {
        let mut queue = queue(4, 2);
        let mut now = NOW;
        let name = |number: u8| node(&format!("n{number}"));
        for step in steps {
            match step {
                Step::Offer(n, event) => {
                    let found = if event { Found::Event } else { Found::Scan };
                    queue.offer(name(n), found, now);
                }
                Step::Hurry(n) => { queue.hurry(name(n)); }
                Step::Next => { queue.next(now); }
                Step::Want(n) => { queue.want_place(&name(n)); }
                Step::Placed => { queue.next_placed(); }
                Step::Settle(n) => queue.settle(&name(n)),
                Step::Finish(n, well, pause) => {
                    let finished = if well { enrolled(pause) } else { failed(pause) };
                    queue.finish(&name(n), &finished, now);
                }
                Step::Wait(secs) => now = after(now, Duration::from_secs(secs)),
                Step::Forget => queue.forget_waiting(),
            }
            prop_assert!(queue.contacting() <= 4 && queue.working() <= 2);
            let count = |wanted: fn(&At) -> bool| queue.nodes.values().filter(|at| wanted(at)).count();
            prop_assert_eq!(queue.contacting(), count(|at| matches!(at, At::Contacting | At::ForPlace)));
            prop_assert_eq!(queue.working(), count(|at| matches!(at, At::Working)));
            prop_assert_eq!(queue.settling(), count(|at| matches!(at, At::Settling)));
            prop_assert_eq!(queue.waiting(), count(|at| matches!(at, At::Ready(_))));
            prop_assert_eq!(queue.paused(), count(|at| matches!(at, At::Later { .. })));
        }
        for n in 0..12 {
            queue.finish(&name(n), &enrolled(1), now);
        }
        prop_assert_eq!(queue.contacting() + queue.working() + queue.settling(), 0);
    }
}
