//! The configuration as files hold it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use overlay_runtime::Period;
use overlay_runtime::config::{RawAdmin, RawBroker, RawLog, RawProcess};
use serde::{Deserialize, Serialize};

/// The whole file. What must be there is optional here, so that all that is missing is told at once.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawConfig {
    pub(super) identity: Option<String>,
    pub(super) site: Option<String>,
    pub(super) broker: RawBroker,
    pub(super) login: RawLogin,
    pub(super) issuers: BTreeMap<String, String>,
    pub(super) nodes: RawNodes,
    pub(super) issue: RawIssue,
    pub(super) helper: RawHelper,
    pub(super) pki: Option<RawPki>,
    pub(super) upgrades: Option<RawUpgrades>,
    pub(super) names: RawNames,
    pub(super) limits: RawLimits,
    pub(super) rates: RawRates,
    pub(super) calls: RawCalls,
    pub(super) retry: RawRetry,
    pub(super) quarantine: RawQuarantine,
    pub(super) scan: RawScan,
    pub(super) streams: RawStreams,
    pub(super) leader: RawLeader,
    pub(super) fleet: RawFleet,
    pub(super) monitor: RawMonitor,
    pub(super) placement: BTreeMap<String, RawPlacement>,
    /// What stands in the original's files beside what they name. Not for our own files.
    pub(super) original: RawOriginal,
    pub(super) admin: RawAdmin,
    pub(super) log: RawLog,
    pub(super) process: RawProcess,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawLogin {
    pub(super) token_file: Option<PathBuf>,
    pub(super) seed_file: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawNodes {
    pub(super) secret_files: Vec<PathBuf>,
    pub(super) secrets: Vec<RawSecret>,
    pub(super) signer_file: Option<PathBuf>,
    pub(super) denied_tokens: Vec<String>,
    pub(super) component: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawSecret {
    pub(super) file: Option<PathBuf>,
    pub(super) names: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawIssue {
    pub(super) token_file: Option<PathBuf>,
    pub(super) seed_file: Option<PathBuf>,
    pub(super) validity: Option<Period>,
    pub(super) min_validity: Option<Period>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawHelper {
    pub(super) mode: RawMode,
    pub(super) command: Vec<String>,
    pub(super) processes: Option<usize>,
    pub(super) url: Option<String>,
    pub(super) token_file: Option<PathBuf>,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) timeout: Option<Period>,
    pub(super) concurrency: Option<usize>,
    pub(super) max_output: Option<usize>,
    pub(super) details: bool,
    pub(super) secrets: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawMode {
    #[default]
    Process,
    Persistent,
    Http,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawPki {
    pub(super) denied_names: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawUpgrades {
    pub(super) repository: Option<String>,
    pub(super) optional: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawNames {
    pub(super) live: RawConflict,
    pub(super) held: RawConflict,
    pub(super) listeners: Option<bool>,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawConflict {
    Refuse,
    #[default]
    Confirm,
    Allow,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawLimits {
    pub(super) workers: Option<usize>,
    pub(super) first_contact: Option<usize>,
    pub(super) waiting: Option<usize>,
    pub(super) reply_bytes: Option<usize>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawRates {
    pub(super) token: RawRate,
    pub(super) site: RawRate,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawRate {
    pub(super) nodes: u32,
    pub(super) per: Option<Period>,
    pub(super) burst: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawCalls {
    pub(super) first_contact: Option<Period>,
    pub(super) answer: Option<Period>,
    pub(super) update: Option<Period>,
    pub(super) pause: Option<Period>,
    pub(super) member: Option<Period>,
    pub(super) whole: Option<Period>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawRetry {
    pub(super) first: Option<Period>,
    pub(super) longest: Option<Period>,
    pub(super) defer_first: Option<Period>,
    pub(super) defer_longest: Option<Period>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawQuarantine {
    pub(super) failures: Option<u32>,
    pub(super) window: Option<Period>,
    pub(super) enrolments: Option<u32>,
    pub(super) loop_window: Option<Period>,
    pub(super) duration: Option<Period>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawScan {
    pub(super) interval: Option<Period>,
    pub(super) quiet: Option<Period>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawStreams {
    pub(super) replicas: Option<u8>,
    pub(super) events: RawStream,
    pub(super) audit: RawStream,
    pub(super) nodes: RawStream,
    pub(super) claims: RawClaims,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawStream {
    pub(super) age: Option<Period>,
    pub(super) bytes: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawClaims {
    pub(super) lease: Option<Period>,
    pub(super) keep: Option<Period>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawLeader {
    pub(super) enabled: bool,
    pub(super) ttl: Option<Period>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawFleet {
    pub(super) collectives: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawMonitor {
    pub(super) original_names: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawPlacement {
    pub(super) hosts: Vec<String>,
    pub(super) collectives: Vec<String>,
}

/// What the original's files have in them where ours name a file.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawOriginal {
    /// The nodes' secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<String>,
    /// The provisioner's password at the broker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) password: Option<String>,
    /// The one key that signs provisioning tokens, whatever their organisation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) verify_key: Option<String>,
    /// What was read and has no meaning here, for the log.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) notices: Vec<String>,
}
