//! The configuration: checked values, and the files that they name.

mod check;
mod raw;
mod secrets;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::time::Duration;

use overlay_protocol::id::{Collective, Identity};
use overlay_runtime::config::{RawAdmin, RawLog, RawProcess, Threads};
use overlay_runtime::nats;
use overlay_runtime::{Fault, FileConfig, Secrets, Settings};
use overlay_tokens::{Issuers, SecretText};

use crate::helper::HelperSettings;
use crate::policy::{Calls, Features, HelperRules, Issue, Names, Placement, Quarantine, Retry};

pub(crate) use check::DENIED_NAMES;
pub use raw::RawConfig;
pub use secrets::{Keys, KeysError};

/// Where metrics and readiness are served unless set.
const ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9811);

/// The checked configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// Who this provisioner says that it is, in requests and records; instances may share it.
    pub identity: Identity,
    /// Where it works.
    pub site: Option<String>,
    /// Connection to the brokers of the account for provisioning; the login is in `login`.
    pub broker: nats::Settings,
    /// How it logs in.
    pub login: Login,
    /// Whose provisioning tokens are good.
    pub issuers: Issuers,
    /// File of the RSA key that signs provisioning tokens.
    pub signer_file: Option<PathBuf>,
    /// Secrets that guard the nodes' agent; the first that is for a node's name is the node's.
    pub node_secrets: Vec<NodeSecretSource>,
    /// Provisioning tokens, by id, that are no longer good.
    pub denied_tokens: BTreeSet<String>,
    /// Component in the events of nodes that wait.
    pub component: String,
    /// Token of the chain issuer that signs nodes' tokens; read again for each.
    pub issuer_token_file: PathBuf,
    /// Seed of the chain issuer; read again for each.
    pub issuer_seed_file: PathBuf,
    /// What is issued.
    pub issue: Issue,
    /// How the helper is asked; nothing: there is none, and every node fails with that reason.
    pub helper: Option<HelperSettings>,
    /// What the helper is told.
    pub helper_rules: HelperRules,
    /// Steps that are taken beside the usual ones.
    pub features: Features,
    /// When a name may be taken that is in use.
    pub names: Names,
    /// Whether the broker is asked who listens under a name, before what only the node may hear is sent.
    pub count_listeners: bool,
    /// How much is done at a time.
    pub limits: Limits,
    /// How many nodes are enrolled in a time, by the token that they show.
    pub token_rate: Option<Rate>,
    /// How many nodes are enrolled in a time, by their site.
    pub site_rate: Option<Rate>,
    /// Tries and limits of calls.
    pub calls: Calls,
    /// Pauses between attempts.
    pub retry: Retry,
    /// When a node is left alone.
    pub quarantine: Quarantine,
    /// How nodes are looked for.
    pub scan: Scan,
    /// Streams and buckets.
    pub streams: Streams,
    /// Whether one instance leads and the others wait, instead of all working.
    pub leader: Leader,
    /// Collectives of the fleet in which names are looked for.
    pub collectives: Vec<Collective>,
    /// Whether metrics have the original's names beside ours.
    pub original_metrics: bool,
    /// Overlays that the helper may name.
    pub placements: BTreeMap<String, Placement>,
    /// What was odd in a file of the original's.
    pub notices: Vec<String>,
    runtime: Settings,
}

/// How the provisioner logs in.
#[derive(Debug, Clone)]
pub struct Login {
    /// User name.
    pub user: String,
    /// Its password.
    pub password: SecretSource,
    /// Its token; read at every connection. Without it, the password must do.
    pub token_file: Option<PathBuf>,
    /// The seed of its key; read at every connection.
    pub seed_file: Option<PathBuf>,
}

/// Where a secret is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// In a file of its own.
    File(PathBuf),
    /// It stood in a file of the original's.
    Given(SecretText),
}

/// Where a secret of nodes is, and which nodes have it.
#[derive(Debug, Clone)]
pub struct NodeSecretSource {
    /// Where it is.
    pub source: SecretSource,
    /// Patterns of their names; none: all.
    pub names: Vec<regex::Regex>,
}

/// How much is done at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Nodes that are worked on; nothing: 64 for each processor.
    pub workers: Option<NonZeroUsize>,
    /// Nodes that were asked for the first time and have not answered.
    pub first_contact: NonZeroUsize,
    /// Nodes that are known and wait.
    pub waiting: NonZeroUsize,
    /// The longest reply that is read, in bytes.
    pub reply_bytes: usize,
}

/// How many nodes may be enrolled in a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// So many...
    pub nodes: NonZeroU32,
    /// ...in so long.
    pub per: Duration,
    /// So many of them at once.
    pub burst: NonZeroU32,
}

/// How nodes are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scan {
    /// How often all that wait are asked.
    pub interval: Duration,
    /// A scan is over when nobody answered for so long.
    pub quiet: Duration,
}

/// Streams and buckets, made and kept in order by the provisioner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Streams {
    /// On how many servers each is kept.
    pub replicas: u8,
    /// Nodes' events.
    pub events: Stream,
    /// Records of what was done.
    pub audit: Stream,
    /// What is known of nodes.
    pub nodes: Stream,
    /// How long an instance holds a node without saying so again.
    pub lease: Duration,
    /// How long a node that was enrolled stays claimed.
    pub keep: Duration,
}

/// One stream or bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stream {
    /// How long its messages are kept; zero: for ever.
    pub age: Duration,
    /// How many bytes it holds.
    pub bytes: u64,
}

/// Whether one instance leads and the others wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leader {
    /// Whether it is so.
    pub enabled: bool,
    /// How long a leader keeps its place without renewing it, as the broker's bucket has it.
    pub ttl: Duration,
}

impl FileConfig for Config {
    type Raw = RawConfig;

    fn check(raw: RawConfig) -> Result<Self, Vec<Fault>> {
        check::check(raw)
    }

    fn reference() -> String {
        let admin = RawAdmin::reference(ADMIN);
        [
            include_str!("config/reference.toml"),
            &admin,
            "\n",
            RawLog::REFERENCE,
            "\n",
            RawProcess::REFERENCE,
        ]
        .concat()
    }

    fn read_foreign(path: &Path) -> Option<Result<toml::Table, Vec<Fault>>> {
        crate::compat::read_foreign(path)
    }

    fn runtime(&self) -> Settings {
        self.runtime.clone()
    }

    fn inspect(&self, secrets: &Secrets) -> Vec<Fault> {
        let mut faults = self.broker.inspect(secrets);
        if let Err(errors) = Keys::load(self, secrets) {
            faults.extend(errors.into_iter().map(KeysError::into_fault));
        }
        faults
    }
}

#[cfg(test)]
mod tests;
