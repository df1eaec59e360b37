//! A connection to a directory, for one question.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ldap3::{
    LdapConnAsync, LdapConnSettings, LdapError, LdapResult, Scope, SearchEntry, SearchOptions,
    dn_escape, ldap_escape,
};
use overlay_protocol::SecretText;
use overlay_runtime::{Secrets, err_chain};
use rustls::ClientConfig;
use tokio::task::JoinSet;

use super::entry::{Entry, spelled};
use crate::config::{Find, GroupSearch, Ldap};

/// More groups than anybody is in.
const MAX_GROUPS: usize = 4096;

// Results that say something of the person, and those that say it of the directory (RFC 4511, appendix A).
const SUCCESS: u32 = 0;
const SIZE_LIMIT: u32 = 4;
const REFERRAL: u32 = 10;
const CONSTRAINT: u32 = 19;
const NO_SUCH_OBJECT: u32 = 32;
const INVALID_CREDENTIALS: u32 = 49;
const BUSY: u32 = 51;
const UNAVAILABLE: u32 = 52;

/// An open connection.
pub(super) struct Directory {
    ldap: ldap3::Ldap,
    limit: Duration,
    /// Reads and writes; ends with this.
    _driver: JoinSet<Result<(), LdapError>>,
}

/// Why the directory does not recognise somebody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum DirectoryError {
    /// It does not answer, or says that it is unwell.
    #[error("the directory cannot be reached: {0}")]
    Unavailable(String),
    /// It has nobody of the name.
    #[error("the directory has nobody of this name")]
    Unknown,
    /// The password is wrong, or the account may not be used.
    #[error("the directory does not take the password: {0}")]
    Password(String),
    /// It refuses something else.
    #[error("the directory refused {what}: {why}")]
    Refused {
        /// What was asked.
        what: &'static str,
        /// Its result.
        why: String,
    },
    /// What it says, or our part of it, cannot be used.
    #[error("{0}")]
    Unusable(String),
}

impl Directory {
    pub(super) async fn connect(
        settings: &Ldap,
        tls: &Arc<ClientConfig>,
    ) -> Result<Self, DirectoryError> {
        let connection = LdapConnSettings::new()
            .set_conn_timeout(settings.timeout)
            .set_starttls(settings.start_tls)
            .set_config(Arc::clone(tls));
        let (connection, ldap) =
            LdapConnAsync::from_url_with_settings(connection, &settings.url).await?;
        let mut driver = JoinSet::new();
        driver.spawn(connection.drive());
        Ok(Self {
            ldap,
            limit: settings.timeout,
            _driver: driver,
        })
    }

    /// Finds somebody's entry, proves the password, and finds the groups.
    pub(super) async fn recognise(
        &mut self,
        settings: &Ldap,
        secrets: &Secrets,
        typed: &str,
        password: &SecretText,
    ) -> Result<(Entry, BTreeSet<String>), DirectoryError> {
        let wanted = wanted(settings);
        let entry = match &settings.find {
            Find::Template(template) => {
                let dn = template.replace("{user}", &dn_escape(typed));
                self.prove(&dn, password).await?;
                let found = self
                    .search(
                        &dn,
                        Scope::Base,
                        "(objectClass=*)",
                        &wanted,
                        1,
                        "its own entry",
                    )
                    .await?;
                let own = found.into_iter().next();
                own.ok_or_else(|| {
                    DirectoryError::Unusable(format!("{dn} may not read its own entry"))
                })?
            }
            Find::Search {
                bind_dn,
                password_file,
                base,
                filter,
            } => {
                let service = read(secrets, password_file)?;
                self.bind_service(bind_dn, &service).await?;
                let filter = substitute(filter, &[("{user}", typed)]);
                let found = self
                    .search(
                        base,
                        Scope::Subtree,
                        &filter,
                        &wanted,
                        2,
                        "the search for people",
                    )
                    .await?;
                let mut found = found.into_iter();
                let entry = found.next().ok_or(DirectoryError::Unknown)?;
                if found.next().is_some() {
                    let text = "several entries have this name";
                    return Err(DirectoryError::Unusable(text.to_owned()));
                }
                self.prove(entry.dn(), password).await?;
                if settings.groups.is_some() {
                    self.bind_service(bind_dn, &service).await?;
                }
                entry
            }
        };
        let mut groups: BTreeSet<String> = entry
            .values(&settings.member_attribute)
            .iter()
            .map(|group| spelled(group))
            .collect();
        if let Some(search) = &settings.groups {
            groups.extend(self.groups(search, &entry, typed).await?);
        }
        Ok((entry, groups))
    }

    /// Says goodbye; nothing depends on it.
    pub(super) async fn close(mut self) {
        if let Err(error) = self.ldap.unbind().await {
            tracing::debug!(%error, "the end of a connection to the directory");
        }
    }

    async fn groups(
        &mut self,
        search: &GroupSearch,
        entry: &Entry,
        typed: &str,
    ) -> Result<BTreeSet<String>, DirectoryError> {
        let filter = substitute(&search.filter, &[("{dn}", entry.dn()), ("{user}", typed)]);
        let wanted = [search.name_attribute.clone()];
        let found = self
            .search(
                &search.base,
                Scope::Subtree,
                &filter,
                &wanted,
                MAX_GROUPS,
                "the search for groups",
            )
            .await?;
        let names = found
            .iter()
            .flat_map(|group| names(group.values(&search.name_attribute), group.dn()));
        Ok(names.map(spelled).collect())
    }

    /// Binds as somebody whose password is to be proved.
    async fn prove(&mut self, dn: &str, password: &SecretText) -> Result<(), DirectoryError> {
        let result = self.bind(dn, password.expose()).await?;
        match result.rc {
            SUCCESS => Ok(()),
            NO_SUCH_OBJECT => Err(DirectoryError::Unknown),
            INVALID_CREDENTIALS | CONSTRAINT => Err(DirectoryError::Password(told(&result))),
            _ => Err(result_error("the bind of this person", &result)),
        }
    }

    /// Binds as the account that may search.
    async fn bind_service(&mut self, dn: &str, password: &str) -> Result<(), DirectoryError> {
        let result = self.bind(dn, password).await?;
        match result.rc {
            SUCCESS => Ok(()),
            _ => Err(result_error("the bind of the service account", &result)),
        }
    }

    async fn bind(&mut self, dn: &str, password: &str) -> Result<LdapResult, DirectoryError> {
        // Either of them empty makes it a bind of nobody, to which directories say yes.
        if dn.is_empty() || password.is_empty() {
            let text = "a bind needs a name and a password";
            return Err(DirectoryError::Unusable(text.to_owned()));
        }
        let ldap = self.ldap.with_timeout(self.limit);
        Ok(ldap.simple_bind(dn, password).await?)
    }

    /// The entries that match, at most `most`; references to other directories are passed over.
    async fn search(
        &mut self,
        base: &str,
        scope: Scope,
        filter: &str,
        wanted: &[String],
        most: usize,
        what: &'static str,
    ) -> Result<Vec<Entry>, DirectoryError> {
        let limit = i32::try_from(most).unwrap_or(i32::MAX);
        let options = SearchOptions::new().sizelimit(limit);
        let ldap = self
            .ldap
            .with_timeout(self.limit)
            .with_search_options(options);
        let mut stream = ldap.streaming_search(base, scope, filter, wanted).await?;
        let mut entries = Vec::new();
        while let Some(entry) = stream.next().await? {
            if entry.is_ref() || entry.is_intermediate() {
                continue;
            }
            if entries.len() == most {
                return Err(too_many(what));
            }
            entries.push(Entry::new(SearchEntry::construct(entry)));
        }
        let result = stream.finish().await;
        match result.rc {
            SUCCESS => Ok(entries),
            // Two were asked for in order to see whether there is more than one.
            SIZE_LIMIT if entries.len() == most && most <= 2 => Ok(entries),
            SIZE_LIMIT => Err(too_many(what)),
            NO_SUCH_OBJECT if scope == Scope::Base => Ok(Vec::new()),
            _ => Err(result_error(what, &result)),
        }
    }
}

impl From<LdapError> for DirectoryError {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "whatever else the library may say, nothing was learned of the person"
    )]
    fn from(error: LdapError) -> Self {
        let text = err_chain(&error);
        match error {
            LdapError::FilterParsing => {
                Self::Unusable("a filter of the configuration is no filter".to_owned())
            }
            LdapError::LdapResult { result } => result_error("the connection", &result),
            _ => Self::Unavailable(text),
        }
    }
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Directory").finish_non_exhaustive()
    }
}

/// The attributes that are asked for.
fn wanted(settings: &Ldap) -> Vec<String> {
    let mut wanted: Vec<String> = [&settings.name_attribute, &settings.member_attribute]
        .into_iter()
        .chain(settings.properties.values())
        .chain(settings.rules.claims())
        .cloned()
        .collect();
    wanted.sort_unstable();
    wanted.dedup();
    wanted
}

/// How rules may name a group: by a name of it, or by its distinguished name. The distinguished name alone has a `=`, or whoever
/// may make a group would call it by the distinguished name of another.
fn names<'a>(names: &'a [String], dn: &'a str) -> impl Iterator<Item = &'a str> {
    let plain = names.iter().map(String::as_str);
    plain.filter(|name| !name.contains('=')).chain([dn])
}

/// Puts escaped values into a filter, in one pass: a value is never looked at for further places.
fn substitute(filter: &str, values: &[(&str, &str)]) -> String {
    let mut made = String::new();
    let mut rest = filter;
    while let Some(start) = rest.find('{') {
        let (before, from) = rest.split_at(start);
        made.push_str(before);
        let place = values.iter().find(|(place, _)| from.starts_with(place));
        if let Some((place, value)) = place {
            made.push_str(&ldap_escape(*value));
            rest = from.strip_prefix(place).unwrap_or_default();
        } else {
            made.push('{');
            rest = from.strip_prefix('{').unwrap_or_default();
        }
    }
    made.push_str(rest);
    made
}

fn read(
    secrets: &Secrets,
    path: &std::path::Path,
) -> Result<zeroize::Zeroizing<String>, DirectoryError> {
    let unusable = |error: &dyn std::error::Error| {
        DirectoryError::Unusable(format!("bind_password_file: {}", err_chain(error)))
    };
    let secret = secrets.read(path).map_err(|error| unusable(&error))?;
    let text = secret.expose_text().map_err(|error| unusable(&error))?;
    Ok(zeroize::Zeroizing::new(text.to_owned()))
}

fn too_many(what: &str) -> DirectoryError {
    DirectoryError::Unusable(format!("{what} finds too many"))
}

fn result_error(what: &'static str, result: &LdapResult) -> DirectoryError {
    match result.rc {
        BUSY | UNAVAILABLE => DirectoryError::Unavailable(told(result)),
        REFERRAL => DirectoryError::Refused {
            what,
            why: "it refers to another directory, which is not followed".to_owned(),
        },
        _ => DirectoryError::Refused {
            what,
            why: told(result),
        },
    }
}

/// What a result says, for the log.
fn told(result: &LdapResult) -> String {
    const MOST: usize = 200;
    let text = result.text.chars();
    let text: String = text.filter(|c| !c.is_control()).take(MOST).collect();
    if text.is_empty() {
        format!("result {}", result.rc)
    } else {
        format!("result {}, {text}", result.rc)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_group_is_called_by_the_distinguished_name_of_another() {
        let called = ["web", "cn=admins,ou=groups,dc=x"].map(str::to_owned);
        let found: Vec<_> = names(&called, "cn=web,ou=groups,dc=x").collect();
        assert_eq!(found, ["web", "cn=web,ou=groups,dc=x"]);
    }

    #[test]
    fn values_are_escaped_and_never_looked_at_for_places() {
        let filter = "(&(member={dn})(owner={user})({x}={user}))";
        let made = substitute(filter, &[("{dn}", "cn={user}*"), ("{user}", "a)(b{dn}")]);
        assert_eq!(
            made,
            "(&(member=cn={user}\\2a)(owner=a\\29\\28b{dn})({x}=a\\29\\28b{dn}))"
        );
    }
}
