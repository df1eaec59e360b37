//! A whole run with its clock.

use std::time::{Duration, SystemTime};

use overlay_protocol::envelope::Limits;
use overlay_protocol::replication::{Advisory, advisory_subject};
use overlay_stream_replicator::compat::Original;
use overlay_stream_replicator::replay::{Message, Replay};
use overlay_stream_replicator::{Inspect, Sampling};
use overlay_testkit::vectors::{Loader, Outcome};
use serde_json::Value;

use super::{Verdict, check};

/// How often the original looks for silent values.
const LOOKS: f64 = 10.0;
/// When its first look was within that is not recorded: it is one of so many.
const OFFSETS: u32 = 1_000;

/// Sends the messages at their times, looks every ten seconds, and compares decisions and advisories.
pub(crate) fn series(file: &Value, _loader: &Loader) -> Outcome {
    let mut outcome = Outcome::default();
    outcome.run("series", || {
        let original = Original::read(file["yaml"].as_str().unwrap())
            .map_err(|faults| format!("{faults:?}"))?;
        let stream = &original.streams[0];
        let sampling = Sampling {
            inspect: Inspect::Field(stream.inspect_field.clone()),
            force: Some(stream.inspect_force_field.clone()).filter(|field| !field.is_empty()),
            force_is_strict: false,
            interval: stream.times.inspect,
            warn: stream.times.warn,
            size_trigger: stream.size_trigger,
            lifecycle: false,
        };
        let template = stream.advisory.as_ref().map(|advisory| &*advisory.subject);
        let mut first = None;
        for offset in 0..OFFSETS {
            let offset = LOOKS * f64::from(offset) / f64::from(OFFSETS);
            match run(
                file,
                &sampling,
                &original.name,
                template.unwrap_or_default(),
                offset,
            ) {
                Ok(()) => return Ok(()),
                Err(words) => first.get_or_insert(words),
            };
        }
        Err(first.unwrap_or_default())
    });
    outcome
}

fn run(file: &Value, sampling: &Sampling, site: &str, template: &str, offset: f64) -> Verdict {
    let start = file["start_unix"].as_f64().unwrap();
    let time = |t: f64| SystemTime::UNIX_EPOCH + Duration::from_secs_f64(start + t);
    let mut replay = Replay::new(sampling, site);
    let mut told: Vec<Advisory> = Vec::new();
    let mut next_look = offset;
    let cases = file["cases"].as_array().unwrap();
    for case in cases {
        let t = case["t"].as_f64().unwrap();
        while next_look <= t {
            replay.scrub(time(next_look));
            told.extend(replay.advisories());
            next_look += LOOKS;
        }
        let is_copied = case["expect"]["decision"] == "copy";
        let message = Message {
            subject: "t",
            header: None,
            body: case["body"].as_str().unwrap().as_bytes(),
            at: time(t),
        };
        // Within the last tenth of the interval chance decides: it is given the recorded word.
        let (copies, ticket) = replay.judge(&message, if is_copied { 0.999_999 } else { 0.0 });
        if let Some(ticket) = ticket {
            replay.copied(ticket);
        }
        told.extend(replay.advisories());
        check(copies == is_copied, || {
            format!("{}: copied {copies}", case["name"])
        })?;
    }
    let recorded = file["advisories"].as_array().unwrap();
    let mut recorded: Vec<(Advisory, &str)> = recorded
        .iter()
        .map(|advisory| {
            let body = advisory["body"].as_str().unwrap();
            let decoded = Advisory::decode(body.as_bytes(), &Limits::default()).unwrap();
            assert_eq!(String::from_utf8(decoded.encode()).unwrap(), body);
            (decoded, advisory["subject"].as_str().unwrap())
        })
        .collect();
    // Of one look, in any order.
    recorded.sort_by(|(a, _), (b, _)| (a.timestamp, &a.value).cmp(&(b.timestamp, &b.value)));
    told.sort_by(|a, b| (a.timestamp, &a.value).cmp(&(b.timestamp, &b.value)));
    check(told.len() == recorded.len(), || {
        format!("{} are told", told.len())
    })?;
    for (ours, (theirs, subject)) in told.iter().zip(&recorded) {
        let near = |a: i64, b: i64| a.abs_diff(b) <= 1;
        let is_same = ours.event == theirs.event
            && ours.value == theirs.value
            && ours.inspect_field == theirs.inspect_field
            && ours.replicator == theirs.replicator
            && near(ours.seen, theirs.seen)
            && near(ours.age, theirs.age)
            && near(ours.timestamp, theirs.timestamp);
        check(is_same, || format!("{ours:?} instead of {theirs:?}"))?;
        let where_to = advisory_subject(template, ours.event, &ours.value);
        check(where_to == *subject, || {
            format!("{} on {where_to}", ours.event.name())
        })?;
    }
    Ok(())
}
