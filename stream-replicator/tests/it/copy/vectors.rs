//! Whole runs and start positions, as recorded of the original.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use overlay_testkit::Process;
use overlay_testkit::vectors::{Loader, Outcome};
use serde_json::{Value, json};

use super::pair::{Pair, STOP_LIMIT, Stored};
use super::positions::millis;

/// For how long nothing more must come.
const QUIET: Duration = Duration::from_millis(700);
/// How far back a start by delta reaches here.
const DELTA: Duration = Duration::from_secs(30);
const MARK: &str = "Choria-SR-Source";

/// Runs a case to its end.
pub(crate) fn block_on(case: impl Future<Output = Result<(), String>>) -> Result<(), String> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(case)
}

/// Runs the cases of a file, several at a time: most of what they do is waiting.
pub(super) fn at_once(file: &Value, case: impl Fn(&Value) -> Result<(), String> + Sync) -> Outcome {
    const AT_ONCE: usize = 4;
    let cases = file["cases"].as_array().cloned().unwrap_or_default();
    let mut outcome = Outcome::default();
    if cases.is_empty() {
        outcome.record("cases", Err("the file has none".to_owned()));
    }
    let case = &case;
    let parts: Vec<Outcome> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..AT_ONCE)
            .map(|lane| {
                let cases = &cases;
                scope.spawn(move || {
                    let mut part = Outcome::default();
                    for (index, it) in cases.iter().enumerate().skip(lane).step_by(AT_ONCE) {
                        let name = it["name"].as_str().unwrap_or_default();
                        part.run(&format!("[{index}] {name}"), || case(it));
                    }
                    part
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    for part in parts {
        outcome.merge(part);
    }
    outcome
}

/// What a process that ran for a while makes of a configuration: nothing when it refuses it.
pub(super) async fn accepted(replicator: &mut Process) -> bool {
    tokio::time::sleep(QUIET).await;
    replicator.has_ended().is_none_or(|status| status.success())
}

/// `copy.json`: messages in, a configuration, messages out.
pub(crate) fn runs(file: &Value, _loader: &Loader) -> Outcome {
    at_once(file, |case| block_on(run(file, case)))
}

async fn run(file: &Value, case: &Value) -> Result<(), String> {
    let pair = Pair::start().await;
    pair.source.make("TEST", &["TEST.>"], json!({})).await;
    let messages = file["messages_in"].as_array().unwrap();
    for message in messages {
        let headers: Vec<(&str, &str)> = pairs(&message["headers"]);
        let body = STANDARD
            .decode(message["body_b64"].as_str().unwrap())
            .unwrap();
        let subject = message["subject"].as_str().unwrap();
        pair.source.publish(subject, &headers, body).await;
    }
    let yaml = case["yaml"]
        .as_str()
        .unwrap()
        .replace("nats://SOURCE", &pair.source.broker.url())
        .replace("nats://TARGET", &pair.target.broker.url());
    if yaml.contains("max_age") {
        // The recorded messages were older than any limit of the file.
        tokio::time::sleep(Duration::from_millis(1500)).await;
    }
    let expect = &case["expect"];
    let recorded = expect["messages"].as_array().cloned().unwrap_or_default();
    let mut replicator = pair.run_yaml(&yaml);
    let target_name = expect["target_config"]["name"].as_str().unwrap_or("COPY");
    // Rule: at the target's initiative the original loses empty bodies; here everything that passes the filter arrives.
    let at_target = yaml.contains("target_initiated: true");
    let wanted: Vec<u64> = if at_target {
        (1..=u64::try_from(messages.len()).unwrap()).collect()
    } else {
        recorded.iter().map(sequence_of).collect()
    };
    if wanted.is_empty() {
        // Rule: what the original tries for ever is refused at the start, or copies nothing.
        let _accepted = accepted(&mut replicator).await;
        let stored = pair.target.count(target_name).await;
        return equal("messages", &stored, &0);
    }
    pair.target
        .holds(target_name, u64::try_from(wanted.len()).unwrap())
        .await;
    tokio::time::sleep(QUIET).await;
    let stored = pair.target.stored(target_name).await;
    let source = pair.source.stored("TEST").await;
    let sequences: Vec<u64> = stored.iter().map(Stored::source_sequence).collect();
    equal("source sequences", &sequences, &wanted)?;
    for message in &stored {
        let sequence = message.source_sequence();
        let original = &source[usize::try_from(sequence - 1).unwrap()];
        let found = recorded.iter().find(|it| sequence_of(it) == sequence);
        if let Some(found) = found {
            equal(
                "subject",
                &message.subject.as_str(),
                &found["subject"].as_str().unwrap(),
            )?;
        }
        equal("body", &message.body, &original.body)?;
        compare_headers(message, original, found)?;
    }
    compare_consumer(&pair, &expect["consumers"]).await?;
    compare_config(&pair, target_name, &expect["target_config"]).await?;
    if replicator.stop(STOP_LIMIT).success() {
        Ok(())
    } else {
        Err("the replicator does not stop well".to_owned())
    }
}

/// Headers are those of the source, the mark behind earlier ones, and an identifier of ours.
fn compare_headers(
    message: &Stored,
    original: &Stored,
    recorded: Option<&Value>,
) -> Result<(), String> {
    for (name, _value) in &original.headers {
        if name == "Nats-Msg-Id" || name == MARK {
            continue;
        }
        equal(name, &message.values(name), &original.values(name))?;
    }
    let earlier = original.values(MARK);
    let marks = message.values(MARK);
    equal("marks", &marks.len(), &(earlier.len() + 1))?;
    equal(
        "earlier marks",
        &&marks[..earlier.len()],
        &earlier.as_slice(),
    )?;
    let own = *marks.last().unwrap();
    if let Some(recorded) = recorded {
        let headers = pairs(&recorded["headers"]);
        let was = headers.iter().rev().find(|(name, _)| *name == MARK);
        let was = was.map(|(_, value)| *value).unwrap_or_default();
        // Its last field is the time at the source, which is another one now.
        let head = |mark: &str| mark.rsplit_once(' ').unwrap().0.to_owned();
        equal("mark", &head(own), &head(was))?;
    }
    let time = format!(" {}", original.time_ms());
    if !own.ends_with(&time) {
        return Err(format!("mark {own:?} ends not with{time}"));
    }
    equal("identifiers", &message.values("Nats-Msg-Id").len(), &1)
}

/// The durable consumer is the original's; where nothing is to be kept there is none.
async fn compare_consumer(pair: &Pair, recorded: &Value) -> Result<(), String> {
    let Some(recorded) = recorded.get(0) else {
        return Ok(());
    };
    let consumers = pair.source.consumers("TEST").await;
    let durable = |it: &&Value| !it["config"]["durable_name"].is_null();
    let found = consumers.iter().find(durable);
    // Rule: neither ephemeral copies nor those of the target's initiative leave anything at the source.
    if recorded["durable_name"].is_null() || recorded["mem_storage"] == true {
        return equal("durable consumers", &found.is_some(), &false);
    }
    let found = &found.ok_or("no durable consumer")?["config"];
    for member in [
        "durable_name",
        "description",
        "deliver_policy",
        "opt_start_seq",
        "ack_policy",
        "ack_wait",
        "max_deliver",
        "filter_subject",
        "replay_policy",
        "max_ack_pending",
        "num_replicas",
    ] {
        equal(member, &found[member], &recorded[member])?;
    }
    Ok(())
}

async fn compare_config(pair: &Pair, name: &str, recorded: &Value) -> Result<(), String> {
    let Some(recorded) = recorded.as_object() else {
        return Ok(());
    };
    let config = pair.target.info(name).await["config"].clone();
    for (member, value) in recorded {
        if !value.is_object() {
            let found = &config[member];
            let both_false = value == false && found.is_null();
            if !both_false {
                equal(member, found, value)?;
            }
        }
    }
    Ok(())
}

/// A case of `start-positions.json`: what is before and behind the start is made again, with times of its own.
pub(crate) async fn start(file: &Value, case: &Value) -> Result<(), String> {
    let pair = Pair::with_test().await;
    let recorded = file["source_stream"].as_array().unwrap();
    let last = case["source_last_seq_at_start"].as_u64().unwrap();
    let stanza = case["stanza"].as_str().unwrap();
    let now = case["now"].as_f64().unwrap();
    let times: Vec<i128> = recorded
        .iter()
        .take(usize::try_from(last).unwrap())
        .map(|message| millis(message["time"].as_str().unwrap()))
        .collect();
    let consumer = &case["expect"]["consumers"][0];
    let at_target = !consumer["deliver_subject"].is_null();
    // The moment of the record's consumer, or of its settings, cuts the messages in two.
    let cut = match consumer["opt_start_time"].as_str() {
        Some(text) => {
            let cut = millis(text);
            times.iter().filter(|time| **time < cut).count()
        }
        None => 0,
    };
    let cut = u64::try_from(cut).unwrap();
    let start = i128::try_from(Duration::from_secs_f64(now).as_millis()).unwrap();
    let in_future = consumer["opt_start_time"]
        .as_str()
        .is_some_and(|text| millis(text) > start);
    let inside = cut > 0 && cut < last && !in_future;
    pair.source.fill("TEST.a", 1, cut + 1).await;
    let between = time::OffsetDateTime::now_utc() + Duration::from_secs(1);
    if inside {
        // A delta counts from the start of the process, which a busy machine delays: it has all of `DELTA` for that.
        let gap = if stanza.contains("start_delta") {
            DELTA + Duration::from_secs(1)
        } else {
            Duration::from_secs(2)
        };
        tokio::time::sleep(gap).await;
    }
    pair.source.fill("TEST.a", cut + 1, last + 1).await;
    let format = time::format_description::well_known::Rfc3339;
    let moved = stanza
        .lines()
        .map(|line| {
            let (key, value) = line.trim().split_once(": ").unwrap();
            match key {
                "start_time" if inside => {
                    format!("start_time: {}", between.format(&format).unwrap())
                }
                "start_delta" if inside => format!("start_delta: {}s", DELTA.as_secs()),
                _ => format!("{key}: {value}"),
            }
        })
        .collect::<Vec<_>>();
    let mut lines: Vec<&str> = moved.iter().map(String::as_str).collect();
    lines.push("target_subject_prefix: copy");
    if at_target {
        lines.extend(["target_initiated: true", "filter_subject: TEST.>"]);
    }
    let mut replicator = pair.replicate_as("X", "TEST", "COPY", &lines);
    let wanted: Vec<u64> = case["expect"]["source_sequences_copied"]
        .as_array()
        .unwrap()
        .iter()
        .map(|sequence| sequence.as_u64().unwrap())
        .collect();
    // The reader is there: now what comes is behind the start.
    pair.source.is_read("TEST").await;
    if !case["published_after_start"].is_null() {
        pair.source.fill("TEST.a", last + 1, last + 2).await;
    }
    pair.target
        .holds("COPY", u64::try_from(wanted.len()).unwrap())
        .await;
    tokio::time::sleep(QUIET).await;
    equal("source sequences", &pair.copied().await, &wanted)?;
    if !at_target {
        let found = pair.source.consumers("TEST").await;
        let found = found
            .iter()
            .find(|it| it["name"] == "SR_X")
            .ok_or("no durable consumer")?;
        for member in [
            "deliver_policy",
            "opt_start_seq",
            "ack_policy",
            "max_ack_pending",
        ] {
            equal(member, &found["config"][member], &consumer[member])?;
        }
        let is_set = |it: &Value| !it["opt_start_time"].is_null();
        equal(
            "has a start time",
            &is_set(&found["config"]),
            &is_set(consumer),
        )?;
    }
    if replicator.stop(STOP_LIMIT).success() {
        Ok(())
    } else {
        Err("the replicator does not stop well".to_owned())
    }
}

fn sequence_of(recorded: &Value) -> u64 {
    let headers = pairs(&recorded["headers"]);
    let marks: Vec<_> = headers.iter().filter(|(name, _)| *name == MARK).collect();
    let mark = marks.last().unwrap().1;
    mark.split(' ').nth(1).unwrap().parse().unwrap()
}

fn pairs(headers: &Value) -> Vec<(&str, &str)> {
    let list = headers.as_array().unwrap();
    list.iter()
        .map(|pair| (pair[0].as_str().unwrap(), pair[1].as_str().unwrap()))
        .collect()
}

pub(super) fn equal<T: PartialEq + std::fmt::Debug>(
    what: &str,
    found: &T,
    wanted: &T,
) -> Result<(), String> {
    if found == wanted {
        Ok(())
    } else {
        Err(format!("{what}: {found:?} instead of {wanted:?}"))
    }
}
