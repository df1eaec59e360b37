//! The system streams and the election bucket: how they must be, and what is to be done about one that is not.
//!
//! Settings are JSON as the broker's API has it, so that whatever an operator or a newer broker added to a stream
//! (limits, placement, metadata) is kept: only the settings named here are ours.

use std::time::Duration;

use overlay_protocol::subject::stream as name;
use serde_json::{Map, Value, json};

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

/// Settings that a broker cannot change on a stream that exists.
const FIXED: [&str; 2] = ["storage", "retention"];

impl SystemStream {
    /// All of them, the election bucket first: others wait for it.
    pub const ALL: [Self; 5] = [
        Self::Election,
        Self::Events,
        Self::Machine,
        Self::Advisories,
        Self::Executor,
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
        }
    }

    fn subjects(self) -> &'static str {
        match self {
            Self::Events => name::EVENTS_SUBJECTS,
            Self::Machine => name::MACHINE_SUBJECTS,
            Self::Advisories => name::ADVISORIES_SUBJECTS,
            Self::Executor => name::EXECUTOR_SUBJECTS,
            Self::Election => name::ELECTION_SUBJECTS,
        }
    }

    /// The settings that are ours, without replicas.
    fn settings(self, settings: Settings) -> Vec<(&'static str, Value)> {
        let nanoseconds = u64::try_from(settings.retention.as_nanos()).unwrap_or(u64::MAX);
        let mut list = vec![
            ("subjects", json!([self.subjects()])),
            ("retention", json!("limits")),
            ("storage", json!("file")),
            ("max_age", json!(nanoseconds)),
        ];
        match self {
            Self::Events | Self::Machine | Self::Advisories => list.push(("discard", json!("old"))),
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
            Self::Events | Self::Machine | Self::Advisories => MESSAGE,
            Self::Executor => JOB_MESSAGE,
            Self::Election => return Vec::new(),
        };
        let mut list = vec![("max_msg_size", json!(message))];
        if settings.max_bytes > 0 {
            list.push(("max_bytes", json!(settings.max_bytes)));
        }
        list
    }

    /// Says what is to be done, given the configuration that the broker has for the stream, if it has it.
    #[must_use]
    pub fn reconcile(self, settings: Settings, current: Option<&Map<String, Value>>) -> Action {
        let wanted = self.settings(settings);
        let replicas = u64::from(settings.replicas.max(1));
        let Some(current) = current else {
            let mut config = unlimited(self.name(), replicas);
            config.extend(
                self.bounds(settings)
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
        };
        (!settings.retention.is_zero()).then_some(settings)
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
