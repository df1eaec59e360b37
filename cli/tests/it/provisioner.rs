//! An emulated service, such as the provisioner: what its agent answers is each test's choice.
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

/// Answers an action, called with its inputs; as many hosts of the service answer as there are replies.
pub(crate) type Answers = Box<dyn FnMut(&str, &Map<String, Value>) -> Vec<RpcReply> + Send>;

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
        mut answers: impl FnMut(&str, &Map<String, Value>) -> RpcReply + Send + 'static,
    ) -> Self {
        let sender = match proof {
            Proof::Own | Proof::None => "provisioner=test",
            Proof::OtherName => "provisioner=other",
        };
        let login = (proof != Proof::None).then_some(&desk.provisioner);
        Self::start_service(desk, SERVICE, sender, login, move |action, data| {
            vec![answers(action, data)]
        })
    }

    /// Starts another service, whose replies are signed with a login if there is one.
    pub(crate) fn start_service(
        desk: &Desk,
        service: &'static str,
        sender: &'static str,
        login: Option<&Login>,
        answers: impl FnMut(&str, &Map<String, Value>) -> Vec<RpcReply> + Send + 'static,
    ) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let mut host = Host {
            login: login.map(|login| Login {
                token: login.token.clone(),
                key: login.key.clone(),
            }),
            issuers: desk.issuers.clone(),
            service,
            sender,
            answers: Box::new(answers),
            seen: Arc::clone(&seen),
        };
        let url = desk.broker.url();
        let background = Background::start(async move |ready| {
            let client = async_nats::connect(url).await.unwrap();
            let subject = format!("choria.broadcast.service.{service}");
            let mut requests = client.subscribe(subject).await.unwrap();
            client.flush().await.unwrap();
            ready.send(()).unwrap();
            while let Some(message) = requests.next().await {
                let (to, replies) = host.answer(&message.payload);
                for reply in replies {
                    client.publish(to.clone(), reply.into()).await.unwrap();
                }
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
    login: Option<Login>,
    issuers: Issuers,
    service: &'static str,
    sender: &'static str,
    answers: Answers,
    seen: Arc<Mutex<Seen>>,
}

impl Host {
    fn answer(&mut self, payload: &[u8]) -> (String, Vec<Vec<u8>>) {
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
        let replies = said
            .iter()
            .map(|said| self.reply(request.id.clone(), said))
            .collect();
        (transport.reply.unwrap(), replies)
    }

    fn reply(&self, request: String, said: &RpcReply) -> Vec<u8> {
        let reply = Reply {
            message: said.encode(),
            request,
            sender: self.sender.to_owned(),
            agent: self.service.to_owned(),
            time_ns: mint::now().as_nanos(),
        };
        let secure = match &self.login {
            None => SecureReply::new(reply.encode()),
            Some(login) => sign_reply(reply.encode(), &login.key, &login.token),
        };
        let mut answer = Transport::new(secure.encode());
        answer.sender = Some(self.sender.to_owned());
        answer.encode()
    }
}
