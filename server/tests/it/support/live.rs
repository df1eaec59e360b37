//! A cell with a real broker.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_nats::{Client, ConnectOptions, Message};
use futures_util::StreamExt;
use overlay_protocol::envelope::Limits;
use overlay_protocol::envelope::v2::Request;
use overlay_protocol::rpc::{RpcReply, StatusCode};
use overlay_runtime::{CancellationToken, Clock};
use overlay_server::agent::Agent;
use overlay_server::effect::Ending;
use overlay_server::{Config, RunError, Server};
use overlay_testkit::{Broker, Builder, eventually};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::{Cell, IDENTITY, open};

/// How long a test waits for anything.
pub(crate) const WITHIN: Duration = Duration::from_secs(60);

/// The user by whose password the node logs in; its token is looked at by a login service only.
pub(crate) const NODE_USER: &str = "node";

/// A broker, keys, and the node's configuration.
pub(crate) struct Stage {
    pub(crate) cell: Cell,
    pub(crate) broker: Broker,
    permissions: String,
    more: String,
    serial: AtomicI64,
}

/// A running node; ended when dropped.
pub(crate) struct Node {
    task: JoinSet<Result<Ending, RunError>>,
    shutdown: CancellationToken,
    connected: Option<oneshot::Receiver<()>>,
}

impl Stage {
    /// `permissions` restricts the node on the broker, `more` is added to its configuration.
    pub(crate) fn new(permissions: &str, more: &str) -> Self {
        Self::of(Cell::new(), permissions, more)
    }

    pub(crate) fn of(cell: Cell, permissions: &str, more: &str) -> Self {
        Self::with(cell, |builder| builder, permissions, more)
    }

    pub(crate) fn with(
        cell: Cell,
        change: impl FnOnce(Builder) -> Builder,
        permissions: &str,
        more: &str,
    ) -> Self {
        std::fs::write(cell.path("password"), "node-password").unwrap();
        restrict(&cell.path("password"));
        let broker = change(builder(permissions)).start();
        Self {
            cell,
            broker,
            permissions: permissions.to_owned(),
            more: more.to_owned(),
            serial: AtomicI64::new(1),
        }
    }

    pub(crate) fn another_broker(&self) -> Broker {
        builder(&self.permissions).name("second").start()
    }

    /// A client that may do anything, without TLS.
    pub(crate) async fn client(&self) -> Client {
        ConnectOptions::with_user_and_password("client".to_owned(), "client-password".to_owned())
            .connect(self.broker.url())
            .await
            .unwrap()
    }

    pub(crate) async fn node(&self) -> Node {
        self.started(self.start(self.local(&self.servers()), None))
            .await
    }

    pub(crate) async fn node_with(&self, agent: Arc<dyn Agent>) -> Node {
        self.started(self.start(self.local(&self.servers()), Some(agent)))
            .await
    }

    pub(crate) async fn node_at(&self, servers: &str) -> Node {
        self.started(self.start_at(servers)).await
    }

    pub(crate) fn start_at(&self, servers: &str) -> Node {
        self.start(self.local(&format!("servers = {servers}")), None)
    }

    pub(crate) async fn node_by(&self, broker: &str) -> Node {
        // Names of the DNS are no proof of being local, so the check wants TLS; tests go around it.
        let mut config = self.config(&format!("{broker}\nverify = false"));
        config.broker.tls = overlay_server::config::Tls::None;
        self.started(self.start(config, None)).await
    }

    pub(crate) async fn node_tls(&self, broker: &str) -> Node {
        self.started(self.start_tls(broker)).await
    }

    pub(crate) fn start_tls(&self, broker: &str) -> Node {
        self.start(self.config(broker), None)
    }

    pub(crate) async fn refused_start(&self) -> String {
        let config = self.local(&self.servers());
        let ended = Server::new(config, Clock::system())
            .run(CancellationToken::new(), || {})
            .await;
        overlay_runtime::err_chain(&ended.unwrap_err())
    }

    fn servers(&self) -> String {
        format!("servers = [\"{}\"]", self.broker.url())
    }

    fn local(&self, broker: &str) -> Config {
        self.config(&format!("{broker}\ntls = false"))
    }

    fn config(&self, broker: &str) -> Config {
        let broker = format!(
            "{broker}\nuser = \"{NODE_USER}\"\npassword_file = {:?}\nconnect_timeout = \"5s\"",
            self.cell.path("password")
        );
        let more = format!(
            "{}\n[status]\nfile = {:?}\n",
            self.more,
            self.cell.path("status.json")
        );
        let mut config = self.cell.config("", &broker, &more);
        let (_, every) = config.status.as_mut().unwrap();
        *every = Duration::from_millis(50);
        config
    }

    fn start(&self, config: Config, agent: Option<Arc<dyn Agent>>) -> Node {
        let _old = std::fs::remove_file(self.cell.path("status.json"));
        let mut server = Server::new(config, Clock::system()).with_grace(Duration::from_secs(2));
        if let Some(agent) = agent {
            server = server.with_agent(agent);
        }
        let shutdown = CancellationToken::new();
        let (sender, connected) = oneshot::channel();
        let mut task = JoinSet::new();
        task.spawn(server.run(shutdown.clone(), move || {
            let _gone = sender.send(());
        }));
        Node {
            task,
            shutdown,
            connected: Some(connected),
        }
    }

    async fn started(&self, mut node: Node) -> Node {
        let connected = node.connected.take().unwrap();
        match tokio::time::timeout(WITHIN, connected).await {
            Ok(Ok(())) => node,
            Ok(Err(_)) => panic!("the node ended: {:?}", node.task.join_next().await),
            Err(_) => panic!("the node did not connect: {}", self.status()),
        }
    }

    /// A request that no other is equal to.
    pub(crate) fn fresh(&self, mut request: Request) -> Request {
        request.time_ns += self.serial.fetch_add(1, Ordering::Relaxed);
        request
    }

    pub(crate) fn reply_subject(&self) -> String {
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        format!("choria.reply.72dc525f8fe0064c0372c1fb3d729560.{serial}")
    }

    pub(crate) async fn ask(
        &self,
        client: &Client,
        subject: &str,
        reply_to: &str,
        bytes: Vec<u8>,
    ) -> Message {
        let mut answers = client.subscribe(reply_to.to_owned()).await.unwrap();
        client
            .publish(subject.to_owned(), bytes.into())
            .await
            .unwrap();
        match tokio::time::timeout(WITHIN, answers.next()).await {
            Ok(Some(message)) => message,
            Ok(None) => panic!("the client's connection ended"),
            Err(_) => panic!("no answer; {}", self.status()),
        }
    }

    pub(crate) fn body(&self, answer: &[u8]) -> RpcReply {
        let limits = Limits::default();
        let (_, secure, _) = open(answer);
        let reply = overlay_protocol::envelope::v2::Reply::decode(&secure.reply, &limits).unwrap();
        RpcReply::decode(&reply.message, &limits).unwrap()
    }

    /// The node answers a ping of a new client.
    pub(crate) async fn pong(&self) {
        let client = self.client().await;
        let reply_to = self.reply_subject();
        let request = self.fresh(self.cell.rpc("rpcutil", "ping", &json!({})));
        let bytes = self.cell.signed(&request, &reply_to);
        let subject = format!("choria.node.{IDENTITY}");
        let answer = self.ask(&client, &subject, &reply_to, bytes).await;
        assert_eq!(self.body(&answer.payload).statuscode, StatusCode::Ok);
    }

    /// The status file as it is now; null before it is written.
    pub(crate) fn status(&self) -> Value {
        std::fs::read(self.cell.path("status.json"))
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or(Value::Null)
    }

    /// The first status for which `wanted` holds.
    pub(crate) async fn status_where(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        eventually(WITHIN, Duration::from_millis(20), async || {
            let status = self.status();
            if !status.is_null() && wanted(&status) {
                Ok(status)
            } else {
                Err(status.to_string())
            }
        })
        .await
    }
}

impl Node {
    pub(crate) fn shutdown(&mut self) {
        self.shutdown.cancel();
    }

    pub(crate) async fn ended(mut self) {
        let ended = tokio::time::timeout(WITHIN, self.task.join_next()).await;
        let ending = ended
            .expect("the node did not end")
            .unwrap()
            .unwrap()
            .unwrap();
        assert_eq!(ending, Ending::Stop);
    }

    pub(crate) async fn stop(mut self) {
        self.shutdown();
        self.ended().await;
    }
}

/// An nkey user makes the broker send a nonce.
fn builder(permissions: &str) -> Builder {
    let nkey = nkeys::KeyPair::new_user().public_key();
    Broker::builder().max_control_line(65_536).config(format!(
        "accounts {{ choria {{ users: [
            {{ nkey: {nkey} }}
            {{ user: client, password: client-password }}
            {{ user: {NODE_USER}, password: node-password, permissions: {{ {permissions} }} }}
        ] }} }}"
    ))
}

fn restrict(path: &std::path::Path) {
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(path, mode).unwrap();
}
