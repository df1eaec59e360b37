//! The configuration as files hold it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use overlay_runtime::Fault;
use overlay_runtime::config::{RawAdmin, RawBroker, RawLog, RawProcess};
use serde::Deserialize;

use super::TokenFiles;
use super::audit::RawAudit;
use super::check::missing;
use super::deny::RawDeny;
use super::http::RawHttp;
use super::login::RawLogin;
use super::policy::RawPolicy;
use super::signer::RawSigner;
use super::tenants::RawTenants;

/// The whole file. What must be there is optional here, so that all that is missing is told at once.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawConfig {
    pub(super) site: Option<String>,
    pub(super) identity: Option<RawIdentity>,
    pub(super) broker: Option<RawBroker>,
    pub(super) issuers: BTreeMap<String, String>,
    pub(super) signer: Option<RawSigner>,
    pub(super) policy: RawPolicy,
    pub(super) tenants: RawTenants,
    pub(super) deny: RawDeny,
    pub(super) login: Option<RawLogin>,
    pub(super) audit: RawAudit,
    pub(super) http: Option<RawHttp>,
    /// What stands in the original's files and has no key of ours. Not for our own files.
    pub(super) original: RawOriginal,
    pub(super) admin: RawAdmin,
    pub(super) log: RawLog,
    pub(super) process: RawProcess,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawIdentity {
    pub(super) token_file: Option<PathBuf>,
    pub(super) seed_file: Option<PathBuf>,
}

/// What the original's files say that ours do not.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawOriginal {
    /// The one key that verifies tokens, whatever their organisation; also one that a chain issuer has.
    pub(super) verify_key: Option<String>,
    /// Who the service is to be; its token must say the same.
    pub(super) identity: Option<String>,
    /// What was read and has no meaning here, for the log.
    pub(super) notices: Vec<String>,
}

/// A token and a seed that must both be there.
pub(super) fn token_files(
    at: &str,
    whose: &str,
    token_file: Option<PathBuf>,
    seed_file: Option<PathBuf>,
    faults: &mut Vec<Fault>,
) -> Option<TokenFiles> {
    if token_file.is_none() {
        faults.push(missing(
            &format!("{at}.token_file"),
            &format!("the token of {whose}"),
        ));
    }
    if seed_file.is_none() {
        faults.push(missing(
            &format!("{at}.seed_file"),
            &format!("the seed of the key of {whose}"),
        ));
    }
    Some(TokenFiles {
        token_file: token_file?,
        seed_file: seed_file?,
    })
}
