use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt as _;
use overlay_runtime::nats::{
    self, Auth, ConnectError, LinkState, Reconnect, Settings, SettleError,
};
use overlay_runtime::{Context, Status, metrics};
use overlay_testkit::mint::Authority;
use overlay_testkit::{Broker, Logs, Proxy, eventually};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::{LIMIT, PERIOD};

fn settings(url: &str) -> Settings {
    let mut settings = Settings::new("test", vec![url.parse().unwrap()]);
    settings.reconnect = Reconnect::Flat(Duration::from_millis(50));
    settings
}

fn seed_file(dir: &Path, seed: &str) -> Auth {
    let seed_file = dir.join("user.nk");
    fs::write(&seed_file, seed).unwrap();
    fs::set_permissions(&seed_file, fs::Permissions::from_mode(0o600)).unwrap();
    Auth::Nkey { seed_file }
}

fn nkey_user(public: &str) -> String {
    format!("authorization {{ users: [ {{ nkey: {public} }} ] }}")
}

#[tokio::test]
async fn readiness_and_metrics_follow_the_connection() {
    let (logs, _capture) = Logs::capture();
    let broker = Broker::plain();
    let proxy = Proxy::start(broker.port()).await;
    let context = Context::new().unwrap();
    let client = context
        .connector
        .connect(&settings(&proxy.url()))
        .await
        .unwrap();
    let up = || context.readiness.report().parts["broker:test"] == Status::Up;
    assert!(up());
    let mut inbox = client.subscribe("echo").await.unwrap();
    nats::settled(&client, LIMIT).await.unwrap();

    proxy.refuse();
    proxy.cut();
    eventually(LIMIT, PERIOD, || async { !up() }).await;
    proxy.accept();
    eventually(LIMIT, PERIOD, || async { up() }).await;

    client.publish("echo", "again".into()).await.unwrap();
    assert_eq!(inbox.next().await.unwrap().payload, "again");
    let text = metrics::text(&context.registry).unwrap();
    for line in [
        r#"overlay_broker_connected{connection="test"} 1"#,
        r#"overlay_broker_events_total{connection="test",event="connected"} 2"#,
        r#"overlay_broker_events_total{connection="test",event="disconnected"} 1"#,
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    let lost = logs
        .lines()
        .iter()
        .filter(|l| l.contains("connection to the broker lost"))
        .count();
    assert_eq!(lost, 1);
}

#[tokio::test]
async fn a_broker_that_comes_late_is_waited_for() {
    let mut broker = Broker::plain();
    let url = broker.url();
    broker.stop();
    let context = Context::new().unwrap();
    let settings = settings(&url);
    let connecting = context.connector.connect(&settings);
    let starting = async {
        let report = || context.readiness.report();
        eventually(LIMIT, PERIOD, || async {
            report().parts.contains_key("broker:test")
        })
        .await;
        assert!(!context.readiness.is_ready());
        broker.start_again();
    };
    let (client, ()) = tokio::join!(connecting, starting);
    client.unwrap().flush().await.unwrap();
}

#[tokio::test]
async fn after_the_limit_the_last_failure_is_told() {
    // Nothing listens on port 1, and no other test can be given it.
    let mut settings = settings("nats://127.0.0.1:1");
    settings.connect_limit = Duration::from_millis(100);
    let context = Context::new().unwrap();
    let error = context.connector.connect(&settings).await.unwrap_err();
    assert!(matches!(error, ConnectError::Limit { attempts: 1, .. }));
    let text = overlay_runtime::err_chain(&error);
    assert!(text.contains("refused"), "{text}");
}

#[tokio::test]
async fn a_stop_ends_the_wait_for_a_broker() {
    let broker = Broker::plain();
    broker.pause();
    let context = Context::new().unwrap();
    let settings = settings(&broker.url());
    let connecting = context.connector.connect(&settings);
    let stopping = async { context.shutdown.cancel() };
    let (connected, ()) = tokio::join!(connecting, stopping);
    assert!(matches!(connected, Err(ConnectError::Stopped)));
    broker.unpause();
}

#[tokio::test]
async fn logs_in_with_the_seed_of_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let pair = nkeys::KeyPair::new_user();
    let broker = Broker::builder()
        .config(nkey_user(&pair.public_key()))
        .start();
    let context = Context::new().unwrap();
    let mut settings = settings(&broker.url());
    settings.auth = seed_file(dir.path(), &format!("{}\n", pair.seed().unwrap()));
    assert!(settings.inspect(&context.secrets).is_empty());
    context.connector.connect(&settings).await.unwrap();

    settings.auth = seed_file(dir.path(), &nkeys::KeyPair::new_user().seed().unwrap());
    settings.connect_limit = Duration::from_secs(2);
    let error = context.connector.connect(&settings).await.unwrap_err();
    let text = overlay_runtime::err_chain(&error);
    assert!(text.contains("authorization violation"), "{text}");
}

#[tokio::test]
async fn a_seed_that_others_may_read_is_refused_before_any_connection() {
    let dir = tempfile::tempdir().unwrap();
    let context = Context::new().unwrap();
    let mut settings = settings("nats://127.0.0.1:1");
    settings.auth = seed_file(dir.path(), "SUA");
    let file = dir.path().join("user.nk");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let faults = settings.inspect(&context.secrets);
    let text = faults[0].to_string();
    assert!(
        text.contains("0644") && text.contains("chmod 0600"),
        "{text}"
    );
    let error = context.connector.connect(&settings).await.unwrap_err();
    assert!(matches!(error, ConnectError::Secret { .. }));
}

#[tokio::test]
async fn trusts_the_authorities_of_the_file_and_no_others() {
    let (authority, other) = (Authority::new(), Authority::new());
    let broker = Broker::builder()
        .tls(&authority.server("broker", &[]))
        .start();
    let context = Context::new().unwrap();
    let mut settings = settings(&broker.url());
    settings.ca_file = Some(authority.ca_file());
    context.connector.connect(&settings).await.unwrap();
    settings.ca_file = Some(other.ca_file());
    settings.connect_limit = Duration::from_millis(100);
    assert!(context.connector.connect(&settings).await.is_err());
    settings.ca_file = Some(authority.dir().join("broker.key"));
    let faults = settings.inspect(&context.secrets);
    assert!(faults[0].problem().contains("no PEM certificate"));
}

#[tokio::test]
async fn requests_have_a_limit_of_their_own() {
    let broker = Broker::plain();
    let context = Context::new().unwrap();
    let client = context
        .connector
        .connect(&settings(&broker.url()))
        .await
        .unwrap();
    let _silent = client.subscribe("silent").await.unwrap();
    nats::settled(&client, LIMIT).await.unwrap();
    let limit = Duration::from_millis(50);
    let error = nats::request(&client, "silent", "", limit)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), async_nats::RequestErrorKind::TimedOut);
    let error = nats::request(&client, "nobody", "", LIMIT)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), async_nats::RequestErrorKind::NoResponders);
}

#[tokio::test]
async fn a_connection_that_is_not_answered_does_not_settle() {
    let broker = Broker::plain();
    let client = async_nats::connect(broker.url()).await.unwrap();
    nats::settled(&client, LIMIT).await.unwrap();
    broker.pause();
    let limit = Duration::from_millis(100);
    let settled = nats::settled(&client, limit).await;
    assert_eq!(settled, Err(SettleError::TimedOut(limit)));
    broker.unpause();
}

#[tokio::test]
async fn draining_delivers_what_was_published() {
    let broker = Broker::plain();
    let context = Context::new().unwrap();
    let sender = context
        .connector
        .connect(&settings(&broker.url()))
        .await
        .unwrap();
    let receiver = async_nats::connect(broker.url()).await.unwrap();
    let mut inbox = receiver.subscribe("last").await.unwrap();
    nats::settled(&receiver, LIMIT).await.unwrap();
    sender.publish("last", "words".into()).await.unwrap();
    nats::drain(&sender, LIMIT).await;
    assert_eq!(inbox.next().await.unwrap().payload, "words");
}

#[tokio::test]
async fn readiness_follows_the_last_connection_of_a_name() {
    let (first, second) = (Broker::plain(), Broker::plain());
    let context = Context::new().unwrap();
    let open = |url: String| {
        let (settings, connector) = (settings(&url), context.connector.clone());
        async move {
            connector
                .open(&settings, async_nats::ConnectOptions::new, || None)
                .await
                .unwrap()
        }
    };
    let up = || context.readiness.report().parts["broker:test"] == Status::Up;
    let (old, mut old_state) = open(first.url()).await;
    assert_eq!(*old_state.borrow(), LinkState::Connected(1));
    let (_new, state) = open(second.url()).await;
    old.drain().await.unwrap();
    let over = |state: &LinkState| *state == LinkState::Disconnected;
    old_state.wait_for(over).await.unwrap();
    assert!(up());
    assert_eq!(*state.borrow(), LinkState::Connected(1));
}

#[tokio::test]
async fn a_connection_counts_how_often_it_was_made_and_tells_why_it_is_not() {
    let broker = Broker::plain();
    let proxy = Proxy::start(broker.port()).await;
    let context = Context::new().unwrap();
    let mut settings = settings(&proxy.url());
    settings.connect_limit = Duration::MAX;
    let why = || Some("the file has expired".to_owned());
    let opened = context
        .connector
        .open(&settings, async_nats::ConnectOptions::new, why);
    let (_client, mut state) = opened.await.unwrap();
    proxy.refuse();
    proxy.cut();
    let told = || format!("{:?}", context.readiness.report().parts["broker:test"]);
    eventually(LIMIT, PERIOD, || async {
        told().contains("the file has expired")
    })
    .await;
    proxy.accept();
    let again = |state: &LinkState| *state == LinkState::Connected(2);
    state.wait_for(again).await.unwrap();
    assert!(told().contains("Up"));
}

/// A broker's half of one login; nothing is answered to what comes after the client's PING.
async fn greet(listener: &TcpListener) -> BufReader<TcpStream> {
    let (stream, _) = listener.accept().await.unwrap();
    let mut stream = BufReader::new(stream);
    let info = br#"INFO {"server_id":"S","server_name":"s","version":"2.12.0","max_payload":1048576,"headers":true}"#;
    stream.write_all(info).await.unwrap();
    stream.write_all(b"\r\n").await.unwrap();
    for verb in ["CONNECT ", "PING"] {
        assert!(line(&mut stream).await.starts_with(verb));
    }
    stream
}

async fn line(stream: &mut BufReader<TcpStream>) -> String {
    let mut line = String::new();
    let read = stream.read_line(&mut line);
    tokio::time::timeout(LIMIT, read).await.unwrap().unwrap();
    line.trim_end().to_owned()
}

/// Others log in as soon as a broker is there again, and whoever answers for them must hear of it by then: a round trip
/// later some of them would have been asked about in vain.
#[tokio::test]
async fn subscriptions_come_back_with_the_login_and_wait_for_no_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("nats://127.0.0.1:{}", listener.local_addr().unwrap().port());
    let context = Context::new().unwrap();
    let settings = settings(&url);
    let (client, mut stream) = tokio::join!(context.connector.connect(&settings), async {
        let mut stream = greet(&listener).await;
        stream.write_all(b"PONG\r\n").await.unwrap();
        stream
    });
    let client = client.unwrap();
    let mut asked = client
        .queue_subscribe("asked", "those-who-answer".to_owned())
        .await
        .unwrap();
    assert_eq!(line(&mut stream).await, "SUB asked those-who-answer 1");
    drop(stream);

    let mut stream = greet(&listener).await;
    // The answer to its PING was not sent yet.
    assert_eq!(line(&mut stream).await, "SUB asked those-who-answer 1");
    stream
        .write_all(b"PONG\r\nMSG asked 1 2\r\nhi\r\n")
        .await
        .unwrap();
    assert_eq!(asked.next().await.unwrap().payload, "hi");
}
