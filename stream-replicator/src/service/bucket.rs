//! The bucket at the source that keeps bookmarks and pauses for all replicas.

use async_nats::jetstream::context::CreateKeyValueError;
use async_nats::jetstream::{Context, kv};
use overlay_protocol::replication::control::BUCKET;

/// Why the bucket cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("bucket {BUCKET} is not there and cannot be made")]
pub(super) struct BucketError(#[source] CreateKeyValueError);

/// Opens the bucket; makes it if it is not there.
pub(super) async fn open(jetstream: &Context) -> Result<kv::Store, BucketError> {
    if let Ok(store) = jetstream.get_key_value(BUCKET).await {
        return Ok(store);
    }
    // A broker alone has no place for three replicas.
    if let Ok(store) = jetstream.create_key_value(config(3)).await {
        return Ok(store);
    }
    let made = jetstream.create_key_value(config(1)).await;
    made.map_err(BucketError)
}

fn config(replicas: usize) -> kv::Config {
    kv::Config {
        bucket: BUCKET.to_owned(),
        description: "Stream replicators: bookmarks and pauses".to_owned(),
        history: 1,
        num_replicas: replicas,
        ..kv::Config::default()
    }
}
