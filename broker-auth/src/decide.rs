//! Who may log in as what: every rule, and nothing but rules.
//!
//! What must hold: an allowed login rests on a token that [`overlay_tokens`] verified at the given time, on the password
//! of the system user beside a certificate that the broker verified, or on such a certificate alone where the policy
//! says so. Whoever has yet to log in gets nowhere but to the login service. Everything else is refused.

use std::sync::Arc;

use overlay_protocol::id::{Collective, Identity};
use overlay_tokens::claims::{Claims, ClientClaims, Purpose, ServerClaims, Standard};
use overlay_tokens::{UnixTime, Verified, purpose, verify_nonce};

use crate::attempt::{Attempt, Kind, Tls};
use crate::permissions::{Granted, NodeNames, Permissions};
use crate::policy::{Certificates, LOGIN, NodeExpiry, PROVISIONER, Policy, System};
use crate::reason::Reason;

/// Prefix of the token with which the service tries itself.
pub const SELF_CHECK: &str = "overlay-broker-auth-self-check.";

/// Longest connection name that becomes part of a user name, in characters.
const SHOWN_NAME: usize = 128;

mod provisioning;
mod refusal;
mod stranger;

pub use refusal::Refusal;

use provisioning::{provisioner, unprovisioned};
use stranger::stranger;

/// What to answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Let in.
    Allow(Login),
    /// Keep out.
    Refuse(Refusal),
}

/// An allowed login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// As what.
    pub role: Role,
    /// Account of the broker to be placed in.
    pub account: String,
    /// Name that the broker shows.
    pub name: String,
    /// When the broker ends the connection, in Unix seconds.
    pub expires: Option<i64>,
    /// What may be done.
    pub permissions: Permissions,
    /// Subjects of the token that were left out, for they are none.
    pub dropped: Vec<String>,
}

/// As what somebody logs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// A person or a service with a client token.
    Client,
    /// A fleet node.
    Node,
    /// A node that has yet to be provisioned.
    Unprovisioned,
    /// The provisioner.
    Provisioner,
    /// The system user.
    System,
    /// A verified certificate without a token.
    Certificate,
    /// Somebody who has yet to log in.
    Login,
}

impl Role {
    /// All roles, so that each metric exists from the start.
    pub const ALL: [Self; 7] = [
        Self::Client,
        Self::Node,
        Self::Unprovisioned,
        Self::Provisioner,
        Self::System,
        Self::Certificate,
        Self::Login,
    ];

    /// The label of metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Node => "node",
            Self::Unprovisioned => "unprovisioned",
            Self::Provisioner => "provisioner",
            Self::System => "system",
            Self::Certificate => "certificate",
            Self::Login => "login",
        }
    }
}

/// Decides about one attempt.
#[must_use]
pub fn decide(attempt: &Attempt<'_>, policy: &Policy, now: UnixTime) -> Decision {
    match admit(attempt, policy, now) {
        Ok(login) => Decision::Allow(login),
        Err(refusal) => Decision::Refuse(refusal.of_attempt(attempt.user, attempt.token.0)),
    }
}

fn admit(attempt: &Attempt<'_>, policy: &Policy, now: UnixTime) -> Result<Login, Refusal> {
    if attempt.token.0.starts_with(SELF_CHECK) {
        return Err(Reason::SelfCheck.into());
    }
    match attempt.kind {
        Kind::Client => {}
        Kind::Leaf => return Err(Reason::LeafNode.into()),
        Kind::Mqtt => return Err(Reason::Mqtt.into()),
        Kind::Other => return Err(Reason::UnknownConnection.into()),
    }
    let certified = match attempt.tls {
        Tls::None if policy.offload.holds(attempt.host) => false,
        Tls::None => return Err(Reason::NotEncrypted.into()),
        Tls::Encrypted => false,
        Tls::Verified => policy.certificate_counts(attempt.host),
    };
    if attempt.user == PROVISIONER {
        let provisioning = policy
            .provisioning
            .as_ref()
            .ok_or(Reason::ProvisioningOff)?;
        return provisioner(attempt, policy, provisioning, now);
    }
    if let Some(system) = &policy.system
        && attempt.user == system.user
    {
        return system_user(attempt, policy, system, certified, now);
    }
    if attempt.user == LOGIN && attempt.token.0.is_empty() && !attempt.password.0.is_empty() {
        return stranger(attempt, policy, now);
    }
    if attempt.token.0.is_empty() {
        return if certified {
            certificate(attempt, policy)
        } else {
            Err(unproved(attempt))
        };
    }
    // Most logins are of nodes that were here before: their tokens are found as they are, without a look into them.
    if let Some(Ok(token)) = policy
        .memory
        .servers
        .find(attempt.token.0, &policy.issuers, now)
    {
        return known_node(attempt, policy, &token, now);
    }
    match purpose(attempt.token.0)? {
        Purpose::Client => client(attempt, policy, now),
        Purpose::Server => node(attempt, policy, now),
        Purpose::Provisioning if certified => {
            Err(Refusal::from(Reason::ProvisioningWithCertificate).of(Purpose::Provisioning, ""))
        }
        Purpose::Provisioning => unprovisioned(attempt, policy, now),
        other @ Purpose::Unknown(_) => Err(Refusal::from(Reason::UnknownPurpose).of(other, "")),
    }
}

impl Policy {
    fn certificate_counts(&self, host: &str) -> bool {
        self.certificates != Certificates::Ignored
            && (self.certificate_hosts.is_empty() || self.certificate_hosts.holds(host))
    }
}

fn unproved(attempt: &Attempt<'_>) -> Refusal {
    match attempt.tls {
        Tls::Verified => Reason::CertificateAlone.into(),
        Tls::None | Tls::Encrypted => Reason::NothingPresented.into(),
    }
}

fn client(attempt: &Attempt<'_>, policy: &Policy, now: UnixTime) -> Result<Login, Refusal> {
    let token = held_client_token(attempt, policy, now)?;
    let Granted {
        permissions,
        dropped,
    } = Permissions::client(&token, organisation(&token));
    Ok(Login {
        role: Role::Client,
        account: policy.accounts.choria.clone(),
        name: token.callerid.clone(),
        expires: token.expires_at(),
        permissions,
        dropped,
    })
}

fn system_user(
    attempt: &Attempt<'_>,
    policy: &Policy,
    system: &System,
    certified: bool,
    now: UnixTime,
) -> Result<Login, Refusal> {
    if !system.password.is(attempt.password.0) {
        return Err(Reason::SystemPassword.into());
    }
    let expires = if certified {
        None
    } else if attempt.token.0.is_empty() {
        return Err(Reason::SystemToken.into());
    } else {
        let token = client_token(attempt, policy, now)?;
        let granted = token.granted();
        if !(granted.system_user || granted.org_admin) {
            return Err(Refusal::from(Reason::NotASystemUser).of(Purpose::Client, &token.callerid));
        }
        token.expires_at()
    };
    Ok(Login {
        role: Role::System,
        account: policy.accounts.system.clone(),
        name: system.user.clone(),
        expires,
        permissions: Permissions::unrestricted(),
        dropped: Vec::new(),
    })
}

fn node(attempt: &Attempt<'_>, policy: &Policy, now: UnixTime) -> Result<Login, Refusal> {
    let token = policy
        .memory
        .servers
        .verify(attempt.token.0, &policy.issuers, now)
        .map_err(|error| Refusal::of_server(error, attempt.token.0))?;
    known_node(attempt, policy, &token, now)
}

fn known_node(
    attempt: &Attempt<'_>,
    policy: &Policy,
    token: &Verified<ServerClaims>,
    now: UnixTime,
) -> Result<Login, Refusal> {
    node_login(attempt, policy, token, now)
        .map_err(|refusal| refusal.of(Purpose::Server, &token.identity))
}

fn node_login(
    attempt: &Attempt<'_>,
    policy: &Policy,
    token: &Verified<ServerClaims>,
    now: UnixTime,
) -> Result<Login, Refusal> {
    let names = node_names(token)?;
    prove_holder(attempt, token)?;
    not_denied(policy, &token.standard, now)?;
    if policy.denied.identities.contains(&token.identity) {
        return Err(Reason::Denied.into());
    }
    let Granted {
        permissions,
        dropped,
    } = if policy.silence_nodes {
        Granted {
            permissions: Permissions::nothing(),
            dropped: Vec::new(),
        }
    } else {
        Permissions::server(token, &names, organisation(token))
    };
    let ends = match policy.node_expiry {
        NodeExpiry::Never => false,
        NodeExpiry::RustNodes => attempt.library == "rust",
        NodeExpiry::Always => true,
    };
    Ok(Login {
        role: Role::Node,
        account: policy.accounts.choria.clone(),
        name: token.identity.clone(),
        expires: token.expires_at().filter(|_| ends),
        permissions,
        dropped,
    })
}

fn certificate(attempt: &Attempt<'_>, policy: &Policy) -> Result<Login, Refusal> {
    let permissions = match policy.certificates {
        Certificates::Ignored => return Err(Reason::CertificateAlone.into()),
        Certificates::PubSub => Permissions::pub_sub(),
        Certificates::Node if policy.silence_nodes => Permissions::nothing(),
        Certificates::Node => Permissions::server_without_token(),
    };
    let name = if attempt.user.is_empty() {
        "pubsub".to_owned()
    } else {
        shown(attempt.user)
    };
    Ok(Login {
        role: Role::Certificate,
        account: policy.accounts.choria.clone(),
        name,
        expires: None,
        permissions,
        dropped: Vec::new(),
    })
}

/// Does what [`held_client_token`] does, for logins that take no other purpose.
fn client_token(
    attempt: &Attempt<'_>,
    policy: &Policy,
    now: UnixTime,
) -> Result<Arc<Verified<ClientClaims>>, Refusal> {
    let purpose = purpose(attempt.token.0)?;
    if purpose != Purpose::Client {
        return Err(Refusal::from(Reason::WrongPurpose).of(purpose, ""));
    }
    held_client_token(attempt, policy, now)
}

/// Verifies a client token and that whoever presents it holds its key.
fn held_client_token(
    attempt: &Attempt<'_>,
    policy: &Policy,
    now: UnixTime,
) -> Result<Arc<Verified<ClientClaims>>, Refusal> {
    let token = policy
        .memory
        .clients
        .verify(attempt.token.0, &policy.issuers, now)
        .map_err(|error| Refusal::of_client(error, attempt.token.0))?;
    check_client(attempt, policy, &token, now)
        .map_err(|refusal| refusal.of(Purpose::Client, &token.callerid))?;
    Ok(token)
}

fn check_client(
    attempt: &Attempt<'_>,
    policy: &Policy,
    token: &Verified<ClientClaims>,
    now: UnixTime,
) -> Result<(), Refusal> {
    if token.callerid.is_empty() || token.callerid.chars().any(char::is_control) {
        return Err(Reason::BadCallerId.into());
    }
    prove_holder(attempt, token)?;
    not_denied(policy, &token.standard, now)?;
    if policy.denied.callers.contains(&token.callerid) {
        return Err(Reason::Denied.into());
    }
    Ok(())
}

/// Checks that neither the token nor the chain issuer that made it is kept out.
fn not_denied(policy: &Policy, claims: &Standard, now: UnixTime) -> Result<(), Refusal> {
    if policy.denied.has_token(claims) {
        return Err(Reason::Denied.into());
    }
    if policy.denied.is_of_old_issuer(claims, now) {
        return Err(Reason::IssuerTooOld.into());
    }
    Ok(())
}

/// Checks that the broker's nonce was signed with the key that the token names.
fn prove_holder<C: Claims>(attempt: &Attempt<'_>, token: &Verified<C>) -> Result<(), Refusal> {
    let key = token
        .public_key()
        .map_err(|error| Refusal::with(Reason::BadPublicKey, &error))?;
    Ok(verify_nonce(&key, attempt.nonce, attempt.signature)?)
}

fn node_names(claims: &ServerClaims) -> Result<NodeNames, Refusal> {
    let identity = Identity::new(claims.identity.as_str())
        .map_err(|error| Refusal::with(Reason::BadIdentity, &error))?;
    let collectives = claims
        .collectives
        .iter()
        .map(|name| Collective::new(name.as_str()))
        .collect::<Result<_, _>>()
        .map_err(|error| Refusal::with(Reason::BadCollective, &error))?;
    Ok(NodeNames {
        identity,
        collectives,
    })
}

/// A foreign text as it may stand in names and logs: bounded, without control characters.
fn shown(text: &str) -> String {
    text.chars()
        .take(SHOWN_NAME)
        .map(|found| {
            if found.is_control() {
                '\u{fffd}'
            } else {
                found
            }
        })
        .collect()
}

/// The organisation that vouched for a token: verification found its issuer by this very claim.
fn organisation<C: Claims>(token: &Verified<C>) -> &str {
    token.ou().unwrap_or_default()
}

#[cfg(test)]
mod tests;
