//! The tables that every component's file may have: `[broker]`, `[admin]`, `[log]`, `[process]`.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::nats::{self, Auth, BrokerUrl, Reconnect};
use crate::telemetry;

use super::{Fault, Period};

const GRACE: Duration = Duration::from_secs(20);

/// What the process itself needs of a configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The connection that [`crate::Context::broker`] yields; a process may do without.
    pub broker: Option<nats::Settings>,
    /// Where the admin listener listens; needs the feature `admin`.
    pub admin: Option<SocketAddr>,
    /// What is logged, and how.
    pub log: telemetry::Settings,
    /// How long tasks may go on after the stop began; 20 s unless set.
    pub grace: Duration,
    /// The threads of the async runtime.
    pub threads: Threads,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            broker: None,
            admin: None,
            log: telemetry::Settings::default(),
            grace: GRACE,
            threads: Threads::default(),
        }
    }
}

/// The threads of the async runtime.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Threads {
    /// One worker per processor.
    #[default]
    PerProcessor,
    /// So many workers.
    Workers(NonZeroUsize),
    /// No workers: all work is done on the main thread. The lightest.
    Current,
}

/// The table `[broker]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawBroker {
    /// Brokers, any of which will do.
    pub servers: Vec<String>,
    /// Name that the broker shows for this connection.
    pub name: Option<String>,
    /// PEM file of the authorities that sign brokers' certificates.
    pub ca_file: Option<PathBuf>,
    /// File with the nkey seed of a user (`SU...`).
    pub seed_file: Option<PathBuf>,
    /// User name, together with `password_file`.
    pub user: Option<String>,
    /// File with the user's password.
    pub password_file: Option<PathBuf>,
    /// How long the first connection is tried.
    pub connect_limit: Option<Period>,
    /// A fixed wait before each reconnect, instead of a growing one.
    pub reconnect_wait: Option<Period>,
}

/// The table `[admin]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawAdmin {
    /// `HOST:PORT` by number, or `off`.
    pub listen: Option<String>,
}

/// The table `[log]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawLog {
    /// Level, or directives such as `info,overlay_broker_auth=debug`.
    pub level: Option<String>,
    /// `text` or `json`.
    pub format: Option<String>,
}

/// The table `[process]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawProcess {
    /// How long tasks may go on after the stop began.
    pub grace: Option<Period>,
    /// Threads of the async runtime; 0 is the main thread alone.
    pub threads: Option<usize>,
}

impl RawBroker {
    /// The table as commented TOML, for a component's reference.
    pub const REFERENCE: &str = r#"[broker]
# Brokers, any of which will do: nats://, tls://, ws:// or wss://HOST:PORT.
servers = ["nats://127.0.0.1:4222"]
# Name that the broker shows for this connection. Default: the component.
# name = "..."
# PEM file of the authorities that sign brokers' certificates. Default: those of the system.
# ca_file = "/etc/overlay/ca.pem"
# File with the nkey seed of the user (SU...), mode 0600.
# seed_file = "/etc/overlay/user.nk"
# Or a user name and the file of its password, mode 0600.
# user = "..."
# password_file = "/etc/overlay/user.password"
# How long the first connection is tried before the process ends with exit code 69.
# connect_limit = "60s"
# A fixed wait before each reconnect. Default: 0.5 s growing to 20 s, with jitter.
# reconnect_wait = "100ms"
"#;

    /// Checks the table that stands at `key`, adding to `faults`.
    ///
    /// `name` is the connection's name where the file gives none.
    pub fn check(self, key: &str, name: &str, faults: &mut Vec<Fault>) -> Option<nats::Settings> {
        let before = faults.len();
        let at = |member: &str| format!("{key}.{member}");
        if self.servers.is_empty() {
            let fault = Fault::new(at("servers"), "names no broker");
            faults.push(fault.remedy("write [\"nats://HOST:PORT\"]"));
        }
        let mut servers = Vec::new();
        for server in &self.servers {
            match server.parse::<BrokerUrl>() {
                Ok(url) => servers.push(url),
                Err(error) => faults.push(
                    Fault::new(at("servers"), error.to_string())
                        .value(format!("{server:?}"))
                        .remedy("write nats://HOST:PORT (or tls, ws, wss)"),
                ),
            }
        }
        let auth = match (self.seed_file, self.user, self.password_file) {
            (None, None, None) => Auth::None,
            (Some(seed_file), None, None) => Auth::Nkey { seed_file },
            (None, Some(user), Some(password_file)) => Auth::Password {
                user,
                password_file,
            },
            (None, Some(_), None) => {
                let fault = Fault::new(at("password_file"), "is missing");
                faults.push(fault.remedy("set it beside user"));
                Auth::None
            }
            (None, None, Some(_)) => {
                let fault = Fault::new(at("user"), "is missing");
                faults.push(fault.remedy("set it beside password_file"));
                Auth::None
            }
            (Some(_), _, _) => {
                let fault = Fault::new(at("seed_file"), "is given together with a user");
                faults.push(fault.remedy("keep one of the two"));
                Auth::None
            }
        };
        if faults.len() > before {
            return None;
        }
        let mut settings =
            nats::Settings::new(self.name.unwrap_or_else(|| name.to_owned()), servers);
        settings.auth = auth;
        settings.ca_file = self.ca_file;
        if let Some(Period(limit)) = self.connect_limit {
            settings.connect_limit = limit;
        }
        if let Some(Period(wait)) = self.reconnect_wait {
            settings.reconnect = Reconnect::Flat(wait);
        }
        Some(settings)
    }
}

impl RawAdmin {
    /// Checks the table that stands at `key`, adding to `faults`.
    pub fn check(
        self,
        key: &str,
        default: Option<SocketAddr>,
        faults: &mut Vec<Fault>,
    ) -> Option<SocketAddr> {
        let listen = match self.listen.as_deref() {
            None => return default,
            Some("off") => return None,
            Some(listen) => listen,
        };
        match listen.parse() {
            Ok(address) => Some(address),
            Err(_) => {
                let fault = Fault::new(format!("{key}.listen"), "is not an address and port");
                faults.push(fault.remedy("write \"127.0.0.1:PORT\" or \"off\""));
                None
            }
        }
    }

    /// The table as commented TOML, for a component's reference.
    pub fn reference(default: SocketAddr) -> String {
        format!(
            "[admin]
# Where /live, /ready, /metrics, /log and /version are served, or \"off\". There is no log-in:
# keep it on loopback.
listen = \"{default}\"
"
        )
    }
}

impl RawLog {
    /// The table as commented TOML, for a component's reference.
    pub const REFERENCE: &str = r#"[log]
# error, warn, info, debug or trace; single parts as in "info,async_nats=debug".
level = "info"
# text or json, to standard error.
format = "text"
"#;

    /// Checks the table that stands at `key`, adding to `faults`.
    pub fn check(self, key: &str, faults: &mut Vec<Fault>) -> telemetry::Settings {
        let mut settings = telemetry::Settings::default();
        if let Some(level) = self.level {
            match telemetry::check_level(&level) {
                Ok(()) => settings.level = level,
                Err(error) => faults.push(
                    Fault::new(format!("{key}.level"), error.to_string())
                        .remedy("write error, warn, info, debug or trace"),
                ),
            }
        }
        match self.format.as_deref() {
            None | Some("text") => {}
            Some("json") => settings.format = telemetry::Format::Json,
            Some(_) => {
                let fault = Fault::new(format!("{key}.format"), "is not a known format");
                faults.push(fault.remedy("write \"text\" or \"json\""));
            }
        }
        settings
    }
}

impl RawProcess {
    /// The table as commented TOML, for a component's reference.
    pub const REFERENCE: &str = r#"[process]
# How long work in flight may go on after a stop began.
grace = "20s"
# Threads of the async runtime; 0 is the main thread alone. Default: one per processor.
# threads = 2
"#;

    /// Checks the table, with the number of threads where the file gives none.
    pub fn check(self, default: Threads) -> (Duration, Threads) {
        let grace = self.grace.map_or(GRACE, Duration::from);
        let threads = match self.threads {
            None => default,
            Some(number) => NonZeroUsize::new(number).map_or(Threads::Current, Threads::Workers),
        };
        (grace, threads)
    }
}
