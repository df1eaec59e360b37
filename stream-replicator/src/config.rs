//! The configuration: checked values.

mod check;
mod inspect;
mod raw;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use overlay_protocol::id::{Collective, Identity};
use overlay_runtime::config::{RawAdmin, RawLog, RawProcess};
use overlay_runtime::{BrokerUrl, Fault, FileConfig, Secrets, Settings};
use overlay_tokens::Issuers;

use crate::mapping::Mapping;

pub use raw::RawConfig;

/// Where metrics, readiness and workers are shown unless set.
const ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9841);

/// The checked configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// Site: names the cell in headers, metrics and advisories; one word.
    pub name: String,
    /// Where what is known of values is kept between starts; without it, it is rebuilt from the target.
    pub state_dir: Option<PathBuf>,
    /// One worker each.
    pub streams: Vec<StreamConfig>,
    /// Beats into streams, for whoever measures how far behind copies are.
    pub heartbeats: Option<Heartbeats>,
    /// Where operators' requests are answered.
    pub control: Option<Control>,
    /// Whether metrics have the original's names beside ours.
    pub original_metrics: bool,
    /// What was odd in a file of the original's.
    pub notices: Vec<String>,
    pub(crate) runtime: Settings,
}

/// Where operators' requests are answered, and how.
#[derive(Debug, Clone)]
pub struct Control {
    /// The home broker. When it is away, copying goes on.
    pub endpoint: Endpoint,
    /// Collective of the requests.
    pub collective: Collective,
    /// Whose tokens may ask.
    pub issuers: Issuers,
    /// Sender of the replies.
    pub identity: Identity,
    /// Server token and the seed of its key: replies are signed with it. Without it they are not.
    pub token: Option<(PathBuf, PathBuf)>,
}

/// One worker: a stream, and where it goes.
#[derive(Debug, Clone)]
pub struct StreamConfig {
    /// Name of the worker; one word, valid in a consumer's name. Unique together with the source stream.
    pub name: String,
    /// Where messages come from.
    pub source: Side,
    /// Where they go.
    pub target: Side,
    /// Subjects that are copied; none: all.
    pub filters: Vec<String>,
    /// Source subject to target subject.
    pub mapping: Mapping,
    /// Whether a missing target stream is made.
    pub create_target: bool,
    /// Copies everything anew at each start.
    pub ephemeral: bool,
    /// Whether nothing is written at the source: no durable consumer, no bookmark. The position is the target's alone.
    pub target_initiated: bool,
    /// Where to begin when there is no position yet.
    pub start: Start,
    /// Older messages are passed over.
    pub max_age: Option<Duration>,
    /// What is copied of messages that come again and again; without it, all.
    pub sampling: Option<Sampling>,
    /// How values that appear, fall silent and return are told of; only with sampling.
    pub advisory: Option<Advisory>,
    /// Name of this replica in the election; without it, there is none and this replica always works.
    pub candidate: Option<String>,
    /// Who else writes into the target stream.
    pub writers: Writers,
    /// Which order copies have.
    pub order: Order,
    /// How much is under way to the target.
    pub window: Window,
    /// What becomes of messages that the target refuses for good.
    pub poison: Poison,
    /// When messages are gone from the source before they were copied.
    pub on_gap: Reaction,
    /// When the source stream was deleted and made anew.
    pub on_recreated: Reaction,
    /// Hops of replication after which a message goes no further.
    pub max_hops: usize,
}

/// One end of a copy.
#[derive(Debug, Clone)]
pub struct Side {
    /// The stream.
    pub stream: String,
    /// The brokers.
    pub endpoint: Endpoint,
}

/// Brokers, and how to log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Any of them will do.
    pub servers: Vec<BrokerUrl>,
    /// Certificates.
    pub tls: Tls,
    /// How to log in; files are read again at every login.
    pub login: Login,
    /// Prefix of the JetStream API, such as `$JS.cell.API` of a domain, where it is not `$JS.API`.
    pub api_prefix: Option<String>,
    /// How long one attempt to connect may take.
    pub attempt_limit: Duration,
}

/// Certificates of a connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// PEM file of the authorities that sign brokers' certificates; without it, the system's.
    pub ca_file: Option<PathBuf>,
    /// Own certificate and its key.
    pub own: Option<(PathBuf, PathBuf)>,
    /// Begins with TLS instead of waiting for the broker's greeting.
    pub first: bool,
    /// Believes any certificate. Only where the original did and the user says so by name.
    pub insecure: bool,
}

/// How to log in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Login {
    /// Not at all.
    #[default]
    None,
    /// With an nkey.
    Nkey {
        /// File with the user's seed.
        seed_file: PathBuf,
    },
    /// With user name and password.
    Password {
        /// The user.
        user: String,
        /// File with the password.
        password_file: PathBuf,
    },
    /// With a NATS credentials file, or a JWT and its seed.
    Credentials {
        /// File with the user JWT; the seed stands in it unless `seed_file` is given.
        file: PathBuf,
        /// File with the seed.
        seed_file: Option<PathBuf>,
    },
    /// With a Choria client or server token, whose key signs the broker's nonce.
    Choria {
        /// The token.
        token_file: PathBuf,
        /// Seed of its key.
        seed_file: PathBuf,
        /// Collective of the reply subjects.
        collective: Collective,
    },
}

/// Where to begin without a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Start {
    /// With the first message.
    #[default]
    All,
    /// With the next message.
    End,
    /// With this one.
    Sequence(u64),
    /// With the first that is so old at most.
    Ago(Duration),
    /// With the first since then.
    Time(SystemTime),
}

/// What is copied of messages that come again and again.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// What a message is about.
    pub inspect: Inspect,
    /// A body that has this (gjson path) is copied in any case.
    pub force: Option<String>,
    /// Whether the forcing field must be true instead of merely there.
    pub force_is_strict: bool,
    /// A value is copied once in this time, and is gone after so long a silence.
    pub interval: Duration,
    /// A silence that is told of.
    pub warn: Duration,
    /// A change of size, in bytes, since the last copy that makes a copy; 0: none does.
    pub size_trigger: f64,
    /// Follows lifecycle events of the source: who shut down cleanly has not crashed.
    pub lifecycle: bool,
}

/// What a message is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inspect {
    /// A field of its JSON body (gjson path).
    Field(String),
    /// A header.
    Header(String),
    /// A token of its subject, from 1; nothing: the whole subject.
    Token(Option<NonZeroUsize>),
}

/// How values are told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advisory {
    /// `%s` stands for the event, `%v` for the value.
    pub subject: String,
    /// Whether a stream must have taken it.
    pub reliable: bool,
}

/// Who else writes into the target stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Writers {
    /// Found out: as `One` until another's message is seen.
    #[default]
    Auto,
    /// Nobody: each message names the one before it, and whoever comes between is found out.
    One,
    /// Others.
    Many,
}

/// Which order copies have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Order {
    /// That of the source.
    #[default]
    Strict,
    /// That of the source among messages of one key; those of others may pass. What the key is: of a subject, the whole one
    /// is that in the target.
    Key(Inspect),
}

/// How much is under way to the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Messages.
    pub messages: usize,
    /// Bytes of bodies and headers.
    pub bytes: usize,
}

/// What becomes of messages that the target refuses for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Poison {
    /// Refusals, or silences while others are answered, after which a message counts as poison.
    pub tries: usize,
    /// What is done then.
    pub action: PoisonAction,
    /// Stream at the source that keeps them.
    pub stream: String,
    /// How many in a row stop the worker: then it is the target that is wrong.
    pub limit: usize,
}

/// What is done with poison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PoisonAction {
    /// It is kept aside, and the stream goes on.
    #[default]
    DeadLetter,
    /// It is counted, and the stream goes on.
    Skip,
    /// The worker waits for an operator.
    Stop,
}

/// What is done when the source is not what it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reaction {
    /// It is told, counted, and the worker goes on.
    #[default]
    Continue,
    /// The worker waits for an operator.
    Stop,
}

/// Beats into streams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heartbeats {
    /// Where.
    pub endpoint: Endpoint,
    /// Whether one of the replicas beats.
    pub election: bool,
    /// Name of this replica in that election.
    pub candidate: String,
    /// What is sent.
    pub beats: Vec<Beat>,
}

/// One subject of heartbeats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beat {
    /// The subject.
    pub subject: String,
    /// How often.
    pub interval: Duration,
    /// Headers, in the order in which they are sent.
    pub headers: Vec<(String, String)>,
}

impl std::fmt::Display for Order {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Strict => f.write_str("strict"),
            Self::Key(Inspect::Token(None)) => f.write_str("key: subject"),
            Self::Key(Inspect::Token(Some(token))) => write!(f, "key: subject token {token}"),
            Self::Key(Inspect::Header(name)) => write!(f, "key: header {name}"),
            Self::Key(Inspect::Field(path)) => write!(f, "key: field {path}"),
        }
    }
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
        inspect::inspect(self, secrets)
    }
}

#[cfg(test)]
mod tests;
