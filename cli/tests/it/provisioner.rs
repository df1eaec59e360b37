//! An emulated provisioner: what its service agent answers is each test's choice.
#![allow(clippy::unwrap_used, reason = "helper of tests")]

use std::sync::{Arc, Mutex};

use futures_util::StreamExt;
use overlay_protocol::envelope::Limits;
use overlay_protocol::envelope::v2::{Reply, SecureReply, SecureRequest, Transport};
use overlay_protocol::provisioning::SERVICE;
use overlay_protocol::rpc::{RpcReply, RpcRequest};
use overlay_testkit::Background;
use overlay_testkit::mint::{self, Login};
use overlay_tokens::Issuers;
use overlay_tokens::request::{RequestPolicy, sign_reply, verify_request};
use serde_json::{Map, Value};

use crate::desk::Desk;

/// Actions and their inputs.
pub(crate) type Seen = Vec<(String, Map<String, Value>)>;

/// Answers an action, called with its inputs.
pub(crate) type Answers = Box<dyn FnMut(&str, &Map<String, Value>) -> RpcReply + Send>;

pub(crate) struct Provisioner {
    seen: Arc<Mutex<Seen>>,
    _background: Background,
}

/// How its replies are proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proof {
    /// By its own token.
    Own,
    None,
    /// By its own token, in another's name.
    OtherName,
}

impl Provisioner {
    pub(crate) fn start(
        desk: &Desk,
        proof: Proof,
        answers: impl FnMut(&str, &Map<String, Value>) -> RpcReply + Send + 'static,
    ) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let mut host = Host {
            login: Login {
                token: desk.provisioner.token.clone(),
                key: desk.provisioner.key.clone(),
            },
            issuers: desk.issuers.clone(),
            proof,
            answers: Box::new(answers),
            seen: Arc::clone(&seen),
        };
        let url = desk.broker.url();
        let background = Background::start(async move |ready| {
            let client = async_nats::connect(url).await.unwrap();
            let subject = format!("choria.broadcast.service.{SERVICE}");
            let mut requests = client.subscribe(subject).await.unwrap();
            client.flush().await.unwrap();
            ready.send(()).unwrap();
            while let Some(message) = requests.next().await {
                let (to, reply) = host.answer(&message.payload);
                client.publish(to, reply.into()).await.unwrap();
            }
        });
        Self {
            seen,
            _background: background,
        }
    }

    /// Actions and inputs, in order.
    pub(crate) fn seen(&self) -> Seen {
        self.seen.lock().unwrap().clone()
    }
}

struct Host {
    login: Login,
    issuers: Issuers,
    proof: Proof,
    answers: Answers,
    seen: Arc<Mutex<Seen>>,
}

impl Host {
    fn answer(&mut self, payload: &[u8]) -> (String, Vec<u8>) {
        let limits = Limits::default();
        let transport = Transport::decode(payload, &limits).unwrap();
        let secure = SecureRequest::decode(&transport.data, &limits).unwrap();
        let policy = RequestPolicy::default();
        let request = verify_request(&secure, &self.issuers, mint::now(), &policy)
            .unwrap()
            .request;
        let body = RpcRequest::decode(&request.payload(), &limits).unwrap();
        let said = (self.answers)(&body.action, &body.data);
        self.seen.lock().unwrap().push((body.action, body.data));
        let sender = match self.proof {
            Proof::Own | Proof::None => "provisioner=test",
            Proof::OtherName => "provisioner=other",
        };
        let reply = Reply {
            message: said.encode(),
            request: request.id,
            sender: sender.to_owned(),
            agent: SERVICE.to_owned(),
            time_ns: mint::now().as_nanos(),
        };
        let secure = match self.proof {
            Proof::None => SecureReply::new(reply.encode()),
            Proof::Own | Proof::OtherName => {
                sign_reply(reply.encode(), &self.login.key, &self.login.token)
            }
        };
        let mut answer = Transport::new(secure.encode());
        answer.sender = Some(sender.to_owned());
        (transport.reply.unwrap(), answer.encode())
    }
}
