//! The target stream: looked at, and made where it is missing.

use serde_json::{Value, json};

use crate::config::StreamConfig;
use crate::copy::header::Allowed;
use crate::mapping::Mapping;

use super::api::{self, ApiError, StreamInfo};
use super::connect::Link;

/// Of the source's configuration this is its own: the target must not read, pass on or turn around anything.
const NOT_COPIED: [&str; 8] = [
    "mirror",
    "sources",
    "republish",
    "subject_transform",
    "mirror_direct",
    "placement",
    "sealed",
    "template_owner",
];
/// Errors of a broker that has not so many peers.
const TOO_FEW_PEERS: [u64; 3] = [10005, 10074, 10052];

/// Why the target stream cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum TargetError {
    /// It may come yet.
    #[error("{0}")]
    Waiting(String),
    /// It will not do as it is.
    #[error("{0}")]
    Unfit(String),
}

/// Looks at the target stream; makes it like `source` when it is missing and may be made.
pub(super) async fn ensure(
    link: &Link,
    config: &StreamConfig,
    source: &StreamInfo,
) -> Result<StreamInfo, TargetError> {
    let name = config.target.stream.as_str();
    let info = match api::stream_info(&link.jetstream, name).await {
        Ok(info) => info,
        Err(error) if error.is_stream_missing() && config.create_target => {
            create(link, config, source).await?
        }
        Err(error) => {
            return Err(TargetError::Waiting(format!(
                "target stream {name:?}: {error}"
            )));
        }
    };
    if info.flag("no_ack") {
        let words = format!("target stream {name:?} has no_ack: it never says what it has");
        return Err(TargetError::Unfit(words));
    }
    if info.flag("sealed") {
        let words = format!("target stream {name:?} is sealed");
        return Err(TargetError::Unfit(words));
    }
    if info.config.get("mirror").is_some_and(Value::is_object) {
        let words = format!("target stream {name:?} is a mirror of another");
        return Err(TargetError::Unfit(words));
    }
    Ok(info)
}

/// What the stream understands.
pub(super) fn allowed(info: &StreamInfo) -> Allowed {
    Allowed {
        ttl: info.flag("allow_msg_ttl"),
        rollup: info.flag("allow_rollup_hdrs"),
    }
}

async fn create(
    link: &Link,
    config: &StreamConfig,
    source: &StreamInfo,
) -> Result<StreamInfo, TargetError> {
    let name = config.target.stream.as_str();
    let mut wanted = like(&source.config, name, &config.mapping);
    loop {
        match api::create_stream(&link.jetstream, name, &wanted).await {
            Ok(info) => {
                tracing::info!(stream = name, "target stream made, as the source is");
                return Ok(info);
            }
            Err(ApiError::Refused { number, words }) => {
                let replicas = wanted.get("num_replicas").and_then(Value::as_u64);
                let fewer = replicas.filter(|replicas| *replicas > 1).map(|n| n - 1);
                match fewer {
                    Some(fewer) if TOO_FEW_PEERS.contains(&number) => {
                        tracing::warn!(stream = name, words, fewer, "fewer replicas");
                        set(&mut wanted, "num_replicas", json!(fewer));
                    }
                    Some(_) | None => {
                        return Err(TargetError::Waiting(format!(
                            "target stream {name:?} cannot be made: {words} ({number})"
                        )));
                    }
                }
            }
            Err(error @ ApiError::Silent(_)) => {
                return Err(TargetError::Waiting(format!(
                    "target stream {name:?} cannot be made: {error}"
                )));
            }
        }
    }
}

/// The configuration of a target: that of the source, with mapped subjects.
fn like(source: &Value, name: &str, mapping: &Mapping) -> Value {
    let mut wanted = source.clone();
    let subjects = source
        .get("subjects")
        .and_then(Value::as_array)
        .map(|subjects| {
            subjects
                .iter()
                .filter_map(Value::as_str)
                .map(|subject| mapping.apply(subject))
                .collect::<Vec<_>>()
        });
    if let Some(fields) = wanted.as_object_mut() {
        for field in NOT_COPIED {
            fields.remove(field);
        }
    }
    set(&mut wanted, "name", json!(name));
    set(&mut wanted, "subjects", json!(subjects.unwrap_or_default()));
    // What it was told of the source's cluster is not true here.
    if let Some(metadata) = wanted.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|key, _| !key.starts_with("_nats."));
    }
    wanted
}

fn set(config: &mut Value, field: &str, value: Value) {
    if let Some(fields) = config.as_object_mut() {
        fields.insert(field.to_owned(), value);
    }
}
