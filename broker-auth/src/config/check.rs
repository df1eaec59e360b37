//! Each table of the file, checked.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use overlay_protocol::id::{AgentName, Collective};
use overlay_protocol::subject::is_valid_permission;
use overlay_runtime::nats::{self, Auth, Reconnect};
use overlay_runtime::{Fault, Period};
use overlay_tokens::{Issuers, PublicKey};

use super::raw::{
    self, RawLimits, RawLogin, RawProvisioning, RawRefusals, RawStream, RawStreams, RawSystem,
};
use super::{Callout, Limits, ProvisioningFiles, Refusals, Streams, SystemFiles};
use crate::hosts::HostList;
use crate::policy::{Accounts, Denied, LOGIN, LoginRoom, PROVISIONER, ProvisioningCompat};
use crate::streams::{self, CopyStream, Plan, Replication, SystemStream};

const DAY: Duration = Duration::from_secs(24 * 3600);
const GIB: u64 = 1 << 30;
/// What could not be copied, and word of nodes: seldom, and small.
const ASIDE_BYTES: u64 = 256 << 20;
/// One small value for each copied stream.
const POSITIONS_BYTES: u64 = 16 << 20;
/// Long enough to log in by a browser, and no place to stay.
const LOGIN_DURATION: Duration = Duration::from_secs(15 * 60);
/// Whoever restarts must be back before those who wait for it. A broker that opens its port again lets in who knocks first,
/// and refuses whom nobody vouches for: for some ten seconds it is tried very often, and then often.
const RECONNECT: Reconnect = Reconnect::Eager {
    first: Duration::from_millis(3),
    tries: 3000,
    then: Duration::from_millis(20),
};
const MOST_REPLICAS: u8 = 5;

pub(super) fn missing(key: &str, what: &str) -> Fault {
    Fault::new(key, "is missing").remedy(format!("name the file of {what}"))
}

pub(super) fn eager(settings: &mut nats::Settings) {
    if matches!(settings.reconnect, Reconnect::Backoff(_)) {
        settings.reconnect = RECONNECT;
    }
}

pub(super) fn check_issuers(
    raw: &BTreeMap<String, String>,
    faults: &mut Vec<Fault>,
) -> Option<Issuers> {
    if raw.is_empty() {
        faults.push(
            Fault::new("issuers", "names nobody who may vouch for tokens")
                .remedy("write `choria = \"<public key>\"`"),
        );
        return None;
    }
    let mut keys = Vec::new();
    for (organisation, key) in raw {
        let at = format!("issuers.{organisation}");
        // The name becomes a part of subjects.
        if let Err(error) = Collective::new(organisation.as_str()) {
            faults.push(Fault::new(
                &at,
                format!("is no name of an organisation: {error}"),
            ));
        }
        match key.parse::<PublicKey>() {
            Ok(key) => keys.push((organisation.clone(), key)),
            Err(error) => faults.push(
                Fault::new(&at, error.to_string())
                    .value(key)
                    .remedy("write the 64 hexadecimal digits of the issuer's public key"),
            ),
        }
    }
    if keys.len() < raw.len() {
        return None;
    }
    match Issuers::new(keys) {
        Ok(issuers) => Some(issuers),
        Err(error) => {
            faults.push(Fault::new("issuers", error.to_string()));
            None
        }
    }
}

pub(super) fn check_callout(raw: raw::RawCallout, faults: &mut Vec<Fault>) -> Option<Callout> {
    if raw.xkey.is_some() && raw.curve_seed_file.is_none() {
        faults.push(missing(
            "callout.curve_seed_file",
            "the seed of that curve key",
        ));
    }
    let Some(account_seed_file) = raw.account_seed_file else {
        faults.push(missing(
            "callout.account_seed_file",
            "the seed of the account key",
        ));
        return None;
    };
    Some(Callout {
        account_seed_file,
        curve_seed_file: raw.curve_seed_file,
        issuer: raw.issuer,
        xkey: raw.xkey,
        self_check: raw.self_check.unwrap_or(true),
    })
}

pub(super) fn check_accounts(raw: raw::RawAccounts, faults: &mut Vec<Fault>) -> Accounts {
    let defaults = Accounts::default();
    let mut name = |key: &str, given: Option<String>, default: String| {
        let name = given.unwrap_or(default);
        if name.is_empty() || name.contains(char::is_whitespace) {
            faults.push(Fault::new(
                format!("accounts.{key}"),
                "is no name of an account",
            ));
        }
        name
    };
    let accounts = Accounts {
        choria: name("choria", raw.choria, defaults.choria),
        provisioning: name("provisioning", raw.provisioning, defaults.provisioning),
        system: name("system", raw.system, defaults.system),
        login: name("login", raw.login, defaults.login),
    };
    let Accounts {
        choria,
        provisioning,
        system,
        login,
    } = &accounts;
    if BTreeSet::from([choria, provisioning, system, login]).len() < 4 {
        faults.push(
            Fault::new("accounts", "two of the accounts are one")
                .remedy("keep the fleet, provisioning, logins and the system apart"),
        );
    }
    accounts
}

pub(super) fn check_provisioning(
    raw: RawProvisioning,
    faults: &mut Vec<Fault>,
) -> Option<ProvisioningFiles> {
    let Some(password_file) = raw.password_file else {
        faults.push(missing(
            "provisioning.password_file",
            "the provisioner's password",
        ));
        return None;
    };
    let raw::RawProvisioningCompat {
        any_reply,
        any_node_name,
        provisioner_unrestricted,
    } = raw.compat;
    Some(ProvisioningFiles {
        password_file,
        without_token: raw.without_token,
        signer_file: raw.signer_file,
        compat: ProvisioningCompat {
            any_reply,
            any_node_name,
            provisioner_unrestricted,
        },
    })
}

pub(super) fn check_deny(raw: raw::RawDeny, faults: &mut Vec<Fault>) -> Denied {
    let oldest = raw.issuers_older_than.map(|Period(age)| age);
    if oldest.is_some_and(|age| age < DAY) {
        let fault = Fault::new("deny.issuers_older_than", "is below a day");
        faults.push(fault.remedy("leave it out, or write how old an issuer's token may be"));
    }
    Denied {
        tokens: raw.tokens.into_iter().collect(),
        callers: raw.callers.into_iter().collect(),
        identities: raw.identities.into_iter().collect(),
        issuers_older_than: oldest.map(|age| i64::try_from(age.as_secs()).unwrap_or(i64::MAX)),
    }
}

pub(super) fn check_system(raw: RawSystem, faults: &mut Vec<Fault>) -> Option<SystemFiles> {
    let user = raw.user.unwrap_or_else(|| "system".to_owned());
    if user.is_empty() || user == PROVISIONER || user == LOGIN {
        faults.push(
            Fault::new("system.user", "is not a name that the system user can have").value(&user),
        );
    }
    let Some(password_file) = raw.password_file else {
        faults.push(missing(
            "system.password_file",
            "the system user's password",
        ));
        return None;
    };
    Some(SystemFiles {
        user,
        password_file,
    })
}

pub(super) fn check_login(raw: RawLogin, faults: &mut Vec<Fault>) -> LoginRoom {
    let duration = raw
        .duration
        .map_or(LOGIN_DURATION, |Period(duration)| duration);
    if !(Duration::from_secs(1)..=LOGIN_DURATION).contains(&duration) {
        faults.push(
            Fault::new("login.duration", "is no time in which somebody logs in")
                .remedy("write 1s to 15m"),
        );
    }
    LoginRoom {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
    }
}

pub(super) fn check_hosts(key: &str, raw: &[String], faults: &mut Vec<Fault>) -> HostList {
    raw.iter()
        .filter_map(|text| match text.parse() {
            Ok(network) => Some(network),
            Err(error) => {
                let error: crate::hosts::NetworkError = error;
                let fault = Fault::new(key, error.to_string());
                faults.push(fault.remedy("write addresses (10.1.2.3) or networks (10.0.0.0/8)"));
                None
            }
        })
        .collect()
}

pub(super) fn check_streams(
    raw: RawStreams,
    broker: Option<(&nats::Settings, Option<PathBuf>)>,
    faults: &mut Vec<Fault>,
) -> Option<Streams> {
    let replicas = raw.replicas.unwrap_or(1);
    let max_bytes = raw.max_bytes.unwrap_or(GIB);
    if raw.election.max_bytes.is_some() {
        let fault = Fault::new("streams.election.max_bytes", "is not bounded in bytes");
        faults
            .push(fault.remedy("leave it out: the bucket holds one small value for each election"));
    }
    let mut settings_of = |key: &str, raw: RawStream, retention: Duration, max_bytes: u64| {
        let replicas = raw.replicas.unwrap_or(replicas);
        if !(1..=MOST_REPLICAS).contains(&replicas) {
            let fault = Fault::new(format!("streams.{key}.replicas"), "is no number of servers");
            faults.push(
                fault
                    .value(replicas)
                    .remedy(format!("write 1 to {MOST_REPLICAS}")),
            );
        }
        let retention = raw
            .retention
            .map_or(retention, |Period(retention)| retention);
        streams::Settings {
            retention,
            replicas,
            max_bytes: raw.max_bytes.unwrap_or(max_bytes),
        }
    };
    let replication = raw.replication.then(|| Replication {
        positions: settings_of(
            "positions",
            RawStream::default(),
            Duration::ZERO,
            POSITIONS_BYTES,
        ),
        dead_letters: settings_of("dead_letters", raw.dead_letters, 30 * DAY, ASIDE_BYTES),
        age_advisories: settings_of("age_advisories", raw.age_advisories, 7 * DAY, ASIDE_BYTES),
    });
    let copied: Vec<_> = raw
        .copies
        .into_iter()
        .map(|(name, copy)| {
            let raw = RawStream {
                retention: copy.retention,
                replicas: copy.replicas,
                max_bytes: copy.max_bytes,
            };
            let settings = settings_of(&format!("copies.{name}"), raw, 30 * DAY, max_bytes);
            CopyStream {
                name,
                subjects: copy.subjects,
                settings,
            }
        })
        .collect();
    let mut settings = |key: &str, raw: RawStream, retention: Duration| {
        settings_of(key, raw, retention, max_bytes)
    };
    let plan = Plan {
        events: settings("events", raw.events, DAY),
        machine: settings("machine", raw.machine, DAY),
        advisories: settings("advisories", raw.advisories, 7 * DAY),
        executor: settings("executor", raw.executor, DAY),
        election: settings("election", raw.election, Duration::from_secs(60)),
        replication,
    };
    check_copies(&copied, faults);
    // A shorter one would end the reign of leaders that renew it in time.
    if plan.election.retention < Duration::from_secs(5) {
        faults.push(Fault::new("streams.election.retention", "is below 5s"));
    }
    let interval = raw
        .interval
        .map_or(Duration::from_secs(30), |Period(interval)| interval);
    if interval < Duration::from_secs(1) {
        faults.push(Fault::new("streams.interval", "is below 1s"));
    }
    let Some(seed_file) = raw.seed_file else {
        faults.push(missing(
            "streams.seed_file",
            "the seed of the static user of the streams",
        ));
        return None;
    };
    let (callout, ca_file) = broker?;
    let name = raw
        .name
        .unwrap_or_else(|| format!("{}-streams", callout.name));
    let mut broker = nats::Settings::new(name, callout.servers.clone());
    broker.auth = Auth::Nkey { seed_file };
    broker.ca_file = ca_file;
    broker.connect_limit = callout.connect_limit;
    // Nobody waits for it: the callout user comes first.
    broker.reconnect = match callout.reconnect {
        Reconnect::Eager { then, .. } => Reconnect::Flat(then),
        own @ (Reconnect::Flat(_) | Reconnect::Backoff(_)) => own,
    };
    Some(Streams {
        broker,
        manage: raw.manage.unwrap_or(true),
        interval,
        plan,
        copies: copied,
    })
}

fn check_copies(copies: &[CopyStream], faults: &mut Vec<Fault>) {
    for copy in copies {
        let at = format!("streams.copies.{}", copy.name);
        let is_system = SystemStream::ALL
            .iter()
            .any(|stream| stream.name() == copy.name);
        if is_system || AgentName::new(copy.name.as_str()).is_err() {
            faults.push(Fault::new(
                &at,
                "is no name that a stream for copies can have",
            ));
        }
        if copy.settings.retention.is_zero() {
            faults.push(
                Fault::new(format!("{at}.retention"), "would keep copies for ever")
                    .remedy("write how long, or leave the table out"),
            );
        }
        if copy.subjects.is_empty() {
            faults.push(
                Fault::new(format!("{at}.subjects"), "is empty")
                    .remedy("write what its writer may publish, such as \"replica.site1.>\""),
            );
        }
        for subject in copy
            .subjects
            .iter()
            .filter(|subject| !is_valid_permission(subject))
        {
            faults
                .push(Fault::new(format!("{at}.subjects"), "has one that is none").value(subject));
        }
    }
}

pub(super) fn check_refusals(raw: &RawRefusals, faults: &mut Vec<Fault>) -> Refusals {
    let summary = raw
        .summary
        .map_or(Duration::from_secs(10), |Period(summary)| summary);
    if summary < Duration::from_secs(1) {
        faults.push(Fault::new("refusals.summary", "is below 1s"));
    }
    Refusals {
        per_second: raw.per_second.unwrap_or(20),
        summary,
    }
}

pub(super) fn check_limits(raw: &RawLimits, faults: &mut Vec<Fault>) -> Limits {
    let max_age = raw
        .max_age
        .map_or(Duration::from_secs(2), |Period(age)| age);
    if max_age.is_zero() {
        faults.push(Fault::new("limits.max_age", "would drop every request"));
    }
    let queue = raw.queue.unwrap_or(4096);
    if queue == 0 {
        faults.push(Fault::new("limits.queue", "would hold no request"));
    }
    Limits {
        workers: NonZeroUsize::new(raw.workers.unwrap_or(0).into()),
        queue,
        max_age,
        token_memory: u64::from(raw.token_memory_mib.unwrap_or(72)) << 20,
    }
}
