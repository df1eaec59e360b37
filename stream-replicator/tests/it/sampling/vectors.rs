//! Recorded decisions, ages, files and gossip, against the pure parts.
//!
//! Where ours differ, a predicate over the data says so; each is a line of `docs/conformance/stream-replicator.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::time::{Duration, SystemTime};

use overlay_protocol::envelope::Limits;
use overlay_protocol::replication::{TrackedItem, sync_subject};
use overlay_stream_replicator::replay::{self, Known, Message, Replay};
use overlay_stream_replicator::{Inspect, Sampling};
use overlay_testkit::vectors::{Loader, Outcome, for_cases};
use serde_json::Value;
use time::OffsetDateTime;

mod series;

pub(crate) use series::series;

type Verdict = Result<(), String>;

pub(super) fn sampling(interval: Duration, warn: Duration) -> Sampling {
    Sampling {
        inspect: Inspect::Token(None),
        force: None,
        force_is_strict: false,
        interval,
        warn,
        size_trigger: 0.0,
        lifecycle: false,
    }
}

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_000_000)
}

fn ago(now: SystemTime, seconds: f64) -> SystemTime {
    let span = Duration::from_secs_f64(seconds.abs());
    if seconds < 0.0 {
        now + span
    } else {
        now - span
    }
}

fn seconds(case: &Value, name: &str) -> Duration {
    Duration::from_secs_f64(case[name].as_f64().unwrap_or_default())
}

fn size(value: &Value) -> u32 {
    u32::try_from(value.as_u64().unwrap_or_default()).unwrap()
}

fn check(holds: bool, words: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(words()) }
}

/// Each decision over the whole range of chance; of those that are left to it, the share.
pub(crate) fn decisions(file: &Value, _loader: &Loader) -> Outcome {
    const TRIALS: u32 = 4_000;

    for_cases(file, |case| {
        let now = now();
        let entry = &case["entry"];
        let copied = if entry.is_null() {
            TRIALS
        } else {
            let at = |name: &str| entry[name].as_f64().map(|age| ago(now, age));
            let known = Known {
                seen: at("seen_s_ago"),
                copied: at("copied_s_ago"),
                size: size(&entry["previous_size"]),
            };
            let trigger = case["size_trigger"].as_f64().unwrap_or_default();
            let decided = |trial: u32| {
                let chance = f64::from(trial) / f64::from(TRIALS);
                let interval = seconds(case, "interval_s");
                replay::decide(interval, trigger, &known, now, size(&case["size"]), chance)
            };
            u32::try_from((0..TRIALS).filter(|trial| decided(*trial)).count()).unwrap()
        };
        let recorded = size(&case["expect"]["copied_of_4000_trials"]);
        match case["expect"]["decision"].as_str() {
            Some("copy") => check(copied == TRIALS, || format!("copied {copied}")),
            Some("skip") => check(copied == 0, || format!("copied {copied}")),
            Some("sometimes") => check(copied.abs_diff(recorded) < TRIALS / 25, || {
                format!("copied {copied}, recorded {recorded}")
            }),
            other => Err(format!("decision {other:?}")),
        }
    })
}

/// Series of messages within a second.
pub(crate) fn messages(file: &Value, _loader: &Loader) -> Outcome {
    for_cases(file, |case| {
        let config = &case["config"];
        let interval = seconds(config, "inspect_duration_s");
        let field = config["inspect_field"].as_str().unwrap_or_default();
        let header = config["inspect_header"].as_str().unwrap_or_default();
        let token = config["inspect_subject_token"].as_i64().unwrap_or_default();
        if case["expect"]["verdict"] == "error" {
            // Our configuration can't say what these lack: each of it is there by type.
            return check(case["expect"]["error"].is_string(), || {
                "no reason".to_owned()
            });
        }
        if token < -1 {
            // Refused by the configuration; the original copies everything.
            return check(case["expect"]["tracked_values"].is_null(), || {
                "something is tracked".to_owned()
            });
        }
        let mut sampling = sampling(interval, interval / 2);
        sampling.inspect = if !header.is_empty() {
            Inspect::Header(header.to_owned())
        } else if token != 0 {
            Inspect::Token(usize::try_from(token).ok().and_then(NonZeroUsize::new))
        } else {
            Inspect::Field(field.to_owned())
        };
        sampling.force = config["inspect_force_field"]
            .as_str()
            .filter(|field| !field.is_empty())
            .map(str::to_owned);
        sampling.size_trigger = config["size_trigger"].as_f64().unwrap_or_default();
        replay_messages(case, &sampling, header)
    })
}

/// What the original remembers of a value, and what we do.
#[derive(Default)]
struct Sizes {
    previous: u32,
    copied: u32,
    owed: bool,
}

fn replay_messages(case: &Value, sampling: &Sampling, header: &str) -> Verdict {
    let mut replay = Replay::new(sampling, "SITE");
    let mut known: BTreeMap<String, Sizes> = BTreeMap::new();
    for (number, recorded) in case["messages"].as_array().unwrap().iter().enumerate() {
        let body = recorded["body"].as_str().unwrap();
        let message = Message {
            subject: recorded["subject"].as_str().unwrap(),
            header: recorded["headers"][header][0].as_str(),
            body: body.as_bytes(),
            at: now() + Duration::from_millis(u64::try_from(number).unwrap()),
        };
        let fails = recorded["publish_fails"] == true;
        let value = replay.value(&message);
        let (copies, ticket) = replay.judge(&message, 0.5);
        match ticket {
            Some(ticket) if fails => replay.dropped(ticket),
            Some(ticket) => replay.copied(ticket),
            None => {}
        }
        let mut expected = recorded["decision"] == "copy";
        if let Some(value) = value {
            let size = u32::try_from(body.len()).unwrap();
            let change = |before: u32| {
                sampling.size_trigger > 0.0
                    && f64::from(before.abs_diff(size)) >= sampling.size_trigger
            };
            if let Some(sizes) = known.get(&value) {
                // Sizes are compared with the last copy, and a refused copy is owed; the original compares neighbours
                // and forgets.
                let theirs = change(sizes.previous);
                let ours = change(sizes.copied) || sizes.owed;
                if theirs != ours {
                    expected = ours;
                }
            }
            let sizes = known.entry(value).or_default();
            sizes.previous = size;
            if copies {
                sizes.owed = fails;
                if !fails {
                    sizes.copied = size;
                }
            }
        }
        check(copies == expected, || {
            format!("message {number}: copied {copies}")
        })?;
    }
    let tracked: BTreeSet<_> = replay.items().into_iter().map(|item| item.value).collect();
    let recorded: BTreeSet<_> = case["expect"]["tracked_values"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|value| value.as_str().unwrap().to_owned())
        .collect();
    check(tracked == recorded, || format!("{tracked:?} are tracked"))
}

fn item(now: SystemTime, entry: &Value) -> TrackedItem {
    let seen = ago(now, entry["seen_s_ago"].as_f64().unwrap_or_default());
    TrackedItem {
        seen: Some(OffsetDateTime::from(seen)),
        advised: entry["advised"] == true,
        size: entry["size"].as_u64().unwrap_or_default(),
        value: "h1".to_owned(),
        ..TrackedItem::default()
    }
}

fn aged(case: &Value) -> Replay {
    let mut replay = Replay::new(
        &sampling(seconds(case, "interval_s"), seconds(case, "warn_s")),
        "SITE",
    );
    if !case["entry"].is_null() {
        replay.learn(&item(now(), &case["entry"]));
    }
    replay
}

fn events(replay: &mut Replay) -> Vec<&'static str> {
    let advisories = replay.advisories().into_iter();
    advisories.map(|advisory| advisory.event.name()).collect()
}

fn recorded_event(case: &Value) -> Vec<&str> {
    let event = case["expect"]["advisory"].as_str();
    event.into_iter().filter(|event| *event != "none").collect()
}

/// A look at a value of each age.
pub(crate) fn scrub(file: &Value, _loader: &Loader) -> Outcome {
    for_cases(file, |case| {
        let mut replay = aged(case);
        replay.scrub(now());
        let told = events(&mut replay);
        check(told == recorded_event(case), || format!("told {told:?}"))?;
        let is_kept = !replay.items().is_empty();
        check(Value::Bool(is_kept) == case["expect"]["kept"], || {
            format!("kept {is_kept}")
        })
    })
}

/// A message of a value of each age.
pub(crate) fn seen(file: &Value, _loader: &Loader) -> Outcome {
    for_cases(file, |case| {
        let mut replay = aged(case);
        let body = vec![b'x'; usize::try_from(size(&case["size"])).unwrap()];
        let message = Message {
            subject: "h1",
            header: None,
            body: &body,
            at: now(),
        };
        replay.judge(&message, 0.5);
        let told = events(&mut replay);
        let (interval, age) = (
            case["interval_s"].as_f64().unwrap_or_default(),
            case["entry"]["seen_s_ago"].as_f64(),
        );
        let items = replay.items();
        let advised = Value::Bool(items[0].advised);
        let size_after = u64::from(size(&case["expect"]["size_after"]));
        check(items[0].size == size_after, || "size".to_owned())?;
        match age {
            // Nobody looked in time: as if somebody had.
            Some(age) if age > interval => {
                let expected: &[&str] = if age <= 2.0 * interval {
                    &["expire", "new"]
                } else {
                    &["new"]
                };
                check(told == expected && advised == false, || {
                    format!("told {told:?}, advised {advised}")
                })
            }
            Some(_) | None => {
                check(told == recorded_event(case), || format!("told {told:?}"))?;
                check(advised == case["expect"]["advised_after"], || {
                    format!("advised {advised}")
                })
            }
        }
    })
}

/// Files read, and written again.
pub(crate) fn files(file: &Value, _loader: &Loader) -> Outcome {
    for_cases(file, |case| {
        let expect = &case["expect"];
        let Some(text) = case["file"].as_str() else {
            // Gossip before the file: ours takes in both.
            return check(expect["error"] == "not empty", || "no file".to_owned());
        };
        let interval = seconds(case, "interval_s");
        let mut replay = Replay::new(&sampling(interval, interval / 2), "SITE");
        let is_error = expect["verdict"].as_str() != Some("ok");
        match replay::read_file(text.as_bytes()) {
            Ok((items, faults)) => {
                check(faults.is_empty() != is_error, || {
                    format!("faults: {faults:?}")
                })?;
                items.iter().for_each(|item| replay.learn(item));
            }
            Err(error) => check(is_error, || error)?,
        }
        // What is too old is told of as gone, where the original drops it without a word.
        let now = OffsetDateTime::parse(
            case["now_rfc3339"].as_str().unwrap(),
            &time::format_description::well_known::Rfc3339,
        );
        replay.scrub(now.unwrap().into());
        let values: BTreeSet<_> = replay.items().into_iter().map(|item| item.value).collect();
        let recorded: BTreeSet<_> = expect["entries"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|value| value.as_str().unwrap().to_owned())
            .collect();
        check(values == recorded, || format!("{values:?}"))?;
        let written = replay.file().map(|text| normal(&text));
        let theirs = expect["file_after_next_save"]
            .as_str()
            .map(|text| normal(text.as_bytes()));
        check(written == theirs, || format!("{written:?} is written"))
    })
}

/// A file as what it says: times as points in time, the value, which is the name of the member, left out.
fn normal(text: &[u8]) -> BTreeMap<String, TrackedItem> {
    let file: Value = serde_json::from_slice(text).unwrap();
    let items = file["Items"].as_object().unwrap().iter();
    items
        .map(|(value, item)| {
            let text = item.to_string();
            let mut item = TrackedItem::decode(text.as_bytes(), &Limits::default()).unwrap();
            item.value.clear();
            (value.clone(), item)
        })
        .collect()
}

/// Messages between replicas: read, and written byte for byte.
pub(crate) fn gossip(file: &Value, _loader: &Loader) -> Outcome {
    for_cases(file, |case| {
        let body = case["body"].as_str().unwrap();
        let item = TrackedItem::decode(body.as_bytes(), &Limits::default())
            .map_err(|error| error.to_string())?;
        let again = String::from_utf8(item.encode()).unwrap();
        check(again == body, || again)?;
        let subject = case["subject"].as_str().unwrap();
        let mut names = subject.rsplit('.');
        let (worker, stream) = (names.next().unwrap(), names.next().unwrap());
        let ours = sync_subject(stream, worker);
        check(ours == subject, || ours.clone())
    })
}
