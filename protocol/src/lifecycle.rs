//! What components report about themselves: started, stopped, alive, provisioned, and logins that were refused.

mod decode;
mod encode;
mod refusal;

use std::fmt;

use time::OffsetDateTime;

pub use encode::EncodeError;
pub use refusal::Refusal;

/// Source of lifecycle events as CloudEvents, and prefix of their protocols.
pub const SOURCE: &str = "io.choria.lifecycle";
/// Component name of a node.
pub const COMPONENT_SERVER: &str = "server";
/// Component name of a node that is not provisioned yet.
pub const COMPONENT_PROVISION_MODE: &str = "provision_mode_server";
/// Component name of the provisioner.
pub const COMPONENT_PROVISIONER: &str = "provisioner";
/// Component name of the login service.
pub const COMPONENT_BROKER_AUTH: &str = "broker_auth";

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Id, mostly a UUID; empty when not said.
    pub id: String,
    /// Who reports; for a refusal, whom it concerns. Empty when not said.
    pub identity: String,
    /// What reports; empty when not said, and then the event has no subject.
    pub component: String,
    /// When, in Unix seconds; 0 when not said.
    pub timestamp: i64,
    /// What happened.
    pub kind: EventKind,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventKind {
    /// It started.
    Startup {
        /// Version of the software.
        version: String,
    },
    /// It stops.
    Shutdown,
    /// It still runs.
    Alive {
        /// Version of the software.
        version: String,
    },
    /// It got its configuration.
    Provisioned,
    /// It replaced its own software.
    Upgraded {
        /// Version before.
        version: String,
        /// Version after.
        new_version: String,
    },
    /// It asked for, got or gave back a slot.
    Governor {
        /// Name of the governor.
        governor: String,
        /// Number of the slot.
        sequence: u64,
        /// `enter`, `exit`, `timeouts` or `eviction`; others are kept as they are.
        stage: String,
    },
    /// A login was refused.
    Refused(Refusal),
}

impl EventKind {
    /// Returns the word for the kind in protocols and subjects.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Startup { .. } => "startup",
            Self::Shutdown => "shutdown",
            Self::Alive { .. } => "alive",
            Self::Provisioned => "provisioned",
            Self::Upgraded { .. } => "upgraded",
            Self::Governor { .. } => "governor",
            Self::Refused(_) => "refused",
        }
    }
}

impl Event {
    /// Makes an event.
    #[must_use]
    pub fn new(
        id: impl Into<String>,
        identity: impl Into<String>,
        component: impl Into<String>,
        timestamp: i64,
        kind: EventKind,
    ) -> Self {
        Self {
            id: id.into(),
            identity: identity.into(),
            component: component.into(),
            timestamp,
            kind,
        }
    }

    /// Returns the event's protocol, which is also its CloudEvent type.
    #[must_use]
    pub fn protocol(&self) -> String {
        format!("{SOURCE}.v1.{}", self.kind.type_name())
    }

    /// Returns where the event is published; none without a component that can stand in a subject.
    #[must_use]
    pub fn subject(&self) -> Option<String> {
        crate::subject::lifecycle_event(self.kind.type_name(), &self.component)
    }

    /// Returns the time; none when the number of seconds is outside of the calendar.
    #[must_use]
    pub fn time(&self) -> Option<OffsetDateTime> {
        OffsetDateTime::from_unix_timestamp(self.timestamp).ok()
    }
}

impl fmt::Display for Event {
    /// Writes one line for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (identity, component) = (&self.identity, &self.component);
        write!(f, "[{}] {identity}: ", self.kind.type_name())?;
        match &self.kind {
            EventKind::Startup { version } | EventKind::Alive { version } => {
                write!(f, "{component} version {version}")
            }
            EventKind::Shutdown | EventKind::Provisioned => write!(f, "{component}"),
            EventKind::Upgraded {
                version,
                new_version,
            } => write!(f, "{component} version {version} to {new_version}"),
            EventKind::Governor {
                governor,
                sequence,
                stage,
            } => match stage.as_str() {
                "enter" => write!(f, "obtained slot {sequence} on {governor}"),
                "exit" => write!(f, "vacated slot {sequence} on {governor}"),
                "timeouts" => write!(f, "failed to obtain a slot on {governor}"),
                "eviction" => write!(f, "evicted from slot {sequence} on {governor}"),
                _ => write!(f, "unknown stage on Governor {governor}"),
            },
            EventKind::Refused(refusal) => write!(f, "{refusal}"),
        }
    }
}

#[cfg(test)]
mod tests;
