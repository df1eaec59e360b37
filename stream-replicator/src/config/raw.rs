//! The configuration as files hold it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use overlay_runtime::Period;
use overlay_runtime::config::{RawAdmin, RawLog, RawProcess};
use serde::Deserialize;

/// The whole file. What must be there is optional here, so that all that is missing is told at once.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawConfig {
    pub(super) name: Option<String>,
    pub(super) state_dir: Option<PathBuf>,
    pub(super) candidate: Option<String>,
    pub(super) broker: Option<RawEndpoint>,
    pub(super) control: Option<RawControl>,
    pub(super) issuers: BTreeMap<String, String>,
    pub(super) source: RawEndpoint,
    pub(super) target: RawEndpoint,
    pub(super) streams: Vec<RawStream>,
    pub(super) heartbeats: Option<RawHeartbeats>,
    pub(super) monitor: RawMonitor,
    /// What stands in the original's file beside what it names. Not for our own files.
    pub(super) original: RawOriginal,
    pub(super) admin: RawAdmin,
    pub(super) log: RawLog,
    pub(super) process: RawProcess,
}

/// Brokers, certificates and login. Of the last two, a table that has any key replaces those it inherits.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawEndpoint {
    pub(super) servers: Option<Vec<String>>,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) cert_file: Option<PathBuf>,
    pub(super) key_file: Option<PathBuf>,
    pub(super) tls_first: Option<bool>,
    pub(super) insecure: Option<bool>,
    pub(super) token_file: Option<PathBuf>,
    pub(super) seed_file: Option<PathBuf>,
    pub(super) collective: Option<String>,
    pub(super) nkey_file: Option<PathBuf>,
    pub(super) jwt_file: Option<PathBuf>,
    pub(super) credentials_file: Option<PathBuf>,
    pub(super) user: Option<String>,
    pub(super) password_file: Option<PathBuf>,
    pub(super) api_prefix: Option<String>,
    pub(super) attempt_limit: Option<Period>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawControl {
    pub(super) token_file: Option<PathBuf>,
    pub(super) seed_file: Option<PathBuf>,
    pub(super) collective: Option<String>,
    pub(super) identity: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawStream {
    pub(super) name: Option<String>,
    pub(super) stream: Option<String>,
    pub(super) target_stream: Option<String>,
    pub(super) source: RawEndpoint,
    pub(super) target: RawEndpoint,
    pub(super) filters: Vec<String>,
    pub(super) prefix: Option<String>,
    pub(super) remove: Option<String>,
    pub(super) create_target: Option<bool>,
    pub(super) ephemeral: bool,
    pub(super) target_initiated: bool,
    pub(super) start: Option<String>,
    pub(super) max_age: Option<Period>,
    pub(super) candidate: Option<String>,
    pub(super) writers: RawWriters,
    pub(super) order: RawOrder,
    pub(super) key: Option<RawKey>,
    pub(super) on_gap: RawReaction,
    pub(super) on_recreated: RawReaction,
    pub(super) max_hops: Option<usize>,
    pub(super) window: RawWindow,
    pub(super) poison: RawPoison,
    pub(super) sampling: Option<RawSampling>,
    pub(super) advisory: Option<RawAdvisory>,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawWriters {
    #[default]
    Auto,
    One,
    Many,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawOrder {
    #[default]
    Strict,
    Key,
}

/// What makes a key: one of the three; none of them: the whole subject.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawKey {
    pub(super) field: Option<String>,
    pub(super) header: Option<String>,
    pub(super) token: Option<i64>,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawReaction {
    #[default]
    Continue,
    Stop,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawWindow {
    pub(super) messages: Option<usize>,
    pub(super) bytes: Option<usize>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawPoison {
    pub(super) tries: Option<usize>,
    pub(super) action: RawPoisonAction,
    pub(super) stream: Option<String>,
    pub(super) limit: Option<usize>,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RawPoisonAction {
    #[default]
    DeadLetter,
    Skip,
    Stop,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawSampling {
    pub(super) field: Option<String>,
    pub(super) header: Option<String>,
    pub(super) token: Option<i64>,
    pub(super) force: Option<String>,
    pub(super) force_is_strict: bool,
    pub(super) interval: Option<Period>,
    pub(super) warn: Option<Period>,
    pub(super) size_trigger: Option<f64>,
    pub(super) lifecycle: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawAdvisory {
    pub(super) subject: Option<String>,
    pub(super) reliable: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawHeartbeats {
    pub(super) endpoint: RawEndpoint,
    pub(super) interval: Option<Period>,
    pub(super) election: bool,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) subjects: Vec<RawBeat>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawBeat {
    pub(super) subject: Option<String>,
    pub(super) interval: Option<Period>,
    pub(super) headers: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawMonitor {
    pub(super) original_names: Option<bool>,
}

/// What the original's file says that has no key of ours.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawOriginal {
    pub(super) notices: Vec<String>,
    /// Believes any certificate in Choria mode without an own one, as the original does.
    pub(super) choria_unverified: bool,
}

impl RawEndpoint {
    /// This table over the one that it inherits from.
    pub(super) fn over(&self, base: &Self) -> Self {
        let (tls, login) = (
            if self.has_tls() { self } else { base },
            if self.has_login() { self } else { base },
        );
        Self {
            servers: self.servers.clone().or_else(|| base.servers.clone()),
            ca_file: tls.ca_file.clone(),
            cert_file: tls.cert_file.clone(),
            key_file: tls.key_file.clone(),
            tls_first: tls.tls_first,
            insecure: tls.insecure,
            token_file: login.token_file.clone(),
            seed_file: login.seed_file.clone(),
            collective: login.collective.clone(),
            nkey_file: login.nkey_file.clone(),
            jwt_file: login.jwt_file.clone(),
            credentials_file: login.credentials_file.clone(),
            user: login.user.clone(),
            password_file: login.password_file.clone(),
            api_prefix: self.api_prefix.clone().or_else(|| base.api_prefix.clone()),
            attempt_limit: self.attempt_limit.or(base.attempt_limit),
        }
    }

    fn has_tls(&self) -> bool {
        self.ca_file.is_some()
            || self.cert_file.is_some()
            || self.key_file.is_some()
            || self.tls_first.is_some()
            || self.insecure.is_some()
    }

    pub(super) fn has_login(&self) -> bool {
        self.token_file.is_some()
            || self.seed_file.is_some()
            || self.collective.is_some()
            || self.nkey_file.is_some()
            || self.jwt_file.is_some()
            || self.credentials_file.is_some()
            || self.user.is_some()
            || self.password_file.is_some()
    }
}
