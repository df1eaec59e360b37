//! What lies where in a cell's directory, and who may read it.

use std::path::{Path, PathBuf};

/// Everybody may read it: nothing in it helps an attacker.
pub(super) const PUBLIC: u32 = 0o644;
/// Everybody may run it.
pub(super) const PROGRAM: u32 = 0o755;
/// Only its owner may read it.
pub(super) const SECRET: u32 = 0o600;
/// A directory that everybody may enter.
pub(super) const OPEN_DIR: u32 = 0o755;
/// A directory that only its owner may enter.
pub(super) const CLOSED_DIR: u32 = 0o700;

/// How a file comes to be, which decides what a second `init` does with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Made once; a lost one cannot be made again with the same content.
    Key,
    /// Signed by a key of the cell; may be removed to have it made anew.
    Signed,
    /// Follows from settings and keys alone, so that a change by hand is seen.
    Rendered,
    /// Written once and then its owner's.
    Sample,
    /// Brought from elsewhere; what is brought later takes its place.
    Brought,
}

/// Paths of one cell.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    root: PathBuf,
}

pub(super) const CELL: &str = "cell.toml";
pub(super) const README: &str = "README.md";
pub(super) const ISSUER_SEED: &str = "issuer/organisation.seed";
pub(super) const ISSUER_PUBLIC: &str = "issuer/organisation.public";
pub(super) const TO_SIGN: &str = "issuer/TO-SIGN.md";
pub(super) const CA_CERT: &str = "tls/ca.pem";
pub(super) const CA_KEY: &str = "tls/ca.key";
pub(super) const BROKER_CERT: &str = "tls/broker.pem";
pub(super) const BROKER_KEY: &str = "tls/broker.key";
pub(super) const BROKER_CONF: &str = "broker/nats-server.conf";
pub(super) const BROKER_DATA: &str = "broker/data";
pub(super) const BROKER_AUTH_TOML: &str = "broker-auth/broker-auth.toml";
pub(super) const CALLOUT_KEY: &str = "broker-auth/callout.nk";
pub(super) const ACCOUNT_KEY: &str = "broker-auth/account.nk";
pub(super) const CURVE_KEY: &str = "broker-auth/curve.nk";
pub(super) const STREAMS_KEY: &str = "broker-auth/streams.nk";
pub(super) const PROVISIONER_PASSWORD: &str = "broker-auth/provisioner.password";
pub(super) const SYSTEM_PASSWORD: &str = "broker-auth/system.password";
pub(super) const PROVISIONER_TOML: &str = "provisioner/provisioner.toml";
pub(super) const PROVISIONER_JWT: &str = "provisioner/provisioner.jwt";
pub(super) const PROVISIONER_SEED: &str = "provisioner/provisioner.seed";
/// The secret that the provisioner names to nodes: claim `cht` of their token.
pub(super) const NODE_SECRET: &str = "provisioner/node.secret";
/// The token that new nodes arrive with.
pub(super) const PROVISIONING_JWT: &str = "provisioner/provisioning.jwt";
pub(super) const HELPERS: &str = "helpers";
/// What the sample helpers know of the cell.
pub(super) const SITE_CONF: &str = "helpers/site.conf";
pub(super) const AAA_TOML: &str = "aaa-signer/aaa-signer.toml";
/// The user of account `aaa`.
pub(super) const AAA_KEY: &str = "aaa-signer/aaa.nk";
/// The delegator, who signs requests.
pub(super) const SIGNER_JWT: &str = "aaa-signer/signer.jwt";
pub(super) const SIGNER_SEED: &str = "aaa-signer/signer.seed";
/// The chain issuer, who signs the tokens of those who log in.
pub(super) const LOGIN_JWT: &str = "aaa-signer/login.jwt";
pub(super) const LOGIN_SEED: &str = "aaa-signer/login.seed";
pub(super) const AAA_CERT: &str = "tls/aaa.pem";
pub(super) const AAA_CERT_KEY: &str = "tls/aaa.key";
/// Who may log in by password.
pub(super) const USERS: &str = "users/users.json";
pub(super) const POLICIES: &str = "users/policies";
pub(super) const REPLICATOR_TOML: &str = "stream-replicator/stream-replicator.toml";
/// The token and the key with which replicators read at the cell's own broker.
pub(super) const CELL_SOURCE_JWT: &str = "stream-replicator/cell.jwt";
pub(super) const CELL_SOURCE_SEED: &str = "stream-replicator/cell.seed";
/// What the region gave this cell, and where: its pass.
pub(super) const REGION_PASS: &str = "stream-replicator/region.toml";
pub(super) const REGION_JWT: &str = "stream-replicator/region.jwt";
pub(super) const REGION_SEED: &str = "stream-replicator/region.seed";
pub(super) const REGION_CA: &str = "tls/region-ca.pem";
/// Configuration for people who log in: ours, and Choria's.
pub(super) const LOGIN_TOML: &str = "login/client.toml";
pub(super) const LOGIN_CONF: &str = "login/choria.conf";
pub(super) const CLIENT_TOML: &str = "operator/client.toml";
pub(super) const CLIENT_CONF: &str = "operator/client.conf";
pub(super) const CLIENT_JWT: &str = "operator/client.jwt";
pub(super) const CLIENT_SEED: &str = "operator/client.seed";
pub(super) const RUN: &str = "run";

/// Directories of a cell, apart from those of its nodes, of its provisioner and of its signers.
pub(super) const DIRECTORIES: [(&str, u32); 9] = [
    ("issuer", CLOSED_DIR),
    ("tls", OPEN_DIR),
    ("broker", CLOSED_DIR),
    (BROKER_DATA, CLOSED_DIR),
    ("broker-auth", CLOSED_DIR),
    // Whether it has signers or not: the broker knows their key.
    ("aaa-signer", CLOSED_DIR),
    ("node", OPEN_DIR),
    ("operator", CLOSED_DIR),
    ("systemd", OPEN_DIR),
];

/// Directories of a cell that enrols nodes.
pub(super) const PROVISIONER_DIRECTORIES: [(&str, u32); 2] =
    [("provisioner", CLOSED_DIR), (HELPERS, OPEN_DIR)];

/// Directories of a cell that signs.
pub(super) const SIGNER_DIRECTORIES: [(&str, u32); 3] = [
    ("users", CLOSED_DIR),
    (POLICIES, CLOSED_DIR),
    ("login", OPEN_DIR),
];

/// Directory of a cell whose streams are copied to a region.
pub(super) const REPLICATOR_DIRECTORY: (&str, u32) = ("stream-replicator", CLOSED_DIR);
/// Directory of a cell whose streams are copied: a dashboard and alerts on it.
pub(super) const MONITORING_DIRECTORY: (&str, u32) = ("monitoring", OPEN_DIR);
/// Directory of a region: what it gives to cells.
pub(super) const SITES_DIRECTORY: (&str, u32) = ("sites", CLOSED_DIR);

/// Files of one replicator, below its directory.
pub(super) const REPLICATOR_JWT: &str = "server.jwt";
pub(super) const REPLICATOR_SEED: &str = "server.seed";
pub(super) const REPLICATOR_STATE: &str = "state";

/// Files of a pass, below its directory.
pub(super) const PASS: &str = "region.toml";
pub(super) const PASS_JWT: &str = "region.jwt";
pub(super) const PASS_SEED: &str = "region.seed";
pub(super) const PASS_CA: &str = "region-ca.pem";

/// Files of one signer, below its directory.
pub(super) const AAA_JWT: &str = "server.jwt";
pub(super) const AAA_SEED: &str = "server.seed";

/// Files of one node, below its directory.
pub(super) const NODE_TOML: &str = "server.toml";
pub(super) const NODE_JWT: &str = "server.jwt";
pub(super) const NODE_SEED: &str = "server.seed";
pub(super) const NODE_FACTS: &str = "facts.json";
pub(super) const NODE_CLASSES: &str = "classes.txt";

impl Layout {
    pub(super) fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// The path as text for a configuration file.
    pub(super) fn text(&self, relative: &str) -> String {
        self.path(relative).display().to_string()
    }
}

/// The path of a file of signer number `index` (from 0), relative to the cell; empty `file`: its directory.
pub(super) fn of_signer(index: u16, file: &str) -> String {
    let directory = format!("aaa-signer/{}", u32::from(index) + 1);
    if file.is_empty() {
        directory
    } else {
        format!("{directory}/{file}")
    }
}

/// The path of a file of replicator number `index` (from 0), relative to the cell; empty `file`: its directory.
pub(super) fn of_replicator(index: u16, file: &str) -> String {
    let directory = format!("stream-replicator/{}", u32::from(index) + 1);
    if file.is_empty() {
        directory
    } else {
        format!("{directory}/{file}")
    }
}

/// The path of a file of a cell's pass, relative to the region; empty `file`: its directory.
pub(super) fn of_site(cell: &str, file: &str) -> String {
    let directory = format!("sites/{cell}");
    if file.is_empty() {
        directory
    } else {
        format!("{directory}/{file}")
    }
}

/// The path of a node's file, relative to the cell.
pub(super) fn of_node(identity: &str, file: &str) -> String {
    format!("node/{identity}/{file}")
}
