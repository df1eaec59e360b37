//! An operator with a token, as the command line is one.

use std::time::Duration;

use async_nats::{Client, Subscriber};
use futures_util::StreamExt as _;
use overlay_protocol::envelope::Limits;
use overlay_protocol::envelope::v2::{Reply, Request, SecureReply, Transport};
use overlay_protocol::id::Ksuid;
use overlay_protocol::replication::control::SERVICE;
use overlay_protocol::rpc::{RpcReply, RpcRequest, StatusCode};
use overlay_testkit::eventually;
use overlay_testkit::mint::{self, Login};
use overlay_tokens::claims::ClientPermissions;
use overlay_tokens::issue::ClientToken;
use overlay_tokens::request::{ReplyTrust, sign_request, verify_reply};
use serde_json::Value;

use super::cell::Cell;
use super::{LIMIT, PERIOD};

/// How long the first answer is waited for: what is asked is done, so it is not asked again.
const FIRST: Duration = Duration::from_secs(20);
/// How long one more replica is waited for.
const MORE: Duration = Duration::from_millis(800);

pub(super) struct Operator<'a> {
    cell: &'a Cell,
    client: Client,
    login: Login,
}

/// A request on its way.
pub(super) struct Sent {
    pub(super) payload: Vec<u8>,
    pub(super) replies: Subscriber,
}

impl<'a> Operator<'a> {
    pub(super) async fn new(cell: &'a Cell, agents: &[&str]) -> Self {
        let login = cell.organisation.client(ClientToken {
            agents: agents.iter().map(|&agent| agent.to_owned()).collect(),
            permissions: Some(ClientPermissions {
                fleet_management: true,
                ..ClientPermissions::default()
            }),
            ..ClientToken::new("up=rip")
        });
        Self {
            client: async_nats::connect(cell.home.url()).await.unwrap(),
            login,
            cell,
        }
    }

    pub(super) async fn send(&self, action: &str, data: Value) -> Sent {
        let now = mint::now();
        let mut random = [0; 16];
        getrandom::fill(&mut random).unwrap();
        let id = Ksuid::from_parts(u64::try_from(now.secs).unwrap(), random).unwrap();
        let reply = format!("choria.reply.operator.{id}");
        let replies = self.client.subscribe(reply.clone()).await.unwrap();
        let body = RpcRequest {
            agent: SERVICE.to_owned(),
            action: action.to_owned(),
            data: data.as_object().cloned().unwrap_or_default(),
        };
        let request = Request {
            message: body.encode(),
            id: id.to_string(),
            sender: "laptop.example.net".to_owned(),
            caller: "up=rip".to_owned(),
            collective: "choria".to_owned(),
            agent: SERVICE.to_owned(),
            ttl: Duration::from_secs(60),
            time_ns: now.as_nanos(),
            filter: None,
        };
        let signed = sign_request(request.encode(), &self.login.key, &self.login.token);
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

    pub(super) async fn publish(&self, payload: &[u8]) {
        let subject = format!("choria.broadcast.service.{SERVICE}");
        let sent = self.client.publish(subject, payload.to_vec().into());
        sent.await.unwrap();
        self.client.flush().await.unwrap();
    }

    /// All answers that come.
    pub(super) async fn ask(&self, action: &str, data: Value) -> Vec<RpcReply> {
        let mut sent = self.send(action, data).await;
        let mut answers = Vec::from_iter(self.first(&mut sent).await);
        while !answers.is_empty()
            && let Some(answer) = self.answer(&mut sent).await
        {
            answers.push(answer);
        }
        answers
    }

    /// The first answer, which is waited for.
    pub(super) async fn first(&self, sent: &mut Sent) -> Option<RpcReply> {
        self.within(FIRST, sent).await
    }

    /// An answer, if one comes soon.
    pub(super) async fn answer(&self, sent: &mut Sent) -> Option<RpcReply> {
        self.within(MORE, sent).await
    }

    async fn within(&self, limit: Duration, sent: &mut Sent) -> Option<RpcReply> {
        let next = tokio::time::timeout(limit, sent.replies.next());
        let message = next.await.ok()??;
        let limits = Limits::default();
        let transport = Transport::decode(&message.payload, &limits).unwrap();
        let secure = SecureReply::decode(&transport.data, &limits).unwrap();
        let issuers = self.cell.organisation.issuers();
        let verified = verify_reply(&secure, &issuers, mint::now(), &limits, None).unwrap();
        let ReplyTrust::Signed { identity } = &verified.trust else {
            panic!("{:?}", verified.trust);
        };
        assert_eq!(identity, "repl.example.net");
        let reply: Reply = verified.reply;
        Some(RpcReply::decode(&reply.message, &limits).unwrap())
    }

    /// The data of all answers, which must be good; asks again until `wanted` is content with them.
    pub(super) async fn until(
        &self,
        action: &str,
        data: &Value,
        wanted: impl Fn(&[Value]) -> bool,
    ) -> Vec<Value> {
        eventually(LIMIT, PERIOD, || async {
            let answers = self.ask(action, data.clone()).await;
            let bad = answers
                .iter()
                .find(|answer| answer.statuscode != StatusCode::Ok);
            if let Some(bad) = bad {
                return Err(bad.statusmsg.clone());
            }
            let found: Vec<_> = answers.into_iter().map(|answer| answer.data).collect();
            if wanted(&found) {
                Ok(found)
            } else {
                Err(format!("{found:?}"))
            }
        })
        .await
    }
}
