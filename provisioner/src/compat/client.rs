//! The client's configuration, which tells the original where brokers, token and seed are.

use std::collections::BTreeMap;

use overlay_runtime::Fault;
use serde_json::Map;

use super::{put, to_toml};

const HOSTS: &str = "plugin.choria.middleware_hosts";
const ISSUERS: &str = "plugin.security.issuer.names";

/// Turns the client's configuration into our keys.
pub(super) fn table(text: &str) -> Result<toml::Table, Vec<Fault>> {
    let pairs = pairs(text);
    let get = |key: &str| pairs.get(key).copied();
    let mut faults = Vec::new();
    let mut table = Map::new();
    if let Some(identity) = get("identity") {
        table.insert("identity".to_owned(), identity.into());
    }
    match get(HOSTS) {
        Some(hosts) => {
            let servers: Vec<_> = hosts
                .split(',')
                .map(str::trim)
                .filter(|host| !host.is_empty())
                .map(server)
                .collect();
            put(&mut table, "broker", "servers", servers);
        }
        None => {
            let fault = Fault::new(HOSTS, "is missing");
            faults.push(fault.remedy("name the brokers; SRV records are not asked for here"));
        }
    }
    for (key, section, ours) in [
        ("plugin.security.choria.ca", "broker", "ca_file"),
        ("plugin.security.choria.token_file", "login", "token_file"),
        ("plugin.security.choria.seed_file", "login", "seed_file"),
    ] {
        if let Some(path) = get(key) {
            put(&mut table, section, ours, path);
        }
    }
    for name in get(ISSUERS).into_iter().flat_map(|names| names.split(',')) {
        let name = name.trim();
        let key = format!("plugin.security.issuer.{name}.public");
        if let Some(public) = get(&key) {
            put(&mut table, "issuers", name, public);
        }
    }
    if faults.is_empty() {
        to_toml(table)
    } else {
        Err(faults)
    }
}

/// The broker's address; provisioners speak TLS, whatever the scheme says.
fn server(host: &str) -> String {
    let bare = host
        .strip_prefix("nats://")
        .or_else(|| host.strip_prefix("tls://"));
    match bare {
        Some(bare) => format!("tls://{bare}"),
        None if host.contains("://") => host.to_owned(),
        None => format!("tls://{host}"),
    }
}

/// Lines `key = value`; the last of equal keys counts.
fn pairs(text: &str) -> BTreeMap<&str, &str> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.trim(), value.trim()))
        .filter(|(key, value)| !key.is_empty() && !value.is_empty())
        .collect()
}
