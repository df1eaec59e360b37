//! Targets that others write into while copies are made: one writer by decree, or many.

use std::time::Duration;

use bytes::Bytes;
use overlay_testkit::eventually;
use serde_json::json;
use tokio::task::JoinSet;

use super::pair::{Pair, Stored, stop, stored};
use super::{LIMIT, PERIOD};

/// The target forgets identifiers so soon that they guard nothing.
fn forgetful() -> serde_json::Value {
    json!({ "duplicate_window": 100_000_000 })
}

/// Somebody who writes into the target all the time.
pub(super) struct Noise(JoinSet<()>);

impl Noise {
    pub(super) fn start(pair: &Pair, subject: &'static str, pause: Duration) -> Self {
        let client = pair.target.client.clone();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            loop {
                client.publish(subject, Bytes::from("noise")).await.unwrap();
                tokio::time::sleep(pause).await;
            }
        });
        Self(tasks)
    }

    pub(super) async fn stop(mut self) {
        self.0.shutdown().await;
    }
}

fn stream(writers: &str) -> String {
    format!(
        "[[streams]]\nstream = \"TEST\"\ntarget_stream = \"COPY\"\nprefix = \"copy\"\nwriters = \"{writers}\"\n"
    )
}

/// Source sequences of the copies, in the target's order.
async fn ours(pair: &Pair) -> Vec<u64> {
    let stored = pair.target.stored_below("COPY", "copy.>", 1).await;
    stored.iter().map(Stored::source_sequence).collect()
}

/// Waits until the source's message `sequence` is in the target.
async fn has_copied(pair: &Pair, sequence: u64) {
    eventually(LIMIT, PERIOD, || async {
        let last = json!({ "last_by_subj": "copy.>" });
        let got = pair.target.ask("STREAM.MSG.GET.COPY", &last).await;
        let last = got["message"].is_object().then(|| stored(&got["message"]));
        match last.map(|last| last.source_sequence()) {
            Some(last) if last >= sequence => Ok(()),
            last => Err(format!("{last:?} of {sequence}")),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn among_many_writers_each_message_comes_once_and_in_order_whatever_is_killed() {
    for writers in ["many", "auto"] {
        let pair = Pair::with_test().await;
        pair.target
            .make("COPY", &["copy.>", "foreign"], forgetful())
            .await;
        let noise = Noise::start(&pair, "foreign", Duration::from_millis(2));
        pair.source.fill("TEST", 1, 1501).await;
        let mut replicator = pair.run_toml(&stream(writers));
        for reached in [200, 500, 900] {
            has_copied(&pair, reached).await;
            replicator.kill();
            // What identifiers were known is forgotten.
            tokio::time::sleep(Duration::from_millis(300)).await;
            replicator = pair.run_toml(&stream(writers));
        }
        has_copied(&pair, 1500).await;
        noise.stop().await;
        stop(&mut replicator);
        assert_eq!(
            ours(&pair).await,
            (1..=1500).collect::<Vec<_>>(),
            "{writers}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_writer_that_is_not_alone_says_so_and_keeps_to_its_chain() {
    let pair = Pair::with_test().await;
    pair.target
        .make("COPY", &["copy.>", "foreign"], forgetful())
        .await;
    pair.source.fill("TEST", 1, 101).await;
    let mut replicator = pair.run_toml(&stream("one"));
    pair.target.holds("COPY", 100).await;
    pair.target.publish("foreign", &[], "x").await;
    pair.source.fill("TEST", 101, 201).await;
    let line = replicator.wait_for_line("somebody else writes into the target stream", LIMIT);
    assert!(line.contains("writers = "), "{line}");
    pair.target.holds("COPY", 201).await;
    for _message in 0..50 {
        pair.target.publish("foreign", &[], "x").await;
        pair.source.publish("TEST", &[], "y").await;
    }
    pair.target.holds("COPY", 301).await;
    stop(&mut replicator);
    assert_eq!(ours(&pair).await, (1..=250).collect::<Vec<_>>());
    let headers: Vec<_> = pair.target.stored("COPY").await;
    let last = headers.last().unwrap();
    let chained = last.values("Nats-Expected-Last-Msg-Id").len()
        + last.values("Nats-Expected-Last-Sequence").len();
    assert_eq!(chained, 1, "{last:?}");
}
