//! A cell's keys, requests and nodes for tests.

pub(crate) mod bare;
pub(crate) mod live;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use overlay_protocol::envelope::Limits;
use overlay_protocol::envelope::v2::{Request, SecureReply, SecureRequest, Transport};
use overlay_protocol::rpc::RpcReply;
use overlay_runtime::{Clock, config};
use overlay_server::Config;
use overlay_server::agents::Agents;
use overlay_server::authorise::{Accepted, Receiver, Refused, authorise};
use overlay_server::dispatch::{Body, Dispatcher};
use overlay_server::link::Link;
use overlay_server::node::Node;
use overlay_server::replay::Seen;
use overlay_tokens::claims::ClientPermissions;
use overlay_tokens::issue::{ClientToken, ServerToken, sign};
use overlay_tokens::request::sign_request;
use overlay_tokens::{Key, UnixTime, file};
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) const IDENTITY: &str = "n1.example.net";
pub(crate) const CALLER: &str = "up=bob";

/// Issuer, caller and node, with the node's files.
pub(crate) struct Cell {
    pub(crate) dir: TempDir,
    pub(crate) org: Key,
    pub(crate) caller: Key,
    pub(crate) node: Key,
    pub(crate) now: UnixTime,
}

/// A node without a broker.
pub(crate) struct Rig {
    pub(crate) receiver: Receiver,
    pub(crate) dispatcher: Dispatcher,
    pub(crate) seen: Seen,
}

impl Cell {
    pub(crate) fn new() -> Self {
        let cell = Self {
            dir: tempfile::tempdir().unwrap(),
            org: Key::generate().unwrap(),
            caller: Key::generate().unwrap(),
            node: Key::generate().unwrap(),
            now: UnixTime::from(Clock::system().now()),
        };
        cell.write_node_files(IDENTITY, Duration::from_secs(3600));
        let facts = json!({"os": {"family": "RedHat"}, "cpus": 4, "site": "lhr"});
        std::fs::write(cell.path("facts.json"), facts.to_string()).unwrap();
        std::fs::write(cell.path("classes.txt"), "role::web\napache\n").unwrap();
        cell
    }

    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    /// Writes the node's seed and a new token for it.
    pub(crate) fn write_node_files(&self, identity: &str, validity: Duration) -> String {
        let claims = ServerToken {
            identity: identity.to_owned(),
            collectives: vec!["choria".to_owned()],
            public_key: Some(self.node.public()),
            validity,
            ..ServerToken::default()
        }
        .claims(self.now)
        .unwrap();
        let token = sign(&claims, &self.org).unwrap();
        file::write_token(&self.path("server.jwt"), &token).unwrap();
        file::write_seed(&self.path("server.seed"), &self.node, file::Overwrite::Yes).unwrap();
        token
    }

    pub(crate) fn client_token(&self, change: impl FnOnce(&mut ClientToken)) -> String {
        let mut token = ClientToken {
            public_key: Some(self.caller.public()),
            permissions: Some(ClientPermissions {
                fleet_management: true,
                ..ClientPermissions::default()
            }),
            ..ClientToken::new(CALLER)
        };
        change(&mut token);
        sign(&token.claims(self.now).unwrap(), &self.org).unwrap()
    }

    /// The configuration of the node; `more` is TOML of further keys of the top table and tables.
    pub(crate) fn config(&self, top: &str, broker: &str, more: &str) -> Config {
        let text = format!(
            "identity = \"{IDENTITY}\"\ntoken_file = {:?}\nseed_file = {:?}\n{top}\n\
             [issuers]\nchoria = \"{}\"\n[facts]\nfiles = [{:?}]\nclasses_file = {:?}\n\
             refresh = \"0s\"\n[broker]\n{broker}\n{more}\n",
            self.path("server.jwt"),
            self.path("server.seed"),
            self.org.public(),
            self.path("facts.json"),
            self.path("classes.txt"),
        );
        match config::load_text::<Config>(&text) {
            Ok(loaded) => loaded.config,
            Err(faults) => panic!("{faults:?}\n{text}"),
        }
    }

    pub(crate) fn request(&self, agent: &str, payload: &[u8]) -> Request {
        Request {
            message: payload.to_vec(),
            id: "2ecvzXAzWRTIbJ5YMQTXGLJmC8V".to_owned(),
            sender: "client.example.net".to_owned(),
            caller: CALLER.to_owned(),
            collective: "choria".to_owned(),
            agent: agent.to_owned(),
            ttl: Duration::from_secs(60),
            time_ns: self.now.as_nanos(),
            filter: None,
        }
    }

    pub(crate) fn rpc(&self, agent: &str, action: &str, data: &Value) -> Request {
        let body = json!({"agent": agent, "action": action, "data": data});
        self.request(agent, body.to_string().as_bytes())
    }

    /// Signs with the caller's key and puts the transport around.
    pub(crate) fn signed(&self, request: &Request, reply_to: &str) -> Vec<u8> {
        let token = self.client_token(|_| {});
        transport(
            &sign_request(request.encode(), &self.caller, &token),
            reply_to,
        )
    }

    /// A node without a broker.
    pub(crate) fn rig(&self, more: &str) -> Rig {
        self.rig_with(&self.config("", PLAIN, more), Agents::builtin())
    }

    pub(crate) fn rig_with(&self, config: &Config, agents: Agents) -> Rig {
        let link = Arc::new(Link::new(Duration::from_secs(2), None));
        let node = Arc::new(Node::new(config, agents, link, self.now.secs));
        Rig {
            receiver: Receiver::new(config),
            dispatcher: Dispatcher::new(config, node),
            seen: Seen::new(config.rpc.replay_entries),
        }
    }
}

/// A broker on this machine that is never asked.
pub(crate) const PLAIN: &str = "servers = [\"nats://127.0.0.1:4222\"]\ntls = false";

impl Rig {
    pub(crate) fn take(&mut self, bytes: &[u8], now: UnixTime) -> Result<Accepted, Refused> {
        let node = Arc::clone(&self.dispatcher.node);
        let view = || node.view();
        authorise(bytes, &self.receiver, &view, &mut self.seen, now)
    }

    pub(crate) async fn body(&mut self, bytes: &[u8], now: UnixTime) -> Option<Body> {
        let accepted = match self.take(bytes, now) {
            Ok(accepted) => accepted,
            Err(refused) => panic!("{refused}"),
        };
        self.dispatcher.handle(&accepted, now).await
    }

    pub(crate) async fn reply(&mut self, bytes: &[u8], now: UnixTime) -> RpcReply {
        let body = self.body(bytes, now).await.unwrap();
        RpcReply::decode(&body.bytes, &Limits::default()).unwrap()
    }
}

pub(crate) fn transport(secure: &SecureRequest, reply_to: &str) -> Vec<u8> {
    let mut transport = Transport::new(secure.encode());
    transport.reply = Some(reply_to.to_owned());
    transport.sender = Some("client.example.net".to_owned());
    transport.encode()
}

/// Opens a reply as a client does: transport, hash, reply.
pub(crate) fn open(bytes: &[u8]) -> (Transport, SecureReply, Value) {
    let limits = Limits::default();
    let transport = Transport::decode(bytes, &limits).unwrap();
    let secure = SecureReply::decode(&transport.data, &limits).unwrap();
    let reply: Value = serde_json::from_slice(&secure.reply).unwrap();
    (transport, secure, reply)
}

pub(crate) fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}
