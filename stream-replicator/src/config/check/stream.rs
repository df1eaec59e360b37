//! One worker.

use std::num::NonZeroUsize;
use std::time::Duration;

use overlay_protocol::subject;
use overlay_runtime::{Fault, Period};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::super::raw::{
    RawAdvisory, RawEndpoint, RawPoisonAction, RawReaction, RawSampling, RawStream, RawWriters,
};
use super::super::{
    Advisory, Inspect, Poison, PoisonAction, Reaction, Sampling, Side, Start, StreamConfig, Window,
    Writers,
};
use super::order::order;
use super::{endpoint, name_problem, span, within};
use crate::mapping::Mapping;

const MESSAGES: usize = 4_096;
const MEBIBYTE: usize = 1 << 20;
const BYTES: usize = 8 * MEBIBYTE;
const TRIES: usize = 5;
const IN_A_ROW: usize = 100;
const HOPS: usize = 10;
const SECOND: Duration = Duration::from_secs(1);
/// Where messages are kept that the target refuses for good, unless set.
const DEAD: &str = "OVERLAY_REPLICATION_DEAD";

/// What streams inherit.
pub(super) struct Defaults<'a> {
    pub(super) site: Option<&'a str>,
    pub(super) candidate: Option<&'a str>,
    pub(super) source: &'a RawEndpoint,
    pub(super) target: &'a RawEndpoint,
    pub(super) unverified: bool,
}

pub(super) fn check(
    number: usize,
    raw: RawStream,
    defaults: &Defaults<'_>,
    faults: &mut Vec<Fault>,
) -> Option<StreamConfig> {
    let before = faults.len();
    let at = |member: &str| format!("streams[{number}].{member}");
    let order = order(&at, &raw, faults);
    let stream = raw.stream.unwrap_or_default();
    if stream.is_empty() {
        let fault = Fault::new(at("stream"), "stream not specified");
        faults.push(fault.remedy("name the stream that is copied"));
    } else {
        valid_name(&at("stream"), &stream, faults);
    }
    let target_stream = raw.target_stream.unwrap_or_else(|| stream.clone());
    if target_stream != stream {
        valid_name(&at("target_stream"), &target_stream, faults);
    }
    let name = match raw.name {
        Some(name) => {
            valid_name(&at("name"), &name, faults);
            name
        }
        None => {
            if let Some(site) = defaults.site {
                valid_name(&at("name"), site, faults);
            }
            defaults.site.unwrap_or_default().to_owned()
        }
    };
    let source = raw.source.over(defaults.source);
    let target = raw.target.over(defaults.target);
    let source = endpoint::check(&at("source"), source, defaults.unverified, faults);
    let target = endpoint::check(&at("target"), target, defaults.unverified, faults);
    let mapping = Mapping {
        prefix: raw.prefix.filter(|prefix| !prefix.is_empty()),
        remove: raw.remove.filter(|remove| !remove.is_empty()),
    };
    mapped(&at, &mapping, &raw.filters, faults);
    // Within one stream, only some subjects can become others without end.
    if let (Some(source), Some(target)) = (&source, &target)
        && stream == target_stream
        && (mapping.is_identity() || raw.filters.is_empty())
        && source.api_prefix == target.api_prefix
        && source
            .servers
            .iter()
            .any(|url| target.servers.contains(url))
        && source.login == target.login
    {
        let fault = Fault::new(at("target_stream"), "is the source itself");
        faults.push(fault.remedy("name another stream, or other brokers"));
    }
    let start = start(&at("start"), raw.start.as_deref(), faults);
    if raw.target_initiated && raw.sampling.is_some() {
        let fault = Fault::new(
            at("target_initiated"),
            "message inspection and sampling cannot be used with target_initiated",
        );
        faults
            .push(fault.remedy(
                "leave one of them out: what was passed over is known at the source alone",
            ));
    }
    let sampling = raw.sampling.and_then(|raw| sampling(&at, raw, faults));
    let advisory = raw.advisory.and_then(|raw| advisory(&at, raw, faults));
    if advisory.is_some() && sampling.is_none() && faults.len() == before {
        let fault = Fault::new(at("advisory"), "has nothing to tell of without sampling");
        faults.push(fault.remedy(format!("write [{}], or leave it out", at("sampling"))));
    }
    let max_age = raw.max_age.map(|age| {
        span(
            at("max_age"),
            Some(age),
            SECOND,
            Duration::from_millis(1),
            faults,
        )
    });
    let window = Window {
        messages: within(
            at("window.messages"),
            raw.window.messages,
            MESSAGES,
            (1, 65_536),
            faults,
        ),
        bytes: within(
            at("window.bytes"),
            raw.window.bytes,
            BYTES,
            (1, 1024 * MEBIBYTE),
            faults,
        ),
    };
    let dead = raw.poison.stream.unwrap_or_else(|| DEAD.to_owned());
    valid_name(&at("poison.stream"), &dead, faults);
    let poison = Poison {
        tries: within(
            at("poison.tries"),
            raw.poison.tries,
            TRIES,
            (1, 1_000),
            faults,
        ),
        action: match raw.poison.action {
            RawPoisonAction::DeadLetter => PoisonAction::DeadLetter,
            RawPoisonAction::Skip => PoisonAction::Skip,
            RawPoisonAction::Stop => PoisonAction::Stop,
        },
        stream: dead,
        limit: within(
            at("poison.limit"),
            raw.poison.limit,
            IN_A_ROW,
            (1, usize::MAX),
            faults,
        ),
    };
    let max_hops = within(at("max_hops"), raw.max_hops, HOPS, (1, 1_000), faults);
    if faults.len() > before {
        return None;
    }
    Some(StreamConfig {
        name,
        source: Side {
            stream,
            endpoint: source?,
        },
        target: Side {
            stream: target_stream,
            endpoint: target?,
        },
        filters: raw.filters,
        mapping,
        create_target: raw.create_target.unwrap_or(true),
        ephemeral: raw.ephemeral,
        target_initiated: raw.target_initiated,
        start,
        max_age,
        sampling,
        advisory,
        candidate: match raw.candidate {
            Some(candidate) => Some(candidate).filter(|candidate| !candidate.is_empty()),
            None => defaults.candidate.map(str::to_owned),
        },
        writers: match raw.writers {
            RawWriters::Auto => Writers::Auto,
            RawWriters::One => Writers::One,
            RawWriters::Many => Writers::Many,
        },
        order,
        window,
        poison,
        on_gap: reaction(raw.on_gap),
        on_recreated: reaction(raw.on_recreated),
        max_hops,
    })
}

fn reaction(raw: RawReaction) -> Reaction {
    match raw {
        RawReaction::Continue => Reaction::Continue,
        RawReaction::Stop => Reaction::Stop,
    }
}

fn valid_name(at: &str, name: &str, faults: &mut Vec<Fault>) {
    if let Some(problem) = name_problem(name) {
        let fault = Fault::new(at, problem).value(format!("{name:?}"));
        faults.push(fault.remedy("write letters, digits, `-` and `_`"));
    }
}

/// Filters are good, and what is known of the mapping makes subjects.
fn mapped(
    at: &impl Fn(&str) -> String,
    mapping: &Mapping,
    filters: &[String],
    faults: &mut Vec<Fault>,
) {
    let mut good = Vec::new();
    for filter in filters {
        if subject::is_valid_permission(filter) {
            good.push(filter.as_str());
        } else {
            let fault = Fault::new(at("filters"), "is no subject filter");
            faults.push(fault.value(format!("{filter:?}")));
        }
    }
    if let Err(error) = mapping.check(&good) {
        let key = if mapping.remove.is_some() {
            "remove"
        } else {
            "prefix"
        };
        faults.push(Fault::new(at(key), error.to_string()).remedy(error.remedy()));
    }
}

/// `all`, `end`, `sequence:N`, `ago:SPAN` or `time:RFC3339`.
fn start(at: &str, raw: Option<&str>, faults: &mut Vec<Fault>) -> Start {
    let Some(text) = raw else {
        return Start::All;
    };
    let read = || match text.split_once(':') {
        None if text == "all" => Some(Start::All),
        None if text == "end" => Some(Start::End),
        Some(("sequence", number)) => {
            let number: u64 = number.parse().ok()?;
            (number > 0).then_some(Start::Sequence(number))
        }
        Some(("ago", span)) => {
            let Period(span) = span.parse().ok()?;
            Some(Start::Ago(span))
        }
        Some(("time", time)) => {
            let time = OffsetDateTime::parse(time, &Rfc3339).ok()?;
            Some(Start::Time(time.into()))
        }
        None | Some(_) => None,
    };
    read().unwrap_or_else(|| {
        let remedy =
            "write \"all\", \"end\", \"sequence:42\", \"ago:2h\" or \"time:2026-01-02T03:04:05Z\"";
        let fault = Fault::new(at, "says no place to begin");
        faults.push(fault.value(format!("{text:?}")).remedy(remedy));
        Start::All
    })
}

fn sampling(
    at: &impl Fn(&str) -> String,
    raw: RawSampling,
    faults: &mut Vec<Fault>,
) -> Option<Sampling> {
    let before = faults.len();
    let key = |member: &str| at(&format!("sampling.{member}"));
    let field = raw.field.filter(|field| !field.is_empty());
    let header = raw.header.filter(|header| !header.is_empty());
    let inspect = match (field, header, raw.token.filter(|token| *token != 0)) {
        (Some(field), None, None) => Some(Inspect::Field(field)),
        (None, Some(header), None) => Some(Inspect::Header(header)),
        (None, None, Some(token)) => token_of(&key("token"), token, faults),
        (None, None, None) => {
            let fault = Fault::new(at("sampling"), "does not say what a message is about");
            faults.push(fault.remedy("write field, header or token"));
            None
        }
        (_, _, _) => {
            let fault = Fault::new(
                at("sampling"),
                "only one inspection mode can be set per stream",
            );
            faults.push(fault.remedy("keep one of field, header and token"));
            None
        }
    };
    let force = raw.force.filter(|force| !force.is_empty());
    if force.is_some() && matches!(inspect, Some(Inspect::Header(_) | Inspect::Token(_))) {
        let fault = Fault::new(key("force"), "needs sampling by field");
        faults.push(fault.remedy("write field, or leave it out"));
    }
    if raw.interval.is_none() {
        let fault = Fault::new(key("interval"), "is missing");
        faults.push(fault.remedy("write how often a value is copied, such as \"1h\""));
    }
    let interval = span(key("interval"), raw.interval, SECOND, SECOND, faults);
    let warn = span(
        key("warn"),
        raw.warn,
        interval / 2,
        Duration::from_millis(1),
        faults,
    );
    if warn > interval {
        let fault = Fault::new(key("warn"), "is longer than the interval");
        faults.push(
            fault
                .value(Period(warn))
                .remedy("write less: a value that is silent for the interval is gone"),
        );
    }
    let size_trigger = raw.size_trigger.unwrap_or_default();
    if !size_trigger.is_finite() || size_trigger < 0.0 {
        let fault = Fault::new(key("size_trigger"), "is no number of bytes");
        faults.push(fault.remedy("write 0 for none, or more"));
    }
    if faults.len() > before {
        return None;
    }
    Some(Sampling {
        inspect: inspect?,
        force,
        force_is_strict: raw.force_is_strict,
        interval,
        warn,
        size_trigger,
        lifecycle: raw.lifecycle,
    })
}

/// -1 is the whole subject, as in the original.
pub(super) fn token_of(at: &str, token: i64, faults: &mut Vec<Fault>) -> Option<Inspect> {
    if token == -1 {
        return Some(Inspect::Token(None));
    }
    let place = usize::try_from(token).ok().and_then(NonZeroUsize::new);
    if place.is_none() {
        let fault = Fault::new(at, "is no place in a subject").value(token);
        faults.push(fault.remedy("write 1 for the first token, or -1 for the whole subject"));
    }
    Some(Inspect::Token(Some(place?)))
}

fn advisory(
    at: &impl Fn(&str) -> String,
    raw: RawAdvisory,
    faults: &mut Vec<Fault>,
) -> Option<Advisory> {
    let key = at("advisory.subject");
    let subject = raw.subject.filter(|subject| !subject.is_empty());
    let Some(subject) = subject else {
        let remedy = "write such as \"choria.stream-replicator.advisory.%s.%v\"";
        faults.push(Fault::new(key, "is missing").remedy(remedy));
        return None;
    };
    let example = subject.replace("%s", "new").replace("%v", "value");
    if !subject::is_valid(&example) {
        let fault = Fault::new(key, "is no subject that messages can have");
        faults.push(fault.value(format!("{subject:?}")));
        return None;
    }
    Some(Advisory {
        subject,
        reliable: raw.reliable,
    })
}
