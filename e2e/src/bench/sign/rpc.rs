//! A caller by RPC, with one connection that it keeps.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use async_nats::{Client, ConnectOptions, Subscriber};
use futures_util::StreamExt;
use overlay_protocol::SecretText;
use overlay_protocol::envelope::Limits;
use overlay_protocol::envelope::v2::{Reply, SecureReply, SecureRequest, Transport};
use overlay_protocol::id::md5_hex;
use overlay_protocol::rpc::{RpcReply, RpcRequest};
use overlay_protocol::signing::{ACTION, AGENT, SignReply, SignRequest};
use serde_json::Value;

use super::request::Person;
use crate::bench::load::Caller;

/// What stands in the place of the outer signature: requests to this agent are not signed.
const UNSIGNED: &[u8] = b"insecure";

/// Somebody who has requests signed over the broker.
#[derive(Debug)]
pub(crate) struct RpcCaller {
    nats: Client,
    replies: Subscriber,
    inbox: String,
    person: Person,
    caller: usize,
    number: usize,
}

impl RpcCaller {
    pub(crate) async fn connect(
        port: u16,
        ca: &Path,
        person: Person,
        caller: usize,
    ) -> Result<Self> {
        let key = Arc::new(person.key.clone());
        let token = person.token.clone();
        let nats = ConnectOptions::with_auth_callback(move |nonce| {
            let (key, token) = (Arc::clone(&key), token.clone());
            async move {
                let mut auth = async_nats::Auth::new();
                auth.token = Some(token);
                let nonce =
                    overlay_tokens::Nonce::offered(&nonce).map_err(async_nats::AuthError::new)?;
                auth.signature = Some(nonce.sign(&key).to_vec());
                Ok(auth)
            }
        })
        .add_root_certificates(ca.to_owned())
        .require_tls(true)
        .connection_timeout(std::time::Duration::from_secs(20))
        .connect(format!("nats://localhost:{port}"))
        .await
        .context("log in to the broker")?;
        let inbox = format!("choria.reply.{}.{caller}", md5_hex(&person.callerid));
        let replies = nats
            .subscribe(format!("{inbox}.*"))
            .await
            .context("subscribe")?;
        nats.flush().await.context("flush")?;
        Ok(Self {
            nats,
            replies,
            inbox,
            person,
            caller,
            number: 0,
        })
    }

    fn message(&self, reply: &str) -> Result<Vec<u8>> {
        let question = self.person.question(self.caller, self.number)?;
        let data = SignRequest {
            token: SecretText::from(self.person.token.as_str()),
            request: String::from_utf8(question.request).context("the request is text")?,
            signature: question.signature,
        };
        let inner = RpcRequest {
            agent: AGENT.to_owned(),
            action: ACTION.to_owned(),
            data: data.to_data(),
        };
        let request =
            self.person
                .envelope(AGENT, inner.encode(), None, self.caller, self.number)?;
        let secure = SecureRequest {
            request,
            signature: UNSIGNED.to_vec(),
            caller: self.person.token.clone(),
            signer: None,
        };
        let mut transport = Transport::new(secure.encode());
        transport.reply = Some(reply.to_owned());
        transport.sender = Some("client.example.net".to_owned());
        Ok(transport.encode())
    }

    fn check(&self, message: &[u8]) -> Result<()> {
        let limits = Limits::default();
        let transport = Transport::decode(message, &limits).context("read the transport")?;
        let secure =
            SecureReply::decode(&transport.data, &limits).context("read the secure reply")?;
        let reply = Reply::decode(&secure.reply, &limits).context("read the reply")?;
        let reply = RpcReply::decode(&reply.message, &limits).context("read the RPC reply")?;
        let Value::Object(data) = reply.data else {
            anyhow::bail!("the reply has no data");
        };
        let signed = SignReply::from_data(data).context("read the signature")?;
        ensure!(
            !signed.secure_request.is_empty(),
            "refused: {}",
            reply.statusmsg
        );
        self.person
            .check(signed.secure_request.as_bytes(), self.number)
    }
}

impl Caller for RpcCaller {
    async fn once(&mut self) -> Result<()> {
        self.number += 1;
        let reply = format!("{}.{}", self.inbox, self.number);
        let message = self.message(&reply)?;
        self.nats
            .publish("choria.broadcast.service.aaa_signer", message.into())
            .await
            .context("publish")?;
        loop {
            let message = self.replies.next().await.context("the connection ended")?;
            // Another one answers a request that was given up.
            if message.subject.as_str() == reply {
                return self.check(&message.payload);
            }
        }
    }
}
