//! The configuration of Choria's own provisioner, read as leniently as it reads it.
//!
//! Its YAML (`.yaml`, `.yml`) has what is its own, and secrets in plain text; brokers, token and seed are in the client's
//! configuration (`.conf`, `.cfg`), which is given as a second file. Both become keys of ours; what has no meaning here is
//! named in a notice each. Nothing behind this module knows these names.

mod client;
mod duration;
mod translate;

use std::path::Path;

use overlay_runtime::Fault;
use serde_json::{Map, Value};

use duration::span;

/// The largest file that is read.
const MAX_BYTES: u64 = 1 << 20;
const LEAST_INTERVAL: f64 = 60.0;

/// Why a file is not a configuration that the original would take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OriginalError {
    /// No YAML.
    #[error("is no YAML: {0}")]
    Yaml(String),
    /// No mapping, or nothing at all: on that the original crashes.
    #[error("has no keys")]
    NoKeys,
    /// A value of another type.
    #[error("{key} is not {expected}")]
    Type {
        /// The key.
        key: String,
        /// What it must be.
        expected: &'static str,
    },
    /// A time that is none.
    #[error("{key} is no time such as 90s, 1h30m, 7d, 2w, 1M or 1y: {problem}")]
    Duration {
        /// The key.
        key: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// Nodes would be looked for more than once a minute.
    #[error("interval is below a minute")]
    Interval,
    /// A component that cannot stand in a subject.
    #[error("lifecycle_component {0:?} has `.`, `*` or `>`")]
    Component(String),
    /// Two kinds of credentials.
    #[error("features.pki and features.ed25519 exclude each other")]
    TwoFeatures,
}

impl OriginalError {
    fn key(&self) -> &str {
        match self {
            Self::Yaml(_) | Self::NoKeys => "",
            Self::Type { key, .. } => key,
            Self::Duration { key, .. } => key,
            Self::Interval => "interval",
            Self::Component(_) => "lifecycle_component",
            Self::TwoFeatures => "features",
        }
    }
}

/// What the original reads from its file, its defaults filled in.
#[derive(Clone, PartialEq)]
pub struct Original {
    /// Nodes worked on at a time; 0: one for each processor.
    pub workers: i64,
    /// How often nodes are looked for, as written.
    pub interval: String,
    /// The same in seconds.
    pub interval_seconds: f64,
    /// Log file.
    pub logfile: String,
    /// Log level.
    pub loglevel: String,
    /// Command line of the helper.
    pub helper: String,
    /// Secret of the nodes.
    pub token: String,
    /// Component in nodes' events.
    pub lifecycle_component: String,
    /// No TLS, no signatures, protocol v1.
    pub choria_insecure: bool,
    /// Label of metrics.
    pub site: String,
    /// Port of metrics.
    pub monitor_port: i64,
    /// Without use.
    pub broker_port: i64,
    /// Password at the broker.
    pub broker_provisioning_password: String,
    /// Names that certificates may not have.
    pub cert_deny_list: Vec<String>,
    /// Key that signs provisioning tokens, or its file.
    pub jwt_verify_cert: String,
    /// Seed of the key that signs nodes' tokens.
    pub jwt_signing_key: String,
    /// Token of the chain issuer.
    pub jwt_signing_token: String,
    /// How long nodes' tokens are good, as written.
    pub server_jwt_validity: String,
    /// The same in seconds.
    pub server_jwt_validity_seconds: f64,
    /// Without use.
    pub rego_policy: String,
    /// One instance leads.
    pub leader_election: bool,
    /// Where nodes get their software.
    pub upgrades_repository: String,
    /// Whether a node that cannot be upgraded is enrolled as it is.
    pub upgrades_optional: bool,
    /// Certificates.
    pub pki: bool,
    /// Provisioning tokens are checked.
    pub jwt: bool,
    /// Protocol v2.
    pub ed25519: bool,
    /// Software is upgraded.
    pub upgrades: bool,
    /// Keys that were not known.
    pub unknown: Vec<String>,
}

impl std::fmt::Debug for Original {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Original")
            .field("helper", &self.helper)
            .field("site", &self.site)
            .field("unknown", &self.unknown)
            .finish_non_exhaustive()
    }
}

impl Default for Original {
    fn default() -> Self {
        let text = String::new;
        Self {
            workers: 0,
            interval: "1m".to_owned(),
            interval_seconds: LEAST_INTERVAL,
            // A slip of the original that is kept nowhere else: it meant the level.
            logfile: "info".to_owned(),
            loglevel: text(),
            helper: text(),
            token: text(),
            lifecycle_component: overlay_protocol::provisioning::COMPONENT.to_owned(),
            choria_insecure: false,
            site: text(),
            monitor_port: 0,
            broker_port: 0,
            broker_provisioning_password: text(),
            cert_deny_list: Vec::new(),
            jwt_verify_cert: text(),
            jwt_signing_key: text(),
            jwt_signing_token: text(),
            server_jwt_validity: "1y".to_owned(),
            server_jwt_validity_seconds: 365.0 * 86_400.0,
            rego_policy: text(),
            leader_election: false,
            upgrades_repository: text(),
            upgrades_optional: false,
            pki: false,
            jwt: false,
            ed25519: false,
            upgrades: false,
            unknown: Vec::new(),
        }
    }
}

impl Original {
    /// Reads the YAML as the original does: names in any case, unknown ones passed over, types exactly.
    ///
    /// # Errors
    ///
    /// [`OriginalError`] for what the original refuses, or crashes on.
    pub fn read(text: &str) -> Result<Self, OriginalError> {
        let value: Value = serde_saphyr::from_str(text)
            .map_err(|error| OriginalError::Yaml(error.to_string().lines().take(1).collect()))?;
        let members = match value {
            Value::Object(members) if !members.is_empty() => members,
            Value::Object(_) | Value::Null => return Err(OriginalError::NoKeys),
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                return Err(OriginalError::Type {
                    key: String::new(),
                    expected: "a mapping",
                });
            }
        };
        let mut read = Self::default();
        for (key, value) in members {
            read.set(&key, value)?;
        }
        read.finish()
    }

    fn set(&mut self, key: &str, value: Value) -> Result<(), OriginalError> {
        let name = key.to_ascii_lowercase();
        let name = name.as_str();
        match name {
            "workers" => number(name, value, &mut self.workers),
            "interval" => text(name, value, &mut self.interval),
            "logfile" => text(name, value, &mut self.logfile),
            "loglevel" => text(name, value, &mut self.loglevel),
            "helper" => text(name, value, &mut self.helper),
            "token" => text(name, value, &mut self.token),
            "lifecycle_component" => text(name, value, &mut self.lifecycle_component),
            "choria_insecure" => switch(name, value, &mut self.choria_insecure),
            "site" => text(name, value, &mut self.site),
            "monitor_port" => number(name, value, &mut self.monitor_port),
            "broker_port" => number(name, value, &mut self.broker_port),
            "broker_provisioning_password" => {
                text(name, value, &mut self.broker_provisioning_password)
            }
            "cert_deny_list" => texts(name, value, &mut self.cert_deny_list),
            "jwt_verify_cert" => text(name, value, &mut self.jwt_verify_cert),
            "jwt_signing_key" => text(name, value, &mut self.jwt_signing_key),
            "jwt_signing_token" => text(name, value, &mut self.jwt_signing_token),
            "server_jwt_validity" => text(name, value, &mut self.server_jwt_validity),
            "rego_policy" => text(name, value, &mut self.rego_policy),
            "leader_election" => switch(name, value, &mut self.leader_election),
            "upgrades_repository" => text(name, value, &mut self.upgrades_repository),
            "upgrades_optional" => switch(name, value, &mut self.upgrades_optional),
            "features" => self.features(value),
            _ => {
                self.unknown.push(key.to_owned());
                Ok(())
            }
        }
    }

    fn features(&mut self, value: Value) -> Result<(), OriginalError> {
        let members = match value {
            Value::Null => return Ok(()),
            Value::Object(members) => members,
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                return Err(OriginalError::Type {
                    key: "features".to_owned(),
                    expected: "a mapping",
                });
            }
        };
        for (key, value) in members {
            let name = format!("features.{}", key.to_ascii_lowercase());
            let place = match name.as_str() {
                "features.pki" => &mut self.pki,
                "features.jwt" => &mut self.jwt,
                "features.ed25519" => &mut self.ed25519,
                "features.upgrades" => &mut self.upgrades,
                _ => {
                    self.unknown.push(format!("features.{key}"));
                    continue;
                }
            };
            switch(&name, value, place)?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Self, OriginalError> {
        self.interval_seconds = span("interval", &self.interval)?;
        if self.interval_seconds < LEAST_INTERVAL {
            return Err(OriginalError::Interval);
        }
        if self.lifecycle_component.is_empty() {
            overlay_protocol::provisioning::COMPONENT.clone_into(&mut self.lifecycle_component);
        }
        if self.lifecycle_component.contains(['.', '*', '>']) {
            return Err(OriginalError::Component(self.lifecycle_component));
        }
        if self.pki && self.ed25519 {
            return Err(OriginalError::TwoFeatures);
        }
        self.jwt |= self.ed25519;
        if self.server_jwt_validity.is_empty() {
            "1y".clone_into(&mut self.server_jwt_validity);
        }
        self.server_jwt_validity_seconds = span("server_jwt_validity", &self.server_jwt_validity)?;
        if self.cert_deny_list.is_empty() {
            self.cert_deny_list = crate::config::DENIED_NAMES.map(str::to_owned).to_vec();
        }
        Ok(self)
    }
}

/// Reads a file of the original's into our keys, if its name is that of one.
pub(crate) fn read_foreign(path: &Path) -> Option<Result<toml::Table, Vec<Fault>>> {
    let extension = path.extension()?.to_str()?.to_ascii_lowercase();
    let translated: fn(&str) -> Result<toml::Table, Vec<Fault>> = match extension.as_str() {
        "yaml" | "yml" => |text| {
            let original = Original::read(text)
                .map_err(|error| vec![Fault::new(error.key(), error.to_string())])?;
            translate::table(&original, &read_text)
        },
        "conf" | "cfg" => client::table,
        _ => return None,
    };
    Some(
        read_text(path)
            .map_err(|error| vec![Fault::new("", error)])
            .and_then(|text| translated(&text)),
    )
}

fn read_text(path: &Path) -> Result<String, String> {
    let bytes = std::fs::metadata(path)
        .map_err(|error| error.to_string())?
        .len();
    if bytes > MAX_BYTES {
        return Err(format!("has {bytes} bytes, the most is {MAX_BYTES}"));
    }
    std::fs::read_to_string(path).map_err(|error| error.to_string())
}

fn text(key: &str, value: Value, place: &mut String) -> Result<(), OriginalError> {
    match value {
        Value::Null => Ok(()),
        Value::String(text) => {
            *place = text;
            Ok(())
        }
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            Err(wrong(key, "a text"))
        }
    }
}

fn number(key: &str, value: Value, place: &mut i64) -> Result<(), OriginalError> {
    if value.is_null() {
        return Ok(());
    }
    *place = value.as_i64().ok_or_else(|| wrong(key, "a whole number"))?;
    Ok(())
}

fn switch(key: &str, value: Value, place: &mut bool) -> Result<(), OriginalError> {
    if value.is_null() {
        return Ok(());
    }
    *place = value
        .as_bool()
        .ok_or_else(|| wrong(key, "true or false, without quotes"))?;
    Ok(())
}

fn texts(key: &str, value: Value, place: &mut Vec<String>) -> Result<(), OriginalError> {
    let values = match value {
        Value::Null => return Ok(()),
        Value::Array(values) => values,
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            return Err(wrong(key, "a list of texts"));
        }
    };
    *place = values
        .into_iter()
        .map(|value| {
            let mut one = String::new();
            text(key, value, &mut one).map(|()| one)
        })
        .collect::<Result<_, _>>()?;
    Ok(())
}

fn wrong(key: &str, expected: &'static str) -> OriginalError {
    OriginalError::Type {
        key: key.to_owned(),
        expected,
    }
}

/// A table under a key.
fn put(table: &mut Map<String, Value>, section: &str, key: &str, value: impl Into<Value>) {
    let section = table
        .entry(section)
        .or_insert_with(|| Value::Object(Map::new()));
    if let Some(members) = section.as_object_mut() {
        members.insert(key.to_owned(), value.into());
    }
}

fn to_toml(table: Map<String, Value>) -> Result<toml::Table, Vec<Fault>> {
    toml::Table::try_from(table).map_err(|error| vec![Fault::new("", error.to_string())])
}

#[cfg(test)]
mod tests;
