//! The raw form, checked.

use std::collections::BTreeMap;
use std::time::Duration;

use overlay_runtime::config::Threads;
use overlay_runtime::nats;
use overlay_runtime::{Fault, Period, Settings};
use overlay_tokens::{Issuers, PublicKey};

use super::raw::{RawConfig, RawIdentity, token_files};
use super::{ADMIN, Config};

/// Site unless set, as the original has it.
const SITE: &str = "default";

pub(super) fn check(raw: RawConfig) -> Result<Config, Vec<Fault>> {
    let mut faults = Vec::new();
    let found = &mut faults;
    // Without brokers nobody asks who this service is.
    let identity = raw
        .identity
        .or_else(|| raw.broker.is_some().then(RawIdentity::default));
    let identity = identity.and_then(|files| {
        token_files(
            "identity",
            "this service",
            files.token_file,
            files.seed_file,
            found,
        )
    });
    let broker = raw.broker.and_then(|broker| broker_settings(broker, found));
    let issuers = issuers(&raw.issuers, raw.original.verify_key.as_deref(), found);
    let signer = raw.signer.and_then(|signer| signer.check("signer", found));
    let policy = raw.policy.check("policy", found);
    let tenants = raw.tenants.check("tenants", found);
    let denied = raw.deny.check("deny", found);
    let login = raw.login.and_then(|login| login.check("login", found));
    let audit = raw.audit.check("audit", found);
    if identity.is_none() && audit.as_ref().is_some_and(|audit| audit.name.is_none()) {
        let fault = Fault::new("audit.name", "is missing, and there is no [identity]");
        found.push(fault.remedy("name the chain of the records of this instance"));
    }
    let http = raw.http.and_then(|http| http.check("http", found));
    let admin = raw.admin.check("admin", Some(ADMIN), found);
    let log = raw.log.check("log", found);
    let (grace, threads) = raw.process.check(Threads::PerProcessor);
    let (Some(issuers), Some(policy), Some(tenants), Some(audit), true) =
        (issuers, policy, tenants, audit, faults.is_empty())
    else {
        return Err(faults);
    };
    Ok(Config {
        site: raw
            .site
            .filter(|site| !site.is_empty())
            .unwrap_or_else(|| SITE.to_owned()),
        identity,
        broker,
        issuers,
        signer,
        policy,
        tenants,
        denied,
        login,
        audit,
        http,
        expected_identity: raw.original.identity,
        notices: raw.original.notices,
        // The connections need logins with token and nonce, which the service makes itself.
        runtime: Settings {
            broker: None,
            admin,
            log,
            grace,
            threads,
        },
    })
}

fn broker_settings(
    mut raw: overlay_runtime::config::RawBroker,
    faults: &mut Vec<Fault>,
) -> Option<nats::Settings> {
    for (key, set) in [
        ("broker.seed_file", raw.seed_file.take().is_some()),
        ("broker.user", raw.user.take().is_some()),
        ("broker.password_file", raw.password_file.take().is_some()),
    ] {
        if set {
            let fault = Fault::new(key, "is not how this service logs in");
            faults.push(fault.remedy("write [identity] and [audit.stream] seed_file"));
        }
    }
    raw.check("broker", "aaa-signer", faults)
}

fn issuers(
    raw: &BTreeMap<String, String>,
    verify_key: Option<&str>,
    faults: &mut Vec<Fault>,
) -> Option<Issuers> {
    if raw.is_empty() && verify_key.is_none() {
        faults.push(
            Fault::new("issuers", "names nobody who may vouch for tokens")
                .remedy("write `choria = \"<public key>\"`"),
        );
        return None;
    }
    let before = faults.len();
    let mut key = |at: String, text: &str| match text.parse::<PublicKey>() {
        Ok(key) => Some(key),
        Err(error) => {
            faults.push(
                Fault::new(at, error.to_string())
                    .value(text)
                    .remedy("write the 64 hexadecimal digits of the issuer's public key"),
            );
            None
        }
    };
    // The original's one key is the organisation's, or, as its documentation has it, that of the chain issuer.
    let one = verify_key.and_then(|text| key("original.verify_key".to_owned(), text));
    let organisations: Vec<_> = raw
        .iter()
        .filter_map(|(organisation, text)| {
            let key = key(format!("issuers.{organisation}"), text)?;
            Some((organisation.clone(), key))
        })
        .collect();
    let issuers = if raw.is_empty() {
        Issuers::trusted_signers(one)
    } else {
        Issuers::new(organisations)
    };
    let issuers = issuers.and_then(|issuers| match one {
        Some(one) => issuers.with_chain_issuer(one),
        None => Ok(issuers),
    });
    match issuers {
        Ok(issuers) => Some(issuers).filter(|_| faults.len() == before),
        Err(_nobody) if faults.len() > before => None,
        Err(error) => {
            faults.push(Fault::new("issuers", error.to_string()));
            None
        }
    }
}

/// A file that must be named.
pub(super) fn missing(key: &str, what: &str) -> Fault {
    Fault::new(key, "is missing").remedy(format!("name the file of {what}"))
}

/// A time, its default and the least that has a meaning.
pub(super) fn period(
    key: &str,
    raw: Option<Period>,
    default: Duration,
    least: Duration,
    faults: &mut Vec<Fault>,
) -> Duration {
    let period = raw.map_or(default, |Period(period)| period);
    if period < least {
        faults.push(Fault::new(key, format!("is below {}", Period(least))));
    }
    period
}
