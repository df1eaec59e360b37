//! A client: makes requests, has them signed over RPC, and reads the answers.

use std::time::Duration;

use async_nats::Client;
use futures_util::StreamExt as _;
use overlay_protocol::envelope::Limits;
use overlay_protocol::envelope::v2::{
    INSECURE_SIGNATURE, Reply, Request, SecureReply, SecureRequest, Transport,
};
use overlay_protocol::filter::Filter;
use overlay_protocol::id::{Ksuid, md5_hex};
use overlay_protocol::rpc::{RpcReply, RpcRequest};
use overlay_protocol::signing::{ACTION, AGENT, SignRequest};
use overlay_testkit::mint::{self, Login};
use serde_json::Map;

pub(crate) const SUBJECT: &str = "choria.broadcast.service.aaa_signer";
const PATIENCE: Duration = Duration::from_secs(20);

/// A new id of a request.
pub(crate) fn new_id() -> String {
    let mut random = [0_u8; 16];
    getrandom::fill(&mut random).unwrap();
    let now = u64::try_from(mint::now().secs).unwrap();
    Ksuid::from_parts(now, random).unwrap().to_string()
}

/// A request of `caller` for `agent.action`, as a client would make it now.
pub(crate) fn request(caller: &str, agent: &str, action: &str) -> Request {
    let call = RpcRequest {
        agent: agent.to_owned(),
        action: action.to_owned(),
        data: Map::new(),
    };
    Request {
        message: call.encode(),
        id: new_id(),
        sender: "client.example.net".to_owned(),
        caller: caller.to_owned(),
        collective: "choria".to_owned(),
        agent: agent.to_owned(),
        ttl: Duration::from_secs(60),
        time_ns: mint::now().as_nanos(),
        filter: Some(Filter::default()),
    }
}

/// The inputs of the action `sign`.
pub(crate) fn inputs(login: &Login, request: &[u8]) -> SignRequest {
    SignRequest {
        token: login.token.as_str().into(),
        request: String::from_utf8(request.to_vec()).unwrap(),
        signature: hex::encode(login.key.sign(request)),
    }
}

/// A message to the agent, not sent yet; its parts can be changed.
pub(crate) struct Message {
    pub(crate) outer: Request,
    pub(crate) signature: Vec<u8>,
    pub(crate) caller: String,
    pub(crate) reply: Option<String>,
}

impl Message {
    /// A message with this body, whose answer goes to the caller's own replies.
    pub(crate) fn new(login: &Login, callerid: &str, body: Vec<u8>) -> Self {
        let mut outer = request(callerid, AGENT, ACTION);
        outer.message = body;
        Self {
            reply: Some(format!("choria.reply.{}.{}", md5_hex(callerid), outer.id)),
            outer,
            signature: INSECURE_SIGNATURE.to_vec(),
            caller: login.token.clone(),
        }
    }

    /// A message that asks to sign.
    pub(crate) fn sign(login: &Login, callerid: &str, inputs: &SignRequest) -> Self {
        let call = RpcRequest {
            agent: AGENT.to_owned(),
            action: ACTION.to_owned(),
            data: inputs.to_data(),
        };
        Self::new(login, callerid, call.encode())
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let secure = SecureRequest {
            request: self.outer.encode(),
            signature: self.signature.clone(),
            caller: self.caller.clone(),
            signer: None,
        };
        let mut transport = Transport::new(secure.encode());
        transport.reply.clone_from(&self.reply);
        transport.sender = Some(self.outer.sender.clone());
        transport.encode()
    }
}

/// An answer of the agent.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) body: RpcReply,
    pub(crate) reply: Reply,
    pub(crate) secure: SecureReply,
}

impl Answer {
    pub(crate) fn read(payload: &[u8]) -> Self {
        let limits = Limits::default();
        let transport = Transport::decode(payload, &limits).unwrap();
        let secure = SecureReply::decode(&transport.data, &limits).unwrap();
        let reply = Reply::decode(&secure.reply, &limits).unwrap();
        let body = RpcReply::decode(&reply.message, &limits).unwrap();
        Self {
            body,
            reply,
            secure,
        }
    }

    /// The output of the action: always a text.
    pub(crate) fn secure_request(&self) -> &str {
        self.body.data["secure_request"]
            .as_str()
            .unwrap_or_else(|| panic!("no text in {:?}", self.body))
    }

    /// What was signed.
    pub(crate) fn signed(&self) -> SecureRequest {
        SecureRequest::decode(self.secure_request().as_bytes(), &Limits::default()).unwrap()
    }

    pub(crate) fn is_denied(&self) -> bool {
        let code = serde_json::to_value(self.body.statuscode).unwrap();
        code == 1 && self.body.statusmsg == "Request Denied" && self.secure_request().is_empty()
    }
}

/// A client with its connection and the subscription to its replies.
pub(crate) struct Caller<'a> {
    pub(crate) client: Client,
    pub(crate) login: &'a Login,
    pub(crate) callerid: String,
    replies: async_nats::Subscriber,
}

impl<'a> Caller<'a> {
    pub(crate) async fn new(client: Client, login: &'a Login, callerid: &str) -> Self {
        let replies = client
            .subscribe(format!("choria.reply.{}.>", md5_hex(callerid)))
            .await
            .unwrap();
        client.flush().await.unwrap();
        Self {
            client,
            login,
            callerid: callerid.to_owned(),
            replies,
        }
    }

    /// Sends a message and waits for its answer.
    pub(crate) async fn ask(&mut self, message: &Message) -> Answer {
        self.send(message.encode()).await;
        self.answer().await
    }

    pub(crate) async fn send(&self, payload: Vec<u8>) {
        self.client.publish(SUBJECT, payload.into()).await.unwrap();
        self.client.flush().await.unwrap();
    }

    /// Sends so many requests to be signed, without waiting for an answer.
    pub(crate) async fn send_many(&self, count: usize) {
        for _ in 0..count {
            let asked = request(&self.callerid, "rpcutil", "ping").encode();
            let inputs = inputs(self.login, &asked);
            let message = Message::sign(self.login, &self.callerid, &inputs);
            self.client
                .publish(SUBJECT, message.encode().into())
                .await
                .unwrap();
        }
        self.client.flush().await.unwrap();
    }

    /// The next answer.
    pub(crate) async fn answer(&mut self) -> Answer {
        let message = tokio::time::timeout(PATIENCE, self.replies.next()).await;
        Answer::read(&message.expect("an answer in time").unwrap().payload)
    }

    /// Has a request signed.
    pub(crate) async fn sign(&mut self, request: &Request) -> Answer {
        let inputs = inputs(self.login, &request.encode());
        let message = Message::sign(self.login, &self.callerid.clone(), &inputs);
        self.ask(&message).await
    }
}
