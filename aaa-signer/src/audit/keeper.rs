//! Makes the stream of records, and tells when it is not as it must be.

use std::time::Duration;

use async_nats::jetstream::context::{CreateStreamErrorKind, GetStreamErrorKind};
use async_nats::jetstream::stream::{
    Compression, Config, DiscardPolicy, RetentionPolicy, StorageType,
};
use async_nats::jetstream::{Context, ErrorCode};
use overlay_protocol::subject::stream::{AAA_AUDIT, AAA_AUDIT_SUBJECTS};
use overlay_runtime::err_chain;

use super::metrics::Metrics;
use crate::config::AuditStream as Settings;

/// Above this somebody should look.
const NEARLY_FULL: f64 = 0.8;
/// For so long a batch that comes again is known again by its id.
const DUPLICATES: Duration = Duration::from_secs(120);

/// What the stream must be.
pub(super) fn wanted(settings: &Settings) -> Config {
    Config {
        name: AAA_AUDIT.to_owned(),
        description: Some("Records of logins and signatures".to_owned()),
        subjects: vec![AAA_AUDIT_SUBJECTS.to_owned()],
        retention: RetentionPolicy::Limits,
        // what is full takes nothing, so that nothing is dropped unseen
        discard: DiscardPolicy::New,
        storage: StorageType::File,
        num_replicas: usize::from(settings.replicas),
        max_age: settings.max_age,
        max_bytes: i64::try_from(settings.max_bytes).unwrap_or(i64::MAX),
        duplicate_window: DUPLICATES.min(settings.max_age),
        allow_direct: true,
        deny_delete: true,
        deny_purge: true,
        compression: Some(Compression::S2),
        ..Config::default()
    }
}

/// What is otherwise than wanted; more replicas than that are not.
pub(super) fn differences(current: &Config, wanted: &Config) -> Vec<&'static str> {
    [
        (current.subjects != wanted.subjects, "subjects"),
        (current.discard != wanted.discard, "discard"),
        (current.max_age != wanted.max_age, "max_age"),
        (current.max_bytes != wanted.max_bytes, "max_bytes"),
        (
            current.duplicate_window != wanted.duplicate_window,
            "duplicate_window",
        ),
        (current.allow_direct != wanted.allow_direct, "allow_direct"),
        // what would drop or refuse records in another way
        (
            current.max_messages > 0 || current.max_messages_per_subject > 0,
            "max_messages",
        ),
        (current.num_replicas < wanted.num_replicas, "num_replicas"),
        (!current.deny_delete, "deny_delete"),
        (!current.deny_purge, "deny_purge"),
    ]
    .into_iter()
    .filter_map(|(differs, name)| differs.then_some(name))
    .collect()
}

/// Makes the stream if it is not there. Where it is not as it must be, an administrator is told: whoever may change it
/// may empty it by its limits.
pub(super) async fn ensure(
    jetstream: &Context,
    settings: &Settings,
    metrics: &Metrics,
) -> Result<(), String> {
    let wanted = wanted(settings);
    let current = match jetstream.get_stream(AAA_AUDIT).await {
        Ok(stream) => {
            let info = stream.cached_info();
            tell_fill(info.state.bytes, info.config.max_bytes, metrics);
            info.config.clone()
        }
        Err(error) if is_absent(error.kind()) => {
            return match jetstream.create_stream(&wanted).await {
                Ok(_made) => {
                    tracing::info!(stream = AAA_AUDIT, "stream made");
                    Ok(())
                }
                // another instance was faster, and is of another mind: the next look tells it
                Err(error) if is_taken(error.kind()) => Ok(()),
                Err(error) => Err(err_chain(&error)),
            };
        }
        Err(error) => return Err(err_chain(&error)),
    };
    tell_differences(&differences(&current, &wanted), &wanted, metrics);
    Ok(())
}

fn tell_differences(differs: &[&str], wanted: &Config, metrics: &Metrics) {
    let count = i64::try_from(differs.len()).unwrap_or(i64::MAX);
    // once, not at each look
    if count > 0 && metrics.differs.get() != count {
        tracing::warn!(
            stream = AAA_AUDIT,
            ?differs,
            "the stream of records is not as configured, and only an administrator may change it: `nats stream edit \
             AAA_AUDIT --subjects '{}' --discard new --max-age {}s --max-bytes {} --max-msgs=-1 \
             --max-msgs-per-subject=-1 --dupe-window {}s --replicas {} --allow-direct`",
            AAA_AUDIT_SUBJECTS,
            wanted.max_age.as_secs(),
            wanted.max_bytes,
            wanted.duplicate_window.as_secs(),
            wanted.num_replicas,
        );
    }
    metrics.differs.set(count);
}

fn tell_fill(bytes: u64, most: i64, metrics: &Metrics) {
    let kilobytes = |bytes: u64| u32::try_from(bytes >> 10).unwrap_or(u32::MAX);
    let most = u64::try_from(most).unwrap_or_default();
    if most >> 10 == 0 {
        return;
    }
    let ratio = f64::from(kilobytes(bytes)) / f64::from(kilobytes(most));
    metrics.fill.set(ratio);
    if ratio > NEARLY_FULL {
        tracing::warn!(
            stream = AAA_AUDIT,
            ratio,
            "the stream of records is nearly full; when it is full, nothing more is signed"
        );
    }
}

fn is_absent(kind: GetStreamErrorKind) -> bool {
    match kind {
        GetStreamErrorKind::JetStream(problem) => {
            problem.error_code() == ErrorCode::STREAM_NOT_FOUND
        }
        GetStreamErrorKind::EmptyName
        | GetStreamErrorKind::Request
        | GetStreamErrorKind::InvalidStreamName => false,
    }
}

fn is_taken(kind: CreateStreamErrorKind) -> bool {
    if let CreateStreamErrorKind::JetStream(problem) = kind {
        problem.error_code() == ErrorCode::STREAM_NAME_EXIST
    } else {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(replicas: u8) -> Settings {
        Settings {
            replicas,
            max_age: Duration::from_secs(3600),
            max_bytes: 1 << 20,
        }
    }

    #[test]
    fn more_replicas_than_configured_are_as_they_should_be() {
        let current = wanted(&settings(3));
        assert!(differences(&current, &wanted(&settings(1))).is_empty());
        assert_eq!(
            differences(&current, &wanted(&settings(5))),
            ["num_replicas"]
        );
    }

    #[test]
    fn what_would_lose_records_is_told() {
        let wanted = wanted(&settings(1));
        let current = Config {
            discard: DiscardPolicy::Old,
            max_messages: 10,
            deny_purge: false,
            ..wanted.clone()
        };
        let differs = differences(&current, &wanted);
        assert_eq!(differs, ["discard", "max_messages", "deny_purge"]);
        assert!(differences(&wanted, &wanted).is_empty());
    }
}
