//! From the original's keys to ours.

use std::path::Path;

use overlay_runtime::Fault;
use serde_json::{Map, Value, json};

use super::{Original, put, to_toml};

/// Turns what the original reads into our keys; `read` reads a file that it names.
pub(super) fn table(
    original: &Original,
    read: &dyn Fn(&Path) -> Result<String, String>,
) -> Result<toml::Table, Vec<Fault>> {
    let mut faults = Vec::new();
    let mut notices = Vec::new();
    let mut table = Map::new();
    if original.choria_insecure {
        let fault = Fault::new("choria_insecure", "asks for no TLS and protocol v1");
        faults.push(fault.remedy("only protocol v2 over TLS is spoken here: leave it out"));
    }
    if !original.ed25519 {
        let fault = Fault::new(
            "features.ed25519",
            "is off: nodes would be those of protocol v1",
        );
        faults.push(fault.remedy("only protocol v2 is spoken here: switch it on"));
    }
    if original.workers < 0 {
        let fault = Fault::new("workers", "is negative: the original then enrols nobody");
        faults.push(fault.remedy("write a number, or leave it out"));
    }
    if original.workers > 0 {
        put(&mut table, "limits", "workers", original.workers);
    }
    if !original.site.is_empty() {
        table.insert("site".to_owned(), original.site.as_str().into());
    }
    put(
        &mut table,
        "scan",
        "interval",
        millis(original.interval_seconds),
    );
    put(
        &mut table,
        "issue",
        "validity",
        millis(original.server_jwt_validity_seconds),
    );
    for (key, path) in [
        ("seed_file", &original.jwt_signing_key),
        ("token_file", &original.jwt_signing_token),
    ] {
        if !path.is_empty() {
            put(&mut table, "issue", key, path.as_str());
        }
    }
    put(
        &mut table,
        "nodes",
        "component",
        original.lifecycle_component.as_str(),
    );
    helper(original, &mut table, &mut faults);
    verifier(original, read, &mut table, &mut faults);
    if original.upgrades {
        let upgrades = json!({
            "repository": original.upgrades_repository, "optional": original.upgrades_optional,
        });
        table.insert("upgrades".to_owned(), upgrades);
        if original.upgrades_repository.is_empty() && !original.upgrades_optional {
            let fault = Fault::new("upgrades_repository", "is missing");
            faults.push(fault.remedy("set it, or switch features.upgrades off"));
        }
    }
    put(&mut table, "leader", "enabled", original.leader_election);
    for (key, secret) in [
        ("token", &original.token),
        ("password", &original.broker_provisioning_password),
    ] {
        if !secret.is_empty() {
            put(&mut table, "original", key, secret.as_str());
        }
    }
    put(&mut table, "log", "level", log_level(&original.loglevel));
    if original.monitor_port > 0 {
        let listen = format!("127.0.0.1:{}", original.monitor_port);
        put(&mut table, "admin", "listen", listen);
        notices.push(
            "monitor_port is served on loopback only; [admin] listen names another address"
                .to_owned(),
        );
    } else {
        put(&mut table, "admin", "listen", "off");
    }
    told(original, &mut notices);
    if !notices.is_empty() {
        put(&mut table, "original", "notices", notices);
    }
    if faults.is_empty() {
        to_toml(table)
    } else {
        Err(faults)
    }
}

/// The command line, split as a shell splits words; such a helper expects the node's secrets.
fn helper(original: &Original, table: &mut Map<String, Value>, faults: &mut Vec<Fault>) {
    let Some(words) = shlex::split(&original.helper) else {
        faults.push(Fault::new("helper", "has a quote that does not end"));
        return;
    };
    put(table, "helper", "command", words);
    put(table, "helper", "secrets", true);
}

/// The key that signs provisioning tokens: in a file, or itself.
fn verifier(
    original: &Original,
    read: &dyn Fn(&Path) -> Result<String, String>,
    table: &mut Map<String, Value>,
    faults: &mut Vec<Fault>,
) {
    let verifier = &original.jwt_verify_cert;
    if verifier.is_empty() {
        let fault = Fault::new("jwt_verify_cert", "is missing");
        faults.push(fault.remedy("write the issuer's public key, 64 hexadecimal digits"));
        return;
    }
    match read(Path::new(verifier)) {
        Ok(pem) if pem.starts_with("-----BEGIN") => {
            put(table, "nodes", "signer_file", verifier.as_str());
        }
        Ok(key) => put(table, "original", "verify_key", key),
        Err(_no_file) => put(table, "original", "verify_key", verifier.as_str()),
    }
}

/// What the operator should know.
fn told(original: &Original, notices: &mut Vec<String>) {
    let defaults = Original::default();
    if original.logfile != defaults.logfile {
        notices.push("logfile is passed over: the log goes to standard error".to_owned());
    }
    if original.broker_port != 0 {
        notices.push("broker_port is passed over, as the original does".to_owned());
    }
    if !original.rego_policy.is_empty() {
        notices.push("rego_policy is passed over, as the original does".to_owned());
    }
    if !original.loglevel.is_empty() && log_level(&original.loglevel) == "warn" {
        notices.push("loglevel is taken for warn".to_owned());
    }
    for key in &original.unknown {
        notices.push(format!("{key} is not known, and passed over"));
    }
}

fn log_level(level: &str) -> &'static str {
    match level {
        "debug" => "debug",
        // Unset is info here: nobody would know what went on.
        "info" | "" => "info",
        "error" | "fatal" => "error",
        _ => "warn",
    }
}

/// A time as our files write it.
fn millis(seconds: f64) -> String {
    format!("{:.0}ms", (seconds * 1000.0).max(0.0))
}
