//! Metrics and elections, as recorded of the original.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_nats::Subscriber;
use futures_util::StreamExt as _;
use overlay_stream_replicator::replay;
use overlay_testkit::vectors::{Loader, Outcome, for_cases};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::LIMIT;
use super::cell::{Cell, KEY, Replica};
use super::election::AFTER_THE_TERM;
use crate::copy::vectors::block_on;

/// Terms of the record are waited for no longer than this; what is due is relative to the term.
const TERM: Duration = Duration::from_secs(4);
const VOTE: &str = "Nats-Expected-Last-Subject-Sequence";
const OPERATION: &str = "KV-Operation";

/// `metrics.json`: each name with its type and labels.
pub(crate) fn metrics(file: &Value, _loader: &Loader) -> Outcome {
    let text = replay::metrics().unwrap();
    let shown: BTreeSet<(String, BTreeSet<String>)> = text.lines().filter_map(sample).collect();
    let mut outcome = for_cases(file, |case| {
        let (name, kind) = (member(case, "name")?, member(case, "type")?);
        let line = format!("# TYPE {name} {kind}");
        check(text.lines().any(|it| it == line), || format!("no {line:?}"))?;
        all_shown(&shown, &case["samples"])
    });
    if !file["election_follower"].is_null() {
        outcome.run("election_follower", || {
            all_shown(&shown, &file["election_follower"])
        });
    }
    outcome
}

fn all_shown(shown: &BTreeSet<(String, BTreeSet<String>)>, samples: &Value) -> Result<(), String> {
    for line in samples.as_array().into_iter().flatten() {
        let line = line.as_str().ok_or("a sample is no text")?;
        let wanted = sample(line).ok_or_else(|| format!("{line:?} is no sample"))?;
        check(shown.contains(&wanted), || format!("no {wanted:?}"))?;
    }
    Ok(())
}

/// Name and names of labels of a line; comments have none.
fn sample(line: &str) -> Option<(String, BTreeSet<String>)> {
    let (named, _value) = line.rsplit_once(' ').filter(|_| !line.starts_with('#'))?;
    let (name, labels) = named.split_once('{').unwrap_or((named, ""));
    let labels = labels.trim_end_matches('}').split("\",");
    let labels = labels.filter_map(|label| label.split_once('='));
    Some((
        name.to_owned(),
        labels.map(|(label, _)| label.to_owned()).collect(),
    ))
}

/// `election.json`: our votes have the form of the recorded ones, ours take over in time, and a bucket that will not do is
/// told of and not died of.
pub(crate) fn elections(file: &Value, _loader: &Loader) -> Outcome {
    let ours = block_on_value(our_votes());
    for_cases(file, |case| {
        let expect = &case["expect"];
        let mut is_known = false;
        let lists = ["kv_publishes", "kv_after", "kv"];
        for votes in lists.iter().filter_map(|name| expect[*name].as_array()) {
            is_known = true;
            for vote in votes {
                same_form(vote, &ours)?;
            }
        }
        if let Some(intervals) = expect["intervals"].as_array() {
            is_known = true;
            let longest = intervals
                .iter()
                .filter_map(Value::as_f64)
                .fold(0.0, f64::max);
            // The first votes of a candidate are further apart.
            let pace = ours.iter().rev().filter_map(|vote| vote.since_last).next();
            let pace = pace.ok_or("no two votes")?.as_secs_f64();
            check(pace <= longest, || format!("{pace} s between two votes"))?;
        }
        if let Some(leaders) = expect["leaders_after"].as_array() {
            is_known = true;
            let number = leaders.len();
            check(number == 1, || format!("{number} leaders"))?;
        }
        if !expect["new_leader_after_s"].is_null() {
            is_known = true;
            // The record of a kill has the term that was waited for.
            let term = expect["bucket_ttl_s"].as_f64();
            block_on(takes_over(term))?;
        }
        if expect["process_alive"] == json!(true) {
            is_known = true;
            let age = bucket_age(member(case, "name")?)?;
            block_on(unfit_bucket(age))?;
        }
        let items: BTreeMap<&String, &Value> = expect
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(_, item)| item["seen"].is_string())
            .collect();
        if !items.is_empty() {
            is_known = true;
            let text = json!({ "Items": items }).to_string();
            let (read, faults) = replay::read_file(text.as_bytes())?;
            check(read.len() == items.len() && faults.is_empty(), || {
                format!("{read:?} {faults:?}")
            })?;
        }
        check(is_known, || "nothing of this case is known here".to_owned())
    })
}

/// A message in the bucket, by whomever.
#[derive(Debug)]
struct Vote {
    subject: String,
    value: String,
    headers: BTreeMap<String, String>,
    since_last: Option<Duration>,
}

/// All that one replica writes from its first vote to its end.
async fn our_votes() -> Vec<Vote> {
    let cell = Cell::start().await;
    let _store = cell.bucket(TERM).await;
    let source = async_nats::connect(cell.source.url()).await.unwrap();
    let votes = source.subscribe("$KV.CHORIA_LEADER_ELECTION.>");
    let mut votes: Subscriber = votes.await.unwrap();
    source.flush().await.unwrap();
    let mut replica = cell.replica(Some("sr1"));
    replica.is_leader().await;
    let mut seen: Vec<Vote> = Vec::new();
    let mut last: Option<Instant> = None;
    loop {
        let vote = tokio::time::timeout(LIMIT, votes.next()).await.unwrap();
        let vote = vote.unwrap();
        let now = Instant::now();
        let headers = vote.headers.unwrap_or_default();
        let headers = headers.iter().filter_map(|(name, values)| {
            let value = values.first()?.as_str().to_owned();
            Some((name.to_string(), value))
        });
        seen.push(Vote {
            subject: vote.subject.to_string(),
            value: String::from_utf8(vote.payload.to_vec()).unwrap(),
            headers: headers.collect(),
            since_last: last.map(|last| now - last),
        });
        last = Some(now);
        if seen.len() == 6 {
            replica.process.terminate();
        }
        if seen.last().is_some_and(|vote| vote.value.is_empty()) {
            assert!(replica.process.wait(LIMIT).success());
            return seen;
        }
    }
}

/// Whether a recorded message of the bucket has the form of ours, and ours are one after the other.
fn same_form(recorded: &Value, ours: &[Vote]) -> Result<(), String> {
    let subject = member(recorded, "subject")?;
    let value = member(recorded, "value")?;
    let headers = recorded["headers"].as_object().ok_or("no headers")?;
    check(
        subject == format!("$KV.CHORIA_LEADER_ELECTION.{KEY}"),
        || format!("subject {subject}"),
    )?;
    check(ours.iter().all(|vote| vote.subject == subject), || {
        format!("{ours:?}")
    })?;
    if value.is_empty() {
        // The end of a term, of which ours says besides which revision it gives back.
        let ended = ours.iter().find(|vote| vote.value.is_empty());
        let ended = ended.ok_or("ours gives nothing back")?;
        return headers.iter().try_for_each(|(name, value)| {
            check(
                ended.headers.get(name).map(String::as_str) == value.as_str(),
                || format!("{name}: {value}, ours has {ended:?}"),
            )
        });
    }
    let votes: Vec<_> = ours.iter().filter(|vote| !vote.value.is_empty()).collect();
    for (before, vote) in votes.iter().enumerate() {
        // Besides, ours says which process it is, which nobody else reads.
        let has_all = headers.keys().all(|name| vote.headers.contains_key(name));
        let mut others = vote
            .headers
            .keys()
            .filter(|name| !headers.contains_key(*name));
        let is_alike = has_all && others.all(|name| name.starts_with("Overlay-"));
        check(is_alike, || format!("{vote:?}"))?;
        // The bucket holds nothing else: each is the next one.
        check(vote.headers[VOTE] == before.to_string(), || {
            format!("vote {before}: {vote:?}")
        })?;
        check(!vote.headers.contains_key(OPERATION), || {
            format!("{vote:?}")
        })?;
    }
    check(!votes.is_empty(), || "ours never votes".to_owned())
}

/// A leader is stopped, or killed where there is a term to be waited for. The quickest of several says what it takes; the
/// others, what else the machine does.
async fn takes_over(term: Option<f64>) -> Result<(), String> {
    let length = term.map_or(TERM, |term| TERM.min(Duration::from_secs_f64(term)));
    let limit = match term {
        Some(_) => length + AFTER_THE_TERM,
        None => Duration::from_secs(2),
    };
    let mut quickest = Duration::MAX;
    for _try in 0..3 {
        quickest = quickest.min(hand_over(length, term.is_some()).await);
        if quickest < limit {
            return Ok(());
        }
    }
    Err(format!("another leads after {quickest:?}"))
}

/// How long nobody leads when a leader is killed, or stopped.
async fn hand_over(term: Duration, killed: bool) -> Duration {
    let cell = Cell::start().await;
    let _store = cell.bucket(term).await;
    let mut one = cell.replica(Some("sr1"));
    one.is_leader().await;
    let two: Replica = cell.replica(Some("sr2"));
    two.is_ready().await;
    let began = Instant::now();
    if killed {
        one.process.kill();
    } else {
        one.process.terminate();
    }
    two.is_leader().await;
    began.elapsed()
}

/// The maximum age of a bucket in a case's words; nothing: there is no bucket.
fn bucket_age(words: &str) -> Result<Option<Duration>, String> {
    if words.contains("missing") {
        return Ok(None);
    }
    if words.contains("without max_age") {
        return Ok(Some(Duration::ZERO));
    }
    let mut rest = words
        .split("max_age ")
        .nth(1)
        .unwrap_or_default()
        .split(' ');
    let number: Option<f64> = rest.next().and_then(|number| number.parse().ok());
    let unit = match rest.next() {
        Some("s") => 1.0,
        Some("min" | "m") => 60.0,
        Some("h") => 3600.0,
        _ => return Err(format!("{words:?} names no age")),
    };
    let number = number.ok_or_else(|| format!("{words:?} names no age"))?;
    Ok(Some(Duration::from_secs_f64(number * unit)))
}

/// Rule: what will not do is told in readiness and waited for; the original follows in silence.
async fn unfit_bucket(age: Option<Duration>) -> Result<(), String> {
    let cell = Cell::start().await;
    if let Some(age) = age {
        let _store = cell.bucket(age).await;
    }
    let mut replica = cell.replica(Some("sr1"));
    replica.is_down("worker:NODES/W1", "no election").await;
    let ended = replica.process.has_ended();
    check(ended.is_none(), || format!("it ended: {ended:?}"))
}

fn member<'a>(case: &'a Value, name: &str) -> Result<&'a str, String> {
    case[name].as_str().ok_or_else(|| format!("no {name}"))
}

fn check(holds: bool, words: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(words()) }
}

fn block_on_value<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}
