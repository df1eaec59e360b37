//! An emulated provisioner: what its service agent answers is each test's choice.
#![allow(clippy::unwrap_used, reason = "helper of tests")]

use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use futures_util::StreamExt;
use overlay_protocol::envelope::Limits;
use overlay_protocol::envelope::v2::{Reply, SecureReply, SecureRequest, Transport};
use overlay_protocol::provisioning::SERVICE;
use overlay_protocol::rpc::{RpcReply, RpcRequest};
use overlay_testkit::mint::{self, Login};
use overlay_tokens::Issuers;
use overlay_tokens::request::{RequestPolicy, sign_reply, verify_request};
use serde_json::{Map, Value};
use tokio::sync::oneshot;

use crate::desk::Desk;

/// Actions and their inputs.
pub(crate) type Seen = Vec<(String, Map<String, Value>)>;

/// Answers an action, called with its inputs.
pub(crate) type Answers = Box<dyn FnMut(&str, &Map<String, Value>) -> RpcReply + Send>;

pub(crate) struct Provisioner {
    seen: Arc<Mutex<Seen>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
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
        let (stop, stopped) = oneshot::channel();
        let (ready, is_ready) = std::sync::mpsc::sync_channel(1);
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
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let client = async_nats::connect(url).await.unwrap();
                let subject = format!("choria.broadcast.service.{SERVICE}");
                let mut requests = client.subscribe(subject).await.unwrap();
                client.flush().await.unwrap();
                ready.send(()).unwrap();
                let serve = async {
                    while let Some(message) = requests.next().await {
                        let (to, reply) = host.answer(&message.payload);
                        client.publish(to, reply.into()).await.unwrap();
                    }
                };
                tokio::select! {
                    () = serve => {}
                    _ = stopped => {}
                }
            });
        });
        is_ready.recv_timeout(Duration::from_secs(60)).unwrap();
        Self {
            seen,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// Actions and inputs, in order.
    pub(crate) fn seen(&self) -> Seen {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Provisioner {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
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
