//! The settings under the names of Choria's configuration file, for `rpcutil#get_config_item`.
//!
//! No secret is among them, and no key of which this node has no setting.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use super::{Authorization, Config, RawConfig, Tls};

pub(super) fn of(
    raw: &RawConfig,
    log_level: Option<&str>,
    config: &Config,
) -> BTreeMap<String, Value> {
    let collectives = config
        .collectives
        .iter()
        .map(|collective| collective.as_str())
        .collect::<Vec<_>>();
    let path = |path: Option<&Path>| {
        path.map(|path| path.display().to_string())
            .unwrap_or_default()
    };
    let servers = &config.broker.servers;
    let (authorization, provider) = match config.authorization {
        Authorization::Off => (false, ""),
        Authorization::CallerToken => (true, "aaasvc"),
        Authorization::PolicyFiles => (true, "action_policy"),
        Authorization::Unsupported(name) => (true, name),
    };
    let ca = match &config.broker.tls {
        Tls::Verified(file) => Some(file.as_path()),
        Tls::System | Tls::Pinned(_) | Tls::Unverified | Tls::None => None,
    };
    let membership = config.membership();
    let facts = config
        .facts_files
        .iter()
        .map(|file| file.display().to_string())
        .collect::<Vec<_>>()
        .join(":");
    let (status, interval) = match &config.status {
        Some((file, every)) => (Some(file.as_path()), every.as_secs()),
        None => (None, 0),
    };
    let issuers = raw
        .issuers
        .iter()
        .flatten()
        .map(|(name, _)| name)
        .collect::<Vec<_>>();
    [
        ("identity", json!(config.identity.as_str())),
        ("collectives", json!(collectives)),
        ("main_collective", json!(config.main_collective.as_str())),
        ("classesfile", json!(path(config.classes_file.as_deref()))),
        ("plugin.yaml", json!(facts)),
        ("loglevel", json!(log_level.unwrap_or("info"))),
        ("rpcauthorization", json!(authorization)),
        ("rpcauthprovider", json!(provider)),
        ("rpcaudit", json!(config.audit_file.is_some())),
        (
            "plugin.rpcaudit.logfile",
            json!(path(config.audit_file.as_deref())),
        ),
        ("plugin.choria.middleware_hosts", json!(servers.hosts)),
        ("plugin.choria.use_srv", json!(servers.srv_domain.is_some())),
        (
            "plugin.choria.srv_domain",
            json!(servers.srv_domain.as_deref().unwrap_or_default()),
        ),
        ("plugin.choria.status_file_path", json!(path(status))),
        ("plugin.choria.status_update_interval", json!(interval)),
        ("plugin.security.provider", json!("choria")),
        ("plugin.security.issuer.names", json!(issuers)),
        (
            "plugin.security.choria.trusted_signers",
            json!(raw.trusted_signers.as_deref().unwrap_or_default()),
        ),
        (
            "plugin.security.choria.token_file",
            json!(path(membership.map(|own| own.token_file.as_path()))),
        ),
        (
            "plugin.security.choria.seed_file",
            json!(path(membership.map(|own| own.seed_file.as_path()))),
        ),
        ("plugin.security.choria.ca", json!(path(ca))),
        (
            "plugin.security.choria.sign_replies",
            json!(config.rpc.sign_replies),
        ),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value))
    .collect()
}
