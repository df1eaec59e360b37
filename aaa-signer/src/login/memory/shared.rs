//! The bucket that the instances share.

use std::time::Duration;

use async_nats::Client;
use async_nats::connection::State;
use async_nats::jetstream::context::{
    CreateStreamError, GetStreamError, GetStreamErrorKind, KeyValueError, PublishError,
    PublishErrorKind,
};
use async_nats::jetstream::kv::{EntryError, Operation, Store};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{self, DiscardPolicy, StorageType};
use async_nats::jetstream::{self, Context};
use overlay_protocol::subject::stream::AAA_LOGINS_BUCKET;

/// The bucket never grows beyond this; what does not fit is kept by the instance alone.
const MAX_BYTES: i64 = 256 << 20;
/// Longest value.
const MAX_VALUE_BYTES: i32 = 1024;
/// Longest wait for an answer of the broker.
const PATIENCE: Duration = Duration::from_secs(2);
/// So often a change is tried again when another instance was quicker.
const TRIES: usize = 5;

/// Why the bucket could not be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum SharedError {
    /// It cannot be made.
    #[error("make the bucket {AAA_LOGINS_BUCKET}")]
    Create(#[source] CreateStreamError),
    /// It cannot be looked at.
    #[error("look at the bucket {AAA_LOGINS_BUCKET}")]
    Look(#[source] GetStreamError),
    /// It cannot be opened.
    #[error("open the bucket {AAA_LOGINS_BUCKET}")]
    Open(#[from] KeyValueError),
    /// A key cannot be read.
    #[error("read from the bucket")]
    Read(#[from] EntryError),
    /// A key cannot be written.
    #[error("write to the bucket")]
    Write(#[from] PublishError),
    /// Others were quicker, again and again.
    #[error("the key changes all the time")]
    Contended,
}

/// A value and its place in the stream, by which a change is known to be the next one.
#[derive(Debug, Default)]
pub(super) struct Entry {
    pub value: Vec<u8>,
    revision: u64,
}

#[derive(Debug)]
pub(crate) struct Shared {
    client: Client,
    context: Context,
    store: Store,
}

impl Shared {
    pub(super) async fn open(client: Client, replicas: usize) -> Result<Self, SharedError> {
        let mut context = jetstream::new(client.clone());
        context.set_timeout(PATIENCE);
        ensure(&context, replicas).await?;
        let store = context.get_key_value(AAA_LOGINS_BUCKET).await?;
        Ok(Self {
            client,
            context,
            store,
        })
    }

    pub(super) fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// A subject of one's own for messages from the bucket.
    pub(in crate::login) fn inbox(&self) -> String {
        self.client.new_inbox()
    }

    pub(in crate::login) fn store(&self) -> &Store {
        &self.store
    }

    /// Whether the key was new.
    pub(super) async fn create(
        &self,
        key: &str,
        value: Vec<u8>,
        live: Duration,
    ) -> Result<bool, SharedError> {
        let message = message(value, live).expected_last_subject_sequence(0);
        self.publish(key, message).await
    }

    pub(super) async fn write(
        &self,
        key: &str,
        value: Vec<u8>,
        live: Duration,
    ) -> Result<(), SharedError> {
        self.publish(key, message(value, live)).await.map(drop)
    }

    pub(super) async fn read(&self, key: &str) -> Result<Entry, SharedError> {
        let Some(entry) = self.store.entry(key).await? else {
            return Ok(Entry::default());
        };
        Ok(Entry {
            revision: entry.revision,
            value: match entry.operation {
                Operation::Put => entry.value.to_vec(),
                Operation::Delete | Operation::Purge => Vec::new(),
            },
        })
    }

    /// Changes a value by what it was, whoever else does the same at this time.
    pub(super) async fn change<T>(
        &self,
        key: &str,
        step: impl Fn(&[u8]) -> (Vec<u8>, Duration, T),
    ) -> Result<T, SharedError> {
        for _ in 0..TRIES {
            let before = self.read(key).await?;
            let (value, live, outcome) = step(&before.value);
            let message = message(value, live).expected_last_subject_sequence(before.revision);
            if self.publish(key, message).await? {
                return Ok(outcome);
            }
        }
        Err(SharedError::Contended)
    }

    /// Writes; false when the key is not what the message expects.
    async fn publish(&self, key: &str, message: PublishMessage) -> Result<bool, SharedError> {
        let subject = format!("$KV.{AAA_LOGINS_BUCKET}.{key}");
        let written = async { self.context.send_publish(subject, message).await?.await };
        match written.await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

fn message(value: Vec<u8>, live: Duration) -> PublishMessage {
    PublishMessage::build()
        .payload(value.into())
        .ttl(live.max(Duration::from_secs(1)))
}

/// Makes the bucket, or gives it what it lacks.
async fn ensure(context: &Context, replicas: usize) -> Result<(), SharedError> {
    let name = format!("KV_{AAA_LOGINS_BUCKET}");
    let wanted = stream::Config {
        name: name.clone(),
        description: Some("Logins: what instances of the service must agree on".to_owned()),
        subjects: vec![format!("$KV.{AAA_LOGINS_BUCKET}.>")],
        max_messages_per_subject: 1,
        max_bytes: MAX_BYTES,
        max_message_size: MAX_VALUE_BYTES,
        discard: DiscardPolicy::New,
        storage: StorageType::File,
        num_replicas: replicas,
        allow_rollup: true,
        deny_delete: true,
        allow_direct: true,
        allow_message_ttl: true,
        duplicate_window: Duration::from_secs(120),
        ..stream::Config::default()
    };
    match context.get_stream(&name).await {
        Ok(found) if found.cached_info().config.allow_message_ttl => Ok(()),
        Ok(found) => {
            let config = stream::Config {
                allow_message_ttl: true,
                ..found.cached_info().config.clone()
            };
            context
                .update_stream(config)
                .await
                .map(drop)
                .map_err(SharedError::Create)
        }
        Err(error) if matches!(error.kind(), GetStreamErrorKind::JetStream(_)) => context
            .create_stream(wanted)
            .await
            .map(drop)
            .map_err(SharedError::Create),
        Err(error) => Err(SharedError::Look(error)),
    }
}
