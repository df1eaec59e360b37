//! A worker that stopped and waits for an operator.

use async_nats::jetstream;
use overlay_testkit::eventually;
use serde_json::json;

use super::cell::{Cell, Replica, SOURCE, TARGET};
use super::operator::Operator;
use super::{LIMIT, PERIOD};

const WORKER: &str = "worker:NODES/W1";
const DEAD: &str = "OVERLAY_REPLICATION_DEAD";

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
    replica.is_down(WORKER, "7 messages are gone").await;
    keep(&cell, 1).await;
    resume(&cell).await;
    cell.has_copied(6).await;
    replica.is_ready().await;
    assert_eq!(cell.copies().await, [0, 1, 2, 3, 4, 14]);
    eventually(LIMIT, PERIOD, || async {
        let line = r#"overlay_stream_replicator_missed_messages_total{replicator="SITE",stream="NODES",worker="W1"} 9"#;
        replica.metrics().contains(line)
    })
    .await;
}

/// A target that takes messages up to a size, and a source with these; a number below 0 stands for one that is too large.
async fn with_too_large(numbers: &[i64]) -> Cell {
    let cell = Cell::start().await;
    let config = target_up_to(400);
    cell.at_target().await.create_stream(config).await.unwrap();
    let source = cell.at_source().await;
    for number in numbers {
        let width = if *number < 0 { 600 } else { 1 };
        let body = format!("{:0width$}", number.unsigned_abs());
        let sent = source.publish("nodes.n1", body.into()).await;
        sent.unwrap().await.unwrap();
    }
    cell
}

fn target_up_to(max_message_size: i32) -> jetstream::stream::Config {
    jetstream::stream::Config {
        name: TARGET.to_owned(),
        subjects: vec!["copy.nodes.>".to_owned()],
        max_message_size,
        ..jetstream::stream::Config::default()
    }
}

async fn resume(cell: &Cell) {
    let operator = Operator::new(cell, &["*"]).await;
    let worker = json!({"stream": "NODES", "worker": "W1"});
    operator
        .until("resume", &worker, |found| found.len() == 1)
        .await;
}

/// How many messages were kept aside; none where nobody made the stream for them.
async fn kept_aside(cell: &Cell) -> u64 {
    match cell.at_source().await.get_stream(DEAD).await {
        Ok(stream) => stream.cached_info().state.messages,
        Err(_) => 0,
    }
}

async fn counts_refused(replica: &Replica, messages: u64) {
    let line = format!(
        r#"overlay_stream_replicator_dead_letters_total{{reason="too_large",replicator="SITE",stream="NODES",worker="W1"}} {messages}"#
    );
    eventually(LIMIT, PERIOD, || async {
        let metrics = replica.metrics();
        metrics.contains(&line).then_some(()).ok_or(metrics)
    })
    .await;
}

/// The limit is of those in a row: one that is copied begins a new one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_stops_at_the_limit_of_messages_kept_aside_in_a_row_and_goes_on_when_it_is_resumed()
 {
    let cell = with_too_large(&[1, -2, 3, -4, -5, -6, -7, -8, 9]).await;
    let poison = "[streams.poison]\nlimit = 3\n";
    let replica = cell.replica_with(&cell.config(None, poison, ""));
    replica
        .is_down(WORKER, "3 messages in a row were refused")
        .await;
    replica.is_down(WORKER, "message 7 ").await;
    assert_eq!(cell.copies().await, [1, 3]);
    assert_eq!(kept_aside(&cell).await, 4);
    counts_refused(&replica, 4).await;

    resume(&cell).await;
    cell.has_copied(3).await;
    replica.is_ready().await;
    assert_eq!(cell.copies().await, [1, 3, 9]);
    assert_eq!(kept_aside(&cell).await, 6);
    counts_refused(&replica, 6).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_to_stop_at_a_refused_message_keeps_none_aside_and_copies_it_once_it_may()
{
    let cell = with_too_large(&[1, -2, 3]).await;
    let poison = "[streams.poison]\naction = \"stop\"\n";
    let replica = cell.replica_with(&cell.config(None, poison, ""));
    replica.is_down(WORKER, "message 2 ").await;
    assert_eq!(cell.copies().await, [1]);

    let target = cell.at_target().await;
    target.update_stream(target_up_to(-1)).await.unwrap();
    resume(&cell).await;
    cell.has_copied(3).await;
    replica.is_ready().await;
    assert_eq!(cell.copies().await, [1, 2, 3]);
    assert_eq!(kept_aside(&cell).await, 0);
    counts_refused(&replica, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_message_that_is_to_be_skipped_is_counted_and_kept_nowhere() {
    let cell = with_too_large(&[1, -2, 3]).await;
    let poison = "[streams.poison]\naction = \"skip\"\n";
    let replica = cell.replica_with(&cell.config(None, poison, ""));
    cell.has_copied(2).await;
    counts_refused(&replica, 1).await;
    replica.is_ready().await;
    assert_eq!(cell.copies().await, [1, 3]);
    assert_eq!(kept_aside(&cell).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_to_stop_where_the_source_was_made_anew_copies_nothing_until_it_is_resumed()
 {
    let cell = Cell::start().await;
    let config = cell.config(None, "on_recreated = \"stop\"\n", "");
    let mut replica = cell.replica_with(&config);
    replica.is_ready().await;
    cell.publish(0, 5).await;
    cell.has_copied(5).await;
    assert!(replica.process.stop(LIMIT).success());
    let source = cell.at_source().await;
    let made = source.get_stream(SOURCE).await.unwrap();
    source.delete_stream(SOURCE).await.unwrap();
    let made = made.cached_info().config.clone();
    source.create_stream(made).await.unwrap();
    cell.publish(5, 8).await;

    let replica = cell.replica_with(&config);
    replica.is_down(WORKER, "deleted and made anew").await;
    assert_eq!(cell.copies().await, [0, 1, 2, 3, 4]);
    resume(&cell).await;
    cell.has_copied(8).await;
    replica.is_ready().await;
    assert_eq!(cell.copies().await, [0, 1, 2, 3, 4, 5, 6, 7]);
}
