//! Builders of new claims, with Choria's defaults and demands.

use std::collections::BTreeMap;
use std::time::Duration;

use overlay_protocol::id::{Ksuid, Tenant};
use serde_json::{Map, Value};

use super::{IssueError, new_id};
use crate::SecretText;
use crate::UnixTime;
use crate::claims::{
    ClientClaims, ClientPermissions, DEFAULT_OU, ProvisioningClaims, Purpose, ServerClaims,
    ServerPermissions, Standard,
};
use crate::key::PublicKey;

/// `iss` of tokens that name no issuer: the text that Choria's own library writes.
pub const DEFAULT_ISSUER: &str = "Choria Tokens Package";
/// Validity of client and provisioning tokens that ask for none, in seconds.
pub const DEFAULT_VALIDITY_SECONDS: u64 = 3600;

/// A new client token.
#[derive(Debug, Clone, Default)]
pub struct ClientToken {
    /// Who will call, such as `up=rip`; required.
    pub callerid: String,
    /// The holder's public key; without it the token is accepted nowhere.
    pub public_key: Option<PublicKey>,
    /// Organisation; `choria` when empty.
    pub ou: String,
    /// How long the token is good; one hour when zero.
    pub validity: Duration,
    /// Free text for `iss`; Choria's default when empty.
    pub issuer: String,
    /// Actions that the login service may sign.
    pub agents: Vec<String>,
    /// Free properties for policies.
    pub user_properties: BTreeMap<String, String>,
    /// Rego policy.
    pub opa_policy: Option<String>,
    /// Tenant.
    pub tenant: Option<Tenant>,
    /// Permissions; absent is written as absent and means the least.
    pub permissions: Option<ClientPermissions>,
    /// Further subjects to publish to.
    pub pub_subjects: Vec<String>,
    /// Further subjects to subscribe to.
    pub sub_subjects: Vec<String>,
}

impl ClientToken {
    /// A token for `callerid` with all defaults.
    pub fn new(callerid: impl Into<String>) -> Self {
        Self {
            callerid: callerid.into(),
            ..Self::default()
        }
    }

    /// The claims, issued at `now` with a new id.
    pub fn claims(self, now: UnixTime) -> Result<ClientClaims, IssueError> {
        let id = new_id(now.secs)?;
        self.claims_with_id(now, id)
    }

    /// The claims with a given id, whose time should be `now`: chains are refused otherwise.
    pub fn claims_with_id(self, now: UnixTime, id: Ksuid) -> Result<ClientClaims, IssueError> {
        required(&self.callerid, "a caller id")?;
        Ok(ClientClaims {
            callerid: self.callerid,
            agents: self.agents,
            ou: Some(or_default(self.ou, DEFAULT_OU)),
            user_properties: self.user_properties,
            opa_policy: self.opa_policy.filter(|policy| !policy.is_empty()),
            tenant: self.tenant.map(String::from),
            permissions: self.permissions,
            pub_subjects: self.pub_subjects,
            sub_subjects: self.sub_subjects,
            standard: standard(
                Purpose::Client,
                self.public_key,
                self.issuer,
                self.validity,
                now,
                id,
            ),
        })
    }
}

/// A new server token.
#[derive(Debug, Clone, Default)]
pub struct ServerToken {
    /// The node's name; required.
    pub identity: String,
    /// Its collectives; at least one is required.
    pub collectives: Vec<String>,
    /// The node's public key; required.
    pub public_key: Option<PublicKey>,
    /// How long the token is good; required.
    pub validity: Duration,
    /// Organisation; `choria` when empty.
    pub ou: String,
    /// Free text for `iss`; Choria's default when empty.
    pub issuer: String,
    /// Permissions.
    pub permissions: Option<ServerPermissions>,
    /// Further subjects to publish to.
    pub pub_subjects: Vec<String>,
}

impl ServerToken {
    /// The claims, issued at `now` with a new id.
    pub fn claims(self, now: UnixTime) -> Result<ServerClaims, IssueError> {
        let id = new_id(now.secs)?;
        self.claims_with_id(now, id)
    }

    /// The claims with a given id, whose time should be `now`: chains are refused otherwise.
    pub fn claims_with_id(self, now: UnixTime, id: Ksuid) -> Result<ServerClaims, IssueError> {
        required(&self.identity, "an identity")?;
        if self.collectives.is_empty() || self.collectives.iter().any(String::is_empty) {
            return Err(IssueError::Missing {
                what: "at least one collective",
            });
        }
        if self.public_key.is_none() {
            return Err(IssueError::Missing {
                what: "a public key",
            });
        }
        if self.validity.is_zero() {
            return Err(IssueError::Missing { what: "a validity" });
        }
        Ok(ServerClaims {
            identity: self.identity,
            collectives: self.collectives,
            permissions: self.permissions,
            ou: Some(or_default(self.ou, DEFAULT_OU)),
            pub_subjects: self.pub_subjects,
            standard: standard(
                Purpose::Server,
                self.public_key,
                self.issuer,
                self.validity,
                now,
                id,
            ),
        })
    }
}

/// A new provisioning token.
#[derive(Debug, Clone, Default)]
pub struct ProvisioningToken {
    /// Shared secret that guards the provisioning agent; nodes refuse a token without.
    pub token: SecretText,
    /// Whether messages are secured while provisioning.
    pub secure: bool,
    /// Broker URLs; exactly one of this and `srv_domain` is required.
    pub urls: Vec<String>,
    /// Domain of the SRV records that name the brokers.
    pub srv_domain: String,
    /// Whether nodes provision by default.
    pub by_default: bool,
    /// Path of the registration data file.
    pub registration: String,
    /// Path of the facts file.
    pub facts: String,
    /// NATS user to present.
    pub username: String,
    /// NATS password to present.
    pub password: SecretText,
    /// Free form extensions; [`OverlayExtension::write`](crate::claims::OverlayExtension::write) adds ours.
    pub extensions: Option<Map<String, Value>>,
    /// Organisation; `choria` when empty.
    pub ou: String,
    /// Whether the node speaks protocol v2.
    pub protocol_v2: bool,
    /// Whether in-place upgrades are allowed.
    pub allow_update: bool,
    /// How long the token is good; one hour when zero.
    pub validity: Duration,
    /// Free text for `iss`; Choria's default when empty.
    pub issuer: String,
}

impl ProvisioningToken {
    /// The claims, issued at `now` with a new id.
    pub fn claims(self, now: UnixTime) -> Result<ProvisioningClaims, IssueError> {
        let id = new_id(now.secs)?;
        self.claims_with_id(now, id)
    }

    /// The claims with a given id.
    pub fn claims_with_id(
        self,
        now: UnixTime,
        id: Ksuid,
    ) -> Result<ProvisioningClaims, IssueError> {
        match (self.urls.is_empty(), self.srv_domain.is_empty()) {
            (true, true) => {
                return Err(IssueError::Missing {
                    what: "an srv domain or broker urls",
                });
            }
            (false, false) => return Err(IssueError::UrlsAndSrv),
            _ => {}
        }
        let mut standard = standard(
            Purpose::Provisioning,
            None,
            self.issuer,
            self.validity,
            now,
            id,
        );
        Purpose::Provisioning.as_str().clone_into(&mut standard.sub);
        Ok(ProvisioningClaims {
            cht: self.token,
            chs: self.secure,
            chu: self.urls.join(","),
            chsrv: self.srv_domain,
            chpd: self.by_default,
            chrd: self.registration,
            chf: self.facts,
            chusr: self.username,
            chpwd: self.password,
            extensions: self.extensions,
            ou: Some(or_default(self.ou, DEFAULT_OU)),
            v2: self.protocol_v2,
            update: self.allow_update,
            standard,
        })
    }
}

fn standard(
    purpose: Purpose,
    public_key: Option<PublicKey>,
    issuer: String,
    validity: Duration,
    now: UnixTime,
    id: Ksuid,
) -> Standard {
    let validity = if validity.is_zero() {
        DEFAULT_VALIDITY_SECONDS
    } else {
        validity.as_secs()
    };
    Standard {
        purpose,
        public_key: public_key.map(|key| key.to_string()).unwrap_or_default(),
        iss: or_default(issuer, DEFAULT_ISSUER),
        exp: Some(
            now.secs
                .saturating_add(i64::try_from(validity).unwrap_or(i64::MAX)),
        ),
        nbf: Some(now.secs),
        iat: Some(now.secs),
        jti: id.to_string(),
        ..Standard::default()
    }
}

fn required(text: &str, what: &'static str) -> Result<(), IssueError> {
    if text.is_empty() {
        Err(IssueError::Missing { what })
    } else {
        Ok(())
    }
}

fn or_default(text: String, default: &str) -> String {
    if text.is_empty() {
        default.to_owned()
    } else {
        text
    }
}
