//! Names of accounts, streams and buckets, and the subjects between accounts.

use crate::id::{AgentName, Collective};

/// Account of everybody who is provisioned, with the streams.
pub const ACCOUNT_CHORIA: &str = "choria";
/// Account of nodes that are not provisioned yet, and of the provisioner that talks to them.
pub const ACCOUNT_PROVISIONING: &str = "provisioning";
/// Account of the login and signing service, with its audit.
pub const ACCOUNT_AAA: &str = "aaa";
/// Account of people who have yet to log in: it reaches the login service of [`ACCOUNT_AAA`] and nothing else.
pub const ACCOUNT_LOGIN: &str = "login";
/// The broker's system account.
pub const ACCOUNT_SYSTEM: &str = "system";

/// Stream of lifecycle events.
pub const EVENTS: &str = "CHORIA_EVENTS";
/// Subjects of [`EVENTS`].
pub const EVENTS_SUBJECTS: &str = super::LIFECYCLE;
/// Stream of what autonomous agents report.
pub const MACHINE: &str = "CHORIA_MACHINE";
/// Subjects of [`MACHINE`].
pub const MACHINE_SUBJECTS: &str = "choria.machine.>";
/// Stream of the broker's own stream advisories.
pub const ADVISORIES: &str = "CHORIA_STREAM_ADVISORIES";
/// Subjects of [`ADVISORIES`].
pub const ADVISORIES_SUBJECTS: &str = "$JS.EVENT.ADVISORY.>";
/// Stream of what jobs on nodes report.
pub const EXECUTOR: &str = "CHORIA_EXECUTOR";
/// Subjects of [`EXECUTOR`], before they are mapped to [`EXECUTOR_TARGET`].
pub const EXECUTOR_SUBJECTS: &str = "choria.submission.in.choria.executor.>";
/// Subjects under which messages of [`EXECUTOR`] are stored.
pub const EXECUTOR_TARGET: &str = "choria.executor.>";
/// Bucket of leader elections.
pub const ELECTION_BUCKET: &str = "CHORIA_LEADER_ELECTION";
/// Stream under [`ELECTION_BUCKET`].
pub const ELECTION: &str = "KV_CHORIA_LEADER_ELECTION";
/// Subjects of [`ELECTION`].
pub const ELECTION_SUBJECTS: &str = "$KV.CHORIA_LEADER_ELECTION.>";
/// Request for the state of [`ELECTION`].
pub const ELECTION_INFO: &str = "$JS.API.STREAM.INFO.KV_CHORIA_LEADER_ELECTION";

/// Bucket of the positions of stream replication, at the source.
pub const REPLICATION_BUCKET: &str = "OVERLAY_REPLICATION";
/// Stream under [`REPLICATION_BUCKET`].
pub const REPLICATION_POSITIONS: &str = "KV_OVERLAY_REPLICATION";
/// Subjects of [`REPLICATION_POSITIONS`].
pub const REPLICATION_POSITIONS_SUBJECTS: &str = "$KV.OVERLAY_REPLICATION.>";
/// Stream, at the source, of messages that a target refused for good.
pub const REPLICATION_DEAD: &str = "OVERLAY_REPLICATION_DEAD";
/// Subjects of [`REPLICATION_DEAD`].
pub const REPLICATION_DEAD_SUBJECTS: &str = "choria.stream-replicator.dead.>";
/// Stream, at the source, of word about nodes that appeared, fell silent and returned.
pub const REPLICATION_ADVISORIES: &str = "OVERLAY_REPLICATION_ADVISORIES";
/// Subjects of [`REPLICATION_ADVISORIES`].
pub const REPLICATION_ADVISORIES_SUBJECTS: &str = "choria.stream-replicator.advisory.>";

/// Stream of the events of nodes that are not enrolled, in their account.
pub const PROVISIONING_EVENTS: &str = "PROVISIONING_EVENTS";
/// Subjects of [`PROVISIONING_EVENTS`].
pub const PROVISIONING_EVENTS_SUBJECTS: &str = super::PROVISIONING_EVENTS;
/// Durable consumer of [`PROVISIONING_EVENTS`] that all instances of the provisioner share.
pub const PROVISIONING_EVENTS_CONSUMER: &str = "provisioner";
/// Stream of the provisioner's decisions.
pub const PROVISIONING_AUDIT: &str = "PROVISIONING_AUDIT";
/// Subjects of [`PROVISIONING_AUDIT`].
pub const PROVISIONING_AUDIT_SUBJECTS: &str = super::PROVISIONING_AUDIT;
/// Bucket of claims: an instance that holds one for a node is the only one that works on it.
pub const PROVISIONING_CLAIMS_BUCKET: &str = "PROVISIONING_CLAIMS";
/// Bucket of what is remembered of each node.
pub const PROVISIONING_NODES_BUCKET: &str = "PROVISIONING_NODES";
/// Bucket of what operators said, and of instances that are alive.
pub const PROVISIONING_CONTROL_BUCKET: &str = "PROVISIONING_CONTROL";
/// Bucket of one-time tokens that were used.
pub const PROVISIONING_TOKENS_BUCKET: &str = "PROVISIONING_TOKENS";
/// Key of a pause in [`PROVISIONING_CONTROL_BUCKET`].
pub const CONTROL_PAUSED: &str = "paused";

/// Stream of the records of logins and signatures, in its own account.
pub const AAA_AUDIT: &str = "AAA_AUDIT";
/// Subjects of [`AAA_AUDIT`].
pub const AAA_AUDIT_SUBJECTS: &str = super::AUDIT_AAA;
/// Bucket of what instances of the login service must agree on.
pub const AAA_LOGINS_BUCKET: &str = "AAA_LOGINS";
/// Exported as services to readers of the audit: its state, and its messages. The last one answers for each subject.
pub const EXPORT_AUDIT_API: [&str; 3] = [
    "$JS.API.STREAM.INFO.AAA_AUDIT",
    "$JS.API.DIRECT.GET.AAA_AUDIT",
    "$JS.API.DIRECT.GET.AAA_AUDIT.>",
];
/// [`EXPORT_AUDIT_API`] as the account of members sees it.
pub const IMPORT_AUDIT_API: [&str; 3] = [
    "overlay.audit.api.STREAM.INFO.AAA_AUDIT",
    "overlay.audit.api.DIRECT.GET.AAA_AUDIT",
    "overlay.audit.api.DIRECT.GET.AAA_AUDIT.>",
];

/// Prefix of the stream API.
pub const API_PREFIX: &str = "$JS.API";
/// Prefix of the stream API as other accounts and organisations see it.
pub const IMPORTED_API_PREFIX: &str = "choria.streams";

/// Exported as a stream by the provisioning account, imported by `choria` under the same subject.
pub const EXPORT_LIFECYCLE: &str = super::LIFECYCLE;
/// Exported as a service by `choria`: how the provisioner looks up the election bucket.
pub const EXPORT_ELECTION_INFO: &str = ELECTION_INFO;
/// [`EXPORT_ELECTION_INFO`] as the provisioning account sees it.
pub const IMPORT_ELECTION_INFO: &str = "choria.streams.STREAM.INFO.KV_CHORIA_LEADER_ELECTION";
/// Exported as a service by `choria`, imported under the same subject: how the provisioner campaigns.
pub const EXPORT_PROVISIONER_ELECTION: &str = "$KV.CHORIA_LEADER_ELECTION.provisioner";
/// [`EXPORT_PROVISIONER_ELECTION`] again, as a client with the imported prefix writes it.
pub const IMPORT_PROVISIONER_ELECTION: &str =
    "choria.streams.$KV.CHORIA_LEADER_ELECTION.provisioner";

/// Returns the request about one stream, such as `INFO`, `CREATE` or `UPDATE`, to the broker's stream API.
#[must_use]
pub fn api_request(verb: &str, stream: &str) -> String {
    format!("{API_PREFIX}.STREAM.{verb}.{stream}")
}

/// Returns the stream of a governor.
#[must_use]
pub fn governor(name: &AgentName) -> String {
    format!("GOVERNOR_{name}")
}

/// Returns the subject of a governor's stream.
#[must_use]
pub fn governor_subject(collective: &Collective, name: &AgentName) -> String {
    super::governor(collective, name)
}

/// Returns the stream of a bucket.
#[must_use]
pub fn bucket(name: &AgentName) -> String {
    format!("KV_{name}")
}

/// Returns the subjects of a bucket's stream.
#[must_use]
pub fn bucket_subjects(name: &AgentName) -> String {
    format!("$KV.{name}.>")
}

/// Returns the key of an instance that is alive, in [`PROVISIONING_CONTROL_BUCKET`].
#[must_use]
pub fn control_instance(instance: &AgentName) -> String {
    format!("instance.{instance}")
}

/// Returns the key of a used token in [`PROVISIONING_TOKENS_BUCKET`].
///
/// `token` is its id, or the hexadecimal hash of its text when it has none; nothing if it cannot stand in a key.
#[must_use]
pub fn token_used(token: &str) -> Option<String> {
    let plain = !token.is_empty()
        && token.len() <= 128
        && token
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    plain.then(|| format!("used.{token}"))
}
