//! The system streams, the election bucket and streams for copies: how they must be, and what is to be done about one
//! that is not.
//!
//! Settings are JSON as the broker's API has it, so that whatever an operator or a newer broker added to a stream
//! (limits, placement, metadata) is kept: only the settings named here are ours.

mod copies;

use std::time::Duration;

use overlay_protocol::subject::stream as name;
use serde_json::{Map, Value, json};

pub(crate) use copies::CopyStream;

/// A stream that is kept in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kept {
    /// One that every cell has.
    System(SystemStream, Settings),
    /// One that takes what another cell's replicator copies.
    Copy(CopyStream),
}

/// One system stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SystemStream {
    /// Lifecycle events, refusals included.
    Events,
    /// Autonomous agents.
    Machine,
    /// The broker's own advisories.
    Advisories,
    /// Jobs on nodes.
    Executor,
    /// Leader elections.
    Election,
    /// How far streams were copied to elsewhere.
    Positions,
    /// Messages that could not be copied.
    DeadLetters,
    /// Nodes that appeared, fell silent and returned.
    AgeAdvisories,
}

/// Retention, replicas and size of one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// How long messages are kept; zero means that the stream is not looked after.
    pub retention: Duration,
    /// On how many servers it is kept, at least. More is never taken back.
    pub replicas: u8,
    /// How many bytes a new one holds before its oldest messages go; zero: any number.
    pub max_bytes: u64,
}

/// Settings of all streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Of [`SystemStream::Events`].
    pub events: Settings,
    /// Of [`SystemStream::Machine`].
    pub machine: Settings,
    /// Of [`SystemStream::Advisories`].
    pub advisories: Settings,
    /// Of [`SystemStream::Executor`].
    pub executor: Settings,
    /// Of [`SystemStream::Election`]; its retention is how long a leader keeps its place without renewing it.
    pub election: Settings,
    /// Of what stream replication needs, where streams of this broker are copied to elsewhere.
    pub replication: Option<Replication>,
}

/// Settings of what stream replication needs at its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replication {
    /// Of [`SystemStream::Positions`], which are kept for ever: its retention says nothing.
    pub positions: Settings,
    /// Of [`SystemStream::DeadLetters`].
    pub dead_letters: Settings,
    /// Of [`SystemStream::AgeAdvisories`].
    pub age_advisories: Settings,
}

/// What is to be done about one stream.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// It is as it must be.
    Keep,
    /// It does not exist: make it so.
    Create(Value),
    /// It differs: change it to this.
    Update {
        /// The whole configuration.
        config: Value,
        /// Names of the settings that differ.
        changes: Vec<&'static str>,
    },
    /// It differs in what cannot be changed on a stream that exists; left alone.
    Conflict {
        /// The setting.
        setting: &'static str,
    },
}

/// The largest message of most streams, in bytes: no event comes near it.
const MESSAGE: u32 = 64 << 10;
/// The largest event of a job, which may carry output: as much as the broker takes at all.
const JOB_MESSAGE: u32 = 1 << 20;
/// The largest position.
const POSITION: u32 = 4 << 10;

/// Settings that a broker cannot change on a stream that exists.
const FIXED: [&str; 2] = ["storage", "retention"];

impl SystemStream {
    /// All of them, the election bucket first: others wait for it.
    pub const ALL: [Self; 8] = [
        Self::Election,
        Self::Events,
        Self::Machine,
        Self::Advisories,
        Self::Executor,
        Self::Positions,
        Self::DeadLetters,
        Self::AgeAdvisories,
    ];

    /// Name on the broker.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Events => name::EVENTS,
            Self::Machine => name::MACHINE,
            Self::Advisories => name::ADVISORIES,
            Self::Executor => name::EXECUTOR,
            Self::Election => name::ELECTION,
            Self::Positions => name::REPLICATION_POSITIONS,
            Self::DeadLetters => name::REPLICATION_DEAD,
            Self::AgeAdvisories => name::REPLICATION_ADVISORIES,
        }
    }

    fn subjects(self) -> &'static str {
        match self {
            Self::Events => name::EVENTS_SUBJECTS,
            Self::Machine => name::MACHINE_SUBJECTS,
            Self::Advisories => name::ADVISORIES_SUBJECTS,
            Self::Executor => name::EXECUTOR_SUBJECTS,
            Self::Election => name::ELECTION_SUBJECTS,
            Self::Positions => name::REPLICATION_POSITIONS_SUBJECTS,
            Self::DeadLetters => name::REPLICATION_DEAD_SUBJECTS,
            Self::AgeAdvisories => name::REPLICATION_ADVISORIES_SUBJECTS,
        }
    }

    /// The settings that are ours, without replicas.
    fn settings(self, settings: Settings) -> Vec<(&'static str, Value)> {
        let mut list = lasting(json!([self.subjects()]), settings.retention);
        match self {
            Self::Events | Self::Machine | Self::Advisories => list.push(("discard", json!("old"))),
            Self::DeadLetters | Self::AgeAdvisories => {
                list.extend([("discard", json!("old")), ("allow_direct", json!(true))])
            }
            Self::Positions => list.extend([
                ("discard", json!("new")),
                ("description", json!("How far streams were copied")),
                ("max_msgs_per_subject", json!(1)),
                ("deny_delete", json!(true)),
                ("allow_rollup_hdrs", json!(true)),
                ("allow_direct", json!(true)),
            ]),
            Self::Executor => list.extend([
                ("discard", json!("old")),
                ("description", json!("Choria Executor Events")),
                ("allow_direct", json!(true)),
                (
                    "subject_transform",
                    json!({ "src": name::EXECUTOR_SUBJECTS, "dest": name::EXECUTOR_TARGET }),
                ),
            ]),
            Self::Election => list.extend([
                ("discard", json!("new")),
                ("description", json!("Choria Leader Election Bucket")),
                ("max_msg_size", json!(1024)),
                ("max_msgs_per_subject", json!(1)),
                ("deny_delete", json!(true)),
                ("allow_rollup_hdrs", json!(true)),
                ("allow_direct", json!(true)),
            ]),
        }
        list
    }

    /// What a new stream is bounded by; those of one that exists are the operator's. The election bucket has bounds of
    /// its own: one small value for each election.
    fn bounds(self, settings: Settings) -> Vec<(&'static str, Value)> {
        let message = match self {
            Self::Events | Self::Machine | Self::Advisories | Self::AgeAdvisories => json!(MESSAGE),
            Self::Executor => json!(JOB_MESSAGE),
            Self::Positions => json!(POSITION),
            // What could not be copied must not be refused here as well.
            Self::DeadLetters => json!(-1),
            Self::Election => return Vec::new(),
        };
        let mut list = vec![("max_msg_size", message)];
        if settings.max_bytes > 0 {
            list.push(("max_bytes", json!(settings.max_bytes)));
        }
        list
    }

    /// Says what is to be done, given the configuration that the broker has for the stream, if it has it.
    #[must_use]
    pub fn reconcile(self, settings: Settings, current: Option<&Map<String, Value>>) -> Action {
        let wanted = self.settings(settings);
        let bounds = self.bounds(settings);
        reconcile(self.name(), wanted, bounds, settings.replicas, current)
    }
}

impl Kept {
    /// Name on the broker.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::System(stream, _) => stream.name(),
            Self::Copy(copy) => &copy.name,
        }
    }

    /// Whether any instance makes it, elected or not: nobody could be elected without it.
    pub(crate) fn is_for_elections(&self) -> bool {
        matches!(self, Self::System(SystemStream::Election, _))
    }

    /// Says what is to be done, given the configuration that the broker has for the stream, if it has it.
    pub(crate) fn reconcile(&self, current: Option<&Map<String, Value>>) -> Action {
        match self {
            Self::System(stream, settings) => stream.reconcile(*settings, current),
            Self::Copy(copy) => copy.reconcile(current),
        }
    }
}

impl Plan {
    /// The settings of one stream; nothing when it is not looked after. The election bucket always is.
    #[must_use]
    pub fn of(&self, stream: SystemStream) -> Option<Settings> {
        let settings = match stream {
            SystemStream::Events => self.events,
            SystemStream::Machine => self.machine,
            SystemStream::Advisories => self.advisories,
            SystemStream::Executor => self.executor,
            SystemStream::Election => return Some(self.election),
            SystemStream::Positions => return self.replication.map(|plan| plan.positions),
            SystemStream::DeadLetters => self.replication?.dead_letters,
            SystemStream::AgeAdvisories => self.replication?.age_advisories,
        };
        (!settings.retention.is_zero()).then_some(settings)
    }
}

/// What is kept in files for so long; zero: for ever.
fn lasting(subjects: Value, retention: Duration) -> Vec<(&'static str, Value)> {
    let nanoseconds = u64::try_from(retention.as_nanos()).unwrap_or(u64::MAX);
    vec![
        ("subjects", subjects),
        ("retention", json!("limits")),
        ("storage", json!("file")),
        ("max_age", json!(nanoseconds)),
    ]
}

/// What is to be done about the stream `name`: `wanted` it must have, `bounds` only when it is made.
fn reconcile(
    name: &str,
    wanted: Vec<(&'static str, Value)>,
    bounds: Vec<(&'static str, Value)>,
    replicas: u8,
    current: Option<&Map<String, Value>>,
) -> Action {
    let replicas = u64::from(replicas.max(1));
    let Some(current) = current else {
        let mut config = unlimited(name, replicas);
        config.extend(
            bounds
                .into_iter()
                .chain(wanted)
                .map(|(setting, value)| (setting.to_owned(), value)),
        );
        return Action::Create(Value::Object(config));
    };
    let mut config = current.clone();
    let mut changes = Vec::new();
    for (setting, value) in wanted {
        if config.get(setting) == Some(&value) {
            continue;
        }
        if FIXED.contains(&setting) {
            return Action::Conflict { setting };
        }
        config.insert(setting.to_owned(), value);
        changes.push(setting);
    }
    if current
        .get("num_replicas")
        .and_then(Value::as_u64)
        .unwrap_or(1)
        < replicas
    {
        config.insert("num_replicas".to_owned(), json!(replicas));
        changes.push("num_replicas");
    }
    if changes.is_empty() {
        return Action::Keep;
    }
    fit_duplicate_window(&mut config);
    Action::Update {
        config: Value::Object(config),
        changes,
    }
}

/// A stream without limits but those that are set.
fn unlimited(name: &str, replicas: u64) -> Map<String, Value> {
    let mut config = Map::new();
    for (setting, value) in [
        ("name", json!(name)),
        ("num_replicas", json!(replicas)),
        ("max_consumers", json!(-1)),
        ("max_msgs", json!(-1)),
        ("max_bytes", json!(-1)),
        ("max_msgs_per_subject", json!(-1)),
        ("max_msg_size", json!(-1)),
    ] {
        config.insert(setting.to_owned(), value);
    }
    config
}

/// The broker refuses a window longer than the age, and a shortened age would leave one.
fn fit_duplicate_window(config: &mut Map<String, Value>) {
    let number = |setting: &str| config.get(setting).and_then(Value::as_u64);
    if let (Some(age), Some(window)) = (number("max_age"), number("duplicate_window"))
        && age > 0
        && window > age
    {
        config.insert("duplicate_window".to_owned(), json!(age));
    }
}

#[cfg(test)]
mod tests;
