//! Messages that fit where they are and nowhere else, nor anything that says so.

use overlay_testkit::eventually;
use serde_json::json;

use super::verdict::{self, Stored, source_sequence};
use super::world::{World, ask, connect};
use super::{LIMIT, PERIOD};

/// As large as the broker takes, headers included.
const MAX_PAYLOAD: usize = 1_048_576;

async fn letters(world: &World, number: usize) -> Vec<Stored> {
    let client = connect(&world.source).await;
    eventually(LIMIT, PERIOD, || async {
        let info = ask(&client, "STREAM.INFO.OVERLAY_REPLICATION_DEAD", &json!({})).await;
        info["state"]["messages"].as_u64() == Some(u64::try_from(number).unwrap())
    })
    .await;
    verdict::read(&client, "OVERLAY_REPLICATION_DEAD").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_large_even_to_be_kept_aside_is_cut_and_the_rest_arrives() {
    let world = World::start().await;
    let client = connect(&world.source).await;
    world.publish(0, 10).await;
    let largest = vec![b'x'; MAX_PAYLOAD - 20];
    client.publish("load.body", largest.into()).await.unwrap();
    let mut headers = async_nats::HeaderMap::new();
    // All headers together may have 64 KiB.
    headers.insert("Long", "y".repeat(65_400));
    client
        .publish_with_headers("load.headers", headers, "body".into())
        .await
        .unwrap();
    client.flush().await.unwrap();
    world.publish(10, 20).await;
    let mut replicator = world.replicator("");
    world.copied().await;
    let letters = letters(&world, 2).await;
    assert!(replicator.stop(LIMIT).success());
    let header = |letter: &Stored, name: &str| {
        let value = letter.headers.get(name);
        value.map(|value| value.as_str().to_owned())
    };
    for (letter, sequence) in letters.iter().zip(["11", "12"]) {
        assert_eq!(
            header(letter, "Overlay-Dead-Sequence").as_deref(),
            Some(sequence)
        );
        assert!(header(letter, "Overlay-Dead-Cut").is_some());
    }
    assert!(letters[0].body.len() < MAX_PAYLOAD && letters[0].body.len() > MAX_PAYLOAD / 4);
    assert_eq!(header(&letters[1], "Long"), None);
    assert_eq!(letters[1].body, "body");
    let copied: Vec<u64> = world
        .target_messages()
        .await
        .iter()
        .filter_map(|it| source_sequence(&it.headers))
        .collect();
    assert_eq!(copied, (1..=10).chain(13..=22).collect::<Vec<_>>());
}
