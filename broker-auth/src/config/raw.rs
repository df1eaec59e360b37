//! The configuration as files hold it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use overlay_runtime::Period;
use overlay_runtime::config::{RawAdmin, RawBroker, RawLog, RawProcess};
use serde::Deserialize;

/// The whole file. What must be there is optional here, so that all that is missing is told at once.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawConfig {
    pub(super) organisation: Option<String>,
    pub(super) broker: RawBroker,
    pub(super) callout: RawCallout,
    pub(super) issuers: BTreeMap<String, String>,
    pub(super) accounts: RawAccounts,
    pub(super) provisioning: Option<RawProvisioning>,
    pub(super) system: Option<RawSystem>,
    pub(super) login: Option<RawLogin>,
    pub(super) certificates: RawCertificates,
    pub(super) proxies: RawProxies,
    pub(super) nodes: RawNodes,
    pub(super) deny: RawDeny,
    pub(super) streams: Option<RawStreams>,
    pub(super) refusals: RawRefusals,
    pub(super) limits: RawLimits,
    pub(super) admin: RawAdmin,
    pub(super) log: RawLog,
    pub(super) process: RawProcess,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawCallout {
    pub(super) account_seed_file: Option<PathBuf>,
    pub(super) curve_seed_file: Option<PathBuf>,
    pub(super) issuer: Option<String>,
    pub(super) xkey: Option<String>,
    pub(super) self_check: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawAccounts {
    pub(super) choria: Option<String>,
    pub(super) provisioning: Option<String>,
    pub(super) system: Option<String>,
    pub(super) login: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawProvisioning {
    pub(super) password_file: Option<PathBuf>,
    pub(super) without_token: bool,
    pub(super) signer_file: Option<PathBuf>,
    pub(super) compat: RawProvisioningCompat,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawProvisioningCompat {
    pub(super) any_reply: bool,
    pub(super) any_node_name: bool,
    pub(super) provisioner_unrestricted: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawSystem {
    pub(super) user: Option<String>,
    pub(super) password_file: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawLogin {
    pub(super) duration: Option<Period>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawCertificates {
    pub(super) permissions: RawCertificatePermissions,
    pub(super) hosts: Vec<String>,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawCertificatePermissions {
    #[default]
    Ignored,
    PubSub,
    Node,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawProxies {
    pub(super) hosts: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawNodes {
    pub(super) expiry: RawExpiry,
    pub(super) silence: bool,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawExpiry {
    #[default]
    Never,
    Rust,
    Always,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawDeny {
    pub(super) tokens: Vec<String>,
    pub(super) callers: Vec<String>,
    pub(super) identities: Vec<String>,
    pub(super) issuers_older_than: Option<Period>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawStreams {
    pub(super) seed_file: Option<PathBuf>,
    pub(super) name: Option<String>,
    pub(super) manage: Option<bool>,
    pub(super) interval: Option<Period>,
    pub(super) replicas: Option<u8>,
    pub(super) max_bytes: Option<u64>,
    pub(super) events: RawStream,
    pub(super) machine: RawStream,
    pub(super) advisories: RawStream,
    pub(super) executor: RawStream,
    pub(super) election: RawStream,
    pub(super) replication: bool,
    pub(super) dead_letters: RawStream,
    pub(super) age_advisories: RawStream,
    pub(super) copies: BTreeMap<String, RawCopy>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawCopy {
    pub(super) subjects: Vec<String>,
    pub(super) retention: Option<Period>,
    pub(super) replicas: Option<u8>,
    pub(super) max_bytes: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawStream {
    pub(super) retention: Option<Period>,
    pub(super) replicas: Option<u8>,
    pub(super) max_bytes: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawRefusals {
    pub(super) per_second: Option<u16>,
    pub(super) summary: Option<Period>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawLimits {
    pub(super) workers: Option<u16>,
    pub(super) queue: Option<usize>,
    pub(super) max_age: Option<Period>,
    pub(super) token_memory_mib: Option<u16>,
}
