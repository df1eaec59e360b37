//! What operators can ask for.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, ReplayPolicy, pull};
use async_nats::jetstream::message::PublishMessage;
use bytes::Bytes;
use futures_util::StreamExt as _;
use overlay_protocol::envelope::Limits;
use overlay_protocol::id::Identity;
use overlay_protocol::provisioning::audit::{Details, Kind, Record};
use overlay_protocol::provisioning::control::{
    DoneReply, NodeReply, NodeRequest, NodesReply, NodesRequest, Pause, PauseRequest, StatusReply,
    name,
};
use overlay_protocol::provisioning::{NodeRecord, NodeState};
use overlay_protocol::rpc::{self, StatusCode};
use overlay_protocol::subject;
use overlay_protocol::subject::stream::{CONTROL_PAUSED, token_used};
use overlay_runtime::err_chain;
use overlay_tokens::request::MAX_REQUEST_LIFE;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::super::driver::Order;
use super::{Asked, Control};
use crate::record;
use crate::store::{ClaimState, ClaimValue, Store, at_revision, once, removal};

/// How long the broker may take for one step.
const LIMIT: Duration = Duration::from_secs(4);
/// How long a freed claim stays, as short as the broker has it; it can be taken at once.
const FREED: Duration = Duration::from_secs(1);
/// Audit records that are shown of a node.
const AUDIT: usize = 10;
/// Bytes of a page of nodes: a reply must fit into a message, and is written in base64 twice.
const PAGE_BYTES: usize = 400 * 1024;

/// Why nothing was done.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) status: StatusCode,
    pub(super) message: String,
}

type Data = Map<String, Value>;

impl Failure {
    fn aborted(message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::Aborted,
            message: message.into(),
        }
    }

    fn input(error: &dyn std::error::Error) -> Self {
        Self {
            status: StatusCode::InvalidData,
            message: err_chain(error),
        }
    }

    fn store(error: &dyn std::error::Error) -> Self {
        Self::aborted(format!("the broker did not take it: {}", err_chain(error)))
    }
}

impl Control {
    pub(super) async fn act(&self, asked: Asked<'_>) -> Result<Data, Failure> {
        let changes = !matches!(asked.action, name::STATUS | name::NODES | name::NODE);
        if changes {
            self.take_once(&asked).await?;
        }
        match asked.action {
            name::STATUS => Ok(rpc::to_data(&self.status())),
            name::PAUSE => self.pause(asked).await,
            name::RESUME => self.resume(asked).await,
            name::NODES => self.nodes(asked),
            name::NODE => self.node(asked).await,
            name::RETRY => self.retry(asked).await,
            name::QUARANTINE => self.quarantine(asked).await,
            name::RELEASE => self.release(asked).await,
            other => Err(Failure {
                status: StatusCode::UnknownAction,
                message: format!("Unknown action {other}"),
            }),
        }
    }

    /// A request changes something once, whichever instances get it, and how often.
    async fn take_once(&self, asked: &Asked<'_>) -> Result<(), Failure> {
        let key = format!("request.{}", hex::encode(asked.digest));
        let headers = at_revision(0, Some(MAX_REQUEST_LIFE * 2));
        let payload = Bytes::copy_from_slice(asked.caller.as_bytes());
        self.store(Store::Control.subject(&key), payload, Some(headers))
            .await
    }

    fn status(&self) -> StatusReply {
        let pause = self.mirror.pause().borrow().clone();
        StatusReply {
            paused: pause.is_some(),
            pause,
            instances: self.mirror.instances(),
            nodes: self.mirror.counts(),
        }
    }

    async fn pause(&self, asked: Asked<'_>) -> Result<Data, Failure> {
        let request: PauseRequest = read(asked.data.clone())?;
        let pause = Pause {
            by: asked.caller.to_owned(),
            reason: request.reason.clone(),
            since: asked.now.secs,
        };
        self.audit(&asked, Kind::Paused, None, &request.reason)
            .await?;
        self.put(Store::Control, CONTROL_PAUSED, &pause, None)
            .await?;
        Ok(done(
            "No further nodes are taken up; those that were begun are finished",
        ))
    }

    async fn resume(&self, asked: Asked<'_>) -> Result<Data, Failure> {
        if self.mirror.pause().borrow().is_none() {
            return Ok(done("Provisioning is not paused"));
        }
        self.audit(&asked, Kind::Resumed, None, "").await?;
        self.remove(Store::Control, CONTROL_PAUSED).await?;
        Ok(done("Nodes are taken up again"))
    }

    fn nodes(&self, asked: Asked<'_>) -> Result<Data, Failure> {
        let request: NodesRequest = read(asked.data)?;
        let (mut nodes, total) = self
            .mirror
            .page(request.state, request.offset, request.page());
        let mut bytes = 0;
        let fit = nodes
            .iter()
            .take_while(|record| {
                bytes += record.encode().len();
                bytes <= PAGE_BYTES
            })
            .count();
        nodes.truncate(fit.max(1));
        Ok(rpc::to_data(&NodesReply { nodes, total }))
    }

    async fn node(&self, asked: Asked<'_>) -> Result<Data, Failure> {
        let request: NodeRequest = read(asked.data)?;
        let record = self.mirror.record(&request.identity);
        let audit = tokio::time::timeout(LIMIT, self.last_records(&request.identity))
            .await
            .unwrap_or_else(|_late| Err("no answer in time".into()))
            .map_err(|error| Failure::store(error.as_ref()))?;
        if record.is_none() && audit.is_empty() {
            return Err(Failure::aborted(format!(
                "Nothing is known of {}",
                request.identity
            )));
        }
        Ok(rpc::to_data(&NodeReply { record, audit }))
    }

    /// The last record of each kind, newest first.
    async fn last_records(&self, identity: &Identity) -> Result<Vec<Record>, async_nats::Error> {
        let stream = self
            .jetstream
            .get_stream_no_info(Store::Audit.stream())
            .await?;
        let consumer = stream
            .create_consumer(pull::Config {
                deliver_policy: DeliverPolicy::LastPerSubject,
                ack_policy: AckPolicy::None,
                replay_policy: ReplayPolicy::Instant,
                filter_subject: subject::audit_of(identity),
                inactive_threshold: Duration::from_secs(10),
                memory_storage: true,
                ..pull::Config::default()
            })
            .await?;
        let mut records = Vec::new();
        let mut messages = consumer.fetch().max_messages(64).messages().await?;
        while let Some(message) = messages.next().await {
            let message = message?;
            match Record::decode(&message.payload, &Limits::default()) {
                Ok(record) => records.push(record),
                Err(error) => {
                    tracing::warn!(error = err_chain(&error), "an audit record cannot be read")
                }
            }
        }
        records.sort_by_key(|record| std::cmp::Reverse(record.time));
        records.truncate(AUDIT);
        Ok(records)
    }

    async fn retry(&self, asked: Asked<'_>) -> Result<Data, Failure> {
        let request: NodeRequest = read(asked.data.clone())?;
        let identity = &request.identity;
        if let Some((mut record, revision)) = self.mirror.stored(identity) {
            if record.state == NodeState::Quarantined {
                return Err(Failure::aborted(format!(
                    "{identity} is quarantined: release it first"
                )));
            }
            record::retry(&mut record, asked.caller, asked.now.secs);
            self.audit(&asked, Kind::Retried, Some(identity), &request.reason)
                .await?;
            self.put_record(&record, Some(revision)).await?;
        } else {
            self.audit(&asked, Kind::Retried, Some(identity), &request.reason)
                .await?;
        }
        self.order(identity);
        Ok(done(&format!("{identity} is tried at once, if it waits")))
    }

    async fn quarantine(&self, asked: Asked<'_>) -> Result<Data, Failure> {
        let request: NodeRequest = read(asked.data.clone())?;
        let identity = &request.identity;
        let stored = self.mirror.stored(identity);
        let revision = stored.as_ref().map(|(_, revision)| *revision);
        let mut record = stored.map_or_else(
            || NodeRecord::new(identity.clone(), asked.now.secs),
            |(record, _)| record,
        );
        record::quarantine(&mut record, asked.caller, &request.reason, asked.now.secs);
        // Whoever works on it stops, this instance too.
        record.instance = None;
        record.confirmed = false;
        self.audit(&asked, Kind::Quarantined, Some(identity), &request.reason)
            .await?;
        self.put_record(&record, revision).await?;
        Ok(done(&format!(
            "{identity} is left alone until it is released"
        )))
    }

    async fn release(&self, asked: Asked<'_>) -> Result<Data, Failure> {
        let request: NodeRequest = read(asked.data.clone())?;
        let identity = &request.identity;
        let Some((mut record, revision)) = self.mirror.stored(identity) else {
            return Err(Failure::aborted(format!("Nothing is known of {identity}")));
        };
        // Recorded before it is done: nothing is given away unseen.
        self.audit(&asked, Kind::Released, Some(identity), &request.reason)
            .await?;
        let token = record.token.as_ref().filter(|token| token.one_time);
        let key = token.and_then(|token| {
            let id = token.id.as_deref().unwrap_or(&token.sha256);
            token_used(id)
        });
        if let Some(key) = key {
            self.remove(Store::Tokens, &key).await?;
        }
        self.free_claim(identity).await?;
        record::release(&mut record, asked.caller, asked.now.secs);
        record.instance = None;
        let waits = !matches!(record.state, NodeState::Member | NodeState::Restarting);
        self.put_record(&record, Some(revision)).await?;
        if waits {
            self.order(identity);
        }
        Ok(done(&format!("{identity} is free to be enrolled")))
    }

    /// Ends the time in which a node that was enrolled is not believed; nobody works on it then.
    async fn free_claim(&self, identity: &Identity) -> Result<(), Failure> {
        let subject = Store::Claims.of_node(identity);
        let read = async {
            let stream = self
                .jetstream
                .get_stream_no_info(Store::Claims.stream())
                .await
                .ok()?;
            let message = stream.direct_get_last_for_subject(&subject).await.ok()?;
            let value: ClaimValue = serde_json::from_slice(&message.payload).ok()?;
            (value.state == ClaimState::Done).then_some((value, message.sequence))
        };
        let Ok(Some((value, revision))) = tokio::time::timeout(LIMIT, read).await else {
            return Ok(());
        };
        let value = ClaimValue {
            state: ClaimState::Free,
            ..value
        };
        let headers = at_revision(revision, Some(FREED));
        let payload = overlay_protocol::json::encode(&value).into();
        self.store(subject, payload, Some(headers)).await
    }

    /// Lets this instance take the node up; the others find it by their scans.
    fn order(&self, identity: &Identity) {
        if self
            .orders
            .try_send(Order::Retry(identity.clone()))
            .is_err()
        {
            tracing::info!(%identity, "taken up with the next scan");
        }
    }

    async fn put_record(&self, record: &NodeRecord, revision: Option<u64>) -> Result<(), Failure> {
        let headers = revision
            .filter(|revision| *revision > 0)
            .map(|revision| at_revision(revision, None));
        let subject = Store::Nodes.of_node(&record.identity);
        let json = record.encode();
        let revision = self.write(subject, json.clone().into(), headers).await?;
        // What follows from it begins at once, which may be before the bucket's follower has it.
        self.mirror.take_written(&record.identity, &json, revision);
        Ok(())
    }

    async fn put<T: Serialize>(
        &self,
        store: Store,
        key: &str,
        value: &T,
        headers: Option<async_nats::HeaderMap>,
    ) -> Result<(), Failure> {
        let payload = overlay_protocol::json::encode(value).into();
        self.store(store.subject(key), payload, headers).await
    }

    async fn remove(&self, store: Store, key: &str) -> Result<(), Failure> {
        self.store(store.subject(key), Bytes::new(), Some(removal()))
            .await
    }

    async fn audit(
        &self,
        asked: &Asked<'_>,
        kind: Kind,
        identity: Option<&Identity>,
        reason: &str,
    ) -> Result<(), Failure> {
        let details = Details {
            provisioner: self.policy.provisioner.clone(),
            instance: self.policy.instance.clone(),
            site: self.policy.site.clone().unwrap_or_default(),
            operator: Some(asked.caller.to_owned()),
            request: Some(asked.request.to_owned()),
            message: Some(reason.to_owned()).filter(|reason| !reason.is_empty()),
            ..Details::default()
        };
        let id = format!("{}-{kind}", asked.request);
        let record = Record::new(id.clone(), kind, identity.cloned(), asked.now.secs, details);
        let payload = record.to_cloudevent_json().into();
        self.store(record.subject(), payload, Some(once(&id))).await
    }

    /// Writes, and waits until the broker has it.
    async fn store(
        &self,
        subject: String,
        payload: Bytes,
        headers: Option<async_nats::HeaderMap>,
    ) -> Result<(), Failure> {
        self.write(subject, payload, headers).await.map(drop)
    }

    /// Writes, and yields the revision.
    async fn write(
        &self,
        subject: String,
        payload: Bytes,
        headers: Option<async_nats::HeaderMap>,
    ) -> Result<u64, Failure> {
        let mut message = PublishMessage::build().payload(payload);
        if let Some(headers) = headers {
            message = message.headers(headers);
        }
        let written = async {
            let acknowledged = self.jetstream.send_publish(subject, message).await?;
            acknowledged.await
        };
        match tokio::time::timeout(LIMIT, written).await {
            Ok(Ok(taken)) => Ok(taken.sequence),
            Ok(Err(error)) => Err(Failure::store(&error)),
            Err(_) => Err(Failure::aborted("the broker did not take it in time")),
        }
    }
}

fn read<T: DeserializeOwned>(data: Data) -> Result<T, Failure> {
    rpc::from_data(data).map_err(|error| Failure::input(&error))
}

fn done(message: &str) -> Data {
    rpc::to_data(&DoneReply {
        message: message.to_owned(),
    })
}
