//! Streams that count: what a message adds is for the source's counter, and copies have its totals.

use async_nats::{HeaderMap, jetstream};
use overlay_testkit::eventually;
use serde_json::json;

use super::pair::{Pair, stop};
use super::{LIMIT, PERIOD};

/// A source whose counter stands at 1, 3 and 6.
async fn counting() -> Pair {
    let pair = Pair::start().await;
    let counts = json!({ "allow_msg_counter": true, "allow_direct": true });
    pair.source.make("TEST", &["TEST.>"], counts).await;
    let context = jetstream::new(pair.source.client.clone());
    for add in ["1", "2", "3"] {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Incr", add);
        let sent = context.publish_with_headers("TEST.hits", headers, "".into());
        sent.await.unwrap().await.unwrap();
    }
    pair
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_counter_is_copied_as_its_totals_into_a_target_that_does_not_count() {
    let pair = counting().await;
    let mut replicator = pair.replicate(&[]);
    pair.target.holds("COPY", 3).await;
    stop(&mut replicator);
    let (source, target) = (
        pair.source.stored("TEST").await,
        pair.target.stored("COPY").await,
    );
    let bodies = |stored: &[super::pair::Stored]| -> Vec<Vec<u8>> {
        stored.iter().map(|it| it.body.clone()).collect()
    };
    assert_eq!(bodies(&target), bodies(&source));
    assert_eq!(target[2].body, br#"{"val":"6"}"#);
    assert!(target.iter().all(|it| it.values("Nats-Incr").is_empty()));
    let made = pair.target.info("COPY").await;
    assert_ne!(made["config"]["allow_msg_counter"], true, "{made}");
    assert_eq!(pair.source.count("OVERLAY_REPLICATION_DEAD").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_counts_is_refused_with_the_reason() {
    let pair = counting().await;
    let counts = json!({ "allow_msg_counter": true, "allow_direct": true });
    pair.target.make("COPY", &["TEST.>"], counts).await;
    let mut replicator = pair.replicate(&[]);
    eventually(LIMIT, PERIOD, || async {
        let told = replicator.stdout() + &replicator.stderr();
        told.contains("allow_msg_counter").then_some(()).ok_or(told)
    })
    .await;
    assert!(replicator.has_ended().is_none(), "it waits for an operator");
    assert_eq!(pair.target.count("COPY").await, 0);
    assert_eq!(pair.source.count("OVERLAY_REPLICATION_DEAD").await, 0);
}
