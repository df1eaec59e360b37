//! Operators' requests: the service agent `provisioner`.
//!
//! Any instance answers, whichever the broker's queue group picks: what operators want is written into buckets, which all
//! instances follow. Requests are signed and verified as a node does, and the agent list of the caller's token decides.

mod actions;
mod judge;
mod seen;

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, Message, Subscriber, jetstream};
use futures_util::StreamExt as _;
use overlay_protocol::envelope::Limits;
use overlay_protocol::envelope::v2::{Reply, SecureRequest, Transport};
use overlay_protocol::provisioning::SERVICE;
use overlay_protocol::rpc::{RpcReply, RpcRequest, StatusCode, ddl};
use overlay_protocol::subject;
use overlay_runtime::{CancellationToken, Clock, Context, err_chain};
use overlay_tokens::UnixTime;
use overlay_tokens::request::{RequestPolicy, RequestVerifier, VerifiedRequest, sign_reply};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use super::driver::Order;
use super::login::Credentials;
use super::mirror::Mirror;
use crate::config::Config;
use crate::metrics::{Dropped, Metrics};
use crate::policy::Policy;
use judge::judge;
use seen::{Seen, Sight};

/// Tokens of callers that are remembered as verified.
const TOKENS: usize = 256;
/// Requests that are remembered, so that none is done twice.
const REQUESTS: usize = 10_000;
/// The longest life of a request that is believed: what is remembered is bounded by it.
const MAX_TTL: Duration = Duration::from_secs(600);
/// What callers are told who may not; why is in the log.
const NOT_AUTHORISED: &str = "You are not authorized to call this agent or action";

/// Answers operators.
#[derive(Debug)]
pub(super) struct Control {
    client: Client,
    jetstream: jetstream::Context,
    credentials: Arc<Credentials>,
    verifier: RequestVerifier,
    mirror: Arc<Mirror>,
    policy: Arc<Policy>,
    metrics: Metrics,
    clock: Clock,
    seen: Seen,
    orders: mpsc::Sender<Order>,
    limits: Limits,
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
    digest: seen::Digest,
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
    ) -> Self {
        Self {
            client,
            jetstream,
            credentials,
            verifier: RequestVerifier::new(
                config.issuers.clone(),
                RequestPolicy::default(),
                TOKENS,
            ),
            mirror,
            policy,
            metrics,
            clock: cx.clock.clone(),
            seen: Seen::new(REQUESTS),
            orders,
            limits: Limits::default(),
        }
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
        let failed = |error: &dyn std::error::Error| err_chain(error);
        let now = UnixTime::from(self.clock.now());
        let transport =
            Transport::decode(&message.payload, &self.limits).map_err(|error| failed(&error))?;
        let secure =
            SecureRequest::decode(&transport.data, &self.limits).map_err(|error| failed(&error))?;
        let verified = self
            .verifier
            .verify(&secure, now)
            .map_err(|error| failed(&error))?;
        let digest = self.check(&verified, &secure, message, now)?;
        let reply = transport.reply.ok_or("it names no reply subject")?;
        let target = subject::fleet_reply(&reply).ok_or("its reply subject is none")?;
        let answer = self.answer(&verified, digest, now).await;
        let holder = self.credentials.holder();
        let reply = Reply {
            message: answer.encode(),
            request: verified.request.id.clone(),
            sender: holder.name().to_owned(),
            agent: SERVICE.to_owned(),
            time_ns: nanos(now),
        };
        let secure = sign_reply(reply.encode(), holder.key(), holder.text());
        let transport = Transport {
            data: secure.encode(),
            sender: Some(holder.name().to_owned()),
            ..Transport::default()
        };
        self.client
            .publish(target, transport.encode().into())
            .await
            .map_err(|error| failed(&error))
    }

    /// What the signature does not say: that it is for this agent, in time, and not a copy.
    fn check(
        &mut self,
        verified: &VerifiedRequest,
        secure: &SecureRequest,
        message: &Message,
        now: UnixTime,
    ) -> Result<seen::Digest, String> {
        let request = &verified.request;
        if request.agent != SERVICE {
            return Err(format!("it is for agent `{}`", request.agent));
        }
        let collective = message.subject.split('.').next().unwrap_or_default();
        if request.collective != collective {
            return Err(format!("it is for collective `{}`", request.collective));
        }
        if request.ttl > MAX_TTL {
            return Err(format!("its life of {:?} is too long", request.ttl));
        }
        if !request.is_live(nanos(now)) {
            return Err("it is not of this time".to_owned());
        }
        let mut digest = [0_u8; 16];
        for (to, from) in digest.iter_mut().zip(Sha256::digest(&secure.request)) {
            *to = from;
        }
        let ends = i64::try_from(request.ttl.as_nanos())
            .unwrap_or(i64::MAX)
            .saturating_add(request.time_ns);
        match self.seen.note(digest, ends, nanos(now)) {
            Sight::First => Ok(digest),
            Sight::Again => Err("it came before".to_owned()),
        }
    }

    async fn answer(
        &self,
        verified: &VerifiedRequest,
        digest: seen::Digest,
        now: UnixTime,
    ) -> RpcReply {
        let request = &verified.request;
        let body = match RpcRequest::decode(&request.payload(), &self.limits) {
            Ok(body) => body,
            Err(error) => {
                let message = format!("Could not process request: {}", err_chain(&error));
                return RpcReply::failed("", StatusCode::InvalidData, message);
            }
        };
        let action = ddl::builtin(SERVICE).and_then(|ddl| ddl.action(&body.action));
        let Some(action) = action else {
            let message = format!("Unknown action {} for agent {SERVICE}", body.action);
            return RpcReply::failed(body.action, StatusCode::UnknownAction, message);
        };
        let rego = verified.caller.opa_policy.as_ref();
        let has_rego = rego.is_some_and(|policy| !policy.is_empty());
        if let Err(denial) = judge(&verified.caller.agents, has_rego, &body) {
            tracing::warn!(
                caller = request.caller,
                action = body.action,
                request = request.id,
                reason = %denial,
                "denied"
            );
            self.metrics.operation(&action.action, "denied").inc();
            return RpcReply::failed(body.action, StatusCode::Aborted, NOT_AUTHORISED);
        }
        if let Err(error) = action.validate(&body.data) {
            self.metrics.operation(&action.action, "invalid").inc();
            return RpcReply::failed(body.action, StatusCode::InvalidData, err_chain(&error));
        }
        tracing::info!(
            caller = request.caller,
            action = body.action,
            request = request.id,
            "running"
        );
        let asked = Asked {
            caller: &request.caller,
            request: &request.id,
            action: &action.action,
            data: body.data,
            now,
            digest,
        };
        match self.act(asked).await {
            Ok(data) => {
                self.metrics.operation(&action.action, "ok").inc();
                RpcReply::ok(body.action, Value::Object(data))
            }
            Err(failure) => {
                self.metrics.operation(&action.action, "failed").inc();
                tracing::warn!(
                    action = body.action,
                    reason = failure.message,
                    "request failed"
                );
                RpcReply::failed(body.action, failure.status, failure.message)
            }
        }
    }
}

fn nanos(now: UnixTime) -> i64 {
    now.secs
        .saturating_mul(1_000_000_000)
        .saturating_add(i64::from(now.nanos))
}
