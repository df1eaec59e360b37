//! Heartbeats.

use std::collections::BTreeMap;
use std::time::Duration;

use overlay_protocol::subject;
use overlay_runtime::Fault;

use super::super::raw::RawHeartbeats;
use super::super::{Beat, Heartbeats};
use super::{endpoint, span};
use crate::host;

/// How often, unless set.
const INTERVAL: Duration = Duration::from_secs(10);
const LEAST: Duration = Duration::from_millis(100);

pub(super) fn check(
    raw: RawHeartbeats,
    candidate: Option<&str>,
    unverified: bool,
    faults: &mut Vec<Fault>,
) -> Option<Heartbeats> {
    let before = faults.len();
    let endpoint = endpoint::check("heartbeats.endpoint", raw.endpoint, unverified, faults);
    let interval = span(
        "heartbeats.interval".to_owned(),
        raw.interval,
        INTERVAL,
        LEAST,
        faults,
    );
    headers("heartbeats.headers", &raw.headers, faults);
    if raw.subjects.is_empty() {
        let fault = Fault::new(
            "heartbeats.subjects",
            "heartbeat requires at least one subject",
        );
        faults.push(fault.remedy("write a table [[heartbeats.subjects]]"));
    }
    let mut beats = Vec::new();
    for (number, beat) in raw.subjects.into_iter().enumerate() {
        let at = |member: &str| format!("heartbeats.subjects[{number}].{member}");
        let subject = beat.subject.unwrap_or_default();
        if subject.is_empty() {
            faults.push(Fault::new(at("subject"), "name is required with subject"));
        } else if !subject::is_valid(&subject) {
            let fault = Fault::new(at("subject"), "is no subject that messages can have");
            faults.push(fault.value(format!("{subject:?}")));
        }
        headers(&at("headers"), &beat.headers, faults);
        let mut all = raw.headers.clone();
        all.extend(beat.headers);
        beats.push(Beat {
            subject,
            interval: span(at("interval"), beat.interval, interval, LEAST, faults),
            headers: all.into_iter().collect(),
        });
    }
    if faults.len() > before {
        return None;
    }
    Some(Heartbeats {
        endpoint: endpoint?,
        election: raw.election,
        candidate: candidate.map_or_else(host::name, str::to_owned),
        beats,
    })
}

/// Names and values that would break out of their line.
fn headers(at: &str, headers: &BTreeMap<String, String>, faults: &mut Vec<Fault>) {
    for (name, value) in headers {
        let name_is_bad = name.is_empty()
            || name
                .bytes()
                .any(|byte| !(33..=126).contains(&byte) || byte == b':');
        if name_is_bad || value.contains(['\r', '\n']) {
            let fault = Fault::new(at, "has a header that cannot be sent");
            faults.push(fault.value(format!("{name:?}")));
        }
    }
}
