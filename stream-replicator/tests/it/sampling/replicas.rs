//! What replicas tell each other.

use std::time::Duration;

use futures_util::StreamExt as _;
use overlay_protocol::envelope::Limits;
use overlay_protocol::replication::{TrackedItem, sync_subject};
use overlay_runtime::Clock;
use overlay_testkit::eventually;
use time::OffsetDateTime;
use tokio::task::JoinSet;

use super::cell::{Cell, LIMIT, PERIOD, stop};

const FIELD: [&str; 2] = ["inspect_field: sender", "inspect_duration: 1h"];

async fn bucket(cell: &Cell) {
    let context = async_nats::jetstream::new(cell.client.clone());
    let config = async_nats::jetstream::kv::Config {
        bucket: "CHORIA_LEADER_ELECTION".to_owned(),
        max_age: Duration::from_secs(10),
        history: 1,
        ..async_nats::jetstream::kv::Config::default()
    };
    context.create_key_value(config).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn sr_case_42_a_replica_that_takes_over_copies_nothing_twice() {
    let cell = Cell::start().await;
    bucket(&cell).await;
    let line = |name: &str| format!("leader_election_name: {name}");
    let (one, two) = (line("one"), line("two"));
    let first = cell.replica("one", &[FIELD[0], FIELD[1], &one]);
    cell.seen(&["h1", "h2"]).await;
    cell.copies(2).await;
    let second = cell.replica("two", &[FIELD[0], FIELD[1], &two]);
    let mut gossip = cell
        .client
        .subscribe(sync_subject("NODES", "W1"))
        .await
        .unwrap();
    cell.client.flush().await.unwrap();
    cell.seen(&["h3"]).await;
    let message = tokio::time::timeout(LIMIT, async {
        loop {
            let message = gossip.next().await.unwrap();
            let item = TrackedItem::decode(&message.payload, &Limits::default()).unwrap();
            if item.value == "h3" && item.copied.is_some() {
                return item;
            }
        }
    })
    .await
    .unwrap();
    assert_eq!(
        message.copied, message.seen,
        "the copy that it was seen with"
    );
    stop(first);
    cell.seen(&["h1", "h2", "h3"]).await;
    assert_eq!(cell.settled("last").await.len(), 3);
    stop(second);
}

#[tokio::test(flavor = "multi_thread")]
async fn sr_case_42_what_the_originals_leader_says_is_believed_and_nonsense_is_not() {
    let cell = Cell::start().await;
    bucket(&cell).await;
    // Somebody else leads.
    let context = async_nats::jetstream::new(cell.client.clone());
    let store = context
        .get_key_value("CHORIA_LEADER_ELECTION")
        .await
        .unwrap();
    let mut leader = JoinSet::new();
    let seat = store.clone();
    leader.spawn(async move {
        loop {
            seat.put("SR_W1_NODES", "original".into()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    });
    cell.seen(&["h3"]).await;
    let ours = cell.replica("one", &[FIELD[0], FIELD[1], "leader_election_name: ours"]);
    eventually(LIMIT, PERIOD, || async {
        let sent = ours.stdout() + &ours.stderr();
        if sent.contains("Standby") {
            Ok(())
        } else {
            Err(sent)
        }
    })
    .await;
    let now = OffsetDateTime::from(Clock::system().now());
    let item = TrackedItem {
        seen: Some(now),
        copied: Some(now - Duration::from_secs(5)),
        size: 15,
        value: "h1".to_owned(),
        ..TrackedItem::default()
    };
    let subject = sync_subject("NODES", "W1");
    let bodies = [b"no json".to_vec(), b"{}".to_vec(), item.encode()];
    for body in bodies {
        cell.client
            .publish(subject.clone(), body.into())
            .await
            .unwrap();
    }
    cell.client.flush().await.unwrap();
    eventually(LIMIT, PERIOD, || async {
        let text = cell.written("one");
        if text.contains("\"h1\"") {
            Ok(())
        } else {
            Err(text)
        }
    })
    .await;
    // A copy of the leader's that it did not speak of.
    let millis = now.unix_timestamp_nanos() / 1_000_000;
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Choria-SR-Source", format!("NODES 1 SITE W1 {millis}"));
    let copy = r#"{"sender":"h3"}"#;
    let target = async_nats::jetstream::new(cell.at_target.clone());
    let copied = target.publish_with_headers("fleet.nodes.data", headers, copy.into());
    copied.await.unwrap().await.unwrap();
    leader.shutdown().await;
    store.delete("SR_W1_NODES").await.unwrap();
    cell.seen(&["h1", "h2", "h3"]).await;
    let copied = cell.settled("last").await;
    let bodies: Vec<_> = copied.iter().map(|copy| copy.body.as_str()).collect();
    assert_eq!(bodies, [copy, r#"{"sender":"h2"}"#]);
    stop(ours);
}
