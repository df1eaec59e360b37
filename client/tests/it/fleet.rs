//! Emulated nodes: one connection that answers for many, each reply signed by its node.
#![allow(
    clippy::unwrap_used,
    dead_code,
    reason = "helper of tests; not every binary uses all of it"
)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::Client;
use futures_util::StreamExt;
use overlay_protocol::envelope::Limits;
use overlay_protocol::envelope::v2::{Reply, Request, SecureReply, SecureRequest, Transport};
use overlay_protocol::filter::{self, NodeView};
use overlay_protocol::rpc::{DISCOVERY_PONG, RpcReply, RpcRequest, StatusCode};
use overlay_testkit::Background;
use overlay_testkit::mint::{self, Login, Organisation};
use overlay_tokens::issue::ServerToken;
use overlay_tokens::request::{RequestPolicy, sign_reply, verify_request};
use serde_json::{Value, json};

/// How a node behaves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Habit {
    #[default]
    Answers,
    /// Answers discovery, but does not do what it is asked.
    Silent,
    /// Answers twice.
    Twice,
    /// Does not sign.
    Unsigned,
    /// Signs with another key than its token's.
    Garbage,
    /// Its hash is wrong.
    WrongHash,
    /// A second node answers for it, signed with the second's token.
    Impostor,
    /// An impostor's reply comes first, then its own.
    ImpostorFirst,
    /// A node that nobody asked answers too.
    Intruder,
    /// Answers this late.
    Late(u64),
}

#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) habit: Habit,
    pub(crate) facts: Value,
    pub(crate) classes: Vec<String>,
}

/// A request as the nodes saw it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) subject: String,
    pub(crate) id: String,
    pub(crate) time_ns: i64,
    pub(crate) reply_to: String,
    pub(crate) agent: String,
    pub(crate) filter_agents: Vec<String>,
}

pub(crate) struct Fleet {
    pub(crate) seen: Arc<Mutex<Vec<Seen>>>,
    _background: Background,
}

pub(crate) fn node(name: &str) -> Node {
    Node {
        name: name.to_owned(),
        habit: Habit::Answers,
        facts: json!({"os": {"family": "RedHat"}, "cpus": 4, "site": "lhr"}),
        classes: vec!["apache".to_owned(), "role::web".to_owned()],
    }
}

pub(crate) fn nodes(count: usize) -> Vec<Node> {
    (0..count)
        .map(|number| node(&format!("n{number:05}.example.net")))
        .collect()
}

impl Node {
    pub(crate) fn habit(mut self, habit: Habit) -> Self {
        self.habit = habit;
        self
    }

    pub(crate) fn fact(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.facts[name] = value.into();
        self
    }
}

impl Fleet {
    /// Starts nodes that trust `organisation`, on a broker without authorisation.
    pub(crate) fn start(url: &str, organisation: Organisation, nodes: Vec<Node>) -> Self {
        let url = url.to_owned();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        let background = Background::start(async move |ready| {
            let client = async_nats::connect(url).await.unwrap();
            Host::new(client, organisation, nodes, log)
                .serve(ready)
                .await;
        });
        Self {
            seen,
            _background: background,
        }
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

struct Host {
    client: Client,
    organisation: Organisation,
    nodes: BTreeMap<String, (Node, Login)>,
    other: Login,
    log: Arc<Mutex<Vec<Seen>>>,
}

impl Host {
    fn new(
        client: Client,
        organisation: Organisation,
        nodes: Vec<Node>,
        log: Arc<Mutex<Vec<Seen>>>,
    ) -> Self {
        let login = |name: &str| {
            organisation.server(ServerToken {
                identity: name.to_owned(),
                ..ServerToken::default()
            })
        };
        let other = login("other.example.net");
        let nodes = nodes
            .into_iter()
            .map(|node| (node.name.clone(), (node.clone(), login(&node.name))))
            .collect();
        Self {
            client,
            organisation,
            nodes,
            other,
            log,
        }
    }

    async fn serve(self, ready: std::sync::mpsc::SyncSender<()>) {
        let mut requests = self.client.subscribe("choria.broadcast.>").await.unwrap();
        let mut direct = self.client.subscribe("choria.node.>").await.unwrap();
        self.client.flush().await.unwrap();
        ready.send(()).unwrap();
        loop {
            let message = tokio::select! {
                Some(message) = requests.next() => message,
                Some(message) = direct.next() => message,
                else => return,
            };
            let Some((request, reply_to)) = self.read(&message.subject, &message.payload) else {
                continue;
            };
            let target = message.subject.split_once(".node.");
            let asked: Vec<&(Node, Login)> = match target {
                Some((_, name)) => self.nodes.get(name).into_iter().collect(),
                None => self.nodes.values().collect(),
            };
            for (node, login) in asked {
                if matches(node, &request) {
                    self.answer(node, login, &request, &reply_to).await;
                }
            }
        }
    }

    fn read(&self, subject: &str, payload: &[u8]) -> Option<(Request, String)> {
        let limits = Limits::default();
        // Requests to the signer are not signed, and not for nodes.
        if subject.ends_with(".aaa_signer") {
            return None;
        }
        let transport = Transport::decode(payload, &limits).ok()?;
        let secure = SecureRequest::decode(&transport.data, &limits).ok()?;
        let issuers = self.organisation.issuers();
        let request = verify_request(&secure, &issuers, mint::now(), &RequestPolicy::default())
            .unwrap()
            .request;
        let reply_to = transport.reply.unwrap_or_default();
        self.log.lock().unwrap().push(Seen {
            subject: subject.to_owned(),
            id: request.id.clone(),
            time_ns: request.time_ns,
            reply_to: reply_to.clone(),
            agent: request.agent.clone(),
            filter_agents: request.filter.clone().unwrap_or_default().agent,
        });
        Some((request, reply_to))
    }

    async fn answer(&self, node: &Node, login: &Login, request: &Request, reply_to: &str) {
        let is_discovery = request.agent == "discovery";
        let message = if is_discovery {
            DISCOVERY_PONG.to_vec()
        } else {
            act(node, request)
        };
        let reply = |sender: &str| Reply {
            message: message.clone(),
            request: request.id.clone(),
            sender: sender.to_owned(),
            agent: request.agent.clone(),
            time_ns: mint::now().as_nanos(),
        };
        let own = || sign_reply(reply(&node.name).encode(), &login.key, &login.token);
        let other =
            |name: &str| sign_reply(reply(name).encode(), &self.other.key, &self.other.token);
        let habit = if is_discovery {
            Habit::Answers
        } else {
            node.habit
        };
        let replies = match habit {
            Habit::Answers => vec![own()],
            Habit::Silent => vec![],
            Habit::Twice => vec![own(), own()],
            Habit::Unsigned => vec![SecureReply::new(reply(&node.name).encode())],
            Habit::Garbage => {
                vec![sign_reply(
                    reply(&node.name).encode(),
                    &self.other.key,
                    &login.token,
                )]
            }
            Habit::WrongHash => vec![SecureReply {
                hash: [7; 32],
                ..own()
            }],
            Habit::Impostor => vec![other(&node.name)],
            Habit::ImpostorFirst => vec![other(&node.name), own()],
            Habit::Intruder => vec![other("other.example.net"), own()],
            Habit::Late(millis) => {
                tokio::time::sleep(Duration::from_millis(millis)).await;
                vec![own()]
            }
        };
        for secure in replies {
            let mut transport = Transport::new(secure.encode());
            transport.sender = Some(node.name.clone());
            self.client
                .publish(reply_to.to_owned(), transport.encode().into())
                .await
                .unwrap();
        }
    }
}

fn matches(node: &Node, request: &Request) -> bool {
    let agents = ["rpcutil", "discovery", "choria_provision"].map(str::to_owned);
    let view = NodeView {
        identity: &node.name,
        agents: &agents,
        classes: &node.classes,
        facts: &node.facts,
    };
    request
        .filter
        .as_ref()
        .is_none_or(|filter| filter.matches(&view))
}

fn act(node: &Node, request: &Request) -> Vec<u8> {
    let body = RpcRequest::decode(&request.payload(), &Limits::default()).unwrap();
    let text = |name: &str| {
        body.data
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let reply = match body.action.as_str() {
        "ping" => RpcReply::ok("ping", json!({"pong": mint::now().secs})),
        "get_fact" => {
            let value = filter::lookup(&node.facts, &text("fact"));
            RpcReply::ok("get_fact", json!({"fact": text("fact"), "value": value}))
        }
        "collective_info" => RpcReply::ok(
            "collective_info",
            json!({"main_collective": "choria", "collectives": ["choria"]}),
        ),
        "inventory" => RpcReply::ok(
            "inventory",
            json!({"agents": ["rpcutil", "discovery", "choria_util"], "classes": node.classes,
                "facts": node.facts, "version": "0.1.0", "collectives": ["choria"],
                "main_collective": "choria", "machines": [], "data_plugins": [], "upgradable": false}),
        ),
        "daemon_stats" => RpcReply::ok(
            "daemon_stats",
            json!({"configfile": "/etc/overlay/server.toml", "pid": 42, "starttime": 1_767_225_600,
                "total": 10, "passed": 9, "filtered": 1, "ttlexpired": 0, "replies": 9, "events": 1,
                "version": "0.1.0", "agents": ["rpcutil"]}),
        ),
        "reprovision" if text("token") == "s3cret" => {
            RpcReply::ok("reprovision", json!({"message": "Restarting after 2s"}))
        }
        "reprovision" => RpcReply::failed(
            "reprovision",
            StatusCode::Aborted,
            "Incorrect provision token supplied",
        ),
        "get_config_item" => {
            RpcReply::failed("get_config_item", StatusCode::Aborted, "Unknown key")
        }
        other => RpcReply::failed(
            other,
            StatusCode::UnknownAction,
            format!("Unknown action {other} for agent {}", request.agent),
        ),
    };
    reply.encode()
}
