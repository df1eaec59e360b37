//! A broker, nodes and an operator's configuration.

use std::collections::BTreeMap;
use std::path::Path;

use overlay_client::config::Environment;
use overlay_client::{Config, Fleet};
use overlay_testkit::Broker;
use overlay_testkit::mint::{Login, Organisation};
use overlay_tokens::claims::ClientPermissions;
use overlay_tokens::issue::ClientToken;
use tempfile::TempDir;

use crate::fleet::{self, Node};

pub(crate) struct Cell {
    pub(crate) broker: Broker,
    pub(crate) nodes: fleet::Fleet,
    pub(crate) dir: TempDir,
    /// The key that replies are checked with.
    pub(crate) issuer: String,
}

pub(crate) fn operator(organisation: &Organisation) -> Login {
    organisation.client(ClientToken {
        permissions: Some(ClientPermissions {
            fleet_management: true,
            ..ClientPermissions::default()
        }),
        ..ClientToken::new("up=bob")
    })
}

impl Cell {
    /// A broker that lets everybody in, and nodes on it.
    pub(crate) fn start(nodes: Vec<Node>) -> Self {
        let broker = Broker::plain();
        let organisation = Organisation::new();
        let dir = tempfile::tempdir().unwrap();
        operator(&organisation).write(dir.path(), "client");
        let issuer = organisation.public().to_string();
        let nodes = fleet::Fleet::start(&broker.url(), organisation, nodes);
        Self {
            broker,
            nodes,
            dir,
            issuer,
        }
    }

    pub(crate) fn config(&self, more: &str) -> Config {
        let issuer = &self.issuer;
        let text = format!("{more}\n[issuers]\nchoria = \"{issuer}\"\n");
        load(self.dir.path(), &self.broker.url(), &text)
    }

    pub(crate) async fn connect(&self) -> Fleet {
        Fleet::connect(self.config(""), "test").await.unwrap()
    }
}

/// Reads a configuration as a command would, from `client.toml` in `dir`.
pub(crate) fn load(dir: &Path, url: &str, more: &str) -> Config {
    let text = format!(
        "token_file = \"client.jwt\"\nseed_file = \"client.seed\"\n[broker]\nservers = [\"{url}\"]\ntls = false\n{more}"
    );
    load_text(dir, &text)
}

pub(crate) fn load_text(dir: &Path, text: &str) -> Config {
    let file = dir.join("client.toml");
    std::fs::write(&file, text).unwrap();
    let environment = Environment {
        variables: BTreeMap::new(),
        current_dir: dir.to_owned(),
        host_name: "laptop.example.net".to_owned(),
        root: dir.to_owned(),
    };
    Config::load(Some(&file), &environment).unwrap()
}
