//! An emulated signer: the service `aaa_signer` on a broker, good or bad.
#![allow(
    clippy::unwrap_used,
    dead_code,
    reason = "helper of tests; not every binary uses all of it"
)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::Client;
use futures_util::StreamExt;
use overlay_protocol::envelope::Limits;
use overlay_protocol::envelope::v2::{Reply, Request, SecureReply, SecureRequest, Transport};
use overlay_protocol::rpc::{RpcReply, RpcRequest, StatusCode};
use overlay_protocol::signing::{RPC_DENIED, SignRequest};
use overlay_testkit::Background;
use overlay_testkit::mint::{self, Login, Organisation};
use overlay_tokens::claims::{ClientPermissions, ServerPermissions};
use overlay_tokens::issue::{ClientToken, ServerToken};
use overlay_tokens::request::sign_reply;
use serde_json::json;

/// How a signer behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Habit {
    Signs,
    Denies,
    /// Denies without a signature of its own on the reply.
    DeniesUnsigned,
    /// Somebody who is no service host denies first, then it signs.
    Contradicted,
    Silent,
    /// Signs another message, another life, another time, …
    Changes(&'static str),
    /// Its token does not let it sign for others.
    NoDelegator,
    /// Names no signer.
    Unnamed,
    /// Signs with another key than its token's.
    OtherKey,
    /// Answers without a request in it.
    Empty,
    /// The reply of a service that could not read the question, as Choria's answers.
    Unread,
}

/// A question as the signer saw it.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    pub(crate) subject: String,
    pub(crate) outer: SecureRequest,
    pub(crate) outer_request: Request,
    pub(crate) asked: SignRequest,
    pub(crate) request: Request,
}

/// Signs requests as a delegator of an organisation.
#[derive(Debug)]
pub(crate) struct Signatory {
    delegator: Login,
    other: Login,
    server: Login,
    habit: Habit,
}

pub(crate) struct SignerHost {
    orders: Arc<Mutex<Vec<Order>>>,
    _background: Background,
}

impl Signatory {
    pub(crate) fn new(organisation: &Organisation, habit: Habit) -> Self {
        let permissions = ClientPermissions {
            authentication_delegator: habit != Habit::NoDelegator,
            ..ClientPermissions::default()
        };
        let delegator = organisation.client(ClientToken {
            permissions: Some(permissions),
            ..ClientToken::new("signer")
        });
        let server = organisation.server(ServerToken {
            identity: "aaa.example.net".to_owned(),
            permissions: Some(ServerPermissions {
                service_host: true,
                ..ServerPermissions::default()
            }),
            ..ServerToken::default()
        });
        let other = organisation.server(ServerToken {
            identity: "other.example.net".to_owned(),
            ..ServerToken::default()
        });
        Self {
            delegator,
            other,
            server,
            habit,
        }
    }

    /// The signed request, as far as the habit goes.
    pub(crate) fn sign(&self, request: &[u8]) -> Vec<u8> {
        let mut request = Request::decode(request, &Limits::default()).unwrap();
        request.caller = request.caller.replace(['@', '.'], "_");
        if let Habit::Changes(member) = self.habit {
            match member {
                "message" => request.message = b"other".to_vec(),
                "id" => request.id = "other".to_owned(),
                "sender" => request.sender = "other".to_owned(),
                "collective" => request.collective = "other".to_owned(),
                "agent" => request.agent = "other".to_owned(),
                "ttl" => request.ttl += Duration::from_secs(3600),
                "time" => request.time_ns += 1,
                "filter" => request.filter = None,
                other => panic!("{other}"),
            }
        }
        let bytes = request.encode();
        let key = if self.habit == Habit::OtherKey {
            &self.other.key
        } else {
            &self.delegator.key
        };
        SecureRequest {
            signature: key.sign(&bytes).to_vec(),
            request: bytes,
            caller: self.delegator.token.clone(),
            signer: (self.habit != Habit::Unnamed).then(|| self.delegator.token.clone()),
        }
        .encode()
    }

    fn replies(&self, order: &Order) -> Vec<SecureReply> {
        let denied = RpcReply {
            data: json!({"secure_request": ""}),
            ..RpcReply::failed("sign", StatusCode::Aborted, RPC_DENIED)
        };
        let signed = |text: String| RpcReply::ok("sign", json!({"secure_request": text}));
        let reply = |body: &RpcReply| {
            Reply {
                message: body.encode(),
                request: order.outer_request.id.clone(),
                sender: "aaa.example.net".to_owned(),
                agent: "aaa_signer".to_owned(),
                time_ns: mint::now().as_nanos(),
            }
            .encode()
        };
        let own = |body: &RpcReply| sign_reply(reply(body), &self.server.key, &self.server.token);
        let text = || String::from_utf8(self.sign(order.asked.request.as_bytes())).unwrap();
        match self.habit {
            Habit::Silent => vec![],
            Habit::Denies => vec![own(&denied)],
            Habit::DeniesUnsigned => vec![SecureReply::new(reply(&denied))],
            Habit::Contradicted => vec![
                sign_reply(reply(&denied), &self.other.key, &self.other.token),
                own(&signed(text())),
            ],
            Habit::Empty => vec![own(&signed(String::new()))],
            Habit::Unread => vec![own(&RpcReply {
                data: json!({}),
                ..RpcReply::failed("sign", StatusCode::InvalidData, "cannot be read")
            })],
            Habit::Signs
            | Habit::Changes(_)
            | Habit::NoDelegator
            | Habit::Unnamed
            | Habit::OtherKey => vec![own(&signed(text()))],
        }
    }
}

impl SignerHost {
    /// Hosts the service on a broker without authorisation.
    pub(crate) fn start(url: &str, signatory: Signatory) -> Self {
        let url = url.to_owned();
        let orders = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&orders);
        let background = Background::start(async move |ready| {
            let client = async_nats::connect(url).await.unwrap();
            serve(client, signatory, log, ready).await;
        });
        Self {
            orders,
            _background: background,
        }
    }

    pub(crate) fn orders(&self) -> Vec<Order> {
        self.orders.lock().unwrap().clone()
    }
}

async fn serve(
    client: Client,
    signatory: Signatory,
    log: Arc<Mutex<Vec<Order>>>,
    ready: std::sync::mpsc::SyncSender<()>,
) {
    let subject = "choria.broadcast.service.aaa_signer";
    let group = "aaa_signer".to_owned();
    let mut questions = client.queue_subscribe(subject, group).await.unwrap();
    client.flush().await.unwrap();
    ready.send(()).unwrap();
    while let Some(message) = questions.next().await {
        let limits = Limits::default();
        let transport = Transport::decode(&message.payload, &limits).unwrap();
        let outer = SecureRequest::decode(&transport.data, &limits).unwrap();
        let outer_request = Request::decode(&outer.request, &limits).unwrap();
        let body = RpcRequest::decode(&outer_request.payload(), &limits).unwrap();
        assert_eq!(
            (body.agent.as_str(), body.action.as_str()),
            ("aaa_signer", "sign")
        );
        let asked = SignRequest::from_data(body.data).unwrap();
        let order = Order {
            subject: message.subject.to_string(),
            outer,
            outer_request,
            request: Request::decode(asked.request.as_bytes(), &limits).unwrap(),
            asked,
        };
        let replies = signatory.replies(&order);
        log.lock().unwrap().push(order);
        for reply in replies {
            let mut answer = Transport::new(reply.encode());
            answer.sender = Some("aaa.example.net".to_owned());
            let to = transport.reply.clone().unwrap();
            client.publish(to, answer.encode().into()).await.unwrap();
        }
    }
}
