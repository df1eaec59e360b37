//! Targets that others write into as well, and sources whose messages go.

use serde_json::json;

use super::LIMIT;
use super::pair::{Pair, Side, stop};

#[tokio::test(flavor = "multi_thread")]
async fn sr_case_20_two_cells_share_a_target_and_each_goes_on_where_it_was() {
    let pair = Pair::with_test().await;
    let other = Side::start("other").await;
    other.make("TEST", &["TEST", "TEST.>"], json!({})).await;
    pair.target.make("COPY", &["copy.>"], json!({})).await;
    let cell = |name: &str, source: &Side| {
        pair.run_yaml(&format!(
            "name: {name}\nstreams:\n - stream: TEST\n   target_stream: COPY\n   target_subject_prefix: copy\n   source_url: {}\n   target_url: {}\n",
            source.broker.url(),
            pair.target.broker.url(),
        ))
    };
    let (mut a, mut b) = (cell("A", &pair.source), cell("B", &other));
    pair.source.fill("TEST", 1, 301).await;
    other.fill("TEST", 1, 201).await;
    pair.target.holds("COPY", 500).await;
    // One stops while the other goes on; both go on where they were.
    stop(&mut a);
    other.fill("TEST", 201, 301).await;
    pair.target.holds("COPY", 600).await;
    pair.source.fill("TEST", 301, 401).await;
    let mut a = cell("A", &pair.source);
    pair.target.holds("COPY", 700).await;
    stop(&mut a);
    stop(&mut b);
    let stored = pair.target.stored("COPY").await;
    assert_eq!(stored.len(), 700);
    for (name, count) in [("A", 400), ("B", 300)] {
        let site = format!(" {name} {name} ");
        let sequences: Vec<u64> = stored
            .iter()
            .filter(|message| message.values("Choria-SR-Source")[0].contains(&site))
            .map(|message| message.source_sequence())
            .collect();
        assert_eq!(sequences, (1..=count).collect::<Vec<_>>(), "cell {name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn others_that_write_among_the_copies_cost_neither_order_nor_messages() {
    let pair = Pair::with_test().await;
    pair.target
        .make("COPY", &["copy.>", "foreign"], json!({}))
        .await;
    pair.source.fill("TEST", 1, 2001).await;
    let mut replicator = pair.replicate(&["target_subject_prefix: copy"]);
    for _message in 0..200 {
        pair.target.publish("foreign", &[], "x").await;
    }
    pair.target.holds("COPY", 2200).await;
    stop(&mut replicator);
    let ours: Vec<u64> = pair
        .target
        .stored("COPY")
        .await
        .iter()
        .filter(|message| message.subject != "foreign")
        .map(|message| message.source_sequence())
        .collect();
    assert_eq!(ours, (1..=2000).collect::<Vec<_>>());
}

async fn drains(retention: &str) {
    let pair = Pair::start().await;
    let config = json!({ "retention": retention });
    pair.source.make("TEST", &["TEST"], config).await;
    let mut replicator = pair.replicate(&["target_subject_prefix: copy"]);
    if retention == "interest" {
        // Without a consumer nothing is kept.
        super::cases::durable(&pair, "SR_SITE").await;
    }
    pair.source.fill("TEST", 1, 1001).await;
    pair.target.holds("COPY", 1000).await;
    replicator.kill();
    pair.source.fill("TEST", 1001, 1501).await;
    let mut replicator = pair.replicate(&["target_subject_prefix: copy"]);
    pair.target.holds("COPY", 1500).await;
    assert_eq!(pair.copied().await, (1..=1500).collect::<Vec<_>>());
    overlay_testkit::eventually(LIMIT, super::PERIOD, || async {
        match pair.source.count("TEST").await {
            0 => Ok(()),
            left => Err(format!("{left} left in the source")),
        }
    })
    .await;
    stop(&mut replicator);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_work_queue_is_drained_in_order_and_once() {
    drains("workqueue").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_by_interest_is_drained_in_order_and_once() {
    drains("interest").await;
}
