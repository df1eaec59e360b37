use std::time::Duration;

use futures_util::StreamExt as _;
use overlay_testkit::{Broker, Proxy, Way, eventually};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
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
async fn a_delay_may_hold_one_direction_back() {
    let broker = Broker::plain();
    let proxy = Proxy::start(broker.port()).await;
    let client = async_nats::connect(proxy.url()).await.unwrap();
    round_trip(&client).await;
    proxy.delay_on(Way::ToClient, Duration::from_secs(3));
    let trip = round_trip(&client).await;
    assert!(trip >= Duration::from_secs(3), "{trip:?}");
    assert!(trip < Duration::from_secs(6), "{trip:?}");
}

#[tokio::test]
async fn a_limit_of_bytes_makes_a_message_take_its_time() {
    let broker = Broker::plain();
    let proxy = Proxy::start(broker.port()).await;
    let client = async_nats::connect(proxy.url()).await.unwrap();
    let far = async_nats::connect(broker.url()).await.unwrap();
    let mut inbox = far.subscribe("big").await.unwrap();
    far.flush().await.unwrap();
    proxy.limit(100_000);
    let started = Instant::now();
    client
        .publish("big", vec![0; 500_000].into())
        .await
        .unwrap();
    tokio::time::timeout(LIMIT, inbox.next()).await.unwrap();
    // The last chunk is on its way when the line is busy with it, so a little less than five seconds.
    assert!(started.elapsed() >= Duration::from_secs(4));
    proxy.limit(0);
    let started = Instant::now();
    client
        .publish("big", vec![0; 500_000].into())
        .await
        .unwrap();
    tokio::time::timeout(LIMIT, inbox.next()).await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(4));
}

#[tokio::test]
async fn a_half_open_link_loses_answers_while_the_broker_goes_on() {
    let broker = Broker::plain();
    let proxy = Proxy::start(broker.port()).await;
    let client = async_nats::connect(proxy.url()).await.unwrap();
    let far = async_nats::connect(broker.url()).await.unwrap();
    let mut heard = far.subscribe("one.way").await.unwrap();
    far.flush().await.unwrap();
    round_trip(&client).await;

    proxy.swallow(Way::ToClient);
    client.publish("one.way", "still".into()).await.unwrap();
    tokio::time::timeout(LIMIT, heard.next()).await.unwrap();
    let mut raw = TcpStream::connect(("127.0.0.1", proxy.port()))
        .await
        .unwrap();
    let mut byte = [0];
    let silence = tokio::time::timeout(Duration::from_millis(200), raw.read(&mut byte)).await;
    assert!(
        silence.is_err(),
        "a new connection is taken and told nothing"
    );

    // What has lost something stays dead; what comes later lives.
    proxy.flow();
    let silence = tokio::time::timeout(Duration::from_millis(200), raw.read(&mut byte)).await;
    assert!(silence.is_err(), "a hole was bridged");
    let mut fresh = TcpStream::connect(("127.0.0.1", proxy.port()))
        .await
        .unwrap();
    tokio::time::timeout(LIMIT, fresh.read(&mut byte))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&byte, b"I");
    proxy.cut();
    let end = tokio::time::timeout(LIMIT, raw.read(&mut byte))
        .await
        .unwrap();
    assert_eq!(end.unwrap_or_default(), 0);
}

#[tokio::test]
async fn a_broker_does_not_hear_the_end_of_a_client_that_is_gone() {
    let broker = Broker::plain();
    let proxy = Proxy::start(broker.port()).await;
    let client = async_nats::connect(proxy.url()).await.unwrap();
    round_trip(&client).await;
    let connections = || broker.monitoring("/connz")["num_connections"].as_u64();
    assert_eq!(connections(), Some(1));
    proxy.swallow(Way::Both);
    drop(client);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(connections(), Some(1));
    proxy.cut();
    eventually(LIMIT, PERIOD, || async { connections() == Some(0) }).await;
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
