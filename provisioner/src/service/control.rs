//! Operators' requests: the service agent `provisioner`.
//!
//! Any instance answers, whichever the broker's queue group picks: what operators want is written into buckets, which all
//! instances follow. Requests are signed and verified as a node does, and the agent list of the caller's token decides.

mod actions;

use std::sync::Arc;

use anyhow::Context as _;
use async_nats::{Client, Message, Subscriber, jetstream};
use futures_util::StreamExt as _;
use overlay_protocol::provisioning::SERVICE;
use overlay_protocol::rpc::RpcReply;
use overlay_protocol::subject;
use overlay_runtime::{CancellationToken, Clock, Context, err_chain};
use overlay_tokens::UnixTime;
use overlay_tokens::request::{
    CallRefusal, Digest, RefusedCall, ServiceAgent, ServiceCall, TakenRequest,
};
use serde_json::{Map, Value};
use tokio::sync::mpsc;

use super::driver::Order;
use super::login::Credentials;
use super::mirror::Mirror;
use crate::config::Config;
use crate::metrics::{Dropped, Metrics};
use crate::policy::Policy;

/// Answers operators.
#[derive(Debug)]
pub(super) struct Control {
    client: Client,
    jetstream: jetstream::Context,
    credentials: Arc<Credentials>,
    agent: ServiceAgent,
    mirror: Arc<Mirror>,
    policy: Arc<Policy>,
    metrics: Metrics,
    clock: Clock,
    orders: mpsc::Sender<Order>,
}

/// A request that is to be done.
#[derive(Debug)]
struct Asked<'a> {
    /// Caller id of the operator.
    caller: &'a str,
    /// Id of the request.
    request: &'a str,
    action: &'a str,
    data: Map<String, Value>,
    now: UnixTime,
    /// Of the bytes that were signed.
    digest: Digest,
}

impl Control {
    pub(super) fn new(
        config: &Config,
        cx: &Context,
        (client, jetstream): (Client, jetstream::Context),
        credentials: Arc<Credentials>,
        (mirror, policy): (Arc<Mirror>, Arc<Policy>),
        metrics: Metrics,
        orders: mpsc::Sender<Order>,
    ) -> anyhow::Result<Self> {
        let agent = ServiceAgent::new(SERVICE, config.issuers.clone())
            .context("the service agent has no description")?;
        Ok(Self {
            client,
            jetstream,
            credentials,
            agent,
            mirror,
            policy,
            metrics,
            clock: cx.clock.clone(),
            orders,
        })
    }

    /// Answers until the shutdown, one request after the other.
    pub(super) async fn run(
        mut self,
        mut requests: Subscriber,
        shutdown: CancellationToken,
    ) -> anyhow::Result<()> {
        loop {
            let message = tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                message = requests.next() => message,
            };
            let Some(message) = message else {
                anyhow::bail!("the subscription to operators' requests ended");
            };
            if let Err(problem) = self.take(&message).await {
                self.metrics.dropped(Dropped::Request).inc();
                tracing::warn!(subject = %message.subject, problem, "a request of an operator is dropped");
            }
        }
    }

    /// Verifies a request, does it and answers; an error says why nothing is answered.
    async fn take(&mut self, message: &Message) -> Result<(), String> {
        let now = UnixTime::from(self.clock.now());
        let taken = self.agent.take(&message.subject, &message.payload, now);
        let taken = taken.map_err(|error| err_chain(&error))?;
        let target = subject::fleet_reply(&taken.reply_to).ok_or("its reply subject is none")?;
        let body = match &taken.call {
            Ok(call) => self.run_action(&taken, call, now).await,
            Err(refused) => self.refuse(&taken, refused),
        };
        let holder = self.credentials.holder();
        let signer = Some((holder.key(), holder.text()));
        let answer = taken.answer(SERVICE, &body, holder.name(), signer, now);
        self.client
            .publish(target, answer.into())
            .await
            .map_err(|error| err_chain(&error))
    }

    fn refuse(&self, taken: &TakenRequest, refused: &RefusedCall) -> RpcReply {
        match &refused.refusal {
            CallRefusal::Unreadable | CallRefusal::Unknown => {}
            CallRefusal::Denied { action, reason } => {
                tracing::warn!(
                    caller = taken.caller,
                    action,
                    request = taken.id,
                    %reason,
                    "denied"
                );
                self.metrics.operation(action, "denied").inc();
            }
            CallRefusal::Invalid { action } => {
                self.metrics.operation(action, "invalid").inc();
            }
        }
        refused.reply.clone()
    }

    async fn run_action(
        &self,
        taken: &TakenRequest,
        call: &ServiceCall,
        now: UnixTime,
    ) -> RpcReply {
        let action = call.action;
        tracing::info!(caller = taken.caller, action, request = taken.id, "running");
        let asked = Asked {
            caller: &taken.caller,
            request: &taken.id,
            action,
            data: call.inputs.clone(),
            now,
            digest: taken.digest,
        };
        match self.act(asked).await {
            Ok(data) => {
                self.metrics.operation(action, "ok").inc();
                RpcReply::ok(action, Value::Object(data))
            }
            Err(failure) => {
                self.metrics.operation(action, "failed").inc();
                tracing::warn!(action, reason = failure.message, "request failed");
                RpcReply::failed(action, failure.status, failure.message)
            }
        }
    }
}
