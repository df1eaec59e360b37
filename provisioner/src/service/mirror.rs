//! What stands in the buckets of nodes and of operators' words, followed as it changes.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use async_nats::jetstream::{Context, Message};
use futures_util::StreamExt as _;
use overlay_protocol::envelope::Limits;
use overlay_protocol::id::Identity;
use overlay_protocol::provisioning::{NodeRecord, NodeState, control, record_key};
use overlay_protocol::subject::stream::CONTROL_PAUSED;
use overlay_runtime::{Backoff, CancellationToken, err_chain};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::store::{Store, is_removal};

/// Changes that wait for whoever works on nodes.
const CHANGES: usize = 1024;
/// An instance that said nothing for so long is none any more.
const INSTANCE_AGE: Duration = Duration::from_secs(20);
/// After so long it is not even remembered.
const FORGOTTEN: Duration = Duration::from_secs(600);
const INSTANCE_PREFIX: &str = "instance.";

/// What is known; all of it is on the broker as well.
#[derive(Debug)]
pub(super) struct Mirror {
    nodes: Mutex<BTreeMap<String, Stored>>,
    instances: Mutex<Instances>,
    /// This instance.
    own: String,
    pause: watch::Sender<Option<control::Pause>>,
    /// Which of the buckets were read whole.
    loaded: watch::Sender<[bool; 2]>,
    changes: mpsc::Sender<Change>,
}

/// The instances of which something was heard.
#[derive(Debug, Default)]
struct Instances {
    seen: BTreeMap<String, Seen>,
    /// Whether one let go of its nodes since this was asked last.
    is_left: bool,
}

/// An instance, with the time at which its word came.
#[derive(Debug)]
struct Seen {
    status: control::InstanceStatus,
    at: Instant,
    /// Whether its silence was told.
    is_missed: bool,
}

/// A record as it stands in its bucket.
#[derive(Debug)]
struct Stored {
    revision: u64,
    state: NodeState,
    json: Box<[u8]>,
}

impl Stored {
    fn new(record: &NodeRecord, json: &[u8], revision: u64) -> Self {
        Self {
            revision,
            state: record.state,
            json: json.into(),
        }
    }
}

/// A quarantine by an operator.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) identity: Identity,
    /// Who made it.
    pub(super) operator: String,
    pub(super) instance: Option<String>,
}

impl Mirror {
    pub(super) fn new(own: &str) -> (Self, mpsc::Receiver<Change>) {
        let (changes, receiver) = mpsc::channel(CHANGES);
        let mirror = Self {
            nodes: Mutex::default(),
            instances: Mutex::default(),
            own: own.to_owned(),
            pause: watch::Sender::new(None),
            loaded: watch::Sender::new([false; 2]),
            changes,
        };
        (mirror, receiver)
    }

    /// What is known of a node.
    pub(super) fn record(&self, identity: &Identity) -> Option<NodeRecord> {
        self.stored(identity).map(|(record, _revision)| record)
    }

    /// The same, with the revision at which it stands.
    pub(super) fn stored(&self, identity: &Identity) -> Option<(NodeRecord, u64)> {
        let (json, revision) = {
            let nodes = self.nodes();
            let stored = nodes.get(&record_key(identity))?;
            (stored.json.clone(), stored.revision)
        };
        Some((decode(&json)?, revision))
    }

    /// Notes a record that this instance wrote, before it comes back from the broker.
    pub(super) fn note(&self, record: &NodeRecord, json: &[u8]) {
        let mut nodes = self.nodes();
        let key = record_key(&record.identity);
        let revision = nodes.get(&key).map_or(0, |stored| stored.revision);
        nodes.insert(key, Stored::new(record, json, revision));
    }

    /// Nodes in order of identity's key, and how many there are in all.
    pub(super) fn page(
        &self,
        state: Option<NodeState>,
        offset: usize,
        limit: usize,
    ) -> (Vec<NodeRecord>, u64) {
        let nodes = self.nodes();
        let fits = |stored: &&Stored| state.is_none_or(|state| stored.state == state);
        let total = nodes.values().filter(fits).count();
        let page: Vec<Box<[u8]>> = nodes
            .values()
            .filter(fits)
            .skip(offset)
            .take(limit)
            .map(|stored| stored.json.clone())
            .collect();
        drop(nodes);
        let records = page.iter().filter_map(|json| decode(json)).collect();
        (records, u64::try_from(total).unwrap_or(u64::MAX))
    }

    /// How many nodes are in which state.
    pub(super) fn counts(&self) -> BTreeMap<NodeState, u64> {
        let mut counts = BTreeMap::new();
        for stored in self.nodes().values() {
            *counts.entry(stored.state).or_default() += 1;
        }
        counts
    }

    /// Instances that are alive.
    pub(super) fn instances(&self) -> Vec<control::InstanceStatus> {
        let instances = self.seen();
        let is_alive = |seen: &&Seen| seen.at.elapsed() <= INSTANCE_AGE;
        let alive = instances.seen.values().filter(is_alive);
        alive.map(|seen| seen.status.clone()).collect()
    }

    /// Whether another instance has said nothing for `lease`, although this one hears what is said.
    ///
    /// One that was never heard of is gone only when its claim is as old: it may have begun a moment ago.
    pub(super) fn is_gone(&self, instance: &str, lease: Duration, claimed: Duration) -> bool {
        let instances = self.seen();
        let silent = instances
            .seen
            .get(instance)
            .map_or(claimed, |seen| seen.at.elapsed())
            > lease;
        self.hears(&instances, lease) && silent && instance != self.own
    }

    /// Whether another instance let go of its nodes since this was asked last: it began to stop, it ended, or nothing was
    /// heard of it for `lease`.
    ///
    /// What it had read of the announcements and not begun, nobody else reads again.
    pub(super) fn take_leaving(&self, lease: Duration) -> bool {
        let mut instances = self.seen();
        if self.hears(&instances, lease) {
            let mut is_missed = false;
            for (_, seen) in instances.seen.iter_mut().filter(|(id, _)| **id != self.own) {
                if seen.at.elapsed() > lease {
                    is_missed |= !std::mem::replace(&mut seen.is_missed, true);
                }
            }
            instances.is_left |= is_missed;
        }
        std::mem::take(&mut instances.is_left)
    }

    /// Whether the own word came back a moment ago: those of others would have come as well.
    fn hears(&self, instances: &Instances, lease: Duration) -> bool {
        let own = instances.seen.get(&self.own);
        own.is_some_and(|own| own.at.elapsed() < lease / 2)
    }

    /// What operators said about pausing.
    pub(super) fn pause(&self) -> watch::Receiver<Option<control::Pause>> {
        self.pause.subscribe()
    }

    /// Waits until both buckets were read whole.
    pub(super) async fn loaded(&self) {
        let mut loaded = self.loaded.subscribe();
        if loaded
            .wait_for(|loaded| *loaded == [true; 2])
            .await
            .is_err()
        {
            std::future::pending::<()>().await;
        }
    }

    /// Follows one bucket until the shutdown.
    pub(super) async fn follow(
        &self,
        store: Store,
        jetstream: Context,
        shutdown: CancellationToken,
    ) -> anyhow::Result<()> {
        let mut attempt = 0;
        loop {
            let problem = tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                problem = self.watch(store, &jetstream, &mut attempt) => problem,
            };
            tracing::warn!(
                bucket = store.label(),
                problem,
                "the bucket is followed anew"
            );
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                () = tokio::time::sleep(Backoff::CONNECT.jittered(attempt)) => {}
            }
            attempt += 1;
        }
    }

    /// Reads what stands there and follows until something breaks.
    async fn watch(&self, store: Store, jetstream: &Context, attempt: &mut usize) -> String {
        let watched = async {
            let stream = jetstream.get_stream(store.stream()).await?;
            let config = pull::OrderedConfig {
                deliver_policy: DeliverPolicy::LastPerSubject,
                filter_subject: store.subject(">"),
                ..pull::OrderedConfig::default()
            };
            let consumer = stream.create_consumer(config).await?;
            let pending = consumer.cached_info().num_pending;
            Ok::<_, async_nats::Error>((consumer.messages().await?, pending))
        };
        let (mut messages, pending) = match watched.await {
            Ok(watched) => watched,
            Err(error) => return err_chain(error.as_ref()),
        };
        *attempt = 0;
        if pending == 0 {
            self.set_loaded(store);
        }
        while let Some(message) = messages.next().await {
            let message = match message {
                Ok(message) => message,
                Err(error) => return err_chain(&error),
            };
            let Ok(info) = message.info() else {
                continue;
            };
            let (revision, left) = (info.stream_sequence, info.pending);
            self.take(store, &message, revision);
            if left == 0 {
                self.set_loaded(store);
            }
        }
        "no more messages".to_owned()
    }

    fn take(&self, store: Store, message: &Message, revision: u64) {
        let Some(key) = store.key(&message.subject) else {
            return;
        };
        let payload = (!is_removal(message.headers.as_ref())).then_some(&message.payload);
        match store {
            Store::Nodes => self.take_node(key, payload.map(AsRef::as_ref), revision),
            Store::Control => self.take_word(key, payload.map(AsRef::as_ref)),
            Store::Events | Store::Audit | Store::Claims | Store::Tokens => {}
        }
    }

    /// Takes a record that stands in the bucket at this revision, before the bucket's follower has it.
    pub(super) fn take_written(&self, identity: &Identity, json: &[u8], revision: u64) {
        self.take_node(&record_key(identity), Some(json), revision);
    }

    fn take_node(&self, key: &str, payload: Option<&[u8]>, revision: u64) {
        let Some(json) = payload else {
            self.nodes().remove(key);
            return;
        };
        let Some(record) = decode(json) else {
            tracing::warn!(key, "a record of a node cannot be read");
            return;
        };
        {
            let mut nodes = self.nodes();
            if nodes
                .get(key)
                .is_some_and(|stored| stored.revision >= revision)
            {
                return;
            }
            nodes.insert(key.to_owned(), Stored::new(&record, json, revision));
        }
        // Only what stops the work on a node concerns whoever works on nodes, and not what stood there before the work
        // began. Nothing waits here: nodes that are not worked on are looked up before they are.
        let is_news = self.is_loaded(Store::Nodes) && record.state == NodeState::Quarantined;
        if let (true, Some(operator)) = (is_news, record.operator) {
            let change = Change {
                identity: record.identity,
                operator,
                instance: record.instance,
            };
            if let Err(error) = self.changes.try_send(change) {
                tracing::warn!(%error, "a quarantine does not stop what was begun");
            }
        }
    }

    fn take_word(&self, key: &str, payload: Option<&[u8]>) {
        let limits = Limits::default();
        if key == CONTROL_PAUSED {
            // A pause that cannot be read is one.
            let pause = payload.map(|json| control::decode(json, &limits).unwrap_or_default());
            self.pause.send_replace(pause);
        } else if let Some(instance) = key.strip_prefix(INSTANCE_PREFIX) {
            let status = payload.and_then(|json| control::decode(json, &limits).ok());
            self.take_instance(instance, status);
        }
    }

    fn take_instance(&self, instance: &str, status: Option<control::InstanceStatus>) {
        let mut instances = self.seen();
        let is_draining =
            |status: &control::InstanceStatus| status.mode == control::InstanceMode::Draining;
        let lets_go = match status {
            Some(status) => {
                let drains = is_draining(&status);
                let (at, is_missed) = (Instant::now(), false);
                let seen = Seen {
                    status,
                    at,
                    is_missed,
                };
                let before = instances.seen.insert(instance.to_owned(), seen);
                instances
                    .seen
                    .retain(|_, seen| seen.at.elapsed() <= FORGOTTEN);
                drains && !before.is_some_and(|before| is_draining(&before.status))
            }
            None => instances.seen.remove(instance).is_some(),
        };
        instances.is_left |= lets_go && instance != self.own;
    }

    fn is_loaded(&self, store: Store) -> bool {
        let which = usize::from(store == Store::Control);
        self.loaded.borrow().get(which).copied().unwrap_or_default()
    }

    fn set_loaded(&self, store: Store) {
        self.loaded.send_if_modified(|loaded| {
            let which = usize::from(store == Store::Control);
            let Some(flag) = loaded.get_mut(which) else {
                return false;
            };
            !std::mem::replace(flag, true)
        });
    }

    fn seen(&self) -> MutexGuard<'_, Instances> {
        self.instances
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn nodes(&self) -> MutexGuard<'_, BTreeMap<String, Stored>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn decode(json: &[u8]) -> Option<NodeRecord> {
    NodeRecord::decode(json, &Limits::default()).ok()
}
