//! What somebody else publishes as headers, on a real broker, which passes it on as it is.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::Ordering;

use futures_util::StreamExt as _;
use overlay_runtime::Context;
use overlay_runtime::nats::{self, Settings};
use overlay_testkit::Broker;

use crate::LIMIT;

/// Header blocks that end the released client, or make it read what the broker does not.
const BLOCKS: [&[u8]; 8] = [
    b"NATS/1.0\r\nX: a\rb\r\n\r\n",
    b"NATS/1.0\r\nno colon\r\n\r\n",
    b"NATS/1.0\r\na name: a\r\n\r\n",
    b"NATS/1.0\r\nX: \xff\xfe\r\n\r\n",
    b"no version\r\n\r\n",
    b"NATS/1.0 abc\r\nX: a\r\n\r\n",
    b"\r\n\r\n",
    b"NATS/1.0\r\nX: a\nForged: b\r\nKept: c\r\n\r\n",
];

/// Publishes one message with a header block of any bytes, and waits until the broker has it.
fn publish(port: u16, subject: &str, block: &[u8], payload: &[u8]) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let total = block.len() + payload.len();
    let mut message = b"CONNECT {\"verbose\":false,\"headers\":true}\r\n".to_vec();
    message.extend(format!("HPUB {subject} {} {total}\r\n", block.len()).bytes());
    message.extend_from_slice(block);
    message.extend_from_slice(payload);
    message.extend_from_slice(b"\r\nPING\r\n");
    stream.write_all(&message).unwrap();
    let mut heard = Vec::new();
    while !heard.windows(4).any(|window| window == b"PONG") {
        let mut some = [0_u8; 1024];
        let count = stream.read(&mut some).unwrap();
        assert!(count > 0, "{}", String::from_utf8_lossy(&heard));
        heard.extend_from_slice(&some[..count]);
    }
}

#[tokio::test]
async fn headers_of_strangers_end_neither_the_connection_nor_become_what_the_broker_did_not_see() {
    let broker = Broker::plain();
    let context = Context::new().unwrap();
    let settings = Settings::new("test", vec![broker.url().parse().unwrap()]);
    let client = context.connector.connect(&settings).await.unwrap();
    let mut inbox = client.subscribe("in").await.unwrap();
    nats::settled(&client, LIMIT).await.unwrap();
    let mut last = None;
    for block in BLOCKS {
        let port = broker.port();
        tokio::task::spawn_blocking(move || publish(port, "in", block, b"hello"))
            .await
            .unwrap();
        let message = tokio::time::timeout(LIMIT, inbox.next())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(message.payload, "hello");
        last = message.headers;
    }
    let headers = last.unwrap();
    assert_eq!(headers.get("Kept").unwrap().as_str(), "c");
    assert!(headers.get("Forged").is_none() && headers.get("X").is_none());
    let statistics = client.statistics();
    let connects = statistics.connects.load(Ordering::Relaxed);
    assert_eq!(connects, 1);
}
