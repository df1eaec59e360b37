mod model;

use std::time::{Duration, SystemTime};

use super::*;
use crate::sample::MAX_VALUE;

const INTERVAL: u64 = 3_600;
const WARN: u64 = 1_800;

fn limits() -> Limits {
    let interval = Duration::from_secs(INTERVAL);
    Limits {
        rule: Rule::new(interval, 0.0),
        interval: Span::of(interval),
        warn: Span::of(Duration::from_secs(WARN)),
        max_values: 1_000,
    }
}

fn at(seconds: u64) -> Nanos {
    Nanos::of(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds))
}

fn tracker() -> Tracker {
    leading(limits())
}

fn leading(limits: Limits) -> Tracker {
    let mut tracker = Tracker::new(limits);
    tracker.lead(true);
    tracker
}

fn message(seconds: u64) -> Sighting {
    Sighting {
        at: at(seconds),
        size: 100,
        is_forced: false,
    }
}

/// Judges at the time of the message, as a worker that is caught up, and acknowledges the copy.
fn send(tracker: &mut Tracker, value: &str, message: Sighting) -> Why {
    tracker.watermark(message.at);
    let (why, ticket) = tracker.judge(value, message, || 0.0);
    if let Some(ticket) = ticket {
        tracker.copied(ticket);
    }
    why
}

fn scrub(tracker: &mut Tracker, seconds: u64) -> Vec<(AdvisoryEvent, i64)> {
    tracker.watermark(at(seconds));
    assert!(tracker.scrub(10_000));
    told(tracker)
}

/// What happened, and the age it is told with.
fn told(tracker: &mut Tracker) -> Vec<(AdvisoryEvent, i64)> {
    let facts = tracker.take_facts().into_iter();
    facts
        .map(|fact| (fact.event, fact.at.since(fact.seen).seconds()))
        .collect()
}

#[test]
fn sr_case_31_each_value_is_copied_once_in_an_interval() {
    let mut tracker = tracker();
    let mut copied = 0;
    for number in 0..1_000 {
        let why = send(
            &mut tracker,
            &format!("h{}", number % 10),
            message(number / 10),
        );
        copied += usize::from(why.copies());
    }
    assert_eq!((copied, tracker.len()), (10, 10));
}

#[test]
fn copies_under_way_count_as_made() {
    let mut tracker = tracker();
    let (why, ticket) = tracker.judge("a", message(0), || 0.0);
    assert_eq!(why, Why::New);
    assert!(!tracker.judge("a", message(1), || 0.0).0.copies());
    tracker.copied(ticket.unwrap());
    assert!(!tracker.judge("a", message(2), || 0.0).0.copies());
}

#[test]
fn sr_case_33_forced_copies_are_in_addition_and_start_a_new_interval() {
    let mut tracker = tracker();
    let forced = |seconds| Sighting {
        is_forced: true,
        ..message(seconds)
    };
    assert!(send(&mut tracker, "a", message(0)).copies());
    assert!(!send(&mut tracker, "a", message(1)).copies());
    assert_eq!(send(&mut tracker, "a", forced(2)), Why::Forced);
    assert_eq!(send(&mut tracker, "a", forced(3)), Why::Forced);
    assert!(!send(&mut tracker, "a", message(4)).copies());
}

#[test]
fn sr_case_34_sizes_are_compared_with_the_last_copy() {
    let sized = |seconds, size| Sighting {
        size,
        ..message(seconds)
    };
    let mut limits = limits();
    limits.rule = Rule::new(Duration::from_secs(INTERVAL), 1_024.0);
    let mut tracker = leading(limits);
    assert!(send(&mut tracker, "a", sized(0, 1_024)).copies());
    assert!(!send(&mut tracker, "a", sized(1, 1_999)).copies());
    assert_eq!(
        send(&mut tracker, "a", sized(2, 3_023)),
        Why::Resized(1_999)
    );
    assert!(send(&mut tracker, "b", sized(3, 0)).copies());
    assert!(!send(&mut tracker, "b", sized(4, 0)).copies());
    assert_eq!(send(&mut tracker, "b", sized(5, 10)), Why::Filled);
    // Small steps add up.
    let mut copied = 0;
    for step in 0..11_u32 {
        let why = send(
            &mut tracker,
            "b",
            sized(6 + u64::from(step), 10 + step * 100),
        );
        copied += usize::from(why.copies());
    }
    assert_eq!(
        copied, 0,
        "1,000 bytes in steps of 100 are below the trigger"
    );
    assert!(send(&mut tracker, "b", sized(20, 1_110)).copies());
}

#[test]
fn sr_case_35_a_refused_copy_is_not_forgotten() {
    let mut limits = limits();
    limits.rule = Rule::new(Duration::from_secs(INTERVAL), 10.0);
    let mut tracker = leading(limits);
    send(&mut tracker, "a", message(0));
    let grown = Sighting {
        size: 200,
        ..message(1)
    };
    let (why, ticket) = tracker.judge("a", grown, || 0.0);
    assert_eq!(why, Why::Resized(100));
    tracker.dropped(ticket.unwrap());
    let again = Sighting { at: at(2), ..grown };
    let (why, ticket) = tracker.judge("a", again, || 0.0);
    assert_eq!(why, Why::Owed);
    tracker.copied(ticket.unwrap());
    assert!(
        !tracker
            .judge("a", Sighting { at: at(3), ..grown }, || 0.0)
            .0
            .copies()
    );
}

#[test]
fn of_a_copy_that_nobody_knows_of_the_target_or_the_message_tells() {
    let mut tracker = tracker();
    let (_, ticket) = tracker.judge("stored", message(0), || 0.0);
    tracker.abandoned(ticket.unwrap());
    let (_, ticket) = tracker.judge("lost", message(0), || 0.0);
    tracker.abandoned(ticket.unwrap());
    tracker.learn_copy("stored", at(0), 100, at(0));
    assert!(!send(&mut tracker, "stored", message(1)).copies());
    assert!(send(&mut tracker, "lost", message(0)).copies());
}

#[test]
fn a_value_whose_copies_are_refused_each_time_waits_for_its_next_interval() {
    let mut tracker = tracker();
    let mut tried = 0;
    for seconds in 0..100 {
        let (_, ticket) = tracker.judge("a", message(seconds), || 0.0);
        if let Some(ticket) = ticket {
            tried += 1;
            tracker.dropped(ticket);
        }
    }
    assert_eq!(tried, 4);
    assert!(tracker.judge("a", message(INTERVAL + 3), || 0.0).0.copies());
}

#[test]
fn sr_case_38_a_value_appears_falls_silent_returns_and_is_forgotten() {
    use AdvisoryEvent::{Expire, New, Recover, Timeout};
    let mut tracker = tracker();
    send(&mut tracker, "a", message(0));
    assert_eq!(told(&mut tracker), [(New, 0)]);
    assert_eq!(scrub(&mut tracker, WARN), []);
    assert_eq!(scrub(&mut tracker, WARN + 10), [(Timeout, 1_810)]);
    assert_eq!(scrub(&mut tracker, WARN + 20), []);
    send(&mut tracker, "a", message(2_000));
    assert_eq!(told(&mut tracker), [(Recover, 2_000)]);
    assert_eq!(scrub(&mut tracker, 2_000 + WARN + 5), [(Timeout, 1_805)]);
    assert_eq!(
        scrub(&mut tracker, 2_000 + INTERVAL + 10),
        [(Expire, 3_610)]
    );
    assert_eq!(tracker.len(), 0);
    let why = send(&mut tracker, "a", message(6_000));
    assert_eq!((why, told(&mut tracker)), (Why::New, vec![(New, 0)]));
}

#[test]
fn a_silence_that_nobody_looked_at_in_time_is_told_when_it_ends() {
    use AdvisoryEvent::{Expire, New};
    let mut tracker = tracker();
    send(&mut tracker, "a", message(0));
    told(&mut tracker);
    let why = send(&mut tracker, "a", message(INTERVAL + 30));
    assert_eq!(why, Why::New);
    assert_eq!(told(&mut tracker), [(Expire, 3_630), (New, 0)]);
    send(&mut tracker, "a", message(4 * INTERVAL));
    assert_eq!(told(&mut tracker), [(New, 0)], "too long ago to be told of");
}

#[test]
fn nobody_is_silent_while_the_source_is_away() {
    let mut tracker = tracker();
    send(&mut tracker, "a", message(0));
    told(&mut tracker);
    // The outage: the watermark stays. Then the backlog, in the order of its times.
    assert!(tracker.scrub(10));
    for seconds in (300..=7_200).step_by(300) {
        send(&mut tracker, "a", message(seconds));
        assert_eq!(scrub(&mut tracker, seconds), []);
    }
}

#[test]
fn a_value_that_stopped_in_good_order_raises_no_alarm() {
    use AdvisoryEvent::{New, Recover, Shutdown};
    let mut tracker = tracker();
    send(&mut tracker, "a", message(0));
    told(&mut tracker);
    tracker.stop("a", at(100));
    tracker.stop("a", at(101));
    tracker.stop("unknown", at(100));
    assert_eq!(told(&mut tracker), [(Shutdown, 100)]);
    // What was sent before and comes later is no return.
    tracker.judge("a", message(99), || 0.0);
    assert_eq!(scrub(&mut tracker, WARN + 200), []);
    send(&mut tracker, "a", message(2_500));
    assert_eq!(told(&mut tracker), [(Recover, 2_401)]);
    tracker.stop("a", at(2_600));
    told(&mut tracker);
    assert_eq!(
        scrub(&mut tracker, 2_600 + INTERVAL),
        [],
        "forgotten without a word"
    );
    assert_eq!(tracker.len(), 0);
    send(&mut tracker, "a", message(9_000));
    assert_eq!(told(&mut tracker), [(New, 0)]);
    tracker.stop("a", at(9_001));
    tracker.start("a", at(9_010));
    assert_eq!(told(&mut tracker), [(Shutdown, 1), (Recover, 10)]);
    let crashed = scrub(&mut tracker, 9_010 + WARN + 1);
    assert_eq!(crashed, [(AdvisoryEvent::Timeout, 1_801)]);
}

#[test]
fn who_stands_by_tells_nothing_and_marks_nothing_until_it_leads() {
    let mut tracker = tracker();
    send(&mut tracker, "a", message(0));
    send(&mut tracker, "b", message(1_000));
    told(&mut tracker);
    tracker.lead(false);
    assert_eq!(scrub(&mut tracker, WARN + 100), []);
    assert_eq!(scrub(&mut tracker, INTERVAL + 100), []);
    assert_eq!(tracker.len(), 2);
    tracker.lead(true);
    let mut facts = scrub(&mut tracker, INTERVAL + 101);
    facts.sort_unstable();
    assert_eq!(
        facts,
        [
            (AdvisoryEvent::Timeout, 2_701),
            (AdvisoryEvent::Expire, 3_701)
        ]
    );
    tracker.lead(false);
    assert_eq!(scrub(&mut tracker, 3 * INTERVAL), []);
    assert_eq!(tracker.len(), 0);
}

#[test]
fn sr_case_42_the_newer_word_counts_and_a_copy_is_never_unlearnt() {
    let mut tracker = tracker();
    let item = |seen: u64, copied: Option<u64>, advised| TrackedItem {
        seen: Some(at(seen).date()),
        copied: copied.map(|copied| at(copied).date()),
        advised,
        size: 10,
        value: "a".to_owned(),
        ..TrackedItem::default()
    };
    assert!(tracker.learn(&item(100, Some(50), false)));
    assert_eq!(told(&mut tracker), [], "what others saw is not told again");
    assert!(!tracker.learn(&item(90, None, true)));
    assert!(!tracker.learn(&item(90, Some(40), false)));
    assert!(
        tracker.learn(&item(90, Some(60), false)),
        "an older word of a later copy"
    );
    let known = tracker.item("a").unwrap();
    assert_eq!(known.seen, Some(at(100).date()));
    assert_eq!(known.copied, Some(at(60).date()));
    assert!(!send(&mut tracker, "a", message(200)).copies());
    for worthless in [
        TrackedItem::default(),
        TrackedItem {
            value: "b".to_owned(),
            ..TrackedItem::default()
        },
        TrackedItem {
            value: String::new(),
            ..item(300, None, false)
        },
        TrackedItem {
            value: "x".repeat(MAX_VALUE + 1),
            ..item(300, None, false)
        },
    ] {
        assert!(!tracker.learn(&worthless));
    }
    assert!(
        !tracker.learn(&TrackedItem {
            gone: true,
            ..item(150, None, false)
        }),
        "seen since"
    );
    assert!(tracker.learn(&TrackedItem {
        gone: true,
        ..item(200, None, false)
    }));
    assert_eq!(tracker.len(), 0);
}

#[test]
fn a_silence_is_taken_off_others_hands_only_once_it_was_told() {
    let mut tracker = tracker();
    send(&mut tracker, "a", message(0));
    tracker.take_news(10);
    scrub(&mut tracker, WARN + 1);
    let seen = at(0);
    assert!(tracker.item("a").unwrap().advised);
    assert!(!tracker.page_of_news(0, 10).0[0].advised);
    tracker.told("a", at(7));
    assert!(tracker.take_news(10).is_empty(), "that was another silence");
    tracker.told("a", seen);
    assert!(tracker.take_news(10)[0].advised);
    scrub(&mut tracker, INTERVAL + 1);
    tracker.told_gone(&"a".into(), seen);
    let news = tracker.take_news(10);
    assert!(news[0].gone && news[0].value == "a");
}

#[test]
fn values_beyond_the_limit_are_copied_and_not_remembered() {
    let mut tracker = leading(Limits {
        max_values: 2,
        ..limits()
    });
    for value in ["a", "b"] {
        assert_eq!(send(&mut tracker, value, message(0)), Why::New);
    }
    assert_eq!(send(&mut tracker, "c", message(0)), Why::Full);
    assert_eq!(send(&mut tracker, "c", message(1)), Why::Full);
    assert_eq!(tracker.len(), 2);
}

#[test]
fn changes_are_had_in_pieces_and_once() {
    let mut tracker = tracker();
    for number in 0..25 {
        send(&mut tracker, &format!("h{number}"), message(0));
        send(&mut tracker, &format!("h{number}"), message(1));
    }
    let pieces: Vec<_> = std::iter::repeat_with(|| tracker.take_changes(10).len())
        .take(4)
        .collect();
    assert_eq!(pieces, [10, 10, 5, 0]);
    scrub(&mut tracker, 2 * INTERVAL);
    let gone = tracker.take_changes(100);
    assert!(gone.iter().all(|change| matches!(change, Change::Gone(_))));
    assert_eq!(gone.len(), 25);
}

#[test]
fn a_copy_that_the_target_has_saves_another_and_raises_no_alarm() {
    let mut tracker = tracker();
    tracker.learn_copy("a", at(100), 10, at(3_000));
    tracker.learn_copy("a", at(50), 20, at(3_000));
    assert_eq!(scrub(&mut tracker, 3_000), []);
    assert!(!send(&mut tracker, "a", message(3_100)).copies());
    assert_eq!(told(&mut tracker), []);
    assert_eq!(
        send(&mut tracker, "a", message(3_700)).to_string(),
        "due: copied 60 min ago"
    );
}
