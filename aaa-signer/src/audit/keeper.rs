//! Makes the stream of records, and keeps it in order.

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

/// Changes what is there into what is wanted; replicas are never taken away. Returns what is to be changed.
pub(super) fn mend(current: &mut Config, wanted: &Config) -> Vec<&'static str> {
    let mut changes = Vec::new();
    macro_rules! mend {
        ($($field:ident),+ $(,)?) => {
            $(if current.$field != wanted.$field {
                current.$field = wanted.$field.clone();
                changes.push(stringify!($field));
            })+
        };
    }
    mend!(
        subjects,
        discard,
        max_age,
        max_bytes,
        duplicate_window,
        allow_direct,
    );
    // what would drop or refuse records in another way
    if current.max_messages > 0 || current.max_messages_per_subject > 0 {
        current.max_messages = -1;
        current.max_messages_per_subject = -1;
        changes.push("max_messages");
    }
    if current.num_replicas < wanted.num_replicas {
        current.num_replicas = wanted.num_replicas;
        changes.push("num_replicas");
    }
    for (flag, name) in [
        (&mut current.deny_delete, "deny_delete"),
        (&mut current.deny_purge, "deny_purge"),
    ] {
        if !*flag {
            *flag = true;
            changes.push(name);
        }
    }
    changes
}

/// Makes the stream if it is not there, and mends it if it is not as it must be.
pub(super) async fn ensure(
    jetstream: &Context,
    settings: &Settings,
    metrics: &Metrics,
) -> Result<(), String> {
    let wanted = wanted(settings);
    let mut current = match jetstream.get_stream(AAA_AUDIT).await {
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
                // another instance was faster, and is of another mind: the next look mends it
                Err(error) if is_taken(error.kind()) => Ok(()),
                Err(error) => Err(err_chain(&error)),
            };
        }
        Err(error) => return Err(err_chain(&error)),
    };
    let changes = mend(&mut current, &wanted);
    if changes.is_empty() {
        return Ok(());
    }
    jetstream
        .update_stream(&current)
        .await
        .map_err(|error| err_chain(&error))?;
    tracing::info!(stream = AAA_AUDIT, ?changes, "stream changed");
    Ok(())
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
    fn replicas_grow_and_never_shrink() {
        let mut current = wanted(&settings(3));
        assert!(mend(&mut current, &wanted(&settings(1))).is_empty());
        assert_eq!(current.num_replicas, 3);
        assert_eq!(mend(&mut current, &wanted(&settings(5))), ["num_replicas"]);
    }

    #[test]
    fn what_would_lose_records_is_mended() {
        let wanted = wanted(&settings(1));
        let mut current = Config {
            discard: DiscardPolicy::Old,
            max_messages: 10,
            deny_purge: false,
            ..wanted.clone()
        };
        let changes = mend(&mut current, &wanted);
        assert_eq!(changes, ["discard", "max_messages", "deny_purge"]);
        assert!(mend(&mut current, &wanted).is_empty());
    }
}
