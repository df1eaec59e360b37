//! The tracker against a model that looks at every value each time.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    /// A message of a value so long after what came before; whether its copy is refused.
    Message(u8, u64, bool),
    /// Time goes on, and somebody looks.
    Look(u64),
    Stop(u8),
    Lead(bool),
}

#[derive(Debug, Clone, Copy)]
struct Known {
    seen: u64,
    copied: Option<u64>,
    refused: bool,
    advised: bool,
    stopped: Option<u64>,
}

/// One value each line: the rules as they are written down, without an index, windows or pieces.
#[derive(Debug, Default)]
struct Model {
    values: BTreeMap<u8, Known>,
    told: Vec<(AdvisoryEvent, u8)>,
    leads: bool,
}

impl Model {
    fn message(&mut self, value: u8, now: u64, is_refused: bool) -> bool {
        let known = self.values.get(&value).copied();
        let silence = known.map_or(0, |known| now - known.seen);
        let copies = match known {
            Some(known) if silence <= INTERVAL => {
                let is_back = known.stopped.is_some_and(|stopped| stopped < now)
                    || (known.stopped.is_none() && silence > WARN && silence < INTERVAL);
                if is_back {
                    self.told.push((AdvisoryEvent::Recover, value));
                }
                let limit = INTERVAL - 1;
                let copies = known.refused
                    || known.copied.is_none_or(|copied| now - copied > limit)
                    || silence > limit;
                self.values.insert(
                    value,
                    Known {
                        seen: now,
                        advised: known.advised && !is_back,
                        stopped: known.stopped.filter(|_| !is_back),
                        ..known
                    },
                );
                copies
            }
            _ => {
                if known.is_some_and(|known| known.stopped.is_none()) && silence <= 2 * INTERVAL {
                    self.told.push((AdvisoryEvent::Expire, value));
                }
                self.told.push((AdvisoryEvent::New, value));
                let known = Known {
                    seen: now,
                    copied: None,
                    refused: false,
                    advised: false,
                    stopped: None,
                };
                self.values.insert(value, known);
                true
            }
        };
        if let Some(known) = self.values.get_mut(&value).filter(|_| copies) {
            known.refused = is_refused;
            if !is_refused {
                known.copied = Some(now);
            }
        }
        copies
    }

    fn look(&mut self, now: u64) {
        let (leads, told) = (self.leads, &mut self.told);
        self.values.retain(|value, known| {
            let silence = now - known.seen;
            if silence > INTERVAL + if leads { 0 } else { GRACE.as_secs() } {
                if leads && known.stopped.is_none() && silence <= 2 * INTERVAL {
                    told.push((AdvisoryEvent::Expire, *value));
                }
                return false;
            }
            if leads && silence > WARN && !known.advised && known.stopped.is_none() {
                known.advised = true;
                told.push((AdvisoryEvent::Timeout, *value));
            }
            true
        });
    }
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..6_u8, 0..1_500_u64, proptest::bool::weighted(0.1)).prop_map(|(v, t, r)| Step::Message(v, t, r)),
        3 => (0..4_000_u64).prop_map(Step::Look),
        1 => (0..6_u8).prop_map(Step::Stop),
        1 => any::<bool>().prop_map(Step::Lead),
    ]
}

proptest! {
    #[test]
    fn the_index_finds_what_a_look_at_everything_finds(steps in proptest::collection::vec(step(), 1..80)) {
        let mut tracker = tracker();
        let mut model = Model { leads: true, ..Model::default() };
        let mut now = 0;
        let mut refusals = BTreeMap::<u8, u8>::new();
        for step in steps {
            match step {
                Step::Message(value, after, is_refused) => {
                    // What is refused for the fourth time waits, which has its own test.
                    let is_refused = is_refused && refusals.get(&value).is_none_or(|count| *count < 2);
                    now += after;
                    tracker.watermark(at(now));
                    let (why, ticket) = tracker.judge(&value.to_string(), message(now), || 0.0);
                    prop_assert_eq!(why.copies(), model.message(value, now, is_refused), "{:?} at {}", why, now);
                    if let Some(ticket) = ticket {
                        if is_refused {
                            *refusals.entry(value).or_default() += 1;
                            tracker.dropped(ticket);
                        } else {
                            refusals.remove(&value);
                            tracker.copied(ticket);
                        }
                    }
                }
                Step::Look(after) => {
                    now += after;
                    tracker.watermark(at(now));
                    prop_assert!(tracker.scrub(1_000));
                    model.look(now);
                }
                Step::Stop(value) => {
                    tracker.stop(&value.to_string(), at(now));
                    if let Some(known) = model.values.get_mut(&value).filter(|known| known.stopped.is_none()) {
                        known.stopped = Some(now);
                        if model.leads {
                            model.told.push((AdvisoryEvent::Shutdown, value));
                        }
                    }
                }
                Step::Lead(leads) => {
                    tracker.lead(leads);
                    model.leads = leads;
                }
            }
            let mut told: Vec<_> = tracker
                .take_facts()
                .into_iter()
                .map(|fact| (fact.event, fact.value.parse::<u8>().unwrap()))
                .collect();
            told.sort_unstable();
            model.told.sort_unstable();
            prop_assert_eq!(told, std::mem::take(&mut model.told));
            prop_assert_eq!(tracker.len(), model.values.len());
        }
        // What was written in pieces is what is known.
        let mut file = BTreeMap::new();
        loop {
            let changes = tracker.take_changes(3);
            if changes.is_empty() {
                break;
            }
            for change in changes {
                match change {
                    Change::Gone(gone) => drop(file.remove(&gone.value.to_string())),
                    Change::Item(item) => drop(file.insert(item.value.clone(), item)),
                }
            }
        }
        let known: BTreeMap<_, _> = tracker.page(0, 1_000).0.into_iter().map(|item| (item.value.clone(), item)).collect();
        prop_assert_eq!(file, known);
    }
}
