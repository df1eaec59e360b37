//! The files of `overlays/base`, filled in for one cell.
//!
//! They are compiled in, so that what the generator writes and what the repository shows is the same.
//! TOML files are edited, which keeps their comments; a key that the base does not have is a bug that the
//! tests find.

use std::fmt::Write as _;
use std::net::SocketAddr;

use anyhow::anyhow;
use overlay_tokens::PublicKey;
use toml_edit::{DocumentMut, Item, Key, Table, Value};

use super::keys::BrokerKeys;
use super::layout::{
    AAA_CERT, AAA_CERT_KEY, AAA_JWT, AAA_KEY, AAA_SEED, ACCOUNT_KEY, BROKER_CERT, BROKER_DATA,
    BROKER_KEY, CA_CERT, CALLOUT_KEY, CLIENT_JWT, CLIENT_SEED, CURVE_KEY, LOGIN_JWT, LOGIN_SEED,
    Layout, NODE_CLASSES, NODE_FACTS, NODE_JWT, NODE_SECRET, NODE_SEED, PROVISIONER_JWT,
    PROVISIONER_PASSWORD, PROVISIONER_SEED, SIGNER_JWT, SIGNER_SEED, STREAMS_KEY, SYSTEM_PASSWORD,
    USERS, of_node, of_signer,
};
use super::settings::Settings;

macro_rules! base {
    ($path:literal) => {
        include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../overlays/base/",
            $path
        ))
    };
}

mod replication;

pub(super) use replication::{MONITORING, stream_replicator_of};

const BROKER_CONF: &str = base!("broker/nats-server.conf");
const BROKER_AUTH_TOML: &str = base!("config/broker-auth.toml");
const SERVER_TOML: &str = base!("config/server.toml");
const CLIENT_TOML: &str = base!("config/client.toml");
const CLIENT_CONF: &str = base!("config/choria-client.conf");
const README: &str = base!("README.cell.md");
const PROVISIONER_TOML: &str = base!("config/provisioner.toml");
const AAA_TOML: &str = base!("config/aaa-signer.toml");
const LOGIN_TOML: &str = base!("config/login.toml");
const LOGIN_CONF: &str = base!("config/choria-login.conf");
const SITE: &str = base!("helpers/site.conf");
/// Sample helpers by their path in a cell.
pub(super) const HELPERS: [(&str, &str); 3] = [
    ("helpers/enrol.sh", base!("helpers/enrol.sh")),
    ("helpers/enrol.py", base!("helpers/enrol.py")),
    (
        "helpers/enrol-persistent.py",
        base!("helpers/enrol-persistent.py"),
    ),
];
const UNITS: [(&str, &str); 9] = [
    (
        "overlay-nats.service",
        base!("systemd/overlay-nats.service"),
    ),
    (
        "overlay-broker-auth.service",
        base!("systemd/overlay-broker-auth.service"),
    ),
    (
        "overlay-provisioner.service",
        base!("systemd/overlay-provisioner.service"),
    ),
    (
        "overlay-aaa-signer@.service",
        base!("systemd/overlay-aaa-signer@.service"),
    ),
    (
        "overlay-stream-replicator@.service",
        base!("systemd/overlay-stream-replicator@.service"),
    ),
    (
        "overlay-server.service",
        base!("systemd/overlay-server.service"),
    ),
    (
        "overlay-server@.service",
        base!("systemd/overlay-server@.service"),
    ),
    ("sysusers.conf", base!("sysusers.d/overlay.conf")),
    ("tmpfiles.conf", base!("tmpfiles.d/overlay.conf")),
];

/// Where the base files say that the cell is.
const BASE_CELL: &str = "/etc/overlay/cell";

/// Everything that the files of a cell depend on.
#[derive(Debug)]
pub(super) struct Facts<'a> {
    pub(super) settings: &'a Settings,
    pub(super) layout: &'a Layout,
    pub(super) issuer: PublicKey,
    pub(super) keys: &'a BrokerKeys,
}

impl Facts<'_> {
    pub(super) fn broker_conf(&self) -> anyhow::Result<String> {
        let broker = &self.settings.broker;
        let raw_events = self.settings.run.raw_events;
        let text = sections(BROKER_CONF, |section| match section {
            "replication" => self.settings.replicates(),
            "copies" => self.settings.is_region(),
            "websocket" => broker.websocket_port != 0,
            "raw_events" => raw_events,
            "vetted_events" => !raw_events,
            _ => false,
        });
        // In quotes already, as `fill` has it not.
        let text = text.replace("@COPIES@", &self.rights_to_copies());
        let listen = if broker.listen.is_ipv6() {
            format!("[{}]", broker.listen)
        } else {
            broker.listen.to_string()
        };
        fill(
            &text,
            &[
                ("NAME", &self.settings.name),
                ("LISTEN", &listen),
                ("PORT", &broker.port.to_string()),
                ("WEBSOCKET_PORT", &broker.websocket_port.to_string()),
                ("MONITOR_PORT", &broker.monitor_port.to_string()),
                ("TLS_CERT", &self.layout.text(BROKER_CERT)),
                ("TLS_KEY", &self.layout.text(BROKER_KEY)),
                ("FILE_STORE", &self.file_store()),
                ("STORE_DIR", &self.layout.text(BROKER_DATA)),
                ("ACCOUNT_PUBLIC", &self.keys.account),
                ("CALLOUT_PUBLIC", &self.keys.callout),
                ("STREAMS_PUBLIC", &self.keys.streams),
                ("AAA_PUBLIC", &self.keys.aaa),
                ("CURVE_PUBLIC", &self.keys.curve),
            ],
        )
    }

    pub(super) fn broker_auth(&self) -> anyhow::Result<String> {
        let mut file = Toml::parse(BROKER_AUTH_TOML)?;
        file.set(&["organisation"], self.settings.organisation.as_str())?;
        file.set(&["broker", "servers"], array([self.settings.local_url()]))?;
        file.set(&["broker", "ca_file"], self.layout.text(CA_CERT))?;
        file.set(&["callout", "issuer"], self.keys.account.as_str())?;
        file.set(&["callout", "xkey"], self.keys.curve.as_str())?;
        for (table, key, path) in [
            ("broker", "seed_file", CALLOUT_KEY),
            ("callout", "account_seed_file", ACCOUNT_KEY),
            ("callout", "curve_seed_file", CURVE_KEY),
            ("streams", "seed_file", STREAMS_KEY),
        ] {
            file.set(&[table, key], self.layout.text(path))?;
        }
        let password = self.layout.text(PROVISIONER_PASSWORD);
        file.set(&["provisioning", "password_file"], password)?;
        file.set(
            &["system", "password_file"],
            self.layout.text(SYSTEM_PASSWORD),
        )?;
        let listen = format!("127.0.0.1:{}", self.settings.admin_port(0));
        file.set(&["admin", "listen"], listen)?;
        if !self.settings.signs() {
            file.remove("login")?;
        }
        self.replicated_streams(&mut file)?;
        self.issuers(&mut file)?;
        Ok(file.render())
    }

    pub(super) fn aaa_signer(&self) -> anyhow::Result<String> {
        let mut file = Toml::parse(AAA_TOML)?;
        let path = |relative: &str| self.layout.text(relative);
        file.set(&["site"], self.settings.name.as_str())?;
        file.set(&["broker", "servers"], array([self.settings.local_url()]))?;
        for (table, key, text) in [
            ("identity", "token_file", path(&of_signer(0, AAA_JWT))),
            ("identity", "seed_file", path(&of_signer(0, AAA_SEED))),
            ("broker", "ca_file", path(CA_CERT)),
            ("signer", "token_file", path(SIGNER_JWT)),
            ("signer", "seed_file", path(SIGNER_SEED)),
            ("login", "token_file", path(LOGIN_JWT)),
            ("login", "seed_file", path(LOGIN_SEED)),
            ("http", "listen", https_listen(self.settings, 0)),
            ("http", "certificate_file", path(AAA_CERT)),
            ("http", "key_file", path(AAA_CERT_KEY)),
            (
                "admin",
                "listen",
                format!("127.0.0.1:{}", self.settings.aaa_port(0)),
            ),
        ] {
            file.set(&[table, key], text)?;
        }
        file.set(&["login", "userlist", "file"], path(USERS))?;
        file.set(&["audit", "stream", "seed_file"], path(AAA_KEY))?;
        let collectives = array(self.settings.collectives.clone());
        file.set(&["signer", "collectives"], collectives)?;
        self.issuers(&mut file)?;
        Ok(file.render())
    }

    /// The configuration of people who log in.
    pub(super) fn login_toml(&self) -> anyhow::Result<String> {
        let mut file = Toml::parse(LOGIN_TOML)?;
        file.set(&["broker", "servers"], array([self.settings.broker_url()]))?;
        file.set(&["collective"], self.main_collective())?;
        file.set(&["broker", "ca_file"], self.layout.text(CA_CERT))?;
        file.set(&["login", "urls"], array([self.settings.https_url()]))?;
        file.set(&["login", "ca_file"], self.layout.text(CA_CERT))?;
        self.issuers(&mut file)?;
        Ok(file.render())
    }

    /// The same for Choria's own command.
    pub(super) fn login_conf(&self) -> String {
        self.choria_conf(LOGIN_CONF)
            .replace("https://localhost:8443", &self.settings.https_url())
            .replace("/etc/overlay/cell/tls/ca.pem", &self.layout.text(CA_CERT))
    }

    pub(super) fn provisioner(&self) -> anyhow::Result<String> {
        let mut file = Toml::parse(PROVISIONER_TOML)?;
        file.set(&["site"], self.settings.name.as_str())?;
        file.set(&["broker", "servers"], array([self.settings.local_url()]))?;
        for (table, key, path) in [
            ("broker", "ca_file", CA_CERT),
            ("broker", "password_file", PROVISIONER_PASSWORD),
            ("login", "token_file", PROVISIONER_JWT),
            ("login", "seed_file", PROVISIONER_SEED),
        ] {
            file.set(&[table, key], self.layout.text(path))?;
        }
        let secrets = array([self.layout.text(NODE_SECRET)]);
        file.set(&["nodes", "secret_files"], secrets)?;
        let collectives = array(self.settings.collectives.clone());
        file.set(&["fleet", "collectives"], collectives)?;
        let listen = format!("127.0.0.1:{}", self.settings.provisioner_port(0));
        file.set(&["admin", "listen"], listen)?;
        self.issuers(&mut file)?;
        // The helper and the comments on others.
        let root = self.layout.root().display().to_string();
        Ok(file.render().replace(BASE_CELL, &root))
    }

    /// What the sample helpers read: words that a shell takes in single quotes.
    pub(super) fn site_conf(&self) -> anyhow::Result<String> {
        let collectives = self.settings.collectives.join(",");
        fill(
            SITE,
            &[
                ("BROKERS", &self.settings.broker_url()),
                ("COLLECTIVES", &collectives),
                ("ORGANISATION", &self.settings.organisation),
                ("ISSUER", &self.issuer.to_string()),
                ("CA_FILE", &self.layout.text(CA_CERT)),
            ],
        )
    }

    pub(super) fn server_toml(&self, identity: &str) -> anyhow::Result<String> {
        let mut file = Toml::parse(SERVER_TOML)?;
        let path = |name| self.layout.text(&of_node(identity, name));
        file.set(&["identity"], identity)?;
        file.set(&["collectives"], array(self.settings.collectives.clone()))?;
        file.set(&["token_file"], path(NODE_JWT))?;
        file.set(&["seed_file"], path(NODE_SEED))?;
        file.set(&["broker", "servers"], array([self.settings.broker_url()]))?;
        file.set(&["broker", "ca_file"], self.layout.text(CA_CERT))?;
        file.set(&["facts", "files"], array([path(NODE_FACTS)]))?;
        file.set(&["facts", "classes_file"], path(NODE_CLASSES))?;
        self.issuers(&mut file)?;
        Ok(file.render())
    }

    pub(super) fn client_toml(&self) -> anyhow::Result<String> {
        let mut file = Toml::parse(CLIENT_TOML)?;
        file.set(&["broker", "servers"], array([self.settings.broker_url()]))?;
        file.set(&["collective"], self.main_collective())?;
        file.set(&["token_file"], self.layout.text(CLIENT_JWT))?;
        file.set(&["seed_file"], self.layout.text(CLIENT_SEED))?;
        file.set(&["broker", "ca_file"], self.layout.text(CA_CERT))?;
        self.issuers(&mut file)?;
        Ok(file.render())
    }

    /// A file of Choria's keys for this cell's broker and collectives.
    fn choria_conf(&self, base: &str) -> String {
        base.replace("nats://localhost:4222", &self.settings.broker_url())
            .replace(
                "collectives = choria",
                &format!("collectives = {}", self.settings.collectives.join(",")),
            )
            .replace(
                "main_collective = choria",
                &format!("main_collective = {}", self.main_collective()),
            )
    }

    pub(super) fn client_conf(&self) -> String {
        self.choria_conf(CLIENT_CONF)
            .replace("/etc/overlay/client/ca.pem", &self.layout.text(CA_CERT))
            .replace(
                "/etc/overlay/client/client.jwt",
                &self.layout.text(CLIENT_JWT),
            )
            .replace(
                "/etc/overlay/client/client.seed",
                &self.layout.text(CLIENT_SEED),
            )
    }

    /// systemd units and the users and owners they need.
    pub(super) fn units(&self) -> impl Iterator<Item = (&'static str, String)> {
        let root = self.layout.root().display().to_string();
        let replicator = format!("replicator-%i.{}", self.settings.name);
        UNITS.into_iter().map(move |(name, text)| {
            let text = text.replace(BASE_CELL, &root);
            (name, text.replace("replicator-%i.cell", &replicator))
        })
    }

    pub(super) fn sample_facts(&self, identity: &str) -> anyhow::Result<String> {
        let facts = serde_json::json!({
            "identity": identity,
            "cell": self.settings.name,
            "os": { "family": std::env::consts::OS, "architecture": std::env::consts::ARCH },
        });
        Ok(format!("{}\n", serde_json::to_string_pretty(&facts)?))
    }

    pub(super) fn sample_classes(&self) -> String {
        "node\n".to_owned()
    }

    pub(super) fn readme(&self) -> String {
        README
            .replace("@NAME@", &self.settings.name)
            .replace("@CELL@", &self.settings.site_name())
            .replace("@URL@", &self.settings.broker_url())
            .replace("@HTTPS_URL@", &self.settings.https_url())
            .replace("@ORGANISATION@", &self.settings.organisation)
            .replace(BASE_CELL, &self.layout.root().display().to_string())
    }

    /// What a holder of the issuer's key has to sign.
    pub(super) fn to_sign(&self, commands: &[String]) -> String {
        let mut text = format!(
            "# Tokens to be signed\n\n\
             The issuer `{}` of organisation `{}` keeps its key elsewhere. Have its holder run these\n\
             commands, with ORGANISATION.SEED replaced by the key's file, then copy each token to the\n\
             place that its name says. The cell does not work before; `overlay cell check` tells what\n\
             is missing.\n\n```console\n",
            self.issuer, self.settings.organisation
        );
        for command in commands {
            // Writing to a String cannot fail.
            writeln!(text, "{command}").ok();
        }
        text.push_str("```\n");
        text
    }

    fn main_collective(&self) -> &str {
        self.settings.main_collective()
    }

    fn issuers(&self, file: &mut Toml) -> anyhow::Result<()> {
        let issuers = file.table("issuers")?;
        issuers.remove("choria");
        let key = Key::new(self.settings.organisation.as_str());
        issuers.insert_formatted(&key, toml_edit::value(self.issuer.to_string()));
        Ok(())
    }
}

/// What signer number `index` (from 0) has otherwise than the first.
pub(super) fn aaa_signer_of(settings: &Settings, layout: &Layout, index: u16) -> String {
    let path = |file| layout.text(&of_signer(index, file));
    format!(
        "[identity]\ntoken_file = {:?}\nseed_file = {:?}\n[http]\nlisten = {:?}\n[admin]\nlisten = \"127.0.0.1:{}\"\n",
        path(AAA_JWT),
        path(AAA_SEED),
        https_listen(settings, index),
        settings.aaa_port(index)
    )
}

fn https_listen(settings: &Settings, index: u16) -> String {
    SocketAddr::new(settings.broker.listen, settings.https_port(index)).to_string()
}

/// A base file in TOML whose values are replaced and whose comments stay.
struct Toml(DocumentMut);

impl Toml {
    fn parse(text: &str) -> anyhow::Result<Self> {
        Ok(Self(text.parse()?))
    }

    fn table(&mut self, name: &str) -> anyhow::Result<&mut Table> {
        self.0
            .get_mut(name)
            .and_then(Item::as_table_mut)
            .ok_or_else(|| anyhow!("the base file has no table {name}"))
    }

    fn set(&mut self, path: &[&str], value: impl Into<Value>) -> anyhow::Result<()> {
        let mut item = self.0.as_item_mut();
        for key in path {
            item = item
                .get_mut(key)
                .ok_or_else(|| anyhow!("the base file has no key {}", path.join(".")))?;
        }
        let current = item
            .as_value_mut()
            .ok_or_else(|| anyhow!("{} of the base file is no value", path.join(".")))?;
        let decor = current.decor().clone();
        *current = value.into();
        *current.decor_mut() = decor;
        Ok(())
    }

    fn remove(&mut self, table: &str) -> anyhow::Result<()> {
        let removed = self.0.remove(table);
        removed
            .map(drop)
            .ok_or_else(|| anyhow!("the base file has no table {table}"))
    }

    fn render(&self) -> String {
        self.0.to_string()
    }
}

fn array(values: impl IntoIterator<Item = String>) -> Value {
    Value::Array(values.into_iter().collect())
}

/// Drops the parts between `#@if NAME` and `#@end` that are not wanted.
fn sections(text: &str, wanted: impl Fn(&str) -> bool) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut keep = true;
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("#@if ") {
            keep = wanted(name);
        } else if line == "#@end" {
            keep = true;
        } else if keep {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

/// Replaces each `@KEY@`; one that is left over is an error.
fn fill(text: &str, values: &[(&str, &str)]) -> anyhow::Result<String> {
    let mut filled = text.to_owned();
    for (key, value) in values {
        // Values stand inside quotes.
        if value.contains(['"', '\'', '\\', '\n', '@']) {
            return Err(anyhow!("{value:?} cannot stand in a configuration file"));
        }
        filled = filled.replace(&format!("@{key}@"), value);
    }
    match filled.lines().find(|line| line.contains('@')) {
        Some(line) => Err(anyhow!(
            "the base file has an unknown placeholder: {}",
            line.trim()
        )),
        None => Ok(filled),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_replaced_and_comments_stay() {
        let mut file = Toml::parse("# why\n[a]\nb = 1 # what\n").unwrap();
        file.set(&["a", "b"], "x").unwrap();
        assert_eq!(file.render(), "# why\n[a]\nb = \"x\" # what\n");
        assert!(file.set(&["a", "c"], "x").is_err());
        assert!(file.set(&["a"], "x").is_err());
    }

    #[test]
    fn parts_are_kept_by_name() {
        let text = "1\n#@if two\n2\n#@end\n3\n";
        assert_eq!(sections(text, |name| name == "two"), "1\n2\n3\n");
        assert_eq!(sections(text, |_| false), "1\n3\n");
    }

    #[test]
    fn placeholders_are_all_filled_with_what_can_stand_in_quotes() {
        assert_eq!(fill("x \"@A@\"", &[("A", "1")]).unwrap(), "x \"1\"");
        assert!(fill("@A@ @B@", &[("A", "1")]).is_err());
        for value in ["a\"b", "a'b", "a\\b", "a\nb", "@B@"] {
            assert!(fill("@A@", &[("A", value)]).is_err(), "{value}");
        }
    }
}
