//! Operators' requests: the service agent `stream_replicator`, on the home broker.
//!
//! Every replica gets every request, and says nothing where it has no worker that is meant. All of them tell their status
//! and write pauses (the same ones, into the bucket that all follow); the rest is done by the replica that leads. Requests
//! are signed and verified as a node does, and the agent list of the caller's token decides.

mod actions;
mod letters;
mod status;

use std::sync::Arc;

use async_nats::{Client, Message};
use futures_util::StreamExt as _;
use overlay_protocol::id::AgentName;
use overlay_protocol::lifecycle::{Event, EventKind};
use overlay_protocol::replication::control::{Replica, SERVICE};
use overlay_protocol::rpc::{RpcReply, StatusCode};
use overlay_protocol::subject;
use overlay_runtime::{CancellationToken, Clock, Context, Secrets, Tasks, err_chain};
use overlay_tokens::UnixTime;
use overlay_tokens::own::Holder;
use overlay_tokens::request::{CallRefusal, RefusedCall, ServiceAgent, ServiceCall, TakenRequest};
use serde_json::Value;
use tokio::sync::Semaphore;

use super::connect::{Link, Links};
use super::supervise::Post;
use crate::config;
use crate::login;
use crate::metrics::{Metrics, Operation};

/// Requests that are worked on at a time; further ones are told to come again.
const AT_A_TIME: usize = 32;

/// Answers operators.
#[derive(Debug)]
pub(super) struct Control {
    config: config::Control,
    links: Links,
    agent: ServiceAgent,
    desk: Arc<Desk>,
    busy: Arc<Semaphore>,
    tasks: Tasks,
}

/// What answers are made from.
#[derive(Debug)]
struct Desk {
    replica: Replica,
    started: UnixTime,
    posts: Vec<Arc<Post>>,
    token: Option<(std::path::PathBuf, std::path::PathBuf)>,
    secrets: Secrets,
    metrics: Metrics,
    clock: Clock,
}

/// A request that is to be done.
#[derive(Debug)]
struct Asked<'a> {
    /// Caller id of the operator.
    caller: &'a str,
    call: &'a ServiceCall,
    now: UnixTime,
}

impl Control {
    /// Nothing without a description of the agent, which is built in.
    pub(super) fn new(
        config: &config::Control,
        cx: &Context,
        links: Links,
        (replicator, instance): (&str, &str),
        posts: Vec<Arc<Post>>,
        metrics: Metrics,
    ) -> Option<Self> {
        let desk = Desk {
            replica: Replica {
                replicator: replicator.to_owned(),
                instance: instance.to_owned(),
                identity: config.identity.to_string(),
            },
            started: UnixTime::from(cx.clock.now()),
            posts,
            token: config.token.clone(),
            secrets: cx.secrets.clone(),
            metrics,
            clock: cx.clock.clone(),
        };
        if desk.token.is_none() {
            tracing::warn!("no token is configured: answers to operators are not signed");
        }
        Some(Self {
            agent: ServiceAgent::new(SERVICE, config.issuers.clone())?,
            config: config.clone(),
            links,
            desk: Arc::new(desk),
            busy: Arc::new(Semaphore::new(AT_A_TIME)),
            tasks: cx.tasks.clone(),
        })
    }

    /// Answers until the shutdown; without the home broker it waits, and copying goes on.
    pub(super) async fn run(mut self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let opened = self.links.open("control", &self.config.endpoint, &shutdown);
        let Ok(link) = opened.await else {
            return Ok(());
        };
        let agent = AgentName::new(SERVICE)?;
        let subject = subject::broadcast_service(&self.config.collective, &agent);
        let mut requests = link.client.subscribe(subject.clone()).await?;
        tracing::info!(subject, "answering operators");
        self.tell(&link.client, true).await;
        loop {
            let message = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                message = requests.next() => message,
            };
            let Some(message) = message else {
                anyhow::bail!("the subscription to operators' requests ended");
            };
            if let Err(problem) = self.take(&link, message) {
                self.desk.metrics.operation("unknown", Operation::Dropped);
                tracing::warn!(problem, "a request of an operator is dropped");
            }
        }
        self.tell(&link.client, false).await;
        link.close().await;
        Ok(())
    }

    /// Verifies a request, and lets it be done and answered; an error says why nothing is answered.
    fn take(&mut self, link: &Link, message: Message) -> Result<(), String> {
        let now = UnixTime::from(self.desk.clock.now());
        let taken = self.agent.take(&message.subject, &message.payload, now);
        let taken = taken.map_err(|error| err_chain(&error))?;
        if !subject::is_reply(&taken.reply_to) {
            return Err("its reply subject is none".to_owned());
        }
        let desk = Arc::clone(&self.desk);
        let client = link.client.clone();
        match Arc::clone(&self.busy).try_acquire_owned() {
            Ok(permit) => self.tasks.spawn_job("request", async move {
                if let Some(body) = desk.answer(&taken, now).await {
                    desk.send(&client, &taken, &body).await;
                }
                drop(permit);
            }),
            Err(_) => self.tasks.spawn_job("request", async move {
                let words = "too many requests at a time";
                let body = RpcReply::failed("", StatusCode::Aborted, words);
                desk.send(&client, &taken, &body).await;
            }),
        }
        Ok(())
    }

    /// Tells of the start, and of the stop.
    async fn tell(&self, client: &Client, starts: bool) {
        let replica = &self.desk.replica;
        let kind = if starts {
            let version = env!("CARGO_PKG_VERSION").to_owned();
            EventKind::Startup { version }
        } else {
            EventKind::Shutdown
        };
        let type_ = kind.type_name().to_owned();
        let now = UnixTime::from(self.desk.clock.now());
        let event = Event::new(
            format!("{}-{type_}-{}", replica.instance, now.secs),
            replica.identity.clone(),
            SERVICE,
            now.secs,
            kind,
        );
        let Some(subject) = subject::lifecycle_event(&type_, SERVICE) else {
            return;
        };
        let payload = event.to_cloudevent_json().into();
        if let Err(error) = client.publish(subject, payload).await {
            tracing::debug!(%error, type_, "not told");
        }
    }
}

impl Desk {
    /// Does what is asked; nothing when another replica is meant.
    async fn answer(&self, taken: &TakenRequest, now: UnixTime) -> Option<RpcReply> {
        let call = match &taken.call {
            Ok(call) => call,
            Err(refused) => return Some(self.refuse(taken, refused)),
        };
        let action = call.action;
        let asked = Asked {
            caller: &taken.caller,
            call,
            now,
        };
        match self.act(&asked).await {
            Ok(Some(data)) => {
                tracing::info!(caller = taken.caller, action, request = taken.id, "done");
                self.metrics.operation(action, Operation::Done);
                Some(RpcReply::ok(action, Value::Object(data)))
            }
            Ok(None) => None,
            Err(failure) => {
                self.metrics.operation(action, Operation::Failed);
                tracing::warn!(
                    caller = taken.caller,
                    action,
                    request = taken.id,
                    reason = failure.message,
                    "request failed"
                );
                Some(RpcReply::failed(action, failure.status, failure.message))
            }
        }
    }

    fn refuse(&self, taken: &TakenRequest, refused: &RefusedCall) -> RpcReply {
        let (action, outcome) = match &refused.refusal {
            CallRefusal::Unreadable | CallRefusal::Unknown => ("unknown", Operation::Invalid),
            CallRefusal::Invalid { action } => (*action, Operation::Invalid),
            CallRefusal::Denied { action, reason } => {
                tracing::warn!(
                    caller = taken.caller,
                    action,
                    request = taken.id,
                    %reason,
                    "denied"
                );
                (*action, Operation::Denied)
            }
        };
        self.metrics.operation(action, outcome);
        refused.reply.clone()
    }

    async fn send(&self, client: &Client, taken: &TakenRequest, body: &RpcReply) {
        let holder = self.holder();
        let signer = holder.as_ref().map(|holder| (holder.key(), holder.text()));
        let sender = match &holder {
            Some(holder) => holder.name(),
            None => &self.replica.identity,
        };
        let now = UnixTime::from(self.clock.now());
        let answer = taken.answer(SERVICE, body, sender, signer, now);
        if let Err(error) = client.publish(taken.reply_to.clone(), answer.into()).await {
            tracing::warn!(%error, request = taken.id, "not answered");
        }
    }

    /// The token and key that answers are signed with, as their files are now.
    fn holder(&self) -> Option<Holder> {
        let (token, seed) = self.token.as_ref()?;
        match login::holder(token, seed, &self.secrets) {
            Ok(holder) => Some(holder),
            Err(error) => {
                let error = err_chain(&error);
                tracing::warn!(error, "the answer is not signed");
                None
            }
        }
    }
}
