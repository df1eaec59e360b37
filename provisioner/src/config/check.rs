//! The raw form, checked.

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use overlay_protocol::id::{Collective, Identity};
use overlay_protocol::provisioning;
use overlay_runtime::nats::{self, Auth};
use overlay_runtime::{Fault, Period};
use overlay_tokens::{Issuers, PublicKey};

use super::raw::{
    RawCalls, RawConfig, RawConflict, RawLimits, RawNames, RawPlacement, RawQuarantine, RawRate,
    RawRetry, RawStream, RawStreams,
};
use super::{
    ADMIN, Config, Leader, Limits, Login, Rate, Scan, SecretSource, Settings, Stream, Streams,
    Threads,
};
use crate::policy::{
    Calls, Conflict, Features, HelperRules, Issue, Names, Placement, Quarantine, Retry,
};

mod helper;
mod steps;

pub(crate) use steps::DENIED_NAMES;

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);
const MIB: u64 = 1 << 20;
const MOST_REPLICAS: u8 = 5;
/// Nodes that were asked for the first time and have not answered.
const FIRST_CONTACT: usize = 2000;
/// Nodes that are known and wait.
const WAITING: usize = 100_000;
/// The longest reply that is read; a broker's usual bound.
const REPLY_BYTES: usize = 1 << 20;

pub(super) fn check(raw: RawConfig) -> Result<Config, Vec<Fault>> {
    let mut faults = Vec::new();
    let found = &mut faults;
    let identity = identity(raw.identity, found);
    let (broker, login) = broker(raw.broker, raw.login, raw.original.password, found);
    let issuers = issuers(&raw.issuers, raw.original.verify_key.as_deref(), found);
    let node_secrets = steps::secrets(
        raw.nodes.secret_files,
        raw.nodes.secrets,
        raw.original.token,
        found,
    );
    let component = raw
        .nodes
        .component
        .unwrap_or_else(|| provisioning::COMPONENT.to_owned());
    if Collective::new(component.as_str()).is_err() {
        found.push(
            Fault::new("nodes.component", "cannot stand in a subject")
                .remedy("write a word without `.`, `*`, `>` and spaces"),
        );
    }
    let issuer_token_file = raw.issue.token_file.or_else(|| {
        let login = login.as_ref()?;
        login.token_file.clone()
    });
    let issuer_seed_file = raw.issue.seed_file.or_else(|| {
        let login = login.as_ref()?;
        login.seed_file.clone()
    });
    for (file, key, what) in [
        (&issuer_token_file, "issue.token_file", "the issuer's token"),
        (&issuer_seed_file, "issue.seed_file", "the issuer's seed"),
    ] {
        if file.is_none() {
            found.push(missing(key, what));
        }
    }
    let issue = issue(raw.issue.validity, raw.issue.min_validity, found);
    let helper_rules = HelperRules {
        details: raw.helper.details,
        secrets: raw.helper.secrets,
    };
    let helper = helper::check(raw.helper, found);
    let features = Features {
        pki: raw.pki.and_then(|pki| steps::pki(pki, found)),
        upgrades: raw
            .upgrades
            .and_then(|upgrades| steps::upgrades(upgrades, found)),
    };
    let limits = limits(&raw.limits, found);
    let token_rate = rate("rates.token", raw.rates.token, found);
    let site_rate = rate("rates.site", raw.rates.site, found);
    let calls = calls(&raw.calls, found);
    let retry = retry(&raw.retry, found);
    let quarantine = quarantine(&raw.quarantine, found);
    let scan = Scan {
        interval: period(
            "scan.interval",
            raw.scan.interval,
            60 * SECOND,
            SECOND,
            found,
        ),
        quiet: period("scan.quiet", raw.scan.quiet, SECOND, SECOND / 10, found),
    };
    let streams = streams(raw.streams, found);
    let leader = Leader {
        enabled: raw.leader.enabled,
        ttl: period("leader.ttl", raw.leader.ttl, 60 * SECOND, 5 * SECOND, found),
    };
    let collectives = collectives(raw.fleet.collectives, found);
    let placements = placements(raw.placement, found);
    let admin = raw.admin.check("admin", Some(ADMIN), found);
    let log = raw.log.check("log", found);
    let (grace, threads) = raw.process.check(Threads::PerProcessor);
    let (
        Some(identity),
        Some(broker),
        Some(login),
        Some(issuers),
        Some(issuer_token_file),
        Some(issuer_seed_file),
        true,
    ) = (
        identity,
        broker,
        login,
        issuers,
        issuer_token_file,
        issuer_seed_file,
        faults.is_empty(),
    )
    else {
        return Err(faults);
    };
    Ok(Config {
        identity,
        site: raw.site.filter(|site| !site.is_empty()),
        broker,
        login,
        issuers,
        signer_file: raw.nodes.signer_file,
        node_secrets,
        denied_tokens: raw.nodes.denied_tokens.into_iter().collect(),
        component,
        issuer_token_file,
        issuer_seed_file,
        issue,
        helper,
        helper_rules,
        features,
        names: names(&raw.names),
        count_listeners: raw.names.listeners.unwrap_or(true),
        limits,
        token_rate,
        site_rate,
        calls,
        retry,
        quarantine,
        scan,
        streams,
        leader,
        collectives,
        original_metrics: raw.monitor.original_names.unwrap_or(true),
        placements,
        notices: raw.original.notices,
        // The connection needs a login with token and nonce, which the service makes itself.
        runtime: Settings {
            broker: None,
            admin,
            log,
            grace,
            threads,
        },
    })
}

fn missing(key: &str, what: &str) -> Fault {
    Fault::new(key, "is missing").remedy(format!("name the file of {what}"))
}

fn identity(raw: Option<String>, faults: &mut Vec<Fault>) -> Option<Identity> {
    let identity = raw.unwrap_or_else(|| provisioning::USER.to_owned());
    match Identity::new(identity.as_str()) {
        Ok(identity) => Some(identity),
        Err(error) => {
            faults.push(Fault::new("identity", error.to_string()));
            None
        }
    }
}

fn broker(
    mut raw: overlay_runtime::config::RawBroker,
    login: super::raw::RawLogin,
    given: Option<String>,
    faults: &mut Vec<Fault>,
) -> (Option<nats::Settings>, Option<Login>) {
    let user = raw
        .user
        .take()
        .unwrap_or_else(|| provisioning::USER.to_owned());
    let password = match (raw.password_file.take(), given) {
        (Some(file), _) => Some(SecretSource::File(file)),
        (None, Some(password)) => Some(SecretSource::Given(password.into())),
        (None, None) => {
            faults.push(missing(
                "broker.password_file",
                "the provisioner's password at the broker",
            ));
            None
        }
    };
    if raw.seed_file.take().is_some() {
        let fault = Fault::new("broker.seed_file", "is not how a provisioner logs in");
        faults.push(fault.remedy("write login.seed_file"));
    }
    let pair = (login.token_file, login.seed_file);
    let (token_file, seed_file) = match pair {
        (Some(_), None) => {
            faults.push(missing("login.seed_file", "the seed of the token's key"));
            (None, None)
        }
        (None, Some(_)) => {
            faults.push(missing("login.token_file", "the provisioner's token"));
            (None, None)
        }
        pair => pair,
    };
    let settings = raw
        .check("broker", "provisioner", faults)
        .map(|mut broker| {
            broker.auth = Auth::None;
            broker
        });
    let login = password.map(|password| Login {
        user,
        password,
        token_file,
        seed_file,
    });
    (settings, login)
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
    let issuers = match verify_key {
        Some(text) if raw.is_empty() => {
            Issuers::trusted_signers(key("original.verify_key".to_owned(), text))
        }
        Some(_) | None => {
            let keys = raw.iter().filter_map(|(organisation, text)| {
                let key = key(format!("issuers.{organisation}"), text)?;
                Some((organisation.clone(), key))
            });
            Issuers::new(keys.collect::<Vec<_>>())
        }
    };
    match issuers {
        Ok(issuers) => Some(issuers).filter(|_| faults.len() == before),
        Err(_nobody) if faults.len() > before => None,
        Err(error) => {
            faults.push(Fault::new("issuers", error.to_string()));
            None
        }
    }
}

fn issue(validity: Option<Period>, least: Option<Period>, faults: &mut Vec<Fault>) -> Issue {
    let defaults = Issue::default();
    Issue {
        validity: period(
            "issue.validity",
            validity,
            defaults.validity,
            SECOND,
            faults,
        ),
        min_validity: period(
            "issue.min_validity",
            least,
            defaults.min_validity,
            SECOND,
            faults,
        ),
    }
}

fn names(raw: &RawNames) -> Names {
    let conflict = |raw| match raw {
        RawConflict::Refuse => Conflict::Refuse,
        RawConflict::Confirm => Conflict::Confirm,
        RawConflict::Allow => Conflict::Allow,
    };
    Names {
        live: conflict(raw.live),
        held: conflict(raw.held),
    }
}

fn limits(raw: &RawLimits, faults: &mut Vec<Fault>) -> Limits {
    let mut some = |key: &str, raw: Option<usize>, default: usize| {
        let value = NonZeroUsize::new(raw.unwrap_or(default));
        if value.is_none() {
            faults.push(Fault::new(
                format!("limits.{key}"),
                "would let nothing through",
            ));
        }
        value.unwrap_or(NonZeroUsize::MIN)
    };
    Limits {
        workers: NonZeroUsize::new(raw.workers.unwrap_or_default()),
        first_contact: some("first_contact", raw.first_contact, FIRST_CONTACT),
        waiting: some("waiting", raw.waiting, WAITING),
        reply_bytes: some("reply_bytes", raw.reply_bytes, REPLY_BYTES).get(),
    }
}

fn rate(key: &str, raw: RawRate, faults: &mut Vec<Fault>) -> Option<Rate> {
    let per = period(&format!("{key}.per"), raw.per, 60 * SECOND, SECOND, faults);
    let nodes = NonZeroU32::new(raw.nodes)?;
    Some(Rate {
        nodes,
        per,
        burst: raw.burst.and_then(NonZeroU32::new).unwrap_or(nodes),
    })
}

fn calls(raw: &RawCalls, faults: &mut Vec<Fault>) -> Calls {
    let defaults = Calls::default();
    let mut span = |key: &str, raw, default, least| {
        period(&format!("calls.{key}"), raw, default, least, faults)
    };
    Calls {
        first_contact: span(
            "first_contact",
            raw.first_contact,
            defaults.first_contact,
            SECOND / 10,
        ),
        answer: span("answer", raw.answer, defaults.answer, SECOND / 10),
        update: span("update", raw.update, defaults.update, SECOND),
        pause: span("pause", raw.pause, defaults.pause, SECOND / 1000),
        member: span("member", raw.member, defaults.member, SECOND),
        whole: span("whole", raw.whole, defaults.whole, 5 * SECOND),
    }
}

fn retry(raw: &RawRetry, faults: &mut Vec<Fault>) -> Retry {
    let defaults = Retry::default();
    let mut span = |key: &str, raw, default| {
        period(&format!("retry.{key}"), raw, default, SECOND / 10, faults)
    };
    Retry {
        first: span("first", raw.first, defaults.first),
        longest: span("longest", raw.longest, defaults.longest),
        defer_first: span("defer_first", raw.defer_first, defaults.defer_first),
        defer_longest: span("defer_longest", raw.defer_longest, defaults.defer_longest),
    }
}

fn quarantine(raw: &RawQuarantine, faults: &mut Vec<Fault>) -> Quarantine {
    let defaults = Quarantine::default();
    let mut times = |key: &str, raw: Option<u32>, default| match raw.map(NonZeroU32::new) {
        None => default,
        Some(Some(times)) => times,
        Some(None) => {
            let fault = Fault::new(format!("quarantine.{key}"), "would enrol nobody");
            faults.push(fault.remedy("write 1 or more"));
            default
        }
    };
    let failures = times("failures", raw.failures, defaults.failures);
    let enrolments = times("enrolments", raw.enrolments, defaults.enrolments);
    let mut span = |key: &str, raw, default| {
        period(&format!("quarantine.{key}"), raw, default, SECOND, faults)
    };
    Quarantine {
        failures,
        window: span("window", raw.window, defaults.window),
        enrolments,
        loop_window: span("loop_window", raw.loop_window, defaults.loop_window),
        duration: raw
            .duration
            .map(|duration| span("duration", Some(duration), SECOND)),
    }
}

fn streams(raw: RawStreams, faults: &mut Vec<Fault>) -> Streams {
    let replicas = raw.replicas.unwrap_or(1);
    if !(1..=MOST_REPLICAS).contains(&replicas) {
        let fault = Fault::new("streams.replicas", "is no number of servers");
        faults.push(
            fault
                .value(replicas)
                .remedy(format!("write 1 to {MOST_REPLICAS}")),
        );
    }
    let mut stream = |key: &str, raw: RawStream, age: Duration, bytes: u64| {
        let stream = Stream {
            age: raw.age.map_or(age, |Period(age)| age),
            bytes: raw.bytes.unwrap_or(bytes),
        };
        if stream.bytes < MIB {
            let fault = Fault::new(format!("streams.{key}.bytes"), "is below 1 MiB");
            faults.push(fault.remedy("write 1048576 or more"));
        }
        stream
    };
    let events = stream("events", raw.events, DAY / 24, 64 * MIB);
    let audit = stream("audit", raw.audit, 400 * DAY, 1024 * MIB);
    let nodes = stream("nodes", raw.nodes, Duration::ZERO, 128 * MIB);
    let lease = period(
        "streams.claims.lease",
        raw.claims.lease,
        20 * SECOND,
        5 * SECOND,
        faults,
    );
    Streams {
        replicas,
        events,
        audit,
        nodes,
        lease,
        keep: period(
            "streams.claims.keep",
            raw.claims.keep,
            60 * SECOND,
            SECOND,
            faults,
        ),
    }
}

fn collectives(raw: Option<Vec<String>>, faults: &mut Vec<Fault>) -> Vec<Collective> {
    let names = raw.unwrap_or_else(|| vec!["choria".to_owned()]);
    if names.is_empty() {
        let fault = Fault::new("fleet.collectives", "names no collective");
        faults.push(fault.remedy("write [\"choria\"]"));
    }
    names
        .into_iter()
        .filter_map(|name| match Collective::new(name.as_str()) {
            Ok(collective) => Some(collective),
            Err(error) => {
                faults.push(Fault::new("fleet.collectives", error.to_string()).value(name));
                None
            }
        })
        .collect()
}

fn placements(
    raw: BTreeMap<String, RawPlacement>,
    faults: &mut Vec<Fault>,
) -> BTreeMap<String, Placement> {
    raw.into_iter()
        .map(|(name, raw)| {
            for collective in &raw.collectives {
                if let Err(error) = Collective::new(collective.as_str()) {
                    let key = format!("placement.{name}.collectives");
                    faults.push(Fault::new(key, error.to_string()).value(collective));
                }
            }
            let placement = Placement {
                hosts: raw.hosts,
                collectives: raw.collectives,
            };
            (name, placement)
        })
        .collect()
}

fn period(
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
