//! `[login.ldap]`: people of a directory.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use openidconnect::url::{Host, Url};
use overlay_runtime::{Fault, Period, Secrets};
use serde::Deserialize;

use super::mapping::{self, RawRule};
use crate::authenticate::mapping::{Names, Rules, Separator};
use crate::authenticate::{ldap, trust};

#[cfg(test)]
mod tests;

pub(super) const REFERENCE: &str = r#"# People of a directory, with the directory's password.
# [login.ldap]
# url = "ldaps://ldap.example.net"    # or ldap:// with start_tls; unencrypted never leaves this host
# start_tls = false
# ca_file = "/etc/overlay/tls/ldap-ca.pem"  # authorities of the directory; those of the system unless set
# Either people bind by a name made of what they type ...
# user_dn = "uid={user},ou=people,dc=example,dc=net"
# ... or a service account looks for them below a base:
# bind_dn = "cn=overlay,ou=services,dc=example,dc=net"
# bind_password_file = "/etc/overlay/aaa-signer/ldap.password"
# base = "ou=people,dc=example,dc=net"
# filter = "(&(objectClass=inetOrgPerson)(uid={user}))"
# name_attribute = "uid"              # who it is: this attribute of the entry, never what was typed
# name_separator = "."                # as in [login.oidc], and unset as there with another claim than `sub`
# name_domains = ["example.net"]
# member_attribute = "memberOf"       # groups that the entry names, by their full names
# group_base = "ou=groups,dc=example,dc=net"  # groups that name the entry, below a base: by full name and by
# group_filter = "(&(objectClass=groupOfNames)(member={dn}))"  # group_name_attribute; {dn}, {user}
# group_name_attribute = "cn"
# timeout = "5s"                      # of all that is asked of the directory for one login
# connections = 16                    # logins at the same time
# [login.ldap.properties]             # user properties of the token, each from an attribute
# mail = "mail"
# [[login.ldap.rules]]                # as [[login.oidc.rules]]; `attribute` instead of `claim`
# group = "cn=ops,ou=groups,dc=example,dc=net"
# agents = ["rpcutil.*"]
"#;

const TIMEOUT: Duration = Duration::from_secs(5);
const MIN_TIMEOUT: Duration = Duration::from_millis(100);
const MAX_TIMEOUT: Duration = Duration::from_secs(60);
const CONNECTIONS: usize = 16;
const MAX_CONNECTIONS: usize = 1024;

/// The table as files hold it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawLdap {
    url: Option<String>,
    start_tls: bool,
    ca_file: Option<PathBuf>,
    user_dn: Option<String>,
    bind_dn: Option<String>,
    bind_password_file: Option<PathBuf>,
    base: Option<String>,
    filter: Option<String>,
    name_attribute: Option<String>,
    name_separator: Option<Separator>,
    name_domains: Option<Vec<String>>,
    member_attribute: Option<String>,
    group_base: Option<String>,
    group_filter: Option<String>,
    group_name_attribute: Option<String>,
    timeout: Option<Period>,
    connections: Option<usize>,
    properties: BTreeMap<String, String>,
    rules: Vec<RawRule>,
}

/// People of a directory.
#[derive(Clone, Debug)]
pub(crate) struct Ldap {
    pub(crate) url: Url,
    pub(crate) start_tls: bool,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) find: Find,
    pub(crate) name_attribute: String,
    pub(crate) names: Names,
    pub(crate) member_attribute: String,
    pub(crate) groups: Option<GroupSearch>,
    pub(crate) timeout: Duration,
    /// Logins at the same time.
    pub(crate) connections: usize,
    /// Name of the property to name of the attribute.
    pub(crate) properties: BTreeMap<String, String>,
    pub(crate) rules: Rules,
}

/// How the entry of somebody is found.
#[derive(Clone, Debug)]
pub(crate) enum Find {
    /// Its name is made of what was typed.
    Template(String),
    /// A service account looks for it.
    Search {
        bind_dn: String,
        password_file: PathBuf,
        base: String,
        filter: String,
    },
}

/// How groups are found that name somebody.
#[derive(Clone, Debug)]
pub(crate) struct GroupSearch {
    pub(crate) base: String,
    pub(crate) filter: String,
    pub(crate) name_attribute: String,
}

impl RawLdap {
    pub(super) fn check(self, at: &str, faults: &mut Vec<Fault>) -> Option<Ldap> {
        let url = url(self.url.as_deref(), self.start_tls, at, faults);
        let name_attribute = self.name_attribute.unwrap_or_else(|| "uid".to_owned());
        let find = match (self.user_dn, self.base) {
            (Some(template), None) => {
                must_have("{user}", &template, &format!("{at}.user_dn"), faults);
                Some(Find::Template(template))
            }
            (None, Some(base)) => {
                let filter = self
                    .filter
                    .unwrap_or_else(|| format!("({name_attribute}={{user}})"));
                must_have("{user}", &filter, &format!("{at}.filter"), faults);
                let bind = self.bind_dn.filter(|dn| !dn.is_empty());
                let bind = bind.zip(self.bind_password_file);
                if bind.is_none() {
                    faults.push(
                        Fault::new(format!("{at}.bind_dn"), "is missing, or its password is")
                            .remedy("write bind_dn and bind_password_file of an account that may search"),
                    );
                }
                bind.map(|(bind_dn, password_file)| Find::Search {
                    bind_dn,
                    password_file,
                    base,
                    filter,
                })
            }
            (Some(_), Some(_)) | (None, None) => {
                faults.push(
                    Fault::new(at, "does not say how people are found, or says it twice")
                        .remedy("write user_dn = \"uid={user},...\", or base with bind_dn and bind_password_file"),
                );
                None
            }
        };
        let groups = self.group_base.map(|base| {
            let filter = self
                .group_filter
                .unwrap_or_else(|| "(member={dn})".to_owned());
            if !filter.contains("{dn}") {
                must_have("{user}", &filter, &format!("{at}.group_filter"), faults);
            }
            GroupSearch {
                base,
                filter,
                name_attribute: self.group_name_attribute.unwrap_or_else(|| "cn".to_owned()),
            }
        });
        let timeout = self.timeout.map_or(TIMEOUT, |Period(timeout)| timeout);
        if !(MIN_TIMEOUT..=MAX_TIMEOUT).contains(&timeout) {
            faults.push(
                Fault::new(format!("{at}.timeout"), "is too short or too long").remedy(format!(
                    "write {} to {}",
                    Period(MIN_TIMEOUT),
                    Period(MAX_TIMEOUT)
                )),
            );
        }
        let connections = self.connections.unwrap_or(CONNECTIONS);
        if !(1..=MAX_CONNECTIONS).contains(&connections) {
            let fault = Fault::new(format!("{at}.connections"), "is no number of connections");
            faults.push(fault.remedy(format!("write 1 to {MAX_CONNECTIONS}")));
        }
        let names = mapping::names(
            self.name_separator.unwrap_or(Separator::Dot),
            self.name_domains,
            at,
            faults,
        );
        let rules = mapping::check(self.rules, at, ldap::spelled, faults);
        Some(Ldap {
            url: url?,
            start_tls: self.start_tls,
            ca_file: self.ca_file,
            find: find?,
            name_attribute,
            names,
            member_attribute: self
                .member_attribute
                .unwrap_or_else(|| "memberOf".to_owned()),
            groups,
            timeout,
            connections,
            properties: self.properties,
            rules,
        })
    }
}

impl Ldap {
    /// Looks at the files that the table names.
    pub(crate) fn inspect(&self, at: &str, secrets: &Secrets) -> Vec<Fault> {
        let mut faults = mapping::inspect(&self.rules, at);
        if let Find::Search { password_file, .. } = &self.find
            && let Err(error) = secrets.read(password_file)
        {
            faults.push(mapping::unreadable(
                at,
                "bind_password_file",
                password_file,
                &error,
            ));
        }
        if let Some(path) = &self.ca_file
            && let Err(error) = trust::tls(Some(path))
        {
            faults.push(mapping::unreadable(at, "ca_file", path, &error));
        }
        faults
    }
}

fn must_have(part: &str, text: &str, key: &str, faults: &mut Vec<Fault>) {
    if !text.contains(part) {
        faults.push(
            Fault::new(key, "would be the same for everybody")
                .value(text)
                .remedy(format!("write {part} where the name belongs")),
        );
    }
}

fn url(text: Option<&str>, start_tls: bool, at: &str, faults: &mut Vec<Fault>) -> Option<Url> {
    let fault = |problem| Fault::new(format!("{at}.url"), problem).value(text.unwrap_or_default());
    let Some(url) = text.and_then(|text| Url::parse(text).ok()) else {
        faults.push(fault("is missing, or no address").remedy("write ldaps://HOST"));
        return None;
    };
    // Of a scheme that the URL standard does not know, an address is kept as a name.
    let host = url.host_str().unwrap_or_default();
    let is_local = host == "localhost"
        || host
            .trim_matches(['[', ']'])
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback());
    let problem = match url.scheme() {
        _ if host.is_empty() => Some("has no host"),
        "ldaps" if start_tls => Some("is encrypted already, so there is no start_tls"),
        "ldap" if !start_tls && !is_local => Some("would send passwords unencrypted"),
        "ldaps" | "ldap" => None,
        _ => Some("is neither ldaps nor ldap"),
    };
    let encrypted = start_tls || url.scheme() == "ldaps";
    let problem = problem.or(match url.host() {
        // The TLS library takes no address of this form as a name of the server.
        Some(Host::Ipv6(_)) if encrypted => Some("has an IPv6 address"),
        Some(Host::Domain(name)) if encrypted && name.starts_with('[') => {
            Some("has an IPv6 address")
        }
        _ => None,
    });
    match problem {
        None => Some(url),
        Some(problem) => {
            faults.push(
                fault(problem).remedy("write ldaps://HOST, or ldap://HOST with start_tls = true"),
            );
            None
        }
    }
}
