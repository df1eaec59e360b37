use std::collections::BTreeMap;
use std::time::SystemTime;

use proptest::prelude::*;

use super::*;

fn at(seconds: u64) -> Nanos {
    Nanos::of(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seconds))
}

fn outbox() -> Outbox {
    Outbox::new(Teller {
        site: "US-EAST".to_owned(),
        stream: "NODES".to_owned(),
        worker: "W1".to_owned(),
        inspect: "sender".to_owned(),
    })
}

fn fact(event: AdvisoryEvent, value: &str, seconds: u64) -> Fact {
    Fact {
        event,
        value: value.into(),
        seen: at(seconds),
        at: at(seconds + 17),
        since: at(seconds + 12),
    }
}

/// Sends until nothing may be sent; gives what was.
fn sent(outbox: &mut Outbox, now: Nanos) -> Vec<Owed> {
    std::iter::from_fn(|| outbox.next(now, true)).collect()
}

#[test]
fn sr_case_39_a_fact_becomes_the_document_with_whole_seconds() {
    let owed = outbox().teller.owed(&fact(AdvisoryEvent::Timeout, "h2", 0));
    let text = String::from_utf8(owed.advisory.encode()).unwrap();
    let id = owed.advisory.event_id.to_string();
    assert_eq!(id.len(), 27);
    assert_eq!(
        text,
        format!(
            r#"{{"protocol":"io.choria.sr.v2.age_advisory","event_id":"{id}","inspect_field":"sender","age":17,"seen":1700000000,"replicator":"US-EAST","timestamp":1700000017,"event":"timeout","value":"h2"}}"#
        )
    );
}

#[test]
fn the_same_fact_has_the_same_id_and_another_has_another() {
    let teller = outbox().teller;
    let id = |fact: &Fact| teller.owed(fact).advisory.event_id;
    let first = fact(AdvisoryEvent::Timeout, "a", 0);
    let found_out_later = Fact {
        at: at(500),
        ..first.clone()
    };
    assert_eq!(id(&first), id(&found_out_later));
    for other in [
        fact(AdvisoryEvent::Expire, "a", 0),
        fact(AdvisoryEvent::Timeout, "b", 0),
        fact(AdvisoryEvent::Timeout, "a", 1),
    ] {
        assert_ne!(id(&first), id(&other));
    }
}

#[test]
fn sr_case_40_nothing_is_lost_while_a_stream_is_away() {
    let mut outbox = outbox();
    for number in 0..5_000 {
        outbox.tell(&fact(AdvisoryEvent::Timeout, &format!("h{number}"), 0));
        outbox.tell(&fact(AdvisoryEvent::Expire, &format!("h{number}"), 0));
    }
    let mut tries = 0;
    for second in 0..600 {
        for owed in sent(&mut outbox, at(second)) {
            tries += 1;
            outbox.failed(&owed.advisory.event_id, at(second));
        }
    }
    assert!(
        tries < MAX_WINDOW + 1_200,
        "it is asked for, not stormed: {tries}"
    );
    assert_eq!(outbox.len(), 10_000);
    let mut told: BTreeMap<String, Vec<AdvisoryEvent>> = BTreeMap::new();
    let mut rounds = 0;
    while outbox.len() > 0 {
        rounds += 1;
        for owed in sent(&mut outbox, at(1_000 + rounds)) {
            let owed = outbox.taken(&owed.advisory.event_id).unwrap();
            told.entry(owed.advisory.value)
                .or_default()
                .push(owed.advisory.event);
        }
    }
    assert!(rounds < 30, "{rounds}");
    assert_eq!(told.len(), 5_000);
    let in_order = [AdvisoryEvent::Timeout, AdvisoryEvent::Expire];
    assert!(told.values().all(|events| *events == in_order));
}

#[test]
fn a_value_that_no_stream_takes_holds_up_no_other() {
    let mut outbox = outbox();
    outbox.tell(&fact(AdvisoryEvent::New, "odd", 0));
    for number in 0..100 {
        outbox.tell(&fact(AdvisoryEvent::New, &format!("h{number}"), 0));
    }
    for second in 0..120 {
        for owed in sent(&mut outbox, at(second)) {
            if owed.advisory.value == "odd" {
                outbox.failed(&owed.advisory.event_id, at(second));
            } else {
                outbox.taken(&owed.advisory.event_id).unwrap();
            }
        }
    }
    assert_eq!(outbox.len(), 1);
}

#[test]
fn a_value_with_too_much_to_tell_tells_the_latest() {
    let mut outbox = outbox();
    for number in 0..100 {
        outbox.tell(&fact(AdvisoryEvent::Timeout, "a", 2 * number));
        outbox.tell(&fact(AdvisoryEvent::Recover, "a", 2 * number + 1));
    }
    assert!(outbox.len() <= MAX_OF_VALUE);
    assert_eq!(outbox.take_merged() + outbox.len() as u64, 200);
    let mut last = None;
    while let Some(owed) = outbox.next(at(1_000), true) {
        last = outbox.taken(&owed.advisory.event_id);
    }
    let last = last.unwrap();
    assert_eq!(
        (last.advisory.event, last.seen),
        (AdvisoryEvent::Recover, at(199))
    );
}

#[test]
fn what_another_replica_told_is_withdrawn_unless_it_is_under_way() {
    let mut outbox = outbox();
    outbox.tell(&fact(AdvisoryEvent::Timeout, "a", 0));
    outbox.tell(&fact(AdvisoryEvent::Expire, "a", 0));
    outbox.withdraw("a", AdvisoryEvent::Timeout, at(0));
    assert_eq!(outbox.len(), 1);
    let under_way = outbox.next(at(1), true).unwrap();
    outbox.withdraw("a", AdvisoryEvent::Expire, at(0));
    outbox.withdraw("b", AdvisoryEvent::Expire, at(0));
    assert_eq!(outbox.len(), 1);
    assert!(outbox.taken(&under_way.advisory.event_id).is_some());
    assert_eq!((outbox.len(), outbox.next(at(2), true)), (0, None));
}

#[test]
fn who_leads_no_more_tells_what_nobody_else_can_find_out() {
    let mut outbox = outbox();
    outbox.tell(&fact(AdvisoryEvent::Timeout, "silent", 0));
    outbox.tell(&fact(AdvisoryEvent::New, "new", 0));
    outbox.tell(&fact(AdvisoryEvent::Timeout, "back", 0));
    outbox.tell(&fact(AdvisoryEvent::Recover, "back", 5));
    outbox.tell(&fact(AdvisoryEvent::Expire, "gone", 0));
    let mut told = Vec::new();
    while let Some(owed) = outbox.next(at(9), false) {
        told.push((owed.advisory.event, owed.advisory.value.clone()));
        outbox.taken(&owed.advisory.event_id);
    }
    let of = |event, value: &str| (event, value.to_owned());
    assert_eq!(
        told,
        [
            of(AdvisoryEvent::New, "new"),
            of(AdvisoryEvent::Timeout, "back"),
            of(AdvisoryEvent::Recover, "back"),
        ]
    );
    // The rest waits for whoever leads, who finds it out, or for this replica to lead.
    assert_eq!((outbox.len(), sent(&mut outbox, at(10)).len()), (2, 2));
}

proptest! {
    #[test]
    fn the_journal_says_what_is_owed_whatever_happens(
        steps in proptest::collection::vec((0..5_u8, 0..4_u8, any::<bool>()), 0..120),
    ) {
        let mut outbox = outbox();
        let mut journal = BTreeMap::new();
        let mut under_way = Vec::new();
        for (number, (value, step, flag)) in (0..).zip(steps) {
            let now = at(1_000 + number * 20);
            match step {
                0 | 1 => outbox.tell(&fact(AdvisoryEvent::New, &value.to_string(), number)),
                2 => under_way.extend(outbox.next(now, true)),
                _ => if let Some(owed) = under_way.pop() {
                    if flag {
                        prop_assert_eq!(outbox.taken(&owed.advisory.event_id), Some(owed));
                    } else {
                        outbox.failed(&owed.advisory.event_id, now);
                    }
                },
            }
            for change in outbox.take_changes() {
                match change {
                    Entry::Owed(owed) => drop(journal.insert(owed.advisory.event_id, owed)),
                    Entry::Told(id) => drop(journal.remove(&id)),
                }
            }
            prop_assert_eq!(journal.len(), outbox.len());
        }
        let mut again = self::outbox();
        for owed in journal.into_values() {
            again.restore(owed);
        }
        prop_assert_eq!(again.len(), outbox.len());
        prop_assert_eq!(again.all().len(), outbox.len());
    }
}
