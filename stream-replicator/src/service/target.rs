//! The target stream: looked at, and made where it is missing.

use std::time::Duration;

use async_nats::{HeaderMap, Request};
use serde_json::{Value, json};

use crate::config::StreamConfig;
use crate::copy::answer::{Answer, Refusal};
use crate::copy::header::Allowed;
use crate::mapping::Mapping;

use super::api::{self, ApiError, StreamInfo};
use super::connect::Link;

/// Of the source's configuration this is its own: the target must not read, pass on or turn around anything.
const NOT_COPIED: [&str; 9] = [
    "mirror",
    "sources",
    "republish",
    "subject_transform",
    "mirror_direct",
    "placement",
    "sealed",
    "template_owner",
    // What a message adds is for the source's counter alone; such a stream takes no other messages.
    "allow_msg_counter",
];
/// A name that no stream has.
const NO_STREAM: &str = "*";
/// How long a stream is waited for that may not hear what it is asked.
const HEAR: Duration = Duration::from_secs(5);
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
    if info.flag("allow_msg_counter") {
        let words = format!(
            "target stream {name:?} counts (allow_msg_counter): it takes no copies, which have the source's totals"
        );
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

/// Whether the target stream is there and none of its subjects is this one; not when it cannot be asked.
pub(super) async fn refuses(link: &Link, config: &StreamConfig, subject: &str) -> bool {
    let name = config.target.stream.as_str();
    let Ok(info) = api::stream_info(&link.jetstream, name).await else {
        return false;
    };
    let subjects = info.config.get("subjects").and_then(Value::as_array);
    !subjects
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .any(|pattern| covers(pattern, subject))
}

/// Whether a stream hears what is sent to this subject, though it may store none of it: it refuses a message that is for
/// another stream. Where the disk is full a broker says nothing of what it would store, and goes on refusing the rest.
pub(super) async fn hears(link: &Link, subject: &str) -> bool {
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Expected-Stream", NO_STREAM);
    let request = Request::new().headers(headers).timeout(Some(HEAR));
    let asked = link.client.send_request(subject.to_owned(), request);
    asked.await.is_ok_and(|message| {
        let answer = Answer::read(&message.payload);
        matches!(answer, Answer::Refused(Refusal::OtherStream(_)))
    })
}

/// Whether a pattern of the broker's matches a subject.
fn covers(pattern: &str, subject: &str) -> bool {
    let mut tokens = subject.split('.');
    for wanted in pattern.split('.') {
        match (wanted, tokens.next()) {
            (">", Some(_)) => return true,
            ("*", Some(_)) => {}
            (wanted, Some(token)) if wanted == token => {}
            (_, Some(_) | None) => return false,
        }
    }
    tokens.next().is_none()
}

/// Whether the stream changes the subjects of what it takes.
pub(super) fn transforms(info: &StreamInfo) -> bool {
    info.config
        .get("subject_transform")
        .is_some_and(Value::is_object)
}

/// Filter that tells the copies' subjects apart from those of others in the target; nothing where none does for certain.
pub(super) fn own(config: &StreamConfig, info: &StreamInfo) -> Option<String> {
    let mapping = &config.mapping;
    if mapping.remove.is_some() || transforms(info) {
        return None;
    }
    match (&mapping.prefix, config.filters.as_slice()) {
        (Some(_), _) => Some(mapping.apply(">").into_owned()),
        (None, [filter]) => Some(filter.clone()),
        (None, _) => None,
    }
}

async fn create(
    link: &Link,
    config: &StreamConfig,
    source: &StreamInfo,
) -> Result<StreamInfo, TargetError> {
    let name = config.target.stream.as_str();
    let subjects = match stored_subjects(&source.config) {
        Some(subjects) => subjects,
        None if !config.filters.is_empty() => config.filters.clone(),
        None => {
            return Err(TargetError::Unfit(format!(
                "target stream {name:?} cannot be made like the source, whose messages come from other streams: \
                 make it, or name filters"
            )));
        }
    };
    let mut wanted = like(&source.config, name, &subjects, &config.mapping);
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

/// The subjects that a stream's messages have; nothing where other streams decide about them.
pub(super) fn stored_subjects(config: &Value) -> Option<Vec<String>> {
    let list = |value: &Value| -> Vec<String> {
        let list = value.as_array().into_iter().flatten();
        list.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let is_derived = |field: &str| {
        config.get(field).is_some_and(|value| {
            value.is_object() || value.as_array().is_some_and(|it| !it.is_empty())
        })
    };
    if is_derived("mirror") || is_derived("sources") {
        return None;
    }
    let mut subjects = config.get("subjects").map(list).unwrap_or_default();
    if let Some(transform) = config.get("subject_transform").filter(|it| it.is_object()) {
        let text = |field: &str| {
            transform
                .get(field)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let (from, to) = (text("src"), text("dest"));
        if from.is_empty() || from == ">" {
            subjects.clear();
        }
        subjects.retain(|subject| subject != from);
        subjects.push(wildcards(to));
    }
    Some(subjects)
}

/// The subjects that a transform's destination makes: what it takes from elsewhere may be anything, and what it cuts up may
/// be several tokens.
fn wildcards(destination: &str) -> String {
    let mut tokens = Vec::new();
    for token in destination.split('.') {
        let lower = token.to_ascii_lowercase();
        if token.contains("{{") && (lower.contains("split") || lower.contains("slice")) {
            tokens.push(">");
            break;
        }
        let is_made = token.contains("{{") || token.starts_with('$');
        tokens.push(if is_made { "*" } else { token });
    }
    tokens.join(".")
}

/// The configuration of a target: that of the source, with mapped subjects.
fn like(source: &Value, name: &str, subjects: &[String], mapping: &Mapping) -> Value {
    let mut wanted = source.clone();
    if let Some(fields) = wanted.as_object_mut() {
        for field in NOT_COPIED {
            fields.remove(field);
        }
    }
    // By interest, a target would drop what nobody has a consumer for yet.
    if source.get("retention").and_then(Value::as_str) == Some("interest") {
        set(&mut wanted, "retention", json!("limits"));
    }
    set(&mut wanted, "name", json!(name));
    let mapped: Vec<_> = subjects
        .iter()
        .map(|subject| mapping.apply(subject))
        .collect();
    set(&mut wanted, "subjects", json!(mapped));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn subjects(config: Value) -> Option<Vec<String>> {
        stored_subjects(&config)
    }

    #[test]
    fn a_stream_that_transforms_subjects_holds_the_transformed_ones() {
        let found = subjects(json!({
            "subjects": ["in.>", "other"],
            "subject_transform": { "src": "in.>", "dest": "choria.executor.>" },
        }));
        assert_eq!(found.unwrap(), ["other", "choria.executor.>"]);
        let found = subjects(json!({
            "subjects": ["in.*"],
            "subject_transform": { "src": "in.*", "dest": "out.{{wildcard(1)}}" },
        }));
        assert_eq!(found.unwrap(), ["out.*"]);
        let found = subjects(json!({
            "subjects": ["in.*.x"],
            "subject_transform": { "src": "in.*.x", "dest": "out.{{SplitFromLeft(1,3)}}.x" },
        }));
        assert_eq!(found.unwrap(), ["out.>"]);
        assert_eq!(subjects(json!({ "subjects": ["a.>"] })).unwrap(), ["a.>"]);
    }

    #[test]
    fn of_a_stream_that_others_fill_nobody_knows_the_subjects() {
        assert_eq!(subjects(json!({ "mirror": { "name": "X" } })), None);
        assert_eq!(
            subjects(json!({ "subjects": ["a"], "sources": [{ "name": "X" }] })),
            None
        );
        assert!(subjects(json!({ "subjects": ["a"], "sources": [] })).is_some());
    }

    #[test]
    fn a_target_is_like_its_source_without_what_reads_or_passes_on() {
        let source = json!({
            "name": "S", "subjects": ["a.>"], "retention": "interest", "max_age": 5, "republish": {}, "placement": {},
            "metadata": { "_nats.ver": "2.15", "mine": "1" },
        });
        let mapping = Mapping {
            prefix: Some("copy".to_owned()),
            remove: None,
        };
        let made = like(&source, "T", &["a.>".to_owned()], &mapping);
        assert_eq!(
            made,
            json!({
                "name": "T", "subjects": ["copy.a.>"], "retention": "limits", "max_age": 5, "metadata": { "mine": "1" },
            })
        );
    }

    #[test]
    fn a_pattern_covers_what_the_broker_takes_for_it() {
        for (pattern, subject) in [
            ("a.b", "a.b"),
            ("a.*", "a.b"),
            ("a.>", "a.b.c"),
            (">", "a"),
            ("*.b.>", "a.b.c"),
        ] {
            assert!(covers(pattern, subject), "{pattern} {subject}");
        }
        for (pattern, subject) in [
            ("a.b", "a.c"),
            ("a.b", "a"),
            ("a", "a.b"),
            ("a.*", "a.b.c"),
            ("a.>", "a"),
            ("a.*", "a"),
        ] {
            assert!(!covers(pattern, subject), "{pattern} {subject}");
        }
    }
}
