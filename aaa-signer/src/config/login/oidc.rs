//! `[login.oidc]`: people of an OpenID provider.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use openidconnect::IssuerUrl;
use openidconnect::url::{Host, Url};
use overlay_runtime::{Fault, Period, Secrets};
use serde::Deserialize;

use super::mapping::{self, RawRule};
use crate::authenticate::mapping::{Names, Rules, Separator};
use crate::authenticate::trust;

#[cfg(test)]
mod tests;

pub(super) const REFERENCE: &str = r#"# People of an OpenID provider. Its application is registered as a web or native client with the redirect
# address http://127.0.0.1/callback (any port) for desktops, and with the device flow for terminals.
# [login.oidc]
# issuer = "https://idp.example.net/realms/company"  # exactly as the provider writes it in its tokens
# client_id = "overlay"
# client_secret_file = "/etc/overlay/aaa-signer/oidc.secret"  # none: a public client
# client_authentication = "basic"     # or "post": how the secret is sent
# ca_file = "/etc/overlay/tls/idp-ca.pem"  # authorities of the provider; those of the system unless set
# flows = ["device", "code"]          # a code to type at another device; a browser on the same one
# scopes = ["profile"]                # further scopes, such as one that brings groups
# name_claim = "sub"                  # who it is. Only `sub` is unique and never given to another person by every
#                                     # provider; `email` counts only when the provider has verified it
# name_separator = "."                # within names: "." or "_", as people's names are; "_" with `sub`. Nodes see `.` and `@`
#                                     # as `_`: of names that they could not tell apart one is taken, the others are refused
# name_domains = ["example.net"]      # names with one of these behind an @ are addresses; others with an @ are refused.
#                                     # Unset: any domain of two labels; none with `sub`
# groups_claim = "groups"             # a list of texts; "realm_access.roles" reaches into objects
# userinfo = "if_needed"              # or "always", "never": whether claims the ID token lacks are asked for
# audiences = []                      # further audiences that an ID token may name
# timeout = "10s"                     # of all that is asked of the provider in one step
# flow_validity = "10m"               # how long a login may take
# [login.oidc.properties]             # user properties of the token, each from a claim
# mail = "email"
# [[login.oidc.rules]]                # read in order; what they grant adds up; one that contradicts is skipped
# group = "ops"                       # or claim = "department" with value = "it"; or everyone = true
# agents = ["rpcutil.*", "puppet.status"]  # or opa_policy_file = "/etc/overlay/policies/ops.rego"
# permissions = ["signed_fleet_management", "events_viewer"]
# tenant = "retail"
# organisation = "choria"
# validity = "8h"                     # the shortest of all that apply
"#;

/// The claim that names somebody for good.
const SUBJECT: &str = "sub";

const TIMEOUT: Duration = Duration::from_secs(10);
const MIN_TIMEOUT: Duration = Duration::from_millis(100);
const MAX_TIMEOUT: Duration = Duration::from_secs(60);
const FLOW_VALIDITY: Duration = Duration::from_secs(10 * 60);
const MAX_FLOW_VALIDITY: Duration = Duration::from_secs(60 * 60);

/// The table as files hold it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawOidc {
    issuer: Option<String>,
    client_id: Option<String>,
    client_secret_file: Option<PathBuf>,
    client_authentication: ClientAuthentication,
    ca_file: Option<PathBuf>,
    flows: Option<Vec<FlowKind>>,
    scopes: Vec<String>,
    name_claim: Option<String>,
    name_separator: Option<Separator>,
    name_domains: Option<Vec<String>>,
    groups_claim: Option<String>,
    userinfo: AskUserinfo,
    audiences: Vec<String>,
    timeout: Option<Period>,
    flow_validity: Option<Period>,
    properties: BTreeMap<String, String>,
    rules: Vec<RawRule>,
}

/// People of an OpenID provider.
#[derive(Clone, Debug)]
pub(crate) struct Oidc {
    pub(crate) issuer: IssuerUrl,
    pub(crate) client_id: String,
    pub(crate) client_secret_file: Option<PathBuf>,
    pub(crate) client_authentication: ClientAuthentication,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) flows: Vec<FlowKind>,
    /// Beside `openid`.
    pub(crate) scopes: Vec<String>,
    pub(crate) name_claim: String,
    pub(crate) names: Names,
    /// The steps into the claims.
    pub(crate) groups_claim: Vec<String>,
    pub(crate) userinfo: AskUserinfo,
    pub(crate) audiences: Vec<String>,
    pub(crate) timeout: Duration,
    pub(crate) flow_validity: Duration,
    /// Name of the property to name of the claim.
    pub(crate) properties: BTreeMap<String, String>,
    pub(crate) rules: Rules,
}

/// How somebody logs in at a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum FlowKind {
    /// By a code that is typed at another device (RFC 8628).
    Device,
    /// By a browser on the same machine (authorisation code with PKCE, RFC 7636).
    Code,
}

/// How the client shows the provider its secret.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ClientAuthentication {
    /// In a header.
    #[default]
    Basic,
    /// In the form.
    Post,
}

/// When the provider's userinfo is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AskUserinfo {
    /// When the ID token lacks the name or the groups.
    #[default]
    IfNeeded,
    /// At every login.
    Always,
    /// At none.
    Never,
}

impl RawOidc {
    pub(super) fn check(self, at: &str, faults: &mut Vec<Fault>) -> Option<Oidc> {
        let issuer = issuer(self.issuer.as_deref(), at, faults);
        let client_id = self.client_id.filter(|id| !id.is_empty());
        if client_id.is_none() {
            let fault = Fault::new(format!("{at}.client_id"), "is missing");
            faults.push(fault.remedy("write the id under which the provider knows this service"));
        }
        let flows = self
            .flows
            .unwrap_or_else(|| vec![FlowKind::Device, FlowKind::Code]);
        if flows.is_empty() {
            let fault = Fault::new(format!("{at}.flows"), "is empty: nobody could log in");
            faults.push(fault.remedy("write \"device\", \"code\" or both, or leave it out"));
        }
        let groups_claim = self.groups_claim.unwrap_or_else(|| "groups".to_owned());
        let groups_claim: Vec<String> = groups_claim.split('.').map(str::to_owned).collect();
        if groups_claim.iter().any(String::is_empty) {
            let fault = Fault::new(format!("{at}.groups_claim"), "is no name of a claim");
            faults.push(fault.remedy("write such as \"groups\" or \"realm_access.roles\""));
        }
        let mut within = |key: &str, raw: Option<Period>, default, least, most: Duration| {
            let value = raw.map_or(default, |Period(value)| value);
            if value < least || value > most {
                faults.push(
                    Fault::new(format!("{at}.{key}"), "is too short or too long")
                        .value(Period(value))
                        .remedy(format!("write {} to {}", Period(least), Period(most))),
                );
            }
            value
        };
        let timeout = within("timeout", self.timeout, TIMEOUT, MIN_TIMEOUT, MAX_TIMEOUT);
        let flow_validity = within(
            "flow_validity",
            self.flow_validity,
            FLOW_VALIDITY,
            Duration::from_secs(1),
            MAX_FLOW_VALIDITY,
        );
        let name_claim = self.name_claim.unwrap_or_else(|| SUBJECT.to_owned());
        // Providers make subjects of any letters, and of addresses hardly ever.
        let (separator, domains) = if name_claim == SUBJECT {
            (Separator::Underscore, Some(Vec::new()))
        } else {
            (Separator::Dot, None)
        };
        let names = mapping::names(
            self.name_separator.unwrap_or(separator),
            self.name_domains.or(domains),
            at,
            faults,
        );
        let rules = mapping::check(self.rules, at, str::to_owned, faults);
        Some(Oidc {
            issuer: issuer?,
            client_id: client_id?,
            client_secret_file: self.client_secret_file,
            client_authentication: self.client_authentication,
            ca_file: self.ca_file,
            flows,
            scopes: self.scopes,
            name_claim,
            names,
            groups_claim,
            userinfo: self.userinfo,
            audiences: self.audiences,
            timeout,
            flow_validity,
            properties: self.properties,
            rules,
        })
    }
}

impl Oidc {
    /// Looks at the files that the table names.
    pub(crate) fn inspect(&self, at: &str, secrets: &Secrets) -> Vec<Fault> {
        let mut faults = mapping::inspect(&self.rules, at);
        if let Some(path) = &self.client_secret_file
            && let Err(error) = secrets.read(path)
        {
            faults.push(mapping::unreadable(at, "client_secret_file", path, &error));
        }
        if let Some(path) = &self.ca_file
            && let Err(error) = trust::tls(Some(path))
        {
            faults.push(mapping::unreadable(at, "ca_file", path, &error));
        }
        faults
    }
}

fn issuer(text: Option<&str>, at: &str, faults: &mut Vec<Fault>) -> Option<IssuerUrl> {
    let key = format!("{at}.issuer");
    let Some(text) = text else {
        let fault = Fault::new(key, "is missing");
        faults.push(fault.remedy("write the provider's address, as in the `iss` of its tokens"));
        return None;
    };
    let url = IssuerUrl::new(text.to_owned()).ok();
    let url = url.filter(|url| is_confidential(url.url()));
    if url.is_none() {
        faults.push(
            Fault::new(key, "is no https address")
                .value(text)
                .remedy("write https://HOST/PATH (http only for a provider on this host)"),
        );
    }
    url
}

/// Whether what is sent to this address cannot be read on the way.
pub(crate) fn is_confidential(url: &Url) -> bool {
    match url.scheme() {
        "https" => url.host().is_some(),
        "http" => match url.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        },
        _ => false,
    }
}
