//! Requests to the replicator's service agent [`SERVICE`], and its replies.
//!
//! Every replica gets every request. One that has no worker that is meant says nothing, but for [`name::STATUS`].

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::json::Limits;

/// Name of the service agent.
pub const SERVICE: &str = "stream_replicator";
/// Bucket at the source that keeps pauses and bookmarks.
pub const BUCKET: &str = "OVERLAY_REPLICATION";

/// Names of the actions.
pub mod name {
    /// Tells how replicas and their workers are doing.
    pub const STATUS: &str = "status";
    /// Tells how far behind workers are.
    pub const LAG: &str = "lag";
    /// Stops copying, until it is resumed.
    pub const PAUSE: &str = "pause";
    /// Copies again.
    pub const RESUME: &str = "resume";
    /// Collects decisions on single messages for a while.
    pub const TRACE: &str = "trace";
    /// Lists values that are tracked.
    pub const STATE: &str = "state";
    /// Lists messages that were kept aside.
    pub const DEAD_LETTERS: &str = "deadletters";
    /// Shows one message that was kept aside.
    pub const DEAD_LETTER: &str = "deadletter";
    /// Publishes a message that was kept aside anew at the source.
    pub const RETRY: &str = "retry";
    /// Gives a message that was kept aside up.
    pub const DROP: &str = "drop";
}

/// Header of a message that was kept aside: why.
pub const DEAD_REASON: &str = "Overlay-Dead-Reason";
/// Header of a message that was kept aside: its subject at the source.
pub const DEAD_SUBJECT: &str = "Overlay-Dead-Subject";
/// Header of a message that was kept aside: its sequence at the source.
pub const DEAD_SEQUENCE: &str = "Overlay-Dead-Sequence";
/// Header of a message that was kept aside: its time at the source.
pub const DEAD_TIME: &str = "Overlay-Dead-Time";
/// Header of a message that was kept aside in part: how many bytes of its body were left out. Its headers were, too.
pub const DEAD_CUT: &str = "Overlay-Dead-Cut";
/// Subjects of all messages that were kept aside.
pub const DEAD_SUBJECTS: &str = "choria.stream-replicator.dead.>";

/// Most values that one reply lists.
pub const MAX_VALUES: usize = 1000;
/// Most decisions that one reply holds.
pub const MAX_DECISIONS: usize = 1000;
/// Longest time, in seconds, for which decisions are collected.
pub const MAX_TRACE_SECONDS: u64 = 60;
/// Most messages that were kept aside that one reply lists.
pub const MAX_LETTERS: usize = 200;
/// Most bytes of a body that are shown.
pub const MAX_SHOWN_BODY: usize = 128 * 1024;

/// Which workers are meant: those that have all of the names that are given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Selection {
    /// Name of the replicator, its site.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub replicator: String,
    /// Source stream.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub stream: String,
    /// Name of the worker.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub worker: String,
}

/// Request of `pause`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PauseRequest {
    /// Which workers.
    #[serde(flatten)]
    pub selection: Selection,
    /// Why, for other operators.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// Request of `trace`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TraceRequest {
    /// Which workers.
    #[serde(flatten)]
    pub selection: Selection,
    /// Ends after so many decisions, at most [`MAX_DECISIONS`]; 0 stands for that many.
    pub count: usize,
    /// Ends after so many seconds, at most [`MAX_TRACE_SECONDS`]; 0 stands for 10.
    pub seconds: u64,
}

/// Request of `state`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StateRequest {
    /// Which workers.
    #[serde(flatten)]
    pub selection: Selection,
    /// Only values that this regular expression finds something in.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub value: String,
    /// Only values whose silence was told of, or only others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advised: Option<bool>,
    /// Only values seen within so many seconds; 0: however long ago.
    pub since: u64,
    /// How many to leave out, in order of value.
    pub offset: usize,
    /// How many to list, at most [`MAX_VALUES`]; 0 stands for that many.
    pub limit: usize,
}

/// Request of `deadletters`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LettersRequest {
    /// Which workers.
    #[serde(flatten)]
    pub selection: Selection,
    /// Only those behind this number.
    pub after: u64,
    /// How many to list, at most [`MAX_LETTERS`]; 0 stands for that many.
    pub limit: usize,
}

/// Request of `deadletter`, `retry` and `drop`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LetterRequest {
    /// Which worker; its stream and name are needed.
    #[serde(flatten)]
    pub selection: Selection,
    /// Number of the message among those kept aside.
    pub number: u64,
}

/// Reply of `status`: one replica's.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StatusReply {
    /// Which replica.
    #[serde(flatten)]
    pub replica: Replica,
    /// Version of the software.
    pub version: String,
    /// When it started, in Unix seconds.
    pub started: i64,
    /// Its workers that are meant.
    pub workers: Vec<WorkerStatus>,
}

/// A process that replicates.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Replica {
    /// Name of the replicator, its site.
    pub replicator: String,
    /// Name of the process, made anew at each start.
    pub instance: String,
    /// Who answers.
    pub identity: String,
}

/// How a worker is doing.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct WorkerStatus {
    /// Source stream.
    pub stream: String,
    /// Name of the worker.
    pub worker: String,
    /// Target stream.
    pub target: String,
    /// What it does.
    pub phase: Phase,
    /// What it waits for, or why it does nothing.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Who paused it, why, and since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pause: Option<Pause>,
    /// Its election, if replicas share it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub election: Option<Election>,
    /// Last source sequence that is dealt with.
    pub handled: u64,
    /// Time of that message at the source, in Unix milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handled_at: Option<i64>,
    /// Last sequence of the source that was heard of.
    pub source_last: u64,
    /// Messages that wait at the source.
    pub waiting: u64,
    /// How old the oldest message that waits is, in seconds; the value of the metric.
    pub lag_seconds: f64,
    /// Last sequence in the target that it wrote.
    pub target_sequence: u64,
    /// Messages under way to the target.
    pub under_way: u64,
    /// Which order copies have: `strict`, or `key:` and what makes the key.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub order: String,
    /// Keys that have messages under way, in the order of keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys: Option<u64>,
    /// Those of them that a refused or unanswered message holds up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys_held: Option<u64>,
    /// How often it was started anew after a fault.
    pub restarts: u64,
    /// Its last fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<LastFault>,
}

/// What a worker does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It looks for its brokers, streams and position.
    #[default]
    Starting,
    /// Something that it needs is not there.
    Waiting,
    /// Another replica leads.
    Standby,
    /// An operator paused it.
    Paused,
    /// It copies.
    Copying,
    /// It needs an operator.
    Stopped,
    /// It ended with a fault and is about to be started anew.
    Failed,
}

/// How a replica stands in the election of a worker.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Election {
    /// Key of the election.
    pub key: String,
    /// Name of the replica in it.
    pub candidate: String,
    /// Whether it leads.
    pub leads: bool,
    /// Why there is no election.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// A fault of a worker.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LastFault {
    /// When, in Unix seconds.
    pub at: i64,
    /// What happened.
    pub message: String,
}

/// A pause, kept in a bucket at the source for all replicas.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pause {
    /// Caller id of the operator.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Since when, in Unix seconds.
    pub since: i64,
}

/// Reply of `lag`: one replica's.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LagReply {
    /// Which replica.
    #[serde(flatten)]
    pub replica: Replica,
    /// Workers that this replica works for.
    pub workers: Vec<WorkerLag>,
}

/// How far behind a worker is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct WorkerLag {
    /// Source stream.
    pub stream: String,
    /// Name of the worker.
    pub worker: String,
    /// What it does.
    pub phase: Phase,
    /// Last source sequence that is dealt with.
    pub handled: u64,
    /// Last sequence of the source that was heard of.
    pub source_last: u64,
    /// Messages that wait at the source.
    pub waiting: u64,
    /// How old the oldest message that waits is, in seconds; the value of the metric.
    pub lag_seconds: f64,
}

/// Reply of `pause` and `resume`: one replica's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DoneReply {
    /// Which replica.
    #[serde(flatten)]
    pub replica: Replica,
    /// Workers that it was done to, as `stream/worker`.
    pub workers: Vec<String>,
    /// What was done, for people.
    pub message: String,
}

/// Reply of `trace`: that of the replica that works.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TraceReply {
    /// Which replica.
    #[serde(flatten)]
    pub replica: Replica,
    /// Decisions in their order.
    pub decisions: Vec<Traced>,
    /// Decisions that were made meanwhile and are not among them.
    pub missed: u64,
}

/// What was decided on a message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Traced {
    /// Source stream.
    pub stream: String,
    /// Name of the worker.
    pub worker: String,
    /// Sequence at the source.
    pub sequence: u64,
    /// Time at the source, in Unix milliseconds.
    pub time_ms: i64,
    /// Subject at the source.
    pub subject: String,
    /// Subject at the target, if it is copied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Bytes of headers and body.
    pub bytes: u64,
    /// Whether it is copied.
    pub copied: bool,
    /// Why, or why not.
    pub why: String,
    /// What it was sampled by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// Reply of `state`: that of the replica that works.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StateReply {
    /// Which replica.
    #[serde(flatten)]
    pub replica: Replica,
    /// Values in order, of all workers that are meant.
    pub values: Vec<StateEntry>,
    /// How many there are in all that were asked for.
    pub total: u64,
}

/// What is known of a value.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StateEntry {
    /// The value.
    pub value: String,
    /// When it was seen last, in Unix nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seen_ns: Option<i64>,
    /// When a message about it was copied last, in Unix nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copied_ns: Option<i64>,
    /// Size of the last message about it, in bytes.
    pub size: u64,
    /// Whether its silence was told of.
    pub advised: bool,
}

/// Reply of `deadletters`: that of the replica that works.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LettersReply {
    /// Which replica.
    #[serde(flatten)]
    pub replica: Replica,
    /// Messages in the order in which they were kept aside.
    pub letters: Vec<Letter>,
    /// Whether there are more.
    pub more: bool,
}

/// A message that was kept aside.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Letter {
    /// Its number among those kept aside.
    pub number: u64,
    /// Source stream.
    pub stream: String,
    /// Name of the worker.
    pub worker: String,
    /// Sequence at the source.
    pub sequence: u64,
    /// Subject at the source.
    pub subject: String,
    /// Why the target refused it.
    pub reason: String,
    /// Its time at the source, in RFC 3339.
    pub at: String,
    /// Bytes of its body.
    pub bytes: u64,
}

/// Reply of `deadletter`: that of the replica that works.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LetterReply {
    /// Which replica.
    #[serde(flatten)]
    pub replica: Replica,
    /// What is known of it.
    pub letter: Letter,
    /// Its own headers.
    pub headers: BTreeMap<String, Vec<String>>,
    /// The beginning of its body, at most [`MAX_SHOWN_BODY`] bytes; Base64 on the wire.
    #[serde(with = "crate::b64::text")]
    pub body: Vec<u8>,
}

impl Selection {
    /// Whether a worker is meant.
    #[must_use]
    pub fn means(&self, replicator: &str, stream: &str, worker: &str) -> bool {
        let fits = |wanted: &str, name: &str| wanted.is_empty() || wanted == name;
        fits(&self.replicator, replicator)
            && fits(&self.stream, stream)
            && fits(&self.worker, worker)
    }
}

impl TraceRequest {
    /// Returns how many decisions to collect.
    #[must_use]
    pub fn bounded_count(&self) -> usize {
        bounded(self.count, MAX_DECISIONS)
    }

    /// Returns for how many seconds to collect.
    #[must_use]
    pub fn bounded_seconds(&self) -> u64 {
        match self.seconds {
            0 => 10,
            seconds => seconds.min(MAX_TRACE_SECONDS),
        }
    }
}

impl StateRequest {
    /// Returns how many values to list.
    #[must_use]
    pub fn page(&self) -> usize {
        bounded(self.limit, MAX_VALUES)
    }
}

impl LettersRequest {
    /// Returns how many messages to list.
    #[must_use]
    pub fn page(&self) -> usize {
        bounded(self.limit, MAX_LETTERS)
    }
}

fn bounded(wanted: usize, most: usize) -> usize {
    match wanted {
        0 => most,
        wanted => wanted.min(most),
    }
}

impl Phase {
    /// Returns the word for the phase.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Waiting => "waiting",
            Self::Standby => "standby",
            Self::Paused => "paused",
            Self::Copying => "copying",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Returns where messages go that a worker keeps aside.
#[must_use]
pub fn dead_subject(stream: &str, worker: &str) -> String {
    format!("choria.stream-replicator.dead.{stream}.{worker}")
}

/// Returns the key of a worker's pause in the bucket.
#[must_use]
pub fn pause_key(stream: &str, worker: &str) -> String {
    format!("pause.{stream}.{worker}")
}

/// Reads a [`Pause`] of the bucket.
///
/// # Errors
///
/// [`DecodeError`](crate::DecodeError) says which limit was broken, or why it is none.
pub fn decode_pause(bytes: &[u8], limits: &Limits) -> Result<Pause, crate::DecodeError> {
    let layer = crate::Layer::ReplicationPause;
    limits.check(layer, bytes)?;
    serde_json::from_slice(bytes).map_err(|source| crate::DecodeError::Json { layer, source })
}

#[cfg(test)]
mod tests;
