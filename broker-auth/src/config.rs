//! The configuration: checked values, and the files that they name.

mod check;
mod raw;
mod secrets;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use overlay_runtime::config::{RawAdmin, RawLog, RawProcess, Threads};
use overlay_runtime::nats::{self, Auth};
use overlay_runtime::{Fault, FileConfig, Secrets, Settings};
use overlay_tokens::Issuers;
use overlay_tokens::claims::DEFAULT_OU;

use crate::hosts::HostList;
use crate::policy::{Accounts, Certificates, Denied, LoginRoom, NodeExpiry, ProvisioningCompat};
use crate::streams::{CopyStream, Plan};

pub use raw::RawConfig;
pub use secrets::{Keys, KeysError};

use check::{
    check_accounts, check_callout, check_deny, check_hosts, check_issuers, check_limits,
    check_login, check_provisioning, check_refusals, check_streams, check_system, eager, missing,
};
use raw::{RawCertificatePermissions, RawExpiry};

/// Where metrics and readiness are served unless set.
const ADMIN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9801);

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
    /// Logins over the broker, unless they are off.
    pub login: Option<LoginRoom>,
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
    /// What is wider than it must be.
    pub compat: ProvisioningCompat,
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
    /// Streams that take what other cells' replicators copy.
    pub copies: Vec<CopyStream>,
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
                eager(&mut settings);
                settings.subscription_capacity = limits.queue;
                settings
            });
        let callout = check_callout(raw.callout, found);
        let accounts = check_accounts(raw.accounts, found);
        let provisioning = raw
            .provisioning
            .and_then(|table| check_provisioning(table, found));
        let system = raw.system.and_then(|table| check_system(table, found));
        let login = raw.login.map(|table| check_login(table, found));
        let certificate_hosts = check_hosts("certificates.hosts", &raw.certificates.hosts, found);
        let offload = check_hosts("proxies.hosts", &raw.proxies.hosts, found);
        let streams = raw.streams.and_then(|table| {
            check_streams(
                table,
                broker.as_ref().map(|settings| (settings, ca_file)),
                found,
            )
        });
        let denied = check_deny(raw.deny, found);
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
            login,
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
            denied,
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

#[cfg(test)]
mod tests;
