//! The configuration: the file as written, and the checked form everything else takes.

mod check;
mod inspect;
mod items;
mod reference;
mod sketch;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use overlay_protocol::envelope::Limits;
use overlay_protocol::id::{Collective, Identity};
use overlay_runtime::config::{RawLog, RawProcess};
use overlay_runtime::{Fault, FileConfig, Secret, Secrets, Settings};
use overlay_tokens::{Issuers, PublicKey};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::compat;
use crate::policy::PolicyFiles;
use crate::provisioning::Ticket;
use crate::resolve::Servers;

pub(crate) use inspect::Place;
pub(crate) use sketch::Sketch;

/// The checked configuration of a node.
#[derive(Debug)]
pub struct Config {
    /// The node's name; the token must carry the same.
    pub identity: Identity,
    /// The collectives it belongs to, at least one.
    pub collectives: Vec<Collective>,
    /// The collective of its own inbox.
    pub main_collective: Collective,
    /// What it is to its cell.
    pub role: Role,
    /// How it reaches the brokers.
    pub broker: Broker,
    /// Facts files; of equal top-level names the last file's counts.
    pub facts_files: Vec<PathBuf>,
    /// The classes file.
    pub classes_file: Option<PathBuf>,
    /// How often facts and classes are looked at, at most.
    pub refresh: Duration,
    /// Bounds and manners of requests.
    pub rpc: Rpc,
    /// Who may call which action.
    pub authorization: Authorization,
    /// Choria's policy files; there where they decide.
    pub policies: Option<PolicyFiles>,
    /// Where requests are recorded.
    pub audit_file: Option<PathBuf>,
    /// The status file and how often it is written.
    pub status: Option<(PathBuf, Duration)>,
    /// How often the node says that it is alive.
    pub alive_interval: Duration,
    /// Settings by the names of Choria's configuration file.
    pub config_items: BTreeMap<String, Value>,
    /// The file, for people; empty when it is one of ours.
    pub config_file: String,
    /// What was odd in a file of Choria's.
    pub notices: Vec<String>,
    /// Whether events are written in the form from before CloudEvents.
    pub plain_events: bool,
    /// How and when it is enrolled.
    pub enrolment: Enrolment,
    /// The search path for programs.
    pub path: String,
    pub(crate) runtime: Settings,
}

/// What the node is to its cell.
#[derive(Debug)]
pub enum Role {
    /// A member.
    Member(Membership),
    /// One that waits to be enrolled.
    Unprovisioned(Arc<Ticket>),
}

/// What makes a member.
#[derive(Debug)]
pub struct Membership {
    /// Its token, read at every connection.
    pub token_file: PathBuf,
    /// The seed of its key, read at every connection.
    pub seed_file: PathBuf,
    /// Whose tokens may make requests.
    pub issuers: Issuers,
}

/// How and when the node is enrolled.
#[derive(Debug, Clone)]
pub struct Enrolment {
    /// The file of the provisioning token, where it is not one of the usual ones.
    pub token_file: Option<PathBuf>,
    /// Whether the node is to be enrolled, where the configuration says so.
    pub enabled: Option<bool>,
    /// Whether a member fetches a new token before its own ends.
    pub renew: bool,
    /// How long before the end; none = the last third of the token's life.
    pub renew_before: Option<Duration>,
    /// The key that must have signed what replaces this program; none = its sum alone is checked.
    pub release_key: Option<PublicKey>,
}

/// How the node reaches the brokers.
#[derive(Debug)]
pub struct Broker {
    /// Where they are.
    pub servers: Servers,
    /// How they are trusted.
    pub tls: Tls,
    /// The certificate and key the node shows, if any.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// A user name and password sent beside the token.
    pub login: Option<Login>,
    /// The longest a try to connect takes.
    pub connect_timeout: Duration,
}

/// A user name and password.
#[derive(Debug, Clone)]
pub struct Login {
    /// The name.
    pub user: String,
    /// The password.
    pub password: Password,
}

/// Where a password is.
#[derive(Debug, Clone)]
pub enum Password {
    /// In a file of its own, read at every connection.
    File(PathBuf),
    /// It stood in a file of Choria's.
    Given(Secret),
}

impl Tls {
    /// Whether a broker must prove who it is.
    pub fn is_verified(&self) -> bool {
        match self {
            Self::Verified(_) | Self::System | Self::Pinned(_) => true,
            Self::Unverified | Self::None => false,
        }
    }
}

/// How a broker's certificate is judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tls {
    /// It must lead to this authority and carry the broker's name.
    Verified(PathBuf),
    /// It must lead to an authority of the system and carry the broker's name.
    System,
    /// It must lead to an authority whose certificate has one of these SHA-256 sums, and carry the broker's name.
    Pinned(Vec<[u8; 32]>),
    /// Any will do: who answers is not known.
    Unverified,
    /// No encryption; only for brokers on this machine.
    None,
}

/// Bounds and manners of requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rpc {
    /// Actions that run at once.
    pub workers: usize,
    /// Requests that wait for a worker.
    pub queue: usize,
    /// The largest message taken.
    pub max_request_bytes: usize,
    /// The longest time to live, and the furthest clock difference, taken.
    pub max_ttl: Duration,
    /// How many requests are remembered against replay; none = no check.
    pub replay_entries: usize,
    /// Whether replies carry a signature and the node's token.
    pub sign_replies: bool,
    /// Ends actions that have no shorter limit of their own.
    pub max_action_time: Duration,
}

/// Who may call which action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authorization {
    /// Whoever may make requests may call anything.
    Off,
    /// The list or the Rego policy in the caller's token decides.
    CallerToken,
    /// Choria's action policies decide: [`Config::policies`].
    PolicyFiles,
    /// A policy language this node cannot judge: nothing is allowed.
    Unsupported(&'static str),
}

/// The file as written; every value may be absent.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawConfig {
    pub(crate) identity: Option<String>,
    pub(crate) collectives: Option<Vec<String>>,
    pub(crate) main_collective: Option<String>,
    pub(crate) token_file: Option<PathBuf>,
    pub(crate) seed_file: Option<PathBuf>,
    pub(crate) issuers: Option<BTreeMap<String, String>>,
    pub(crate) trusted_signers: Option<Vec<String>>,
    /// Set by the reader of Choria's files only.
    pub(crate) choria_file: Option<String>,
    /// Set by the reader of Choria's files only.
    pub(crate) choria_notices: Option<Vec<String>>,
    pub(crate) broker: RawBroker,
    pub(crate) facts: RawFacts,
    pub(crate) rpc: RawRpc,
    pub(crate) authorization: RawAuthorization,
    pub(crate) audit: RawAudit,
    pub(crate) status: RawStatus,
    pub(crate) lifecycle: RawLifecycle,
    pub(crate) provisioning: RawProvisioning,
    #[serde(skip_serializing)]
    pub(crate) log: RawLog,
    #[serde(skip_serializing)]
    pub(crate) process: RawProcess,
}

/// Table `broker`.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawBroker {
    pub(crate) servers: Option<Vec<String>>,
    pub(crate) use_srv: Option<bool>,
    pub(crate) srv_domain: Option<String>,
    pub(crate) name_servers: Option<Vec<String>>,
    pub(crate) fallback_servers: Option<Vec<String>>,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) verify: Option<bool>,
    pub(crate) tls: Option<bool>,
    pub(crate) certificate_file: Option<PathBuf>,
    pub(crate) key_file: Option<PathBuf>,
    pub(crate) user: Option<String>,
    pub(crate) password_file: Option<PathBuf>,
    /// Set by the reader of Choria's files only.
    pub(crate) password: Option<String>,
    pub(crate) connect_timeout: Option<String>,
}

/// Table `facts`.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawFacts {
    pub(crate) files: Option<Vec<PathBuf>>,
    pub(crate) file: Option<PathBuf>,
    pub(crate) classes_file: Option<PathBuf>,
    pub(crate) refresh: Option<String>,
}

/// Table `rpc`.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawRpc {
    pub(crate) workers: Option<usize>,
    pub(crate) queue: Option<usize>,
    pub(crate) max_request_bytes: Option<usize>,
    pub(crate) max_ttl: Option<String>,
    pub(crate) max_action_time: Option<String>,
    pub(crate) replay_entries: Option<usize>,
    pub(crate) sign_replies: Option<bool>,
}

/// Table `authorization`.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawAuthorization {
    pub(crate) mode: Option<RawMode>,
    pub(crate) directory: Option<PathBuf>,
    pub(crate) allow_unconfigured: Option<bool>,
    pub(crate) default_policy: Option<String>,
}

/// What judges a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RawMode {
    /// Nothing does.
    None,
    /// The list or the Rego policy in the caller's token.
    CallerToken,
    /// Choria's action policies.
    ActionPolicy,
    /// Choria's Rego files, which are not read: all is denied.
    RegoPolicy,
}

/// Table `audit`.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawAudit {
    pub(crate) file: Option<PathBuf>,
}

/// Table `status`.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawStatus {
    pub(crate) file: Option<PathBuf>,
    pub(crate) interval: Option<String>,
}

/// Table `lifecycle`.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawLifecycle {
    pub(crate) alive_interval: Option<String>,
    pub(crate) plain_events: Option<bool>,
}

/// Table `provisioning`.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawProvisioning {
    pub(crate) token_file: Option<PathBuf>,
    pub(crate) enabled: Option<bool>,
    pub(crate) renew: Option<bool>,
    pub(crate) renew_before: Option<String>,
    pub(crate) release_key: Option<String>,
}

impl FileConfig for Config {
    type Raw = RawConfig;

    fn check(raw: RawConfig) -> Result<Self, Vec<Fault>> {
        check::check(raw)
    }

    fn reference() -> String {
        reference::text()
    }

    fn runtime(&self) -> Settings {
        self.runtime.clone()
    }

    fn read_foreign(path: &Path) -> Option<Result<toml::Table, Vec<Fault>>> {
        compat::has_extension(path).then(|| compat::read_table(path))
    }

    fn inspect(&self, secrets: &Secrets) -> Vec<Fault> {
        inspect::files(self, secrets, &Path::to_owned)
    }
}

impl Rpc {
    /// Bounds of every layer of a message.
    pub fn limits(&self) -> Limits {
        Limits {
            max_bytes: self.max_request_bytes,
            ..Limits::default()
        }
    }
}

impl Config {
    /// The configuration of a node that waits to be enrolled, with nothing set by an operator.
    ///
    /// # Errors
    ///
    /// A fault of this program.
    pub fn waiting(
        identity: Identity,
        ticket: Arc<Ticket>,
        config_file: &Path,
    ) -> Result<Self, Vec<Fault>> {
        Sketch::check(RawConfig::default())?
            .waiting(identity, Arc::clone(&ticket), config_file, ticket.tls())
            .map_err(|fault| vec![fault])
    }

    /// What is wrong with the files it names, each looked for where `place` says.
    pub(crate) fn inspect_at(&self, secrets: &Secrets, place: Place<'_>) -> Vec<Fault> {
        inspect::files(self, secrets, place)
    }

    /// The token and key of a member.
    pub fn membership(&self) -> Option<&Membership> {
        match &self.role {
            Role::Member(membership) => Some(membership),
            Role::Unprovisioned(_) => None,
        }
    }

    /// Whether the node waits to be enrolled.
    pub fn is_unprovisioned(&self) -> bool {
        self.membership().is_none()
    }

    /// How long running actions may take to finish at the end.
    pub fn grace(&self) -> Duration {
        self.runtime.grace
    }
}
