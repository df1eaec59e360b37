//! From the file as written to the checked form; every fault is found in one run.

pub(super) mod broker;

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use overlay_protocol::id::{Collective, Identity};
use overlay_runtime::{Fault, Period, Settings, Threads};
use overlay_tokens::{Issuers, PublicKey};

use crate::hostname;
use crate::policy::PolicyFiles;

use super::{
    Authorization, Config, Enrolment, Membership, RawAuthorization, RawConfig, RawMode,
    RawProvisioning, RawRpc, Role, Rpc, items,
};

const DEFAULT_COLLECTIVE: &str = "choria";

/// Makes the checked form, or tells every fault.
pub(super) fn check(raw: RawConfig) -> Result<Config, Vec<Fault>> {
    let mut faults = Vec::new();
    match checked(raw, &mut faults) {
        Some(config) if faults.is_empty() => Ok(config),
        Some(_) | None => Err(faults),
    }
}

/// `None` only when faults were added.
fn checked(raw: RawConfig, faults: &mut Vec<Fault>) -> Option<Config> {
    let identity = identity(raw.identity.as_deref(), faults);
    let collectives = collectives(raw.collectives.as_deref(), faults);
    let main_collective = match &raw.main_collective {
        None => collectives.first().cloned(),
        Some(text) => parsed("main_collective", text, faults),
    };
    if let Some(main) = &main_collective
        && !collectives.is_empty()
        && !collectives.contains(main)
    {
        faults.push(fault("main_collective", "is not one of `collectives`"));
    }
    let token_file = needed("token_file", raw.token_file.clone(), faults);
    let seed_file = raw
        .seed_file
        .clone()
        .or_else(|| token_file.as_ref().map(|file| file.with_extension("key")));
    let issuers = issuers(&raw, faults);
    let broker = broker::broker(&raw, identity.as_ref(), faults);
    let mut facts_files = raw.facts.files.clone().unwrap_or_default();
    facts_files.extend(raw.facts.file.clone());
    let span = |key, text: &Option<String>, default, faults: &mut Vec<Fault>| {
        time(key, text.as_deref(), default, faults)
    };
    let refresh = span(
        "facts.refresh",
        &raw.facts.refresh,
        Duration::from_secs(1),
        faults,
    );
    let every = span(
        "status.interval",
        &raw.status.interval,
        Duration::from_secs(30),
        faults,
    );
    let alive_interval = span(
        "lifecycle.alive_interval",
        &raw.lifecycle.alive_interval,
        Duration::from_secs(30 * 60),
        faults,
    );
    for (key, given) in [
        ("status.interval", every),
        ("lifecycle.alive_interval", alive_interval),
    ] {
        if given < Duration::from_secs(1) {
            faults.push(fault(key, "must be a second or more"));
        }
    }
    let rpc = rpc(&raw.rpc, faults);
    let authorization = match raw.authorization.mode {
        None | Some(RawMode::None) => Authorization::Off,
        Some(RawMode::CallerToken) => Authorization::CallerToken,
        Some(RawMode::ActionPolicy) if raw.authorization.directory.is_some() => {
            Authorization::PolicyFiles
        }
        Some(RawMode::ActionPolicy) => Authorization::Unsupported("action_policy"),
        Some(RawMode::RegoPolicy) => Authorization::Unsupported("rego_policy"),
    };
    let enrolment = enrolment(&raw.provisioning, faults);
    let log_level = raw.log.level.clone();
    let log = raw.log.clone().check("log", faults);
    // A node has little to do and little room: no threads beside the main one.
    let (grace, threads) = raw.process.clone().check(Threads::Current);
    let runtime = Settings {
        log,
        grace,
        threads,
        ..Settings::default()
    };
    let mut config = Config {
        identity: identity?,
        main_collective: main_collective?,
        collectives,
        role: Role::Member(Membership {
            token_file: token_file?,
            seed_file: seed_file?,
            issuers: issuers?,
        }),
        broker: broker?,
        facts_files,
        classes_file: raw.facts.classes_file.clone(),
        refresh,
        rpc,
        authorization,
        policies: policies(&raw.authorization),
        audit_file: raw.audit.file.clone(),
        status: raw.status.file.clone().map(|file| (file, every)),
        alive_interval,
        config_items: std::collections::BTreeMap::new(),
        config_file: raw.choria_file.clone().unwrap_or_default(),
        notices: raw.choria_notices.clone().unwrap_or_default(),
        plain_events: raw.lifecycle.plain_events.unwrap_or(false),
        enrolment,
        path: String::new(),
        runtime,
    };
    config.config_items = items::of(&raw, log_level.as_deref(), &config);
    Some(config)
}

/// Where the action policies are, if these decide.
fn policies(raw: &RawAuthorization) -> Option<PolicyFiles> {
    if raw.mode != Some(RawMode::ActionPolicy) {
        return None;
    }
    Some(PolicyFiles {
        directory: raw.directory.clone()?,
        allow_unconfigured: raw.allow_unconfigured.unwrap_or(false),
        default: raw.default_policy.clone(),
    })
}

/// The table `provisioning`, which counts for members and for nodes that are none yet.
pub(super) fn enrolment(raw: &RawProvisioning, faults: &mut Vec<Fault>) -> Enrolment {
    let renew_before = raw.renew_before.as_deref().map(|text| {
        let key = "provisioning.renew_before";
        time(key, Some(text), Duration::ZERO, faults)
    });
    let release_key = raw
        .release_key
        .as_deref()
        .and_then(|text| parsed("provisioning.release_key", text, faults));
    Enrolment {
        token_file: raw.token_file.clone(),
        enabled: raw.enabled,
        renew: raw.renew.unwrap_or(true),
        renew_before,
        release_key,
    }
}

fn identity(given: Option<&str>, faults: &mut Vec<Fault>) -> Option<Identity> {
    match given {
        Some(text) => parsed("identity", text, faults),
        None => parsed("identity", &hostname::of_this_host(), faults),
    }
}

fn collectives(given: Option<&[String]>, faults: &mut Vec<Fault>) -> Vec<Collective> {
    let default = [DEFAULT_COLLECTIVE.to_owned()];
    let texts = given.unwrap_or(&default);
    if texts.is_empty() {
        faults.push(fault("collectives", "needs at least one"));
    }
    let mut collectives = Vec::with_capacity(texts.len());
    for text in texts {
        if let Some(collective) = parsed("collectives", text, faults)
            && !collectives.contains(&collective)
        {
            collectives.push(collective);
        }
    }
    collectives
}

fn issuers(raw: &RawConfig, faults: &mut Vec<Fault>) -> Option<Issuers> {
    let named = raw.issuers.clone().unwrap_or_default();
    let signers = raw.trusted_signers.clone().unwrap_or_default();
    match (named.is_empty(), signers.is_empty()) {
        (false, true) => {
            let mut keys = std::collections::BTreeMap::new();
            for (name, hex) in named {
                if let Some(key) = parsed::<PublicKey>(&format!("issuers.{name}"), &hex, faults) {
                    keys.insert(name, key);
                }
            }
            trusted("issuers", Issuers::new(keys), faults)
        }
        (true, false) => {
            let keys = signers
                .iter()
                .filter_map(|hex| parsed::<PublicKey>("trusted_signers", hex, faults))
                .collect::<Vec<_>>();
            trusted("trusted_signers", Issuers::trusted_signers(keys), faults)
        }
        (false, false) => {
            faults.push(fault(
                "trusted_signers",
                "excludes `issuers`: give one of them",
            ));
            None
        }
        (true, true) => {
            faults.push(fault(
                "issuers",
                "needs the organisation's name and public key, else no request can be trusted",
            ));
            None
        }
    }
}

fn trusted<E: std::fmt::Display>(
    key: &str,
    issuers: Result<Issuers, E>,
    faults: &mut Vec<Fault>,
) -> Option<Issuers> {
    match issuers {
        Ok(issuers) => Some(issuers),
        Err(error) => {
            faults.push(fault(key, error.to_string()));
            None
        }
    }
}

fn rpc(raw: &RawRpc, faults: &mut Vec<Fault>) -> Rpc {
    let mut bounded =
        |key: &str, given: Option<usize>, default: usize, least: usize, most: usize| {
            let number = given.unwrap_or(default);
            if number < least || number > most {
                faults.push(fault(key, format!("must be from {least} to {most}")));
            }
            number
        };
    let workers = bounded("rpc.workers", raw.workers, 8, 1, 1024);
    let queue = bounded("rpc.queue", raw.queue, 128, 1, 65_536);
    let max_request_bytes = bounded(
        "rpc.max_request_bytes",
        raw.max_request_bytes,
        1024 * 1024,
        4096,
        64 * 1024 * 1024,
    );
    let replay_entries = bounded("rpc.replay_entries", raw.replay_entries, 4096, 0, 1_000_000);
    let max_ttl = time(
        "rpc.max_ttl",
        raw.max_ttl.as_deref(),
        Duration::from_secs(5 * 3600),
        faults,
    );
    let max_action_time = time(
        "rpc.max_action_time",
        raw.max_action_time.as_deref(),
        Duration::from_secs(3600),
        faults,
    );
    Rpc {
        workers,
        queue,
        max_request_bytes,
        max_ttl,
        replay_entries,
        sign_replies: raw.sign_replies.unwrap_or(true),
        max_action_time,
    }
}

fn needed(key: &str, given: Option<PathBuf>, faults: &mut Vec<Fault>) -> Option<PathBuf> {
    if given.is_none() {
        faults.push(fault(key, "is needed"));
    }
    given
}

pub(super) fn parsed<T>(key: &str, text: &str, faults: &mut Vec<Fault>) -> Option<T>
where
    T: FromStr,
    T::Err: std::fmt::Display,
{
    match text.parse() {
        Ok(value) => Some(value),
        Err(error) => {
            faults.push(fault(key, format!("`{text}`: {error}")));
            None
        }
    }
}

pub(super) fn time(
    key: &str,
    text: Option<&str>,
    default: Duration,
    faults: &mut Vec<Fault>,
) -> Duration {
    let Some(text) = text else { return default };
    match Period::from_str(text) {
        Ok(Period(span)) => span,
        Err(error) => {
            faults.push(fault(key, error.to_string()));
            default
        }
    }
}

fn fault(key: &str, problem: impl Into<String>) -> Fault {
    Fault::new(key, problem)
}
