//! Streams and buckets: what they must be like, and what is written into them.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::stream::{self, DiscardPolicy, RetentionPolicy, StorageType};
use overlay_protocol::id::Identity;
use overlay_protocol::provisioning::record_key;
use overlay_protocol::subject::stream as names;
use serde::{Deserialize, Serialize};

use crate::config::Streams;

const EXPECTED: &str = "Nats-Expected-Last-Subject-Sequence";
const TTL: &str = "Nats-TTL";
const MESSAGE_ID: &str = "Nats-Msg-Id";
const OPERATION: &str = "KV-Operation";
/// At which revision a message stands that the broker shows.
pub(crate) const SEQUENCE: &str = "Nats-Sequence";

const KIB: i64 = 1024;
const MIB: i64 = 1024 * KIB;

/// Claims are gone after this, whatever happens: no lease and no guard is longer.
const CLAIMS_AGE: Duration = Duration::from_secs(3600);
/// What the bucket of claims holds.
const CLAIMS_BYTES: i64 = 64 * MIB;
/// What the bucket of operators' words holds.
const CONTROL_BYTES: i64 = MIB;
/// What the bucket of used tokens holds.
const TOKENS_BYTES: i64 = 64 * MIB;
/// How long is told that a record ended.
const MARKER: Duration = Duration::from_secs(60);
/// The longest value of a bucket.
const MAX_VALUE: i32 = 64 * 1024;

/// A stream that is ours to make and to keep in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Store {
    /// Events of nodes that wait.
    Events,
    /// Records of what was decided.
    Audit,
    /// Who works on which node.
    Claims,
    /// What is known of each node.
    Nodes,
    /// What operators said, and which instances there are.
    Control,
    /// Tokens that are good once and were used.
    Tokens,
}

impl Store {
    pub(crate) const ALL: [Self; 6] = [
        Self::Events,
        Self::Audit,
        Self::Claims,
        Self::Nodes,
        Self::Control,
        Self::Tokens,
    ];

    /// The name of the stream.
    pub(crate) fn stream(self) -> String {
        match self {
            Self::Events => names::PROVISIONING_EVENTS.to_owned(),
            Self::Audit => names::PROVISIONING_AUDIT.to_owned(),
            Self::Claims | Self::Nodes | Self::Control | Self::Tokens => {
                format!("KV_{}", self.bucket())
            }
        }
    }

    /// The word for logs and metrics.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Audit => "audit",
            Self::Claims => "claims",
            Self::Nodes => "nodes",
            Self::Control => "control",
            Self::Tokens => "tokens",
        }
    }

    fn bucket(self) -> &'static str {
        match self {
            Self::Events | Self::Audit => "",
            Self::Claims => names::PROVISIONING_CLAIMS_BUCKET,
            Self::Nodes => names::PROVISIONING_NODES_BUCKET,
            Self::Control => names::PROVISIONING_CONTROL_BUCKET,
            Self::Tokens => names::PROVISIONING_TOKENS_BUCKET,
        }
    }

    /// What is before the key in a bucket's subject.
    fn prefix(self) -> String {
        format!("$KV.{}.", self.bucket())
    }

    /// The subject of a key.
    pub(crate) fn subject(self, key: &str) -> String {
        self.prefix() + key
    }

    /// The key of a subject of the bucket.
    pub(crate) fn key(self, subject: &str) -> Option<&str> {
        subject.strip_prefix(&self.prefix())
    }

    /// The subject of a node's key.
    pub(crate) fn of_node(self, identity: &Identity) -> String {
        self.subject(&record_key(identity))
    }

    /// What the stream must be like.
    pub(crate) fn config(self, streams: &Streams) -> stream::Config {
        let bytes = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        let base = stream::Config {
            name: self.stream(),
            retention: RetentionPolicy::Limits,
            storage: StorageType::File,
            num_replicas: usize::from(streams.replicas),
            max_messages: -1,
            max_consumers: -1,
            max_message_size: -1,
            ..stream::Config::default()
        };
        match self {
            Self::Events => stream::Config {
                description: Some("Events of nodes that wait to be enrolled".to_owned()),
                subjects: vec![names::PROVISIONING_EVENTS_SUBJECTS.to_owned()],
                max_age: streams.events.age,
                max_bytes: bytes(streams.events.bytes),
                max_message_size: MAX_VALUE,
                max_messages_per_subject: -1,
                discard: DiscardPolicy::Old,
                // An acknowledgement goes, with the broker's rights, wherever the node that published the event says.
                no_ack: true,
                ..base
            },
            Self::Audit => stream::Config {
                description: Some("Decisions of the provisioner".to_owned()),
                subjects: vec![names::PROVISIONING_AUDIT_SUBJECTS.to_owned()],
                max_age: streams.audit.age,
                max_bytes: bytes(streams.audit.bytes),
                max_messages_per_subject: -1,
                // What was acknowledged stays: when it is full, nothing is decided any more.
                discard: DiscardPolicy::New,
                deny_delete: true,
                deny_purge: true,
                duplicate_window: Duration::from_secs(120),
                allow_direct: true,
                ..base
            },
            Self::Claims => stream::Config {
                max_age: CLAIMS_AGE,
                max_bytes: CLAIMS_BYTES,
                allow_message_ttl: true,
                ..self.bucket_config(base)
            },
            Self::Nodes => stream::Config {
                max_age: streams.nodes.age,
                max_bytes: bytes(streams.nodes.bytes),
                // Of nodes that were never enrolled records are kept for a day; whoever follows hears that they end.
                allow_message_ttl: true,
                subject_delete_marker_ttl: Some(MARKER),
                ..self.bucket_config(base)
            },
            Self::Control => stream::Config {
                max_bytes: CONTROL_BYTES,
                allow_message_ttl: true,
                ..self.bucket_config(base)
            },
            Self::Tokens => stream::Config {
                max_bytes: TOKENS_BYTES,
                ..self.bucket_config(base)
            },
        }
    }

    fn bucket_config(self, base: stream::Config) -> stream::Config {
        let description = match self {
            Self::Events | Self::Audit => "",
            Self::Claims => "Which provisioner works on which node",
            Self::Nodes => "What provisioners know of each node",
            Self::Control => "What operators said to provisioners",
            Self::Tokens => "Provisioning tokens that are good once and were used",
        };
        stream::Config {
            description: Some(description.to_owned()),
            subjects: vec![self.prefix() + ">"],
            max_messages_per_subject: 1,
            max_message_size: MAX_VALUE,
            discard: DiscardPolicy::New,
            allow_direct: true,
            allow_rollup: true,
            deny_delete: true,
            duplicate_window: Duration::from_secs(120),
            ..base
        }
    }
}

/// Changes `current` to what it must be; says what was changed. What cannot be changed, and what is no concern of ours,
/// stays.
pub(crate) fn mend(current: &mut stream::Config, wanted: &stream::Config) -> Vec<&'static str> {
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
        max_age,
        max_bytes,
        max_messages_per_subject,
        max_message_size,
        discard,
        no_ack,
        allow_direct,
        num_replicas,
    );
    // Once on, it cannot be switched off.
    if wanted.allow_message_ttl && !current.allow_message_ttl {
        current.allow_message_ttl = true;
        changes.push("allow_message_ttl");
    }
    if wanted.subject_delete_marker_ttl.is_some() && current.subject_delete_marker_ttl.is_none() {
        current.subject_delete_marker_ttl = wanted.subject_delete_marker_ttl;
        changes.push("subject_delete_marker_ttl");
    }
    if wanted.duplicate_window != Duration::ZERO
        && current.duplicate_window != wanted.duplicate_window
    {
        current.duplicate_window = wanted.duplicate_window;
        changes.push("duplicate_window");
    }
    changes
}

/// What a claim says.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ClaimValue {
    /// Who holds it.
    pub(crate) instance: String,
    /// As whom the holder calls the node.
    pub(crate) sender: String,
    /// Since when, in Unix seconds.
    pub(crate) since: i64,
    /// Why it is held.
    pub(crate) state: ClaimState,
}

/// Why a claim is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ClaimState {
    /// The instance works on the node.
    Working,
    /// The node was enrolled a moment ago: what it said before is not believed.
    Done,
    /// Nobody works on it any more.
    Free,
}

/// What a used token says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct UsedToken {
    /// The node that used it.
    pub(crate) by: String,
    /// When, in Unix seconds.
    pub(crate) at: i64,
}

/// Headers of a write that holds only if the key stands at `revision` (0: if there is none), for so long.
pub(crate) fn at_revision(revision: u64, ttl: Option<Duration>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(EXPECTED, revision.to_string().as_str());
    if let Some(ttl) = ttl {
        insert_ttl(&mut headers, ttl);
    }
    headers
}

/// Headers of a write that holds for so long.
pub(crate) fn for_time(ttl: Duration) -> HeaderMap {
    let mut headers = HeaderMap::new();
    insert_ttl(&mut headers, ttl);
    headers
}

/// Headers of a write that is stored once, however often it is sent.
pub(crate) fn once(id: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(MESSAGE_ID, id);
    headers
}

/// Headers that remove a key.
pub(crate) fn removal() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(OPERATION, "DEL");
    headers
}

/// Whether a message of a bucket says that its key was removed.
pub(crate) fn is_removal(headers: Option<&HeaderMap>) -> bool {
    headers.is_some_and(|headers| {
        headers
            .get(OPERATION)
            .is_some_and(|operation| operation.as_str() != "PUT")
            || headers.get("Nats-Marker-Reason").is_some()
    })
}

/// The broker knows whole seconds, at least one.
fn insert_ttl(headers: &mut HeaderMap, ttl: Duration) {
    let seconds = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
    headers.insert(TTL, format!("{}s", seconds.max(1)).as_str());
}

/// What the broker says to a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// Taken, at this revision.
    At(u64),
    /// The key stands at another revision.
    Conflict,
    /// Not taken.
    Refused(String),
    /// Not taken, however often it is tried.
    Never(String),
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    seq: u64,
    error: Option<ApiError>,
}

#[derive(Deserialize)]
struct ApiError {
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}

/// Codes of the broker: wrong last sequence, in two forms.
const WRONG_LAST: [u64; 2] = [10071, 10164];

/// Code of the broker: a message is longer than the stream takes.
const TOO_LARGE: u64 = 10054;

/// Reads the broker's answer to a write.
pub(crate) fn written(payload: &[u8]) -> Written {
    match serde_json::from_slice::<Answer>(payload) {
        Ok(Answer { error: None, seq }) if seq > 0 => Written::At(seq),
        Ok(Answer {
            error: Some(error), ..
        }) if WRONG_LAST.contains(&error.err_code) => Written::Conflict,
        Ok(Answer {
            error: Some(error), ..
        }) if error.err_code == TOO_LARGE => {
            Written::Never(format!("{} ({})", error.description, error.err_code))
        }
        Ok(Answer {
            error: Some(error), ..
        }) => Written::Refused(format!("{} ({})", error.description, error.err_code)),
        Ok(Answer { error: None, .. }) => {
            Written::Refused("an acknowledgement without a sequence".to_owned())
        }
        Err(error) => Written::Refused(format!("no acknowledgement: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn streams() -> Streams {
        let stream = config::Stream {
            age: Duration::from_secs(3600),
            bytes: 64 << 20,
        };
        Streams {
            replicas: 1,
            events: stream,
            audit: stream,
            nodes: stream,
            lease: Duration::from_secs(20),
            keep: Duration::from_secs(60),
        }
    }

    #[test]
    fn what_differs_is_mended_once_and_what_is_no_concern_stays() {
        for store in Store::ALL {
            let wanted = store.config(&streams());
            let mut current = wanted.clone();
            assert_eq!(mend(&mut current, &wanted), Vec::<&str>::new());
            current.description = Some("an operator's words".to_owned());
            current.no_ack = !wanted.no_ack;
            current.max_bytes += 1;
            assert_eq!(mend(&mut current, &wanted), ["max_bytes", "no_ack"]);
            assert_eq!(current.description.as_deref(), Some("an operator's words"));
            assert!(mend(&mut current, &wanted).is_empty());
        }
    }

    #[test]
    fn events_are_never_acknowledged_and_audit_is_never_deleted() {
        assert!(Store::Events.config(&streams()).no_ack);
        let audit = Store::Audit.config(&streams());
        assert!(audit.deny_delete && audit.deny_purge);
        assert_eq!(audit.discard, DiscardPolicy::New);
    }

    #[test]
    fn answers_to_writes_are_told_apart() {
        assert_eq!(written(br#"{"stream":"X","seq":7}"#), Written::At(7));
        assert_eq!(
            written(br#"{"stream":"X","seq":7,"duplicate":true}"#),
            Written::At(7)
        );
        assert_eq!(
            written(br#"{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 3"}}"#),
            Written::Conflict
        );
        for bytes in [
            &b""[..],
            b"{}",
            b"[]",
            b"+OK",
            br#"{"error":{"code":503,"err_code":10077,"description":"full"}}"#,
        ] {
            assert!(matches!(written(bytes), Written::Refused(_)));
        }
    }

    #[test]
    fn keys_and_subjects_are_inverse() {
        let node: Identity = "n1.example.net".parse().unwrap();
        let subject = Store::Claims.of_node(&node);
        assert_eq!(subject, "$KV.PROVISIONING_CLAIMS.n1.example.net");
        assert_eq!(Store::Claims.key(&subject), Some("n1.example.net"));
        assert_eq!(Store::Nodes.key(&subject), None);
    }

    #[test]
    fn times_are_whole_seconds() {
        for (millis, text) in [
            (0, "1s"),
            (1, "1s"),
            (1000, "1s"),
            (1001, "2s"),
            (20_000, "20s"),
        ] {
            let headers = for_time(Duration::from_millis(millis));
            assert_eq!(headers.get(TTL).unwrap().as_str(), text);
        }
    }
}
