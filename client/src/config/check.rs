//! From what was written to what can be used.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use overlay_tokens::{Issuers, PublicKey};

use super::raw::{Raw, RawBroker, Span};
use super::{
    BrokerUser, Config, ConfigError, DEFAULT_COLLECTIVE, DEFAULT_CONNECT_TIMEOUT,
    DEFAULT_DISCOVERY_TIMEOUT, DEFAULT_TTL, Discovery, DiscoveryMethod, Environment, Tls, TlsMode,
    search, services,
};
use crate::targets::LimitMethod;

/// Turns what was written into what can be used, or lists all faults.
pub(super) fn check(
    mut raw: Raw,
    source: Option<PathBuf>,
    environment: &Environment,
) -> Result<Config, ConfigError> {
    let mut faults = Vec::new();
    if raw.broker.servers.is_empty() {
        faults.push(
            "`broker.servers` is missing: give at least one URL such as nats://broker:4222"
                .to_owned(),
        );
    }
    if raw.broker.servers.iter().any(|url| url.contains('@')) {
        // The URL itself stays out of the text: there is a password in it.
        faults.push(
            "`broker.servers`: user and password do not go into URLs, but into `broker.user` and `broker.password_file`"
                .to_owned(),
        );
    }
    let collective = raw.collective.as_deref().unwrap_or(DEFAULT_COLLECTIVE);
    let collective = parsed("collective", collective, &mut faults);
    let identity = raw.identity.as_deref().unwrap_or(&environment.host_name);
    let identity = parsed("identity", identity, &mut faults);
    let (token_file, seed_file) = session_files(&mut raw, environment, &mut faults);
    let connect_timeout = span(raw.broker.connect_timeout, DEFAULT_CONNECT_TIMEOUT);
    let servers = std::mem::take(&mut raw.broker.servers);
    let broker_user = broker_user(&mut raw.broker, &mut faults);
    let tls = tls(raw.broker, &mut faults);
    let method = match raw.discovery.method.as_deref() {
        None => DiscoveryMethod::Broadcast,
        Some(name) => name.parse().unwrap_or_else(|fault| {
            faults.push(format!("`discovery.method`: {fault}"));
            DiscoveryMethod::Broadcast
        }),
    };
    let limit_method = match raw.limit_method.as_deref() {
        None | Some("first") => LimitMethod::First,
        Some("random") => LimitMethod::Random,
        Some(other) => {
            faults.push(format!("`limit_method` is first or random, not `{other}`"));
            LimitMethod::First
        }
    };
    let ttl = span(raw.ttl, DEFAULT_TTL);
    if ttl < Duration::from_secs(1) || ttl > Duration::from_secs(24 * 3600) {
        faults.push("`ttl` must be between 1s and 24h".to_owned());
    }
    let issuers = issuers(&raw.issuers, &mut faults);
    let signer = services::signer(raw.signer, &mut faults);
    let login = services::login(raw.login, &mut faults);
    let (Some(collective), Some(identity), Some(token_file), Some(seed_file), true) = (
        collective,
        identity,
        token_file,
        seed_file,
        faults.is_empty(),
    ) else {
        return Err(ConfigError::Invalid {
            source_file: source,
            faults,
        });
    };
    Ok(Config {
        source,
        servers,
        tls,
        collective,
        identity,
        token_file,
        seed_file,
        broker_user,
        connect_timeout,
        ttl,
        discovery: Discovery {
            method,
            timeout: span(raw.discovery.timeout, DEFAULT_DISCOVERY_TIMEOUT),
            full: raw.discovery.full,
            inventory_file: raw.discovery.inventory_file,
        },
        limit_method,
        require_filter: raw.require_filter,
        library_dirs: raw.library_dirs,
        issuers,
        signer,
        login,
    })
}

/// Token and seed: where they are said to be; where neither is said, those of the user for our program.
fn session_files(
    raw: &mut Raw,
    environment: &Environment,
    faults: &mut Vec<String>,
) -> (Option<PathBuf>, Option<PathBuf>) {
    let (token, seed) = (raw.token_file.take(), raw.seed_file.take());
    if token.is_none()
        && seed.is_none()
        && !raw.is_choria
        && let Some(dir) = search::user_dir(environment)
    {
        let dir = dir.join("overlay");
        return (Some(dir.join("client.jwt")), Some(dir.join("client.seed")));
    }
    for (path, key, words) in [
        (&token, "token_file", "the path to the JWT token"),
        (&seed, "seed_file", "the path to the ed25519 seed"),
    ] {
        if path.is_none() {
            faults.push(if raw.is_choria {
                format!("{words} is not configured (`plugin.security.choria.{key}`)")
            } else {
                format!("`{key}` is missing")
            });
        }
    }
    (token, seed)
}

fn parsed<T: std::str::FromStr<Err: fmt::Display>>(
    key: &str,
    text: &str,
    faults: &mut Vec<String>,
) -> Option<T> {
    match text.parse() {
        Ok(value) => Some(value),
        Err(fault) => {
            faults.push(format!("`{key}`: {fault}"));
            None
        }
    }
}

pub(super) fn span(value: Option<Span>, default: Duration) -> Duration {
    value.map_or(default, |Span(span)| span)
}

fn broker_user(broker: &mut RawBroker, faults: &mut Vec<String>) -> Option<BrokerUser> {
    let user = broker.user.take()?;
    let password = match (broker.password.take(), broker.password_file.take()) {
        (Some(password), _) => password,
        (None, Some(path)) => match search::read(&path) {
            Ok(text) => text.trim_end().to_owned(),
            Err(_) => {
                faults.push(format!(
                    "`broker.password_file`: cannot read {}",
                    path.display()
                ));
                return None;
            }
        },
        (None, None) => {
            faults.push("`broker.user` is set, so `broker.password_file` must be too".to_owned());
            return None;
        }
    };
    Some(BrokerUser { user, password })
}

fn tls(broker: RawBroker, faults: &mut Vec<String>) -> Tls {
    let mode = match (broker.tls.unwrap_or(true), broker.verify.unwrap_or(true)) {
        (false, _) => TlsMode::Off,
        (true, false) => TlsMode::Insecure,
        (true, true) => TlsMode::Verify,
    };
    let certificate = match (broker.certificate_file, broker.key_file) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        (Some(_), None) | (None, Some(_)) => {
            let fault = "`broker.certificate_file` and `broker.key_file` go together";
            faults.push(fault.to_owned());
            None
        }
    };
    if let Some(path) = broker.ca_file.as_ref().filter(|path| !path.is_file()) {
        faults.push(format!(
            "`broker.ca_file`: there is no file {}",
            path.display()
        ));
    }
    Tls {
        mode,
        ca_file: broker.ca_file,
        certificate,
    }
}

fn issuers(keys: &BTreeMap<String, String>, faults: &mut Vec<String>) -> Option<Issuers> {
    if keys.is_empty() {
        return None;
    }
    let mut checked = Vec::new();
    for (name, key) in keys {
        match key.parse::<PublicKey>() {
            Ok(key) => checked.push((name.clone(), key)),
            Err(fault) => faults.push(format!("`issuers.{name}`: {fault}")),
        }
    }
    if checked.is_empty() {
        return None;
    }
    match Issuers::new(checked) {
        Ok(issuers) => Some(issuers),
        Err(fault) => {
            faults.push(format!("`issuers`: {fault}"));
            None
        }
    }
}
