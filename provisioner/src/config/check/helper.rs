//! The table `[helper]`.

use std::num::NonZeroUsize;
use std::time::Duration;

use overlay_runtime::Fault;

use super::super::raw::{RawHelper, RawMode};
use super::{missing, period};
use crate::helper::{HelperKind, HelperSettings};

const TIMEOUT: Duration = Duration::from_secs(10);
const OUTPUT_BYTES: usize = 1 << 20;
const LEAST_OUTPUT: usize = 1024;
/// Processes at the same time where each node has one of its own.
const PROCESSES: usize = 16;
/// Questions at the same time to helpers that stay.
const QUESTIONS: usize = 256;

/// Checks the table; one in which nothing is set is no helper.
pub(super) fn check(raw: RawHelper, faults: &mut Vec<Fault>) -> Option<HelperSettings> {
    let limit = period(
        "helper.timeout",
        raw.timeout,
        TIMEOUT,
        Duration::from_millis(100),
        faults,
    );
    let max_output = raw.max_output.unwrap_or(OUTPUT_BYTES);
    if max_output < LEAST_OUTPUT {
        let fault = Fault::new("helper.max_output", "is too little for an answer");
        faults.push(fault.remedy(format!("write {LEAST_OUTPUT} or more bytes")));
    }
    let default = match raw.mode {
        RawMode::Process => PROCESSES,
        RawMode::Persistent | RawMode::Http => QUESTIONS,
    };
    let concurrency = some("helper.concurrency", raw.concurrency, default, faults);
    let processes = some("helper.processes", raw.processes, 1, faults);
    if raw.mode != RawMode::Http {
        for (set, key) in [
            (raw.url.is_some(), "helper.url"),
            (raw.token_file.is_some(), "helper.token_file"),
            (raw.ca_file.is_some(), "helper.ca_file"),
        ] {
            if set {
                let fault = Fault::new(key, "belongs to a helper that is a service");
                faults.push(fault.remedy("write mode = \"http\", or leave it out"));
            }
        }
    } else if !raw.command.is_empty() {
        let fault = Fault::new("helper.command", "belongs to a helper that is a process");
        faults.push(fault.remedy("leave it out, or write mode = \"process\""));
    }
    let kind = match raw.mode {
        RawMode::Process | RawMode::Persistent if raw.command.is_empty() => {
            faults.push(
                Fault::new("helper.command", "is missing")
                    .remedy("write [\"/path/of/the/helper\", \"argument\"]"),
            );
            return None;
        }
        RawMode::Process => HelperKind::Process {
            command: raw.command,
        },
        RawMode::Persistent => HelperKind::Persistent {
            command: raw.command,
            processes,
        },
        RawMode::Http => {
            let Some(url) = raw.url else {
                faults.push(missing("helper.url", "the service").remedy("write its URL"));
                return None;
            };
            if !url.starts_with("https://") && !url.starts_with("http://") {
                let fault = Fault::new("helper.url", "is not a URL of a service");
                faults.push(fault.remedy("write https://HOST/PATH"));
            }
            HelperKind::Http {
                url,
                token_file: raw.token_file,
                ca_file: raw.ca_file,
            }
        }
    };
    Some(HelperSettings {
        kind,
        limit,
        max_output,
        concurrency,
    })
}

fn some(key: &str, raw: Option<usize>, default: usize, faults: &mut Vec<Fault>) -> NonZeroUsize {
    let value = NonZeroUsize::new(raw.unwrap_or(default));
    if value.is_none() {
        faults.push(Fault::new(key, "would ask nobody").remedy("write 1 or more"));
    }
    value.unwrap_or(NonZeroUsize::MIN)
}
