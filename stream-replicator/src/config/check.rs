//! The raw form, checked.

mod endpoint;
mod heartbeats;
mod order;
mod stream;

use std::collections::BTreeSet;
use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use overlay_protocol::id::{Collective, Identity};
use overlay_runtime::config::Threads;
use overlay_runtime::{Fault, Period};
use overlay_tokens::{Issuers, PublicKey};

use super::raw::{RawControl, RawEndpoint};
use super::{ADMIN, Config, Control, RawConfig, Settings, StreamConfig};
use crate::host;

/// Collective of requests and inboxes, unless set.
const COLLECTIVE: &str = "choria";

pub(super) fn check(raw: RawConfig) -> Result<Config, Vec<Fault>> {
    let mut faults = Vec::new();
    let found = &mut faults;
    let name = match raw.name {
        Some(name) if !name.is_empty() => word("name", name, found),
        Some(_) | None => {
            found
                .push(Fault::new("name", "name is required").remedy("name this site, such as lon"));
            None
        }
    };
    let candidate = raw.candidate.filter(|candidate| !candidate.is_empty());
    let unverified = raw.original.choria_unverified;
    let defaults = stream::Defaults {
        site: name.as_deref(),
        candidate: candidate.as_deref(),
        source: &raw.source,
        target: &raw.target,
        unverified,
    };
    let count = raw.streams.len();
    let streams: Vec<StreamConfig> = raw
        .streams
        .into_iter()
        .enumerate()
        .filter_map(|(number, raw)| stream::check(number, raw, &defaults, found))
        .collect();
    twice(&streams, found);
    if count == 0 && raw.heartbeats.is_none() {
        let fault = Fault::new(
            "streams",
            "names nothing to copy, and there are no heartbeats",
        );
        found.push(fault.remedy("write a table [[streams]]"));
    }
    let heartbeats = raw
        .heartbeats
        .and_then(|raw| heartbeats::check(raw, candidate.as_deref(), unverified, found));
    let control = control(raw.broker, raw.control, &raw.issuers, unverified, found);
    let admin = raw.admin.check("admin", Some(ADMIN), found);
    let log = raw.log.check("log", found);
    let (grace, threads) = raw.process.check(Threads::PerProcessor);
    match name {
        Some(name) if faults.is_empty() => Ok(Config {
            name,
            state_dir: raw.state_dir,
            streams,
            heartbeats,
            control,
            original_metrics: raw.monitor.original_names.unwrap_or(true),
            notices: raw.original.notices,
            runtime: Settings {
                // Each worker connects by itself: one broker that is away is no reason for others to wait.
                broker: None,
                admin,
                log,
                grace,
                threads,
            },
        }),
        Some(_) | None => Err(faults),
    }
}

/// Each worker has a name of its own at its source stream: positions, elections and state are kept under both.
fn twice(streams: &[StreamConfig], faults: &mut Vec<Fault>) {
    let mut seen = BTreeSet::new();
    for stream in streams {
        if !seen.insert((&stream.source.stream, &stream.name)) {
            let problem = format!(
                "duplicate stream configuration name {} for stream {}",
                stream.name, stream.source.stream
            );
            faults.push(
                Fault::new("streams", problem)
                    .value(&stream.name)
                    .remedy("give each a name of its own"),
            );
        }
    }
}

fn control(
    broker: Option<RawEndpoint>,
    raw: Option<RawControl>,
    issuers: &std::collections::BTreeMap<String, String>,
    unverified: bool,
    faults: &mut Vec<Fault>,
) -> Option<Control> {
    let Some(mut broker) = broker else {
        if raw.is_some() {
            let fault = Fault::new("broker", "is missing");
            faults.push(fault.remedy("write [broker] servers, where operators' requests come in"));
        }
        return None;
    };
    let raw = raw.unwrap_or_default();
    let at = "control.collective";
    let collective = raw.collective.unwrap_or_else(|| COLLECTIVE.to_owned());
    let collective: Option<Collective> = parsed(at, &collective, faults);
    let identity = raw.identity.unwrap_or_else(host::name);
    let identity: Option<Identity> = parsed("control.identity", &identity, faults);
    let token = both(
        ("control.token_file", raw.token_file),
        ("control.seed_file", raw.seed_file),
        faults,
    );
    if let (Some((token_file, seed_file)), false) = (&token, broker.has_login()) {
        broker.token_file = Some(token_file.clone());
        broker.seed_file = Some(seed_file.clone());
        broker.collective = collective.as_ref().map(ToString::to_string);
    }
    let endpoint = endpoint::check("broker", broker, unverified, faults);
    let issuers = trusted(issuers, faults);
    Some(Control {
        endpoint: endpoint?,
        collective: collective?,
        issuers: issuers?,
        identity: identity?,
        token,
    })
}

fn trusted(
    raw: &std::collections::BTreeMap<String, String>,
    faults: &mut Vec<Fault>,
) -> Option<Issuers> {
    let before = faults.len();
    if raw.is_empty() {
        let fault = Fault::new("issuers", "names nobody whose tokens may ask");
        faults.push(fault.remedy("write `choria = \"<public key>\"`"));
        return None;
    }
    let mut keys = Vec::new();
    for (organisation, text) in raw {
        match text.parse::<PublicKey>() {
            Ok(key) => keys.push((organisation.clone(), key)),
            Err(error) => faults.push(
                Fault::new(format!("issuers.{organisation}"), error.to_string())
                    .value(text)
                    .remedy("write the 64 hexadecimal digits of the issuer's public key"),
            ),
        }
    }
    if faults.len() > before {
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

/// Two keys that are of no use without each other.
fn both<T>(
    (one_key, one): (&str, Option<T>),
    (other_key, other): (&str, Option<T>),
    faults: &mut Vec<Fault>,
) -> Option<(T, T)> {
    let missing = |key: &str, there: &str| {
        Fault::new(key, "is missing").remedy(format!("set it beside {there}"))
    };
    match (one, other) {
        (Some(one), Some(other)) => Some((one, other)),
        (None, None) => None,
        (Some(_), None) => {
            faults.push(missing(other_key, one_key));
            None
        }
        (None, Some(_)) => {
            faults.push(missing(one_key, other_key));
            None
        }
    }
}

/// A text that stands between spaces in headers.
fn word(at: &str, text: String, faults: &mut Vec<Fault>) -> Option<String> {
    if let Some(problem) = word_problem(&text) {
        let fault = Fault::new(at, problem).value(format!("{text:?}"));
        faults.push(fault.remedy("write letters, digits, `-` and `_`"));
        return None;
    }
    Some(text)
}

fn word_problem(text: &str) -> Option<&'static str> {
    const LONGEST: usize = 200;
    let is_space = |c: char| c.is_whitespace() || c.is_control() || c == '\u{fffd}';
    if text.is_empty() {
        Some("is empty")
    } else if text.len() > LONGEST {
        Some("is longer than 200 bytes")
    } else if text.contains(is_space) {
        Some("has a space or a control character")
    } else {
        None
    }
}

/// What is wrong with the name of a stream, or of a worker, which is that of a consumer.
fn name_problem(text: &str) -> Option<&'static str> {
    word_problem(text).or_else(|| {
        text.contains(['.', '*', '>', '/', '\\'])
            .then_some("has one of `.`, `*`, `>`, `/`, `\\`, which no stream or consumer may have")
    })
}

fn parsed<T>(at: &str, text: &str, faults: &mut Vec<Fault>) -> Option<T>
where
    T: FromStr<Err: Display>,
{
    match text.parse() {
        Ok(value) => Some(value),
        Err(error) => {
            faults.push(Fault::new(at, error.to_string()).value(format!("{text:?}")));
            None
        }
    }
}

/// A number that has bounds.
fn within(
    at: String,
    raw: Option<usize>,
    default: usize,
    (least, most): (usize, usize),
    faults: &mut Vec<Fault>,
) -> usize {
    let value = raw.unwrap_or(default);
    if value < least || value > most {
        let fault = Fault::new(at, "is out of bounds").value(value);
        faults.push(fault.remedy(format!("write {least} to {most}")));
    }
    value
}

/// A span of time that has a least.
fn span(
    at: String,
    raw: Option<Period>,
    default: Duration,
    least: Duration,
    faults: &mut Vec<Fault>,
) -> Duration {
    let Some(Period(value)) = raw else {
        return default;
    };
    if value < least {
        let fault = Fault::new(at, "is too short").value(Period(value));
        faults.push(fault.remedy(format!("write {} or more", Period(least))));
    }
    value
}
