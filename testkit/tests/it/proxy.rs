use std::time::Duration;

use overlay_testkit::{Broker, Proxy, eventually};
use tokio::time::Instant;

use crate::{LIMIT, PERIOD};

async fn round_trip(client: &async_nats::Client) -> Duration {
    let started = Instant::now();
    client.flush().await.unwrap();
    let answer = client.request("nobody.listens", "".into()).await;
    assert!(answer.is_err());
    started.elapsed()
}

#[tokio::test]
async fn a_delay_holds_both_directions_back() {
    let broker = Broker::plain();
    let proxy = Proxy::start(broker.port()).await;
    let client = async_nats::connect(proxy.url()).await.unwrap();
    round_trip(&client).await;
    proxy.delay(Duration::from_millis(100));
    assert!(round_trip(&client).await >= Duration::from_millis(200));
}

#[tokio::test]
async fn a_cut_ends_connections_and_refusing_keeps_them_away() {
    let broker = Broker::plain();
    let proxy = Proxy::start(broker.port()).await;
    let client = async_nats::connect(proxy.url()).await.unwrap();
    proxy.refuse();
    proxy.cut();
    let before = proxy.accepted();
    eventually(LIMIT, PERIOD, || async { proxy.accepted() > before }).await;
    assert_ne!(
        client.connection_state(),
        async_nats::connection::State::Connected
    );
    proxy.accept();
    eventually(LIMIT, PERIOD, || async {
        client.connection_state() == async_nats::connection::State::Connected
    })
    .await;
}

#[tokio::test]
async fn a_stall_passes_nothing_on_and_then_everything() {
    let broker = Broker::plain();
    let proxy = Proxy::start(broker.port()).await;
    let client = async_nats::connect(proxy.url()).await.unwrap();
    round_trip(&client).await;
    proxy.stall();
    let trip = round_trip(&client);
    tokio::pin!(trip);
    let stalled = tokio::time::timeout(Duration::from_millis(200), &mut trip).await;
    assert!(stalled.is_err());
    proxy.flow();
    tokio::time::timeout(LIMIT, trip).await.unwrap();
}

#[tokio::test]
async fn what_passes_can_be_captured_in_both_directions() {
    let broker = Broker::plain();
    let proxy = Proxy::start(broker.port()).await;
    proxy.capture();
    let _client = async_nats::connect(proxy.url()).await.unwrap();
    let sent = String::from_utf8(proxy.sent()).unwrap();
    let received = String::from_utf8(proxy.received()).unwrap();
    assert!(sent.starts_with("CONNECT {"), "{sent}");
    assert!(received.starts_with("INFO {"), "{received}");
}

#[tokio::test]
async fn a_new_target_takes_new_connections() {
    let (one, two) = (
        Broker::builder().name("one").start(),
        Broker::builder().name("two").start(),
    );
    let proxy = Proxy::start(one.port()).await;
    let client = async_nats::connect(proxy.url()).await.unwrap();
    assert_eq!(client.server_info().server_name, "one");
    proxy.retarget(two.port());
    proxy.cut();
    eventually(LIMIT, PERIOD, || async {
        client.server_info().server_name == "two"
    })
    .await;
}
