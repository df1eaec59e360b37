//! The tables `[pki]` and `[upgrades]`.

use overlay_runtime::Fault;
use regex::Regex;

use super::super::raw::{RawPki, RawUpgrades};
use crate::policy::{Pki, Upgrades};

/// Names that only people and services have, as the original denies them.
pub(crate) const DENIED_NAMES: [&str; 4] = [
    r"\.privileged.mcollective$",
    r"\.privileged.choria$",
    r"\.mcollective$",
    r"\.choria$",
];

pub(super) fn pki(raw: RawPki, faults: &mut Vec<Fault>) -> Option<Pki> {
    let patterns = raw
        .denied_names
        .unwrap_or_else(|| DENIED_NAMES.map(str::to_owned).to_vec());
    let before = faults.len();
    let denied = patterns
        .iter()
        .filter_map(|pattern| match Regex::new(bare(pattern)) {
            Ok(regex) => Some(regex),
            Err(_syntax) => {
                let fault = Fault::new("pki.denied_names", "is no regular expression");
                faults.push(fault.value(pattern));
                None
            }
        })
        .collect();
    Some(Pki { denied }).filter(|_| faults.len() == before)
}

/// The pattern without the slashes that may stand around it.
fn bare(pattern: &str) -> &str {
    pattern
        .strip_prefix('/')
        .and_then(|rest| rest.strip_suffix('/'))
        .unwrap_or(pattern)
}

pub(super) fn upgrades(raw: RawUpgrades, faults: &mut Vec<Fault>) -> Option<Upgrades> {
    let repository = raw.repository.unwrap_or_default();
    let none = repository.is_empty() && raw.optional;
    let known = repository.starts_with("http://") || repository.starts_with("https://");
    if !(known || none) {
        let fault = Fault::new("upgrades.repository", "is no address of a repository");
        faults.push(fault.remedy("write https://HOST/PATH"));
        return None;
    }
    Some(Upgrades {
        repository,
        optional: raw.optional,
    })
}
