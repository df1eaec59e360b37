//! The tables `[pki]` and `[upgrades]`, and the secrets of nodes.

use std::path::PathBuf;

use overlay_runtime::Fault;
use regex::Regex;

use super::super::raw::{RawPki, RawSecret, RawUpgrades};
use super::super::{NodeSecretSource, SecretSource};
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

/// The secrets by name, then the one for all others.
pub(super) fn secrets(
    files: Vec<PathBuf>,
    by_name: Vec<RawSecret>,
    given: Option<String>,
    faults: &mut Vec<Fault>,
) -> Vec<NodeSecretSource> {
    let mut secrets = Vec::new();
    for raw in by_name {
        let Some(file) = raw.file else {
            faults.push(Fault::new("nodes.secrets", "has an entry without file"));
            continue;
        };
        if raw.names.is_empty() {
            let fault = Fault::new("nodes.secrets", "has an entry without names");
            faults.push(fault.remedy("write nodes.secret_files for the secret of all others"));
        }
        let names = raw.names.iter().filter_map(|name| match Regex::new(name) {
            Ok(name) => Some(name),
            Err(_syntax) => {
                let fault = Fault::new("nodes.secrets", "has names that are no regular expression");
                faults.push(fault.value(name));
                None
            }
        });
        secrets.push(NodeSecretSource {
            names: names.collect(),
            source: SecretSource::File(file),
        });
    }
    let of_all = files
        .into_iter()
        .map(SecretSource::File)
        .chain(given.map(|token| SecretSource::Given(token.into())));
    secrets.extend(of_all.map(|source| NodeSecretSource {
        source,
        names: Vec::new(),
    }));
    if secrets.is_empty() {
        faults
            .push(Fault::new("nodes.secret_files", "names no secret").remedy(
                "name the file of the secret that is in the nodes' provisioning.jwt (cht)",
            ));
    }
    secrets
}
