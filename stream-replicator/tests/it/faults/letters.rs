//! Messages that fit where they are and nowhere else, nor anything that says so.

use overlay_testkit::eventually;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::verdict::{self, Stored};
use super::world::{SOURCE, World, ask, connect, stop};
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
    world.stored(&client, 12).await;
    world.publish(10, 20).await;
    let mut replicator = world.replicator("");
    world.copied().await;
    let letters = letters(&world, 2).await;
    stop(&mut replicator);
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
    let copied = world.sequences().await;
    assert_eq!(copied, (1..=10).chain(13..=22).collect::<Vec<_>>());
}

/// The client library shows nothing of headers that it cannot read; a copy without them would be another message.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_whose_headers_cannot_be_read_is_kept_aside_and_not_copied_without_them() {
    let world = World::start().await;
    world.publish(0, 3).await;
    let headers = "NATS/1.0\r\nno header at all\r\n\r\n";
    let body = "body";
    let text = format!(
        "CONNECT {{\"headers\":true,\"verbose\":false,\"pedantic\":false}}\r\nHPUB load.odd {} {}\r\n{headers}{body}\r\nPING\r\n",
        headers.len(),
        headers.len() + body.len(),
    );
    let mut raw = tokio::net::TcpStream::connect(("127.0.0.1", world.source.port()))
        .await
        .unwrap();
    raw.write_all(text.as_bytes()).await.unwrap();
    let mut heard = Vec::new();
    while !String::from_utf8_lossy(&heard).contains("PONG") {
        let mut some = [0; 4096];
        let read = raw.read(&mut some).await.unwrap();
        assert!(read > 0, "{}", String::from_utf8_lossy(&heard));
        heard.extend_from_slice(&some[..read]);
    }
    let client = connect(&world.source).await;
    eventually(LIMIT, PERIOD, || async {
        let info = ask(&client, &format!("STREAM.INFO.{SOURCE}"), &json!({})).await;
        info["state"]["messages"] == json!(4)
    })
    .await;
    world.publish(3, 6).await;
    let mut replicator = world.replicator("");
    world.copied().await;
    let letters = letters(&world, 1).await;
    stop(&mut replicator);
    assert_eq!(letters[0].body, body);
    let copied = world.sequences().await;
    assert_eq!(copied, [1, 2, 3, 5, 6, 7]);
    let reason = letters[0].headers.get("Overlay-Dead-Reason").unwrap();
    assert!(reason.as_str().contains("headers"), "{reason:?}");
}
