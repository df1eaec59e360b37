//! How far behind a copy is: the same in the metric and by request, whatever keeps it from copying.

use std::time::Duration;

use overlay_testkit::{Proxy, eventually};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::cell::{Cell, KEY, Replica, SOURCE};
use super::operator::Operator;
use super::{LIMIT, PERIOD};

const TERM: Duration = Duration::from_secs(4);
/// What was copied last is this old before anything waits.
const OLD: Duration = Duration::from_secs(8);

/// Lag in messages and seconds, as the metrics say.
fn lag(replica: &Replica) -> Option<(f64, f64)> {
    let metrics = replica.metrics();
    let value = |name: &str| {
        let labels = r#"{replicator="SITE",stream="NODES",worker="W1"}"#;
        let start = format!("overlay_stream_replicator_{name}{labels} ");
        let found = metrics.lines().find_map(|line| line.strip_prefix(&start))?;
        found.parse::<f64>().ok()
    };
    Some((value("lag_messages")?, value("lag_seconds")?))
}

async fn lags(replica: &Replica, messages: f64) {
    eventually(LIMIT, PERIOD, || async {
        match lag(replica) {
            Some((found, seconds)) if found == messages && (seconds > 0.0) == (messages > 0.0) => {
                Ok(())
            }
            other => Err(format!("{other:?} and not {messages} messages")),
        }
    })
    .await;
}

/// A cell whose replicas reach the target over a link that can be spoilt.
async fn with_link() -> (Cell, Proxy, impl Fn(Option<&str>) -> String) {
    let cell = Cell::start().await;
    let link = Proxy::start(cell.target.port()).await;
    let (direct, spoilt) = (cell.target.url(), link.url());
    let plain = [None, Some("sr1"), Some("sr2")].map(|candidate| {
        let config = cell.config(candidate, "", "");
        (
            candidate.map(str::to_owned),
            config.replace(&direct, &spoilt),
        )
    });
    let config = move |candidate: Option<&str>| {
        let found = plain.iter().find(|(name, _)| name.as_deref() == candidate);
        found.unwrap().1.clone()
    };
    (cell, link, config)
}

/// Puts so many messages into the source without waiting for each.
async fn flood(cell: &Cell, from: u64, to: u64) {
    let client = async_nats::connect(cell.source.url()).await.unwrap();
    for number in from..to {
        let sent = client.publish(format!("nodes.n{}", number % 5), number.to_string().into());
        sent.await.unwrap();
    }
    client.flush().await.unwrap();
    eventually(LIMIT, PERIOD, || async {
        let stream = cell.at_source().await.get_stream(SOURCE).await;
        stream.is_ok_and(|stream| stream.cached_info().state.last_sequence == to)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_that_waits_for_a_target_out_of_reach_is_told_by_metric_and_by_request() {
    let (cell, link, config) = with_link().await;
    let replica = cell.replica_with(&config(None));
    cell.publish(0, 5).await;
    cell.has_copied(5).await;
    lags(&replica, 0.0).await;
    link.stall();
    flood(&cell, 5, 20_005).await;
    lags(&replica, 20_000.0).await;
    let operator = Operator::new(&cell, &["*"]).await;
    let worker = json!({"stream": "NODES", "worker": "W1"});
    let first = |found: &[Value]| found.first().map(|it| it["workers"][0].clone());
    for action in ["lag", "status"] {
        let found = operator
            .until(action, &worker, |found| {
                let first = first(found);
                first.is_some_and(|it| it["waiting"] == 20_000 && it["source_last"] == 20_005)
            })
            .await;
        // The metric is set anew four times a second.
        let seconds = first(&found).unwrap()["lag_seconds"].as_f64().unwrap();
        let (_, later) = lag(&replica).unwrap();
        assert!(seconds > 0.0, "{found:?}");
        assert!((later - seconds).abs() < 60.0, "{seconds} and then {later}");
    }
    link.flow();
    cell.has_copied(20_005).await;
    lags(&replica, 0.0).await;
}

/// The age of what was copied last says nothing: it is that of the message which waits that counts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_is_paused_falls_behind_by_what_waits_and_not_by_what_was_last() {
    let cell = Cell::start().await;
    let replica = cell.replica(None);
    cell.publish(0, 5).await;
    cell.has_copied(5).await;
    let operator = Operator::new(&cell, &["*"]).await;
    let worker = json!({"stream": "NODES", "worker": "W1"});
    let mut pause = worker.clone();
    pause["reason"] = json!("a test");
    let paused = |found: &[Value]| found.len() == 1;
    operator.until("pause", &pause, paused).await;
    let copied = Instant::now();
    eventually(LIMIT, PERIOD, || async { copied.elapsed() > OLD }).await;
    let published = Instant::now();
    cell.publish(5, 12).await;
    lags(&replica, 7.0).await;
    let found = operator
        .until("status", &worker, |found| {
            found.len() == 1 && found[0]["workers"][0]["waiting"] == 7
        })
        .await;
    let told = &found[0]["workers"][0];
    assert_eq!(told["phase"], "paused", "{told}");
    let seconds = told["lag_seconds"].as_f64().unwrap();
    let most = published.elapsed() + OLD / 4;
    assert!(
        seconds > 0.0 && seconds < most.as_secs_f64(),
        "{seconds} of {most:?}"
    );
    let (_, first) = lag(&replica).unwrap();
    eventually(LIMIT, PERIOD, || async {
        let (_, seconds) = lag(&replica).unwrap();
        seconds > first
    })
    .await;
    operator.until("resume", &worker, paused).await;
    cell.has_copied(12).await;
    lags(&replica, 0.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_former_leader_tells_of_no_lag_and_its_successor_does() {
    let (cell, link, config) = with_link().await;
    let store = cell.bucket(TERM).await;
    let one = cell.replica_with(&config(Some("sr1")));
    one.is_leader().await;
    cell.publish(0, 5).await;
    cell.has_copied(5).await;
    // By what is written down the successor knows what waits while it has not reached the target.
    eventually(LIMIT, PERIOD, || async {
        let source = cell.at_source().await;
        let bucket = source.get_stream("KV_OVERLAY_REPLICATION").await;
        let bucket = bucket.map_err(|error| error.to_string())?;
        let last = bucket.cached_info().state.last_sequence;
        let last = bucket.get_raw_message(last).await;
        let last = last.map_err(|error| error.to_string())?;
        let mark: Value = serde_json::from_slice(&last.payload).unwrap_or_default();
        (mark["sequence"] == 5)
            .then_some(())
            .ok_or(mark.to_string())
    })
    .await;
    let two = cell.replica_with(&config(Some("sr2")));
    two.is_ready().await;
    link.stall();
    cell.publish(5, 25).await;
    lags(&one, 20.0).await;
    lags(&two, 0.0).await;
    one.process.pause();
    two.is_leader().await;
    one.process.unpause();
    lags(&one, 0.0).await;
    lags(&two, 20.0).await;
    assert!(store.get(KEY).await.is_ok());
    link.flow();
    cell.has_copied(25).await;
    lags(&two, 0.0).await;
}
