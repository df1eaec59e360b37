use std::time::Duration;

use futures_util::StreamExt as _;
use overlay_testkit::{Broker, eventually, nats_server};

use crate::{LIMIT, PERIOD};

#[tokio::test]
async fn a_client_reaches_the_broker_again_after_a_restart() {
    let mut broker = Broker::builder().name("again").start();
    let client = async_nats::connect(broker.url()).await.unwrap();
    assert_eq!(client.server_info().server_name, "again");
    let port = broker.port();

    broker.kill();
    assert_eq!(broker.pid(), None);
    broker.start_again();

    assert_eq!(broker.port(), port);
    eventually(LIMIT, PERIOD, || async {
        client.flush().await.map_err(|error| error.to_string())?;
        let mut inbox = client.subscribe("echo").await.unwrap();
        client.publish("echo", "hello".into()).await.unwrap();
        inbox.next().await.map(drop).ok_or("no message".to_owned())
    })
    .await;
}

#[tokio::test]
async fn a_frozen_broker_answers_nothing_until_it_goes_on() {
    let broker = Broker::plain();
    let client = async_nats::connect(broker.url()).await.unwrap();
    client.flush().await.unwrap();
    broker.pause();
    let round_trip = async {
        let mut inbox = client.subscribe("echo").await.unwrap();
        client.publish("echo", "hello".into()).await.unwrap();
        inbox.next().await.unwrap();
    };
    tokio::pin!(round_trip);
    let frozen = tokio::time::timeout(Duration::from_millis(300), &mut round_trip).await;
    assert!(frozen.is_err());
    broker.unpause();
    tokio::time::timeout(LIMIT, round_trip).await.unwrap();
}

#[tokio::test]
async fn monitoring_and_configuration_text_are_there() {
    let broker = Broker::builder()
        .max_control_line(65_536)
        .config("max_payload: 2MB")
        .start();
    let page = broker.monitoring("/varz");
    assert_eq!(page["max_control_line"], 65_536);
    assert_eq!(page["max_payload"], 2 * 1024 * 1024);
    assert_eq!(page["version"], broker.version().to_string());
}

#[tokio::test]
async fn a_reload_takes_the_new_text_or_says_why_not() {
    let mut broker = Broker::builder().config("max_payload: 1MB").start();
    broker.set_config("max_payload: 3MB");
    broker.reload().unwrap();
    assert_eq!(broker.monitoring("/varz")["max_payload"], 3 * 1024 * 1024);
    broker.set_config("max_payload: [");
    assert!(broker.reload().is_err());
}

#[test]
fn a_broken_configuration_is_told_with_the_log() {
    let error = Broker::builder()
        .config("authorization { users: 5 }")
        .try_start()
        .unwrap_err();
    assert!(error.contains("nats-server ended"), "{error}");
    assert!(error.contains("Expected users field"), "{error}");
}

#[test]
fn three_brokers_form_a_cluster_and_a_jetstream() {
    let mut cluster = Broker::builder().jetstream().start_cluster();
    cluster.wait_for_jetstream();
    cluster.brokers[0].restart();
    cluster.wait_for_jetstream();
    assert_eq!(cluster.urls().split(',').count(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_of_three_replicas_survives_its_leader() {
    let mut cluster = Broker::builder().jetstream().start_cluster();
    cluster.wait_for_jetstream();
    let client = async_nats::connect(cluster.urls().split(',').collect::<Vec<_>>())
        .await
        .unwrap();
    let ask = async |subject: &str, body: &str| {
        let reply = client.request(subject.to_owned(), body.to_owned().into());
        let reply = reply.await.map_err(|error| error.to_string())?;
        serde_json::from_slice::<serde_json::Value>(&reply.payload).map_err(|it| it.to_string())
    };
    let made = ask(
        "$JS.API.STREAM.CREATE.R3",
        r#"{"name":"R3","subjects":["r3"],"num_replicas":3,"storage":"file"}"#,
    );
    let made = made.await.unwrap();
    assert_eq!(made["config"]["num_replicas"], 3, "{made}");
    let leader = eventually(LIMIT, PERIOD, async || {
        let info = ask("$JS.API.STREAM.INFO.R3", "").await.ok()?;
        info["cluster"]["leader"].as_str().map(str::to_owned)
    });
    let leader = leader.await;
    assert_eq!(ask("r3", "one").await.unwrap()["seq"], 1);
    cluster.named(&leader).kill();
    eventually(LIMIT, PERIOD, async || {
        let info = ask("$JS.API.STREAM.INFO.R3", "").await.ok()?;
        (info["state"]["messages"] == 1 && info["cluster"]["leader"] != *leader).then_some(())
    })
    .await;
    cluster.named(&leader).start_again();
    cluster.wait_for_jetstream();
}

#[test]
fn a_line_of_versions_can_be_chosen() {
    // The newest is always there; which lines are installed is the machine's business.
    let newest = nats_server::locate().unwrap().version;
    let line = format!("{}.{}", newest.major, newest.minor);
    let broker = Broker::builder().version(&line).start();
    assert_eq!(broker.version().minor, newest.minor);
}
