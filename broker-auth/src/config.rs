//! The configuration: checked values, and the files that they name.

mod raw;
mod secrets;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use overlay_protocol::id::Collective;
use overlay_runtime::config::{RawAdmin, RawLog, RawProcess, Threads};
use overlay_runtime::nats::{self, Auth, Reconnect};
use overlay_runtime::{Fault, FileConfig, Period, Secrets, Settings};
use overlay_tokens::claims::DEFAULT_OU;
use overlay_tokens::{Issuers, PublicKey};

use crate::hosts::HostList;
use crate::policy::{Accounts, Certificates, Denied, NodeExpiry};
use crate::streams::{self, Plan};

pub use raw::RawConfig;
pub use secrets::{Keys, KeysError};

use raw::{
    RawCertificatePermissions, RawExpiry, RawLimits, RawProvisioning, RawRefusals, RawStream,
    RawStreams, RawSystem,
};

/// Where metrics and readiness are served unless set.
const ADMIN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9801);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Whoever restarts must be back before those who wait for it: short, and not growing.
const RECONNECT_WAIT: Duration = Duration::from_millis(100);
const MOST_REPLICAS: u8 = 5;

/// The checked configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// Organisation that runs the cell.
    pub organisation: String,
    /// Connection of the callout user.
    pub broker: nats::Settings,
    /// Keys and self-check of the callout.
    pub callout: Callout,
    /// Issuers by organisation.
    pub issuers: Issuers,
    /// Names of the broker's accounts.
    pub accounts: Accounts,
    /// Provisioning, unless it is off.
    pub provisioning: Option<ProvisioningFiles>,
    /// The system user, if there is one.
    pub system: Option<SystemFiles>,
    /// What certificates without tokens are good for.
    pub certificates: Certificates,
    /// Where such certificates count; empty: everywhere.
    pub certificate_hosts: HostList,
    /// Proxies that end TLS.
    pub offload: HostList,
    /// Whether nodes' connections end with their tokens.
    pub node_expiry: NodeExpiry,
    /// Whether nodes may connect only.
    pub silence_nodes: bool,
    /// Who is let in no more.
    pub denied: Denied,
    /// The streams' connection and settings, unless another service looks after them.
    pub streams: Option<Streams>,
    /// How refusals are told.
    pub refusals: Refusals,
    /// Bounds.
    pub limits: Limits,
    runtime: Settings,
}

/// Keys and self-check of the callout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Callout {
    /// File of the account key's seed.
    pub account_seed_file: PathBuf,
    /// File of the curve key's seed.
    pub curve_seed_file: Option<PathBuf>,
    /// The issuer that the broker is configured with.
    pub issuer: Option<String>,
    /// The curve key that the broker is configured with.
    pub xkey: Option<String>,
    /// Whether a trial login must come through at the start.
    pub self_check: bool,
}

/// Files of provisioning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvisioningFiles {
    /// File of the provisioner's password.
    pub password_file: PathBuf,
    /// Whether the password is enough.
    pub without_token: bool,
    /// File of the RSA key that signs provisioning tokens.
    pub signer_file: Option<PathBuf>,
}

/// Files of the system user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemFiles {
    /// User name.
    pub user: String,
    /// File of its password.
    pub password_file: PathBuf,
}

/// The streams' connection and settings.
#[derive(Debug, Clone)]
pub struct Streams {
    /// Connection of the static user in the fleet's account.
    pub broker: nats::Settings,
    /// Whether streams are made and kept in order.
    pub manage: bool,
    /// How often they are looked at.
    pub interval: Duration,
    /// How they must be.
    pub plan: Plan,
}

/// How refusals are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusals {
    /// One by one, up to so many a second.
    pub per_second: u16,
    /// Every so often, what was above.
    pub summary: Duration,
}

/// Bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Requests worked on at a time; nothing: one for each processor.
    pub workers: Option<NonZeroUsize>,
    /// Requests that may wait for each worker.
    pub queue: usize,
    /// How long a request may have waited.
    pub max_age: Duration,
    /// Bytes for tokens that were verified before.
    pub token_memory: u64,
}

impl FileConfig for Config {
    type Raw = RawConfig;

    fn check(raw: RawConfig) -> Result<Self, Vec<Fault>> {
        let mut faults = Vec::new();
        let found = &mut faults;
        let issuers = check_issuers(&raw.issuers, found);
        let organisation = raw.organisation.unwrap_or_else(|| DEFAULT_OU.to_owned());
        if issuers.is_some() && !raw.issuers.contains_key(&organisation) {
            found.push(
                Fault::new("organisation", "has no issuer")
                    .value(&organisation)
                    .remedy("name one of the organisations under [issuers]"),
            );
        }
        let limits = check_limits(&raw.limits, found);
        let ca_file = raw.broker.ca_file.clone();
        let broker = raw
            .broker
            .check("broker", "broker-auth", found)
            .map(|mut settings| {
                if !matches!(settings.auth, Auth::Nkey { .. }) {
                    found.push(missing("broker.seed_file", "the seed of the callout user"));
                }
                flat(&mut settings);
                settings.subscription_capacity = limits.queue;
                settings
            });
        let callout = check_callout(raw.callout, found);
        let accounts = check_accounts(raw.accounts, found);
        let provisioning = raw
            .provisioning
            .and_then(|table| check_provisioning(table, found));
        let system = raw.system.and_then(|table| check_system(table, found));
        let certificate_hosts = check_hosts("certificates.hosts", &raw.certificates.hosts, found);
        let offload = check_hosts("proxies.hosts", &raw.proxies.hosts, found);
        let streams = raw.streams.and_then(|table| {
            check_streams(
                table,
                broker.as_ref().map(|settings| (settings, ca_file)),
                found,
            )
        });
        let refusals = check_refusals(&raw.refusals, found);
        let admin = raw.admin.check("admin", Some(ADMIN), found);
        let log = raw.log.check("log", found);
        let (grace, threads) = raw.process.check(Threads::PerProcessor);
        let (Some(issuers), Some(broker), Some(callout)) = (issuers, broker, callout) else {
            return Err(faults);
        };
        if !faults.is_empty() {
            return Err(faults);
        }
        Ok(Self {
            organisation,
            runtime: Settings {
                broker: Some(broker.clone()),
                admin,
                log,
                grace,
                threads,
            },
            broker,
            callout,
            issuers,
            accounts,
            provisioning,
            system,
            certificates: match raw.certificates.permissions {
                RawCertificatePermissions::Ignored => Certificates::Ignored,
                RawCertificatePermissions::PubSub => Certificates::PubSub,
                RawCertificatePermissions::Node => Certificates::Node,
            },
            certificate_hosts,
            offload,
            node_expiry: match raw.nodes.expiry {
                RawExpiry::Never => NodeExpiry::Never,
                RawExpiry::Rust => NodeExpiry::RustNodes,
                RawExpiry::Always => NodeExpiry::Always,
            },
            silence_nodes: raw.nodes.silence,
            denied: Denied {
                tokens: raw.deny.tokens.into_iter().collect(),
                callers: raw.deny.callers.into_iter().collect(),
                identities: raw.deny.identities.into_iter().collect(),
            },
            streams,
            refusals,
            limits,
        })
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

    fn runtime(&self) -> Settings {
        self.runtime.clone()
    }

    fn inspect(&self, secrets: &Secrets) -> Vec<Fault> {
        let mut faults = match Keys::load(self, secrets) {
            Ok(_keys) => Vec::new(),
            Err(errors) => errors.into_iter().map(KeysError::into_fault).collect(),
        };
        if let Some(streams) = &self.streams {
            faults.extend(streams.broker.inspect(secrets));
        }
        faults
    }
}

fn missing(key: &str, what: &str) -> Fault {
    Fault::new(key, "is missing").remedy(format!("name the file of {what}"))
}

fn flat(settings: &mut nats::Settings) {
    if matches!(settings.reconnect, Reconnect::Backoff(_)) {
        settings.reconnect = Reconnect::Flat(RECONNECT_WAIT);
    }
}

fn check_issuers(raw: &BTreeMap<String, String>, faults: &mut Vec<Fault>) -> Option<Issuers> {
    if raw.is_empty() {
        faults.push(
            Fault::new("issuers", "names nobody who may vouch for tokens")
                .remedy("write `choria = \"<public key>\"`"),
        );
        return None;
    }
    let mut keys = Vec::new();
    for (organisation, key) in raw {
        let at = format!("issuers.{organisation}");
        // The name becomes a part of subjects.
        if let Err(error) = Collective::new(organisation.as_str()) {
            faults.push(Fault::new(
                &at,
                format!("is no name of an organisation: {error}"),
            ));
        }
        match key.parse::<PublicKey>() {
            Ok(key) => keys.push((organisation.clone(), key)),
            Err(error) => faults.push(
                Fault::new(&at, error.to_string())
                    .value(key)
                    .remedy("write the 64 hexadecimal digits of the issuer's public key"),
            ),
        }
    }
    if keys.len() < raw.len() {
        return None;
    }
    match Issuers::new(keys) {
        Ok(issuers) => Some(issuers),
        Err(error) => {
            faults.push(Fault::new("issuers", error.to_string()));
            None
        }
    }
}

fn check_callout(raw: raw::RawCallout, faults: &mut Vec<Fault>) -> Option<Callout> {
    if raw.xkey.is_some() && raw.curve_seed_file.is_none() {
        faults.push(missing(
            "callout.curve_seed_file",
            "the seed of that curve key",
        ));
    }
    let Some(account_seed_file) = raw.account_seed_file else {
        faults.push(missing(
            "callout.account_seed_file",
            "the seed of the account key",
        ));
        return None;
    };
    Some(Callout {
        account_seed_file,
        curve_seed_file: raw.curve_seed_file,
        issuer: raw.issuer,
        xkey: raw.xkey,
        self_check: raw.self_check.unwrap_or(true),
    })
}

fn check_accounts(raw: raw::RawAccounts, faults: &mut Vec<Fault>) -> Accounts {
    let defaults = Accounts::default();
    let mut name = |key: &str, given: Option<String>, default: String| {
        let name = given.unwrap_or(default);
        if name.is_empty() || name.contains(char::is_whitespace) {
            faults.push(Fault::new(
                format!("accounts.{key}"),
                "is no name of an account",
            ));
        }
        name
    };
    let accounts = Accounts {
        choria: name("choria", raw.choria, defaults.choria),
        provisioning: name("provisioning", raw.provisioning, defaults.provisioning),
        system: name("system", raw.system, defaults.system),
    };
    if accounts.choria == accounts.provisioning
        || accounts.choria == accounts.system
        || accounts.provisioning == accounts.system
    {
        faults.push(
            Fault::new("accounts", "two of the accounts are one")
                .remedy("keep the fleet, provisioning and the system apart"),
        );
    }
    accounts
}

fn check_provisioning(raw: RawProvisioning, faults: &mut Vec<Fault>) -> Option<ProvisioningFiles> {
    let Some(password_file) = raw.password_file else {
        faults.push(missing(
            "provisioning.password_file",
            "the provisioner's password",
        ));
        return None;
    };
    Some(ProvisioningFiles {
        password_file,
        without_token: raw.without_token,
        signer_file: raw.signer_file,
    })
}

fn check_system(raw: RawSystem, faults: &mut Vec<Fault>) -> Option<SystemFiles> {
    let user = raw.user.unwrap_or_else(|| "system".to_owned());
    if user.is_empty() || user == crate::policy::PROVISIONER {
        faults.push(
            Fault::new("system.user", "is not a name that the system user can have").value(&user),
        );
    }
    let Some(password_file) = raw.password_file else {
        faults.push(missing(
            "system.password_file",
            "the system user's password",
        ));
        return None;
    };
    Some(SystemFiles {
        user,
        password_file,
    })
}

fn check_hosts(key: &str, raw: &[String], faults: &mut Vec<Fault>) -> HostList {
    raw.iter()
        .filter_map(|text| match text.parse() {
            Ok(network) => Some(network),
            Err(error) => {
                let error: crate::hosts::NetworkError = error;
                let fault = Fault::new(key, error.to_string());
                faults.push(fault.remedy("write addresses (10.1.2.3) or networks (10.0.0.0/8)"));
                None
            }
        })
        .collect()
}

fn check_streams(
    raw: RawStreams,
    broker: Option<(&nats::Settings, Option<PathBuf>)>,
    faults: &mut Vec<Fault>,
) -> Option<Streams> {
    let replicas = raw.replicas.unwrap_or(1);
    let mut settings = |key: &str, raw: RawStream, retention: Duration| {
        let replicas = raw.replicas.unwrap_or(replicas);
        if !(1..=MOST_REPLICAS).contains(&replicas) {
            let fault = Fault::new(format!("streams.{key}.replicas"), "is no number of servers");
            faults.push(
                fault
                    .value(replicas)
                    .remedy(format!("write 1 to {MOST_REPLICAS}")),
            );
        }
        let retention = raw
            .retention
            .map_or(retention, |Period(retention)| retention);
        streams::Settings {
            retention,
            replicas,
        }
    };
    let plan = Plan {
        events: settings("events", raw.events, DAY),
        machine: settings("machine", raw.machine, DAY),
        advisories: settings("advisories", raw.advisories, 7 * DAY),
        executor: settings("executor", raw.executor, DAY),
        election: settings("election", raw.election, Duration::from_secs(60)),
    };
    // A shorter one would end the reign of leaders that renew it in time.
    if plan.election.retention < Duration::from_secs(5) {
        faults.push(Fault::new("streams.election.retention", "is below 5s"));
    }
    let interval = raw
        .interval
        .map_or(Duration::from_secs(30), |Period(interval)| interval);
    if interval < Duration::from_secs(1) {
        faults.push(Fault::new("streams.interval", "is below 1s"));
    }
    let Some(seed_file) = raw.seed_file else {
        faults.push(missing(
            "streams.seed_file",
            "the seed of the static user of the streams",
        ));
        return None;
    };
    let (callout, ca_file) = broker?;
    let name = raw
        .name
        .unwrap_or_else(|| format!("{}-streams", callout.name));
    let mut broker = nats::Settings::new(name, callout.servers.clone());
    broker.auth = Auth::Nkey { seed_file };
    broker.ca_file = ca_file;
    broker.connect_limit = callout.connect_limit;
    broker.reconnect = callout.reconnect;
    Some(Streams {
        broker,
        manage: raw.manage.unwrap_or(true),
        interval,
        plan,
    })
}

fn check_refusals(raw: &RawRefusals, faults: &mut Vec<Fault>) -> Refusals {
    let summary = raw
        .summary
        .map_or(Duration::from_secs(10), |Period(summary)| summary);
    if summary < Duration::from_secs(1) {
        faults.push(Fault::new("refusals.summary", "is below 1s"));
    }
    Refusals {
        per_second: raw.per_second.unwrap_or(20),
        summary,
    }
}

fn check_limits(raw: &RawLimits, faults: &mut Vec<Fault>) -> Limits {
    let max_age = raw
        .max_age
        .map_or(Duration::from_secs(2), |Period(age)| age);
    if max_age.is_zero() {
        faults.push(Fault::new("limits.max_age", "would drop every request"));
    }
    let queue = raw.queue.unwrap_or(4096);
    if queue == 0 {
        faults.push(Fault::new("limits.queue", "would hold no request"));
    }
    Limits {
        workers: NonZeroUsize::new(raw.workers.unwrap_or(0).into()),
        queue,
        max_age,
        token_memory: u64::from(raw.token_memory_mib.unwrap_or(32)) << 20,
    }
}

#[cfg(test)]
mod tests;
