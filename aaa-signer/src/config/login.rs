//! `[login]`: who may log in, and how.

mod ldap;
mod limits;
mod mapping;
mod oidc;
mod userlist;

use std::path::PathBuf;
use std::time::Duration;

use overlay_runtime::{Fault, Period, Secrets, err_chain};
use overlay_tokens::{Issuers, UnixTime};
use serde::Deserialize;

use super::TokenFiles;
use super::raw::token_files;
use crate::authenticate::userlist::Source;
use crate::login;

pub(crate) use ldap::{Find, GroupSearch, Ldap};
pub(crate) use limits::Limits;
pub(crate) use oidc::{AskUserinfo, ClientAuthentication, FlowKind, Oidc, is_confidential};
pub(crate) use userlist::Userlist;
pub(crate) use userlist::Users;

/// How long a token is good unless set: a working day.
const VALIDITY: Duration = Duration::from_secs(8 * 3600);
/// Organisation of tokens unless set.
const ORGANISATION: &str = "choria";

const REFERENCE_HEAD: &str = r#"# Who may log in. Without this table nobody may.
# [login]
# The chain issuer, which signs the tokens of those who log in; read again when it changes.
# token_file = "/etc/overlay/aaa-signer/login.jwt"
# seed_file = "/etc/overlay/aaa-signer/login.seed"
# Organisation of the tokens, and how long they are good, unless a user's record says otherwise.
# organisation = "choria"
# validity = "8h"
# Whether people may log in over the broker too, where it is configured; copies of what the instances share there.
# service = true
# replicas = 1
"#;

/// What `--print-reference` shows of this table and those below it.
pub(super) fn reference() -> String {
    [
        REFERENCE_HEAD,
        limits::REFERENCE,
        userlist::REFERENCE,
        "\n",
        ldap::REFERENCE,
        "\n",
        oidc::REFERENCE,
    ]
    .concat()
}

/// The table as files hold it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawLogin {
    token_file: Option<PathBuf>,
    seed_file: Option<PathBuf>,
    /// A key that issues by itself, as Choria's service may have it.
    key_file: Option<PathBuf>,
    organisation: Option<String>,
    validity: Option<Period>,
    service: Option<bool>,
    replicas: Option<usize>,
    limits: limits::RawLimits,
    userlist: Option<userlist::RawUserlist>,
    ldap: Option<ldap::RawLdap>,
    oidc: Option<oidc::RawOidc>,
}

/// Who may log in, and how.
#[derive(Debug, Clone)]
pub(crate) struct Login {
    /// Who signs the tokens.
    pub issuer: IssuerFiles,
    /// Organisation of the tokens.
    pub organisation: String,
    /// How long they are good.
    pub validity: Duration,
    /// Whether people may log in over the broker, where there is one.
    pub service: bool,
    /// Copies of the bucket that the instances share.
    pub replicas: usize,
    /// How often, how fast and how late somebody may try.
    pub limits: Limits,
    /// Users in a file.
    pub userlist: Option<Userlist>,
    /// People of a directory.
    pub(crate) ldap: Option<Ldap>,
    /// People of an OpenID provider.
    pub(crate) oidc: Option<Oidc>,
}

/// Where the issuer's key is, and its token if it has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum IssuerFiles {
    /// A chain issuer.
    Chain(TokenFiles),
    /// A key whose tokens are trusted as they are: an ed25519 seed, or RSA as PEM.
    Key(PathBuf),
}

impl RawLogin {
    pub(super) fn check(self, at: &str, faults: &mut Vec<Fault>) -> Option<Login> {
        let issuer = match self.key_file {
            Some(key_file) => {
                if self.token_file.is_some() || self.seed_file.is_some() {
                    faults.push(
                        Fault::new(
                            format!("{at}.key_file"),
                            "stands beside `token_file` or `seed_file`",
                        )
                        .remedy("keep `token_file` and `seed_file`, the chain issuer's"),
                    );
                }
                Some(IssuerFiles::Key(key_file))
            }
            None => token_files(
                at,
                "the chain issuer",
                self.token_file,
                self.seed_file,
                faults,
            )
            .map(IssuerFiles::Chain),
        };
        let organisation = self.organisation.unwrap_or_else(|| ORGANISATION.to_owned());
        if organisation.is_empty() {
            faults.push(Fault::new(format!("{at}.organisation"), "is empty"));
        }
        let validity = self.validity.map_or(VALIDITY, |period| period.0);
        if validity < Duration::from_secs(60) {
            faults.push(
                Fault::new(format!("{at}.validity"), "is less than a minute")
                    .remedy("write \"8h\", or leave it out"),
            );
        }
        let replicas = self.replicas.unwrap_or(1);
        if !matches!(replicas, 1 | 3 | 5) {
            faults.push(Fault::new(format!("{at}.replicas"), "is not 1, 3 or 5"));
        }
        if self.userlist.is_none() && self.ldap.is_none() && self.oidc.is_none() {
            faults.push(
                Fault::new(at.to_owned(), "has no way to log in")
                    .remedy(format!("add [{at}.userlist], [{at}.ldap] or [{at}.oidc]")),
            );
        }
        let limits = self.limits.check(&format!("{at}.limits"), faults);
        let userlist = self
            .userlist
            .and_then(|raw| raw.check(&format!("{at}.userlist"), faults));
        let ldap = self
            .ldap
            .and_then(|raw| raw.check(&format!("{at}.ldap"), faults));
        let oidc = self
            .oidc
            .and_then(|raw| raw.check(&format!("{at}.oidc"), faults));
        Some(Login {
            issuer: issuer?,
            organisation,
            validity,
            service: self.service.unwrap_or(true),
            replicas,
            limits,
            userlist,
            ldap,
            oidc,
        })
    }
}

impl Login {
    /// What is wrong with the files that the table names.
    pub(crate) fn inspect(
        &self,
        issuers: &Issuers,
        secrets: &Secrets,
        now: UnixTime,
    ) -> Vec<Fault> {
        let mut faults = Vec::new();
        if let Err(error) = login::check_issuer(&self.issuer, issuers, secrets, now) {
            faults.push(error.into_fault());
        }
        if let Some(userlist) = &self.userlist {
            let read = match &userlist.users {
                Users::File(path) => Source::open(path, userlist.form),
                Users::Here(users) => Source::inline(users, userlist.form),
            };
            if let Err(error) = read {
                faults.push(Fault::new("login.userlist.file", err_chain(&error)));
            }
        }
        if let Some(ldap) = &self.ldap {
            faults.extend(ldap.inspect("login.ldap", secrets));
        }
        if let Some(oidc) = &self.oidc {
            faults.extend(oidc.inspect("login.oidc", secrets));
        }
        faults
    }
}
