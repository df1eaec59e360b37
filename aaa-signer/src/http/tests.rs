//! The listener over real sockets.

mod documents;
mod limits;
mod stop;
mod tls;
mod wire;

use std::net::SocketAddr;
use std::time::Duration;

use overlay_runtime::{CancellationToken, Readiness, Secrets, Tasks};
use prometheus::Registry;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::config::{Http, HttpLimits};

use super::{Faces, Server};

/// Longer than anything takes on a busy machine.
const LONG: Duration = Duration::from_secs(30);

/// A server at work; dropping it ends it.
struct Served {
    address: SocketAddr,
    registry: Registry,
    readiness: Readiness,
    shutdown: CancellationToken,
    task: JoinSet<()>,
}

fn settings() -> Http {
    Http {
        listen: "127.0.0.1:0".parse().unwrap(),
        tls: None,
        metrics: false,
        trusted_proxies: Vec::new(),
        limits: HttpLimits::default(),
    }
}

impl Served {
    /// Without signer and login.
    async fn start(settings: &Http) -> Self {
        let registry = Registry::new();
        let readiness = Readiness::new();
        let shutdown = CancellationToken::new();
        let server = Server::bind(settings, &Secrets::default(), &registry)
            .await
            .unwrap();
        let address = server.address();
        let faces = Faces {
            signer: None,
            login: None,
            readiness: readiness.clone(),
            registry: registry.clone(),
        };
        let serve = server.serve(faces, Tasks::new(), shutdown.clone());
        let mut task = JoinSet::new();
        task.spawn(async move { serve.await.unwrap() });
        Self {
            address,
            registry,
            readiness,
            shutdown,
            task,
        }
    }

    async fn connect(&self) -> Client<TcpStream> {
        Client::new(TcpStream::connect(self.address).await.unwrap())
    }

    /// One request on a connection of its own.
    async fn ask(&self, request: &str) -> Answer {
        let mut client = self.connect().await;
        client.send(request.as_bytes()).await;
        client.answer().await
    }

    /// The value of a metric with its labels as they are shown.
    fn metric(&self, series: &str) -> f64 {
        let text = overlay_runtime::metrics::text(&self.registry).unwrap();
        let line = text.lines().find(|line| {
            line.strip_prefix(series)
                .is_some_and(|rest| rest.starts_with(' '))
        });
        let value = line.and_then(|line| line.rsplit(' ').next());
        value.map_or(0.0, |value| value.parse().unwrap())
    }

    async fn metric_becomes(&self, series: &str, wanted: f64) {
        overlay_testkit::eventually(LONG, Duration::from_millis(5), || async {
            (self.metric(series) - wanted).abs() < 0.5
        })
        .await;
    }

    async fn ended(mut self) {
        let ended = tokio::time::timeout(LONG, self.task.join_next()).await;
        ended.expect("it ends").unwrap().unwrap();
    }
}

/// One connection, by hand.
struct Client<S> {
    stream: S,
    unread: Vec<u8>,
}

#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(found, _)| found == name);
        found.map(|(_, value)| value.as_str())
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    fn new(stream: S) -> Self {
        Self {
            stream,
            unread: Vec::new(),
        }
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// The next answer.
    async fn answer(&mut self) -> Answer {
        self.try_answer().await.expect("an answer")
    }

    /// The next answer, or nothing when the connection ends before it.
    async fn try_answer(&mut self) -> Option<Answer> {
        let head_end = loop {
            let end = self.unread.windows(4).position(|four| four == b"\r\n\r\n");
            match end {
                Some(end) => break end + 4,
                None => {
                    if !self.read_more().await {
                        return None;
                    }
                }
            }
        };
        let head = String::from_utf8(self.unread.drain(..head_end).collect()).unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap();
        let headers: Vec<_> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let mut answer = Answer {
            status: status.parse().unwrap(),
            headers,
            body: Vec::new(),
        };
        let length: usize = answer
            .header("content-length")
            .map_or(0, |length| length.parse().unwrap());
        while self.unread.len() < length {
            assert!(self.read_more().await, "the body ends early");
        }
        answer.body = self.unread.drain(..length).collect();
        Some(answer)
    }

    /// Whether the other end closed, with nothing further sent.
    async fn is_closed(&mut self) -> bool {
        !self.read_more().await
    }

    async fn read_more(&mut self) -> bool {
        let mut piece = [0; 4096];
        let read = tokio::time::timeout(LONG, self.stream.read(&mut piece)).await;
        let read = read.expect("something happens").unwrap_or(0);
        self.unread.extend_from_slice(&piece[..read]);
        read > 0
    }
}

/// A whole request with a JSON body.
fn post(path: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")
}
