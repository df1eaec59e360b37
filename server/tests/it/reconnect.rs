//! Losing brokers and finding them again.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use overlay_testkit::{TlsFiles, eventually};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinSet;

use crate::support::live::{Stage, WITHIN};
use crate::support::{Cell, IDENTITY};

const POLL: Duration = Duration::from_millis(20);

#[tokio::test]
async fn a_node_comes_back_after_the_broker_was_away() {
    let mut stage = Stage::new("", "");
    let node = stage.node().await;
    stage.pong().await;
    // The file may still be the one from before the first connection.
    stage
        .status_where(|status| status["connected_server"] != "")
        .await;
    stage.broker.kill();
    stage
        .status_where(|status| status["connected_server"] == "")
        .await;
    stage.broker.start_again();
    stage
        .status_where(|status| status["connected_server"] != "")
        .await;
    stage.pong().await;
    let status = stage
        .status_where(|status| status["overlay"]["reconnects"] != 0)
        .await;
    // The process started once.
    assert_eq!(status["stats"]["events"], 1);
    node.stop().await;
}

#[tokio::test]
async fn the_next_broker_is_taken_when_one_is_gone() {
    let mut stage = Stage::new("", "");
    let mut second = stage.another_broker();
    let servers = format!("[\"{}\", \"{}\"]", stage.broker.url(), second.url());
    let node = stage.node_at(&servers).await;
    let status = stage
        .status_where(|status| status["connected_server"] != "")
        .await;
    let first = status["connected_server"].as_str().unwrap().to_owned();
    if first == stage.broker.url() {
        stage.broker.kill();
    } else {
        second.kill();
    }
    stage
        .status_where(|status| {
            status["connected_server"] != "" && status["connected_server"] != *first
        })
        .await;
    node.stop().await;
}

#[tokio::test]
async fn brokers_are_found_by_srv_records() {
    let stage = Stage::new("", "");
    let dns = Dns::start(vec![(
        "_x-puppet-mcollective._tcp.example.net",
        stage.broker.port(),
    )])
    .await;
    let node = stage
        .node_by(&format!(
            "use_srv = true\nname_servers = [\"{}\"]",
            dns.address
        ))
        .await;
    let status = stage
        .status_where(|status| status["connected_server"] != "")
        .await;
    let expected = format!("nats://localhost:{}", stage.broker.port());
    assert_eq!(status["connected_server"], expected);
    stage.pong().await;
    node.stop().await;
}

#[tokio::test]
async fn records_are_asked_for_again_when_brokers_are_gone() {
    let mut stage = Stage::new("", "");
    let second = stage.another_broker();
    let name = "_mcollective-server._tcp.cell.example";
    let dns = Dns::start(vec![(name, stage.broker.port())]).await;
    let node = stage
        .node_by(&format!(
            "srv_domain = \"cell.example\"\nname_servers = [\"{}\"]",
            dns.address
        ))
        .await;
    stage
        .status_where(|status| status["connected_server"] != "")
        .await;
    dns.set(vec![(name, second.port())]);
    stage.broker.kill();
    let moved = format!("nats://localhost:{}", second.port());
    stage
        .status_where(|status| status["connected_server"] == *moved)
        .await;
    node.stop().await;
}

#[tokio::test]
async fn websockets_work_with_and_without_tls() {
    let stage = Stage::with(Cell::new(), |builder| builder.websocket(), "", "");
    let url = stage.broker.websocket_url().unwrap();
    let node = stage.node_at(&format!("[\"{url}\"]")).await;
    stage.pong().await;
    node.stop().await;

    let cell = Cell::new();
    let files = certificate(&cell, "broker");
    let stage = Stage::with(cell, |builder| builder.tls(&files).websocket(), "", "");
    let url = stage.broker.websocket_url().unwrap();
    let broker = format!("servers = [\"{url}\"]\nca_file = {:?}", files.ca);
    let node = stage.node_tls(&broker).await;
    stage
        .status_where(|status| status["connected_server"] == *url)
        .await;
    node.stop().await;
}

#[tokio::test]
async fn tls_is_verified_unless_told_otherwise() {
    let cell = Cell::new();
    let files = certificate(&cell, "broker");
    let other = certificate(&cell, "other");
    let stage = Stage::with(cell, |builder| builder.tls(&files), "", "");
    let url = stage.broker.url();

    let broker = format!("servers = [\"{url}\"]\nca_file = {:?}", files.ca);
    let node = stage.node_tls(&broker).await;
    node.stop().await;

    let broker = format!("servers = [\"{url}\"]\nverify = false");
    let node = stage.node_tls(&broker).await;
    node.stop().await;

    let broker = format!("servers = [\"{url}\"]\nca_file = {:?}", other.ca);
    let mut node = stage.start_tls(&broker);
    stage
        .status_where(|status| status["overlay"]["last_error"].is_string())
        .await;
    let status = stage.status();
    assert_eq!(status["connected_server"], "");
    node.shutdown();
    node.ended().await;
}

#[tokio::test]
async fn a_renewed_token_is_shown_at_the_next_connection() {
    let cell = Cell::new();
    let first = cell.write_node_files(IDENTITY, Duration::from_secs(3600));
    let fake = FakeBroker::start("0-LEW2OX3utEotM").await;
    let stage = Stage::of(cell, "", "");
    let url = format!("nats://{}", fake.address);
    let mut node = stage.start_at(&format!("[\"{url}\"]"));
    let connect = fake.connect(0).await;
    assert_eq!(connect["auth_token"], first.as_str());
    assert_eq!(connect["name"], IDENTITY);
    let signature = URL_SAFE_NO_PAD
        .decode(connect["sig"].as_str().unwrap())
        .unwrap();
    assert!(
        stage
            .cell
            .node
            .public()
            .verify(b"0-LEW2OX3utEotM", &signature)
    );

    let second = stage
        .cell
        .write_node_files(IDENTITY, Duration::from_secs(7200));
    assert_ne!(first, second);
    fake.cut();
    eventually(WITHIN, POLL, async || {
        fake.connects()
            .iter()
            .any(|connect| connect["auth_token"] == second.as_str())
    })
    .await;
    node.shutdown();
    node.ended().await;
}

#[tokio::test]
async fn a_broker_without_a_nonce_is_not_logged_in_to() {
    not_logged_in("", "offers no nonce").await;
}

#[tokio::test]
async fn a_broker_that_wants_a_request_signed_gets_nothing() {
    let request = r#"{"protocol":"io.choria.protocol.v2.request"}"#;
    not_logged_in(request, "not a nonce").await;
}

#[tokio::test]
async fn a_broker_that_wants_a_token_signed_gets_nothing() {
    not_logged_in("eyJhbGciOiJFZERTQSIsInR5cCI6IkpXVCJ9.e30", "not a nonce").await;
}

async fn not_logged_in(offered: &'static str, why: &str) {
    let fake = FakeBroker::start(offered).await;
    let stage = Stage::new("", "");
    let url = format!("nats://{}", fake.address);
    let mut node = stage.start_at(&format!("[\"{url}\"]"));
    let status = stage
        .status_where(|status| status["overlay"]["last_error"].is_string())
        .await;
    let error = status["overlay"]["last_error"].as_str().unwrap();
    assert!(error.contains(why) && error.contains(&url), "{error}");
    assert!(fake.connects().is_empty());
    node.shutdown();
    node.ended().await;
}

fn certificate(cell: &Cell, name: &str) -> TlsFiles {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let files = TlsFiles {
        ca: cell.path(&format!("{name}-ca.pem")),
        cert: cell.path(&format!("{name}.pem")),
        key: cell.path(&format!("{name}.key")),
    };
    std::fs::write(&files.ca, made.cert.pem()).unwrap();
    std::fs::write(&files.cert, made.cert.pem()).unwrap();
    std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    files
}

/// Answers SRV questions for names it has; everything else does not exist.
struct Dns {
    address: SocketAddr,
    records: Arc<Mutex<Vec<(&'static str, u16)>>>,
    _task: JoinSet<()>,
}

impl Dns {
    async fn start(records: Vec<(&'static str, u16)>) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let records = Arc::new(Mutex::new(records));
        let known = Arc::clone(&records);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut buffer = [0_u8; 512];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                let answer = answer(&buffer[..length], &known.lock().unwrap());
                socket.send_to(&answer, from).await.unwrap();
            }
        });
        Self {
            address,
            records,
            _task: task,
        }
    }

    fn set(&self, records: Vec<(&'static str, u16)>) {
        *self.records.lock().unwrap() = records;
    }
}

fn answer(query: &[u8], records: &[(&'static str, u16)]) -> Vec<u8> {
    let mut labels = Vec::new();
    let mut at = 12;
    while query[at] != 0 {
        let length = usize::from(query[at]);
        labels.push(String::from_utf8_lossy(&query[at + 1..=at + length]).into_owned());
        at += length + 1;
    }
    let name = labels.join(".").to_lowercase();
    let question = &query[12..at + 5];
    let is_srv = query[at + 1..at + 3] == [0, 33];
    let found = records
        .iter()
        .filter(|(known, _)| is_srv && *known == name)
        .collect::<Vec<_>>();
    let code = if found.is_empty() { 3 } else { 0 };
    let mut reply = query[..2].to_vec();
    reply.extend([
        0x85,
        0x80 | code,
        0,
        1,
        0,
        u8::try_from(found.len()).unwrap(),
        0,
        0,
        0,
        0,
    ]);
    reply.extend(question);
    for (_, port) in found {
        let target = b"\x09localhost\x00";
        reply.extend([0xc0, 12, 0, 33, 0, 1, 0, 0, 0, 1]);
        reply.extend([0, u8::try_from(6 + target.len()).unwrap()]);
        reply.extend([0, 1, 0, 1]);
        reply.extend(port.to_be_bytes());
        reply.extend(target);
    }
    reply
}

/// Speaks as much as a client needs to log in, and remembers how it did.
struct FakeBroker {
    address: SocketAddr,
    connects: Arc<Mutex<Vec<Value>>>,
    cut: Arc<tokio::sync::Notify>,
    _task: JoinSet<()>,
}

impl FakeBroker {
    async fn start(nonce: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connects = Arc::new(Mutex::new(Vec::new()));
        let cut = Arc::new(tokio::sync::Notify::new());
        let mut task = JoinSet::new();
        let (seen, end) = (Arc::clone(&connects), Arc::clone(&cut));
        task.spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let info = json!({
                    "server_id": "x", "version": "2.12.0", "headers": true, "max_payload": 1_048_576, "nonce": nonce,
                });
                let info = format!("INFO {info}\r\n");
                stream.write_all(info.as_bytes()).await.unwrap();
                let (reading, mut writing) = stream.split();
                let mut lines = BufReader::new(reading).lines();
                loop {
                    tokio::select! {
                        () = end.notified() => break,
                        line = lines.next_line() => {
                            let Ok(Some(line)) = line else { break };
                            if let Some(json) = line.strip_prefix("CONNECT ") {
                                seen.lock().unwrap().push(serde_json::from_str(json).unwrap());
                            } else if line == "PING" && writing.write_all(b"PONG\r\n").await.is_err() {
                                break;
                            }
                        }
                    }
                }
            }
        });
        Self {
            address,
            connects,
            cut,
            _task: task,
        }
    }

    fn connects(&self) -> Vec<Value> {
        self.connects.lock().unwrap().clone()
    }

    async fn connect(&self, number: usize) -> Value {
        eventually(WITHIN, POLL, async || self.connects().get(number).cloned()).await
    }

    fn cut(&self) {
        self.cut.notify_one();
    }
}
