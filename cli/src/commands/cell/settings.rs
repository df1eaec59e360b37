//! What the maker of a cell chose, as `cell.toml` keeps it.

mod flags;
mod replication;
mod validate;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::layout::{CELL, Layout};
use crate::error::{Failure, Hint};

pub(super) use flags::{Change, Flags};
use replication::ReplicationSettings;

const HEAD: &str = "\
# What `overlay cell` knows of this cell. Made by `overlay cell init`; change it there (`--update`), for
# other files follow from it. `run.nodes`, `run.broker_auth`, `run.provisioners`, `run.aaa_signers` and
# `run.replicators` may be edited: only `overlay cell up`, `check` and `status` read them.

";

/// Of the first provisioner, when nothing else is said.
const PROVISIONER_PORT: u16 = 9821;
/// Of the first signer, when nothing else is said.
const SIGNER_PORT: u16 = 9831;
const HTTPS_PORT: u16 = 8443;
/// Of the first replicator, when nothing else is said.
const REPLICATOR_PORT: u16 = 9841;

/// The content of `cell.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    pub(super) name: String,
    /// Where the cell lives; its configuration names files by absolute path.
    pub(super) directory: PathBuf,
    /// Organisation whose issuer signs the tokens of this cell (claim `ou`).
    pub(super) organisation: String,
    pub(super) collectives: Vec<String>,
    pub(super) broker: BrokerSettings,
    pub(super) run: RunSettings,
    #[serde(default, skip_serializing_if = "ReplicationSettings::is_empty")]
    pub(super) replication: ReplicationSettings,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BrokerSettings {
    pub(super) listen: IpAddr,
    pub(super) port: u16,
    /// 0: no websockets.
    pub(super) websocket_port: u16,
    pub(super) monitor_port: u16,
    /// Names and addresses by which nodes and clients reach the broker; the first is put into their files.
    pub(super) hosts: Vec<String>,
    /// Name by which programs on the broker's own machine reach it.
    pub(super) local_host: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RunSettings {
    /// How many login services `up` starts.
    pub(super) broker_auth: u16,
    /// Port of the first one's health and metrics; the others follow it.
    pub(super) admin_port: u16,
    /// How many provisioners `up` starts; 0: this cell enrols no nodes.
    #[serde(default = "one")]
    pub(super) provisioners: u16,
    /// Port of the first one's health and metrics; the others follow it.
    #[serde(default = "provisioner_port")]
    pub(super) provisioner_port: u16,
    /// Whether events of unprovisioned nodes reach the fleet's account as they are: for a cell that only
    /// Choria's provisioner serves.
    #[serde(default)]
    pub(super) raw_events: bool,
    /// How many signers `up` starts; 0: nobody logs in to this cell, and it signs for nobody.
    #[serde(default = "one")]
    pub(super) aaa_signers: u16,
    /// Port of the first one's health and metrics; the others follow it.
    #[serde(default = "signer_port")]
    pub(super) aaa_port: u16,
    /// Port where the first one is reached by HTTPS; the others follow it.
    #[serde(default = "https_port")]
    pub(super) https_port: u16,
    /// How many replicators `up` starts; 0: streams of this cell are copied nowhere.
    #[serde(default)]
    pub(super) replicators: u16,
    /// Port of the first one's health and metrics; the others follow it.
    #[serde(default = "replicator_port")]
    pub(super) replicator_port: u16,
    /// Identities of the nodes that this cell has files for.
    pub(super) nodes: Vec<String>,
}

fn one() -> u16 {
    1
}

fn provisioner_port() -> u16 {
    PROVISIONER_PORT
}

fn signer_port() -> u16 {
    SIGNER_PORT
}

fn replicator_port() -> u16 {
    REPLICATOR_PORT
}

fn https_port() -> u16 {
    HTTPS_PORT
}

impl Settings {
    /// Reads the settings of the cell in `dir`.
    pub(super) fn load(dir: &Path) -> Result<(Self, Layout), Failure> {
        let root = std::fs::canonicalize(dir)
            .map_err(anyhow::Error::from)
            .map_err(|error| error.context(format!("there is no directory {}", dir.display())))
            .hint("make a cell with `overlay cell init DIR --name NAME`")?;
        let layout = Layout::new(root);
        let path = layout.path(CELL);
        let text = std::fs::read_to_string(&path)
            .map_err(anyhow::Error::from)
            .map_err(|error| error.context(format!("{} is no cell", dir.display())))
            .hint(
                "a cell has a file cell.toml; make one with `overlay cell init DIR --name NAME`",
            )?;
        let settings: Self = toml::from_str(&text)
            .map_err(anyhow::Error::from)
            .map_err(|error| error.context(format!("cannot read {}", path.display())))?;
        settings.validate()?;
        Ok((settings, layout))
    }

    /// The text of `cell.toml`.
    pub(super) fn render(&self) -> anyhow::Result<String> {
        Ok(format!("{HEAD}{}", toml::to_string(self)?))
    }

    fn local_host(&self, certificate_is_made_here: bool) -> String {
        let listen = self.broker.listen;
        if !certificate_is_made_here {
            return self.broker.hosts.first().cloned().unwrap_or_default();
        }
        if listen.is_unspecified() || listen.is_loopback() {
            "localhost".to_owned()
        } else {
            listen.to_string()
        }
    }

    /// The URL that nodes and clients use.
    pub(super) fn broker_url(&self) -> String {
        let host = self
            .broker
            .hosts
            .first()
            .map_or("localhost", String::as_str);
        format!("nats://{}:{}", in_url(host), self.broker.port)
    }

    /// The URL where people log in, and have requests signed, by HTTPS.
    pub(super) fn https_url(&self) -> String {
        let host = self
            .broker
            .hosts
            .first()
            .map_or("localhost", String::as_str);
        format!("https://{}:{}", in_url(host), self.run.https_port)
    }

    /// The URLs that replicators of other cells use.
    pub(super) fn public_urls(&self) -> Vec<String> {
        let hosts = self.broker.hosts.iter();
        hosts
            .map(|host| format!("tls://{}:{}", in_url(host), self.broker.port))
            .collect()
    }

    /// The collective of what is not about nodes.
    pub(super) fn main_collective(&self) -> &str {
        self.collectives.first().map_or("choria", String::as_str)
    }

    /// The URL that programs on the broker's own machine use.
    pub(super) fn local_url(&self) -> String {
        format!(
            "tls://{}:{}",
            in_url(&self.broker.local_host),
            self.broker.port
        )
    }

    /// The names by which the files of this cell reach the broker.
    pub(super) fn names_used(&self) -> Vec<String> {
        let mut names = self.broker.hosts.clone();
        if !names.contains(&self.broker.local_host) {
            names.push(self.broker.local_host.clone());
        }
        names
    }

    /// Everything that a certificate made here names.
    pub(super) fn certificate_names(&self) -> Vec<String> {
        let mut names = self.names_used();
        names.extend(["localhost", "127.0.0.1", "::1"].map(str::to_owned));
        let mut seen = BTreeSet::new();
        names.retain(|name| seen.insert(name.clone()));
        names
    }

    /// Whether this cell enrols nodes.
    pub(super) fn enrols(&self) -> bool {
        self.run.provisioners > 0
    }

    /// Whether people log in to this cell, and it signs their requests.
    pub(super) fn signs(&self) -> bool {
        self.run.aaa_signers > 0
    }

    /// The identity of signer number `index` (from 0).
    pub(super) fn signer_identity(&self, index: u16) -> String {
        format!("aaa-{}.{}", u32::from(index) + 1, self.name)
    }

    /// Where signer number `index` (from 0) tells its health and metrics.
    pub(super) fn aaa_port(&self, index: u16) -> u16 {
        self.run.aaa_port.saturating_add(index)
    }

    /// Where signer number `index` (from 0) is reached by HTTPS.
    pub(super) fn https_port(&self, index: u16) -> u16 {
        self.run.https_port.saturating_add(index)
    }

    /// Where the provisioner number `index` (from 0) tells its health and metrics.
    pub(super) fn provisioner_port(&self, index: u16) -> u16 {
        self.run.provisioner_port.saturating_add(index)
    }

    /// Where the login service number `index` (from 0) tells its health and metrics.
    pub(super) fn admin_port(&self, index: u16) -> u16 {
        self.run.admin_port.saturating_add(index)
    }
}

/// A host as it stands in a URL: IPv6 addresses in brackets.
fn in_url(host: &str) -> String {
    if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    }
}
