//! The configuration of the hosting process, `choria_config`: lines `key = value`.

use std::collections::BTreeMap;

use overlay_runtime::Fault;
use serde_json::{Map, Value};

use super::put;

const PROVIDER: &str = "plugin.security.provider";
const HOSTS: &str = "plugin.choria.middleware_hosts";

/// Adds what the file says to our keys; `is_served` tells whether the RPC agent is.
pub(super) fn add(
    text: &str,
    is_served: bool,
    table: &mut Map<String, Value>,
    faults: &mut Vec<Fault>,
) {
    let pairs = pairs(text);
    let get = |key: &str| pairs.get(key).copied();
    if get(PROVIDER) != Some("choria") {
        let fault = Fault::new(PROVIDER, "is not `choria`: that is protocol v1");
        faults.push(fault.remedy("only protocol v2 with tokens is spoken here"));
    }
    for (key, ours) in [
        ("plugin.security.choria.token_file", "token_file"),
        ("plugin.security.choria.seed_file", "seed_file"),
    ] {
        match get(key) {
            Some(path) => put(table, &["identity", ours], path),
            None => faults.push(Fault::new(key, "is missing")),
        }
    }
    for name in list(get("plugin.security.issuer.names")) {
        if let Some(public) = get(&format!("plugin.security.issuer.{name}.public")) {
            put(table, &["issuers", &name], public);
        }
    }
    let collectives: Vec<_> = list(get("collectives").or_else(|| get("main_collective"))).collect();
    if !collectives.is_empty() && table.contains_key("signer") {
        put(table, &["signer", "collectives"], collectives);
    }
    if !is_served {
        return;
    }
    let servers: Vec<_> = list(get(HOSTS)).map(|host| server(&host)).collect();
    if servers.is_empty() {
        let fault = Fault::new(HOSTS, "is missing");
        faults.push(fault.remedy("name the brokers; SRV records are not asked for here"));
    }
    put(table, &["broker", "servers"], servers);
    if let Some(authorities) = get("plugin.security.choria.ca") {
        put(table, &["broker", "ca_file"], authorities);
    }
}

/// The identity that the file gives, which must be the token's.
pub(super) fn identity(text: &str) -> Option<&str> {
    pairs(text).get("identity").copied()
}

/// The broker's address; the original speaks TLS, whatever the scheme says, unless it is told not to.
fn server(host: &str) -> String {
    if host.contains("://") {
        host.to_owned()
    } else {
        format!("tls://{host}")
    }
}

fn list(text: Option<&str>) -> impl Iterator<Item = String> {
    text.into_iter()
        .flat_map(|text| text.split(','))
        .map(|part| part.trim().to_owned())
        .filter(|part| !part.is_empty())
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
