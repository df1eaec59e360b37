//! A worker that stopped and waits for an operator.

use serde_json::json;

use super::cell::{Cell, SOURCE};
use super::operator::Operator;
use super::{LIMIT, PERIOD};

async fn keep(cell: &Cell, messages: u64) {
    let stream = cell.at_source().await.get_stream(SOURCE).await.unwrap();
    stream.purge().keep(messages).await.unwrap();
}

/// The source goes on losing messages meanwhile: what the operator agreed to is that some are gone, not how many.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_stopped_at_a_gap_goes_on_when_it_is_resumed_whatever_is_lost_since() {
    let cell = Cell::start().await;
    let config = cell.config(None, "on_gap = \"stop\"\n", "");
    let mut replica = cell.replica_with(&config);
    replica.is_ready().await;
    cell.publish(0, 5).await;
    cell.has_copied(5).await;
    assert!(replica.process.stop(LIMIT).success());
    cell.publish(5, 15).await;
    keep(&cell, 3).await;
    let replica = cell.replica_with(&config);
    replica
        .is_down("worker:NODES/W1", "7 messages are gone")
        .await;
    keep(&cell, 1).await;
    let operator = Operator::new(&cell, &["*"]).await;
    let worker = json!({"stream": "NODES", "worker": "W1"});
    operator
        .until("resume", &worker, |found| found.len() == 1)
        .await;
    cell.has_copied(6).await;
    replica.is_ready().await;
    assert_eq!(cell.copies().await, [0, 1, 2, 3, 4, 14]);
    overlay_testkit::eventually(LIMIT, PERIOD, || async {
        let line = r#"overlay_stream_replicator_missed_messages_total{replicator="SITE",stream="NODES",worker="W1"} 9"#;
        replica.metrics().contains(line)
    })
    .await;
}
