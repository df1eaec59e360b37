//! How an emulated node behaves, and how it misbehaves.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value};

/// A request that a provisioner makes of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// `discovery`: are you there?
    Discovery,
    /// `choria_provision#jwt`
    Jwt,
    /// `choria_provision#gen25519`
    Gen25519,
    /// `rpcutil#inventory`
    Inventory,
    /// `choria_provision#gencsr`
    Gencsr,
    /// `choria_provision#configure`
    Configure,
    /// `choria_provision#restart`
    Restart,
    /// `choria_provision#shutdown`
    Shutdown,
    /// `choria_provision#release_update`
    ReleaseUpdate,
}

/// One way to misbehave.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// Hears the request and does nothing.
    Silent(Step),
    /// Does what was asked; its reply is lost.
    Loses(Step),
    /// Leaves for good instead of answering, having done nothing.
    VanishBefore(Step),
    /// Answers, and leaves for good.
    VanishAfter(Step),
    /// Refuses with status code 1 and this text.
    Aborts(Step, String),
    /// Leaves an output out.
    Lacks(Step, &'static str),
    /// Says something else in an output.
    Says(Step, &'static str, Value),
    /// Answers with a body that is not JSON.
    NotJson(Step),
    /// Adds an output of so many bytes.
    Padded(Step, usize),
    /// Answers in the name of another node.
    AsNode(Step, String),
    /// Answers with the reply that it gave to the same request before; the first time with a request id of nobody.
    Replays(Step),
    /// Answers each request twice.
    Twice(Step),
    /// Answers with a hash of other bytes.
    BadHash(Step),
    /// Signs the nonce with a key other than the one that it shows.
    WrongSignature,
    /// Signs the bytes that the nonce's hex stands for, not the nonce.
    SignsDecodedNonce,
    /// Signs the nonce of the request before; the first time one of its own.
    ReplaysSignature,
    /// Answers `gencsr` with a text that is not PEM.
    NotPem,
}

/// What a node does once it was told to restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterRestart {
    /// Keeps its connection and answers nothing more; the cheapest for measurements.
    Lingers,
    /// Leaves for good.
    Leaves,
    /// Comes back unprovisioned, with a new startup event.
    Loops(Duration),
    /// Comes back with the token that it was configured with.
    Member(Duration),
}

/// How a node behaves; the default is a node that does everything right, at once.
#[derive(Clone, Debug)]
pub struct Behaviour {
    pub(super) latency: Duration,
    pub(super) step_latency: BTreeMap<Step, Duration>,
    pub(super) faults: Vec<(Fault, u32)>,
    pub(super) announcements: u32,
    pub(super) dead: bool,
    pub(super) after_restart: AfterRestart,
    pub(super) secret: Option<String>,
    pub(super) shown_token: Option<String>,
    pub(super) lock: Duration,
    pub(super) version: String,
    pub(super) upgradable: bool,
    pub(super) facts: Map<String, Value>,
    pub(super) directory: String,
}

impl Step {
    /// The steps that every enrolment with ed25519 keys takes.
    pub const FLOW: [Self; 5] = [
        Self::Jwt,
        Self::Inventory,
        Self::Gen25519,
        Self::Configure,
        Self::Restart,
    ];

    /// The step that an action of an agent is.
    pub fn of(agent: &str, action: &str) -> Option<Self> {
        Some(match (agent, action) {
            ("discovery", _) => Self::Discovery,
            ("rpcutil", "inventory") => Self::Inventory,
            ("choria_provision", "jwt") => Self::Jwt,
            ("choria_provision", "gen25519") => Self::Gen25519,
            ("choria_provision", "gencsr") => Self::Gencsr,
            ("choria_provision", "configure") => Self::Configure,
            ("choria_provision", "restart") => Self::Restart,
            ("choria_provision", "shutdown") => Self::Shutdown,
            ("choria_provision", "release_update") => Self::ReleaseUpdate,
            _ => return None,
        })
    }

    /// Tells whether a node lets only one caller at a time do it.
    pub(super) fn is_locked(self) -> bool {
        match self {
            Self::Jwt | Self::Gen25519 | Self::Gencsr | Self::Configure | Self::ReleaseUpdate => {
                true
            }
            Self::Discovery | Self::Inventory | Self::Restart | Self::Shutdown => false,
        }
    }

    /// Tells whether the node asks for the secret of its token.
    pub(super) fn is_guarded(self) -> bool {
        !matches!(self, Self::Discovery | Self::Inventory)
    }
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            latency: Duration::ZERO,
            step_latency: BTreeMap::new(),
            faults: Vec::new(),
            announcements: 1,
            dead: false,
            after_restart: AfterRestart::Lingers,
            secret: None,
            shown_token: None,
            lock: Duration::from_secs(120),
            version: "0.30.2".to_owned(),
            upgradable: false,
            facts: Map::new(),
            directory: "/etc/choria".to_owned(),
        }
    }
}

impl Behaviour {
    /// A node that announces itself and never answers.
    #[must_use]
    pub fn dead() -> Self {
        Self {
            dead: true,
            ..Self::default()
        }
    }

    /// Waits before each answer.
    #[must_use]
    pub fn latency(mut self, latency: Duration) -> Self {
        self.latency = latency;
        self
    }

    /// Waits before the answers of one step.
    #[must_use]
    pub fn slow(mut self, step: Step, latency: Duration) -> Self {
        self.step_latency.insert(step, latency);
        self
    }

    /// Always misbehaves so.
    #[must_use]
    pub fn fault(self, fault: Fault) -> Self {
        self.fault_times(fault, u32::MAX)
    }

    /// Misbehaves so at the first `tries` requests of the step.
    #[must_use]
    pub fn fault_times(mut self, fault: Fault, tries: u32) -> Self {
        self.faults.push((fault, tries));
        self
    }

    /// Publishes each startup event so many times; none is a node that only a scan finds.
    #[must_use]
    pub fn announcements(mut self, count: u32) -> Self {
        self.announcements = count;
        self
    }

    /// Does this once it was told to restart.
    #[must_use]
    pub fn after_restart(mut self, after: AfterRestart) -> Self {
        self.after_restart = after;
        self
    }

    /// Asks for this secret, whatever its token says.
    #[must_use]
    pub fn secret(mut self, secret: impl Into<String>) -> Self {
        self.secret = Some(secret.into());
        self
    }

    /// Answers `jwt` with another token than it logged in with.
    #[must_use]
    pub fn shows_token(mut self, token: impl Into<String>) -> Self {
        self.shown_token = Some(token.into());
        self
    }

    /// Keeps others out for this long after a call; 2 minutes as with Choria's nodes by default.
    #[must_use]
    pub fn lock(mut self, lock: Duration) -> Self {
        self.lock = lock;
        self
    }

    /// Reports this version, and whether it may be upgraded.
    #[must_use]
    pub fn version(mut self, version: impl Into<String>, upgradable: bool) -> Self {
        self.version = version.into();
        self.upgradable = upgradable;
        self
    }

    /// Reports a fact.
    #[must_use]
    pub fn fact(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.facts.insert(name.into(), value.into());
        self
    }

    /// Reports this directory as the one of its configuration.
    #[must_use]
    pub fn directory(mut self, directory: impl Into<String>) -> Self {
        self.directory = directory.into();
        self
    }

    pub(super) fn latency_of(&self, step: Step) -> Duration {
        self.step_latency
            .get(&step)
            .copied()
            .unwrap_or(self.latency)
    }

    /// The faults that hold for the `attempt`-th request of a step, counted from 1.
    pub(super) fn faults_at(&self, step: Step, attempt: u32) -> Vec<Fault> {
        self.faults
            .iter()
            .filter(|(fault, tries)| fault.step() == step && attempt <= *tries)
            .map(|(fault, _)| fault.clone())
            .collect()
    }
}

impl Fault {
    fn step(&self) -> Step {
        match self {
            Self::Silent(step)
            | Self::Loses(step)
            | Self::VanishBefore(step)
            | Self::VanishAfter(step)
            | Self::Aborts(step, _)
            | Self::Lacks(step, _)
            | Self::Says(step, _, _)
            | Self::NotJson(step)
            | Self::Padded(step, _)
            | Self::AsNode(step, _)
            | Self::Replays(step)
            | Self::Twice(step)
            | Self::BadHash(step) => *step,
            Self::WrongSignature | Self::SignsDecodedNonce | Self::ReplaysSignature => {
                Step::Gen25519
            }
            Self::NotPem => Step::Gencsr,
        }
    }
}
