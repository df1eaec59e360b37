//! What a client must know, from a file and the environment.
//!
//! Nothing here reads the process's environment: the caller hands in an [`Environment`].

mod check;
mod compat;
mod raw;
mod search;
mod services;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use overlay_protocol::id::{Collective, Identity};
use overlay_tokens::Issuers;

use self::raw::Raw;
pub use self::services::{
    DEFAULT_LOGIN_TIMEOUT, DEFAULT_SIGNER_TIMEOUT, LoginOver, LoginPlace, Signer, SignerOver, Web,
};
use crate::targets::LimitMethod;

/// How long connecting may take in all, tries included.
pub const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a request is good for after it was made.
pub const DEFAULT_TTL: Duration = Duration::from_secs(60);
/// How long discovery waits at most for replies.
pub const DEFAULT_DISCOVERY_TIMEOUT: Duration = Duration::from_secs(2);
/// The collective of an organisation that has not divided its fleet.
pub const DEFAULT_COLLECTIVE: &str = "choria";
/// A file of this many bytes is not a client's configuration.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// The process's surroundings, as far as configuration depends on them.
#[derive(Debug, Clone)]
pub struct Environment {
    /// The environment variables.
    pub variables: BTreeMap<String, String>,
    /// The directory that relative paths of the command line are seen from.
    pub current_dir: PathBuf,
    /// The name of this host; the default identity.
    pub host_name: String,
    /// The directory that `/etc` and its like are in: `/`, except in tests.
    pub root: PathBuf,
}

/// A client's checked configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file it came from, if there was one.
    pub source: Option<PathBuf>,
    /// Broker URLs; at least one.
    pub servers: Vec<String>,
    /// How the connection is protected.
    pub tls: Tls,
    /// The collective that requests go to unless told otherwise.
    pub collective: Collective,
    /// The name of this host in requests (not the caller).
    pub identity: Identity,
    /// The caller's token.
    pub token_file: PathBuf,
    /// The seed of the key that the token names.
    pub seed_file: PathBuf,
    /// User and password sent besides the token, for brokers that want both.
    pub broker_user: Option<BrokerUser>,
    /// The limit for connecting, all tries together.
    pub connect_timeout: Duration,
    /// The life of a request; whole seconds, at least one.
    pub ttl: Duration,
    /// How nodes are found.
    pub discovery: Discovery,
    /// Which nodes a limit keeps.
    pub limit_method: LimitMethod,
    /// Refuse requests to the whole collective.
    pub require_filter: bool,
    /// Directories with descriptions of agents.
    pub library_dirs: Vec<PathBuf>,
    /// The organisation's issuers, to check replies with; none: replies are not checked.
    pub issuers: Option<Issuers>,
    /// Who signs requests; none: the caller itself.
    pub signer: Option<Signer>,
    /// Where the caller gets its token.
    pub login: LoginPlace,
}

/// How the connection to the broker is protected.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    /// What is demanded.
    pub mode: TlsMode,
    /// Certificates that the broker's must lead to; none: those of the system.
    pub ca_file: Option<PathBuf>,
    /// The client's own certificate and key, for brokers that want one.
    pub certificate: Option<(PathBuf, PathBuf)>,
}

/// What is demanded of the broker's end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TlsMode {
    /// TLS with a certificate that is valid for the broker's name.
    #[default]
    Verify,
    /// TLS with any certificate: who answers is not known.
    Insecure,
    /// TLS only if the broker insists.
    Off,
}

/// A user and a password.
#[derive(Clone)]
pub struct BrokerUser {
    /// The user's name.
    pub user: String,
    pub(crate) password: String,
}

/// How nodes are found.
#[derive(Debug, Clone)]
pub struct Discovery {
    /// The method when none is asked for.
    pub method: DiscoveryMethod,
    /// The limit for finding nodes.
    pub timeout: Duration,
    /// Always wait for the whole of `timeout`.
    pub full: bool,
    /// The file that method `inventory` reads.
    pub inventory_file: Option<PathBuf>,
}

/// A way to find nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiscoveryMethod {
    /// Ask all nodes on the broker.
    Broadcast,
    /// Read names from a file.
    File,
    /// Read nodes with their facts from a file and filter them here.
    Inventory,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// No file was named and none was found.
    #[error("no configuration found")]
    NotFound {
        /// Where it could have been, in order.
        searched: Vec<PathBuf>,
    },
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file is not TOML of the right shape.
    #[error("{} is not valid", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// Values are wrong; all of them are listed.
    #[error("{}", list(source_file.as_deref(), faults))]
    Invalid {
        /// The file, if there was one.
        source_file: Option<PathBuf>,
        /// What is wrong, one entry for each.
        faults: Vec<String>,
    },
}

fn list(file: Option<&Path>, faults: &[String]) -> String {
    let place = file.map_or_else(
        || "the environment".to_owned(),
        |path| path.display().to_string(),
    );
    format!(
        "the configuration in {place} is not usable: {}",
        faults.join("; ")
    )
}

impl Config {
    /// Finds and reads the configuration: the file given, else the first found; then the environment.
    ///
    /// A file ending in `.toml` is ours, any other is read as Choria's.
    ///
    /// # Errors
    ///
    /// No file, one that cannot be read, or values that make no sense.
    pub fn load(explicit: Option<&Path>, environment: &Environment) -> Result<Self, ConfigError> {
        let found = search::find(explicit, environment)?;
        let mut raw = match &found {
            None => Raw::default(),
            Some(path) if search::is_ours(path) => {
                let text = search::read(path)?;
                let mut raw: Raw = toml::from_str(&text).map_err(|source| ConfigError::Syntax {
                    path: path.clone(),
                    source: Box::new(source),
                })?;
                let base = path.parent().unwrap_or(Path::new("/"));
                raw.resolve_paths(&environment.current_dir.join(base), environment);
                raw
            }
            Some(path) => compat::read(path, environment)?,
        };
        raw.apply_environment(environment)
            .map_err(|fault| ConfigError::Invalid {
                source_file: found.clone(),
                faults: vec![fault],
            })?;
        check::check(raw, found, environment)
    }
}

impl Environment {
    /// The variable's value, unless it is empty.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// The user's home directory, if it is known.
    #[must_use]
    pub fn home(&self) -> Option<&Path> {
        self.variable("HOME").map(Path::new)
    }

    /// Replaces a leading `~/` by the home directory.
    fn expand(&self, path: &Path) -> PathBuf {
        match (path.strip_prefix("~"), self.home()) {
            (Ok(rest), Some(home)) => home.join(rest),
            _ => path.to_owned(),
        }
    }
}

impl std::str::FromStr for DiscoveryMethod {
    type Err = String;

    /// Reads our names and Choria's (`mc`, `flatfile`).
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "mc" | "broadcast" => Ok(Self::Broadcast),
            "file" | "flatfile" => Ok(Self::File),
            "inventory" => Ok(Self::Inventory),
            "choria" | "puppetdb" | "external" => Err(format!(
                "method `{text}` is not available here: use broadcast, file or inventory"
            )),
            _ => Err(format!(
                "`{text}` is not one of broadcast (mc), file (flatfile), inventory"
            )),
        }
    }
}

impl fmt::Display for DiscoveryMethod {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Broadcast => "mc",
            Self::File => "flatfile",
            Self::Inventory => "inventory",
        })
    }
}

impl fmt::Debug for BrokerUser {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("BrokerUser")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
