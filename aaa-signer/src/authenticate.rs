//! Who asks: the authenticators, one file each behind one trait.

pub(crate) mod ldap;
pub(crate) mod mapping;
pub(crate) mod oidc;
pub(crate) mod password;
pub(crate) mod totp;
pub(crate) mod trust;
pub(crate) mod userlist;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use futures_util::future::BoxFuture;
use overlay_protocol::SecretText;
use overlay_tokens::UnixTime;
use overlay_tokens::claims::ClientPermissions;

use crate::login::Reason;

/// Proves who somebody is by name and password.
pub(crate) trait Authenticator: Send + Sync + fmt::Debug {
    /// Its name in configuration, records and labels.
    fn name(&self) -> &'static str;

    /// Decides about one attempt. Whether the name is known must show in the [`Refusal`] only, not in the work done.
    fn authenticate<'a>(&'a self, attempt: &'a Attempt) -> BoxFuture<'a, Result<Person, Refusal>>;

    /// Does the work of a refusal and decides nothing: for a name that is locked, which must not show.
    fn pretend<'a>(&'a self, attempt: &'a Attempt) -> BoxFuture<'a, ()>;
}

/// An attempt to log in with a name and a password; possession of the key is proved already.
#[derive(Debug, Clone)]
pub(crate) struct Attempt {
    /// As the client sent it.
    pub username: String,
    /// As the client sent it; never cut.
    pub password: SecretText,
    /// The second factor, when it came in a field of its own.
    pub otp: Option<SecretText>,
    /// When it came.
    pub now: UnixTime,
}

/// Somebody who was recognised, and what the token will say of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Person {
    /// For people: logs and records.
    pub name: String,
    /// Claim `callerid`, whole, such as `up=rip`.
    pub callerid: String,
    /// Claim `agents`.
    pub agents: Vec<String>,
    /// Claim `opa_policy`.
    pub opa_policy: Option<String>,
    /// Claim `ou`; nothing: the login's default.
    pub organisation: Option<String>,
    /// Claim `user_properties`.
    pub properties: BTreeMap<String, String>,
    /// Claim `permissions`; absent is written as absent.
    pub permissions: Option<ClientPermissions>,
    /// Claim `tenant`.
    pub tenant: Option<String>,
    /// How long the token is good; nothing: the login's default.
    pub validity: Option<Duration>,
    /// Second factor that was proved, for the record.
    pub factor: Option<&'static str>,
}

/// Why somebody was not recognised. The wire says nothing of it; log, metric and record do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// What it counts as.
    pub reason: Reason,
    /// For people.
    pub message: String,
}

impl Refusal {
    /// A refusal with more to say than its reason.
    pub(crate) fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        Self::new(reason, reason.message())
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
