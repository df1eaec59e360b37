//! An operator with a token, as the command line is one.

use std::time::Duration;

use async_nats::Client;
use overlay_protocol::envelope::Limits;
use overlay_protocol::envelope::v2::{Reply, Request, SecureReply, SecureRequest, Transport};
use overlay_protocol::id::Ksuid;
use overlay_protocol::rpc::{RpcReply, RpcRequest, StatusCode};
use overlay_testkit::mint::{self, Login};
use overlay_tokens::claims::ClientPermissions;
use overlay_tokens::issue::ClientToken;
use overlay_tokens::request::sign_request;
use serde_json::{Map, Value};

use crate::cell::{Cell, SOON};

/// Somebody who asks the provisioner.
pub(crate) struct Operator {
    client: Client,
    login: Login,
    callerid: String,
}

/// A request on its way.
pub(crate) struct Sent {
    pub(crate) payload: Vec<u8>,
    replies: async_nats::Subscriber,
}

impl Operator {
    pub(crate) async fn new(cell: &Cell, agents: &[&str]) -> Self {
        let callerid = "up=rip".to_owned();
        let login = cell.organisation.client(ClientToken {
            agents: agents.iter().map(|&agent| agent.to_owned()).collect(),
            permissions: Some(ClientPermissions {
                fleet_management: true,
                ..ClientPermissions::default()
            }),
            ..ClientToken::new(&callerid)
        });
        Self {
            client: cell.fleet().await,
            login,
            callerid,
        }
    }

    /// Makes a request; `change` may spoil it.
    pub(crate) async fn send(
        &self,
        action: &str,
        data: Value,
        change: impl FnOnce(&mut Request, &mut SecureRequest),
    ) -> Sent {
        let now = mint::now();
        let mut random = [0; 16];
        getrandom::fill(&mut random).unwrap();
        let id = Ksuid::from_parts(u64::try_from(now.secs).unwrap(), random).unwrap();
        let reply = format!("choria.reply.operator.{id}");
        let replies = self.client.subscribe(reply.clone()).await.unwrap();
        let body = RpcRequest {
            agent: "provisioner".to_owned(),
            action: action.to_owned(),
            data: data.as_object().cloned().unwrap_or_default(),
        };
        let mut request = Request {
            message: body.encode(),
            id: id.to_string(),
            sender: "laptop.example.net".to_owned(),
            caller: self.callerid.clone(),
            collective: "choria".to_owned(),
            agent: "provisioner".to_owned(),
            ttl: Duration::from_secs(60),
            time_ns: now.as_nanos(),
            filter: None,
        };
        let mut secure = sign_request(Vec::new(), &self.login.key, &self.login.token);
        change(&mut request, &mut secure);
        let token = secure.caller.clone();
        let mut signed = sign_request(request.encode(), &self.login.key, &token);
        if !secure.request.is_empty() {
            signed = secure;
        }
        let transport = Transport {
            data: signed.encode(),
            reply: Some(reply),
            sender: Some("laptop.example.net".to_owned()),
            ..Transport::default()
        };
        let payload = transport.encode();
        self.publish(&payload).await;
        Sent { payload, replies }
    }

    pub(crate) async fn publish(&self, payload: &[u8]) {
        self.client
            .publish(
                "choria.broadcast.service.provisioner",
                payload.to_vec().into(),
            )
            .await
            .unwrap();
        self.client.flush().await.unwrap();
    }

    pub(crate) async fn ask(&self, action: &str, data: Value) -> RpcReply {
        self.send(action, data, |_, _| ())
            .await
            .reply(SOON)
            .await
            .expect("no answer")
    }

    /// Asks for what must be done.
    pub(crate) async fn done(&self, action: &str, data: Value) -> Map<String, Value> {
        let reply = self.ask(action, data).await;
        assert_eq!(reply.statuscode, StatusCode::Ok, "{}", reply.statusmsg);
        reply.data.as_object().unwrap().clone()
    }
}

impl Sent {
    /// The next reply, which is signed by the provisioner.
    pub(crate) async fn reply(&mut self, limit: Duration) -> Option<RpcReply> {
        use futures_util::StreamExt as _;
        let message = tokio::time::timeout(limit, self.replies.next())
            .await
            .ok()??;
        let limits = Limits::default();
        let transport = Transport::decode(&message.payload, &limits).unwrap();
        let secure = SecureReply::decode(&transport.data, &limits).unwrap();
        assert!(secure.signature.is_some() && secure.sender.is_some());
        let reply = Reply::decode(&secure.reply, &limits).unwrap();
        assert_eq!(reply.sender, "provisioner=test");
        Some(RpcReply::decode(&reply.message, &limits).unwrap())
    }
}
