//! Nodes that have yet to be provisioned, and the provisioner.
//!
//! What must hold: a node hears the requests to its own name only and publishes only what nobody takes for somebody
//! else's word; what is wider is a switch of [`ProvisioningCompat`].

use overlay_protocol::id::Identity;
use overlay_tokens::claims::{ProvisioningClaims, Purpose};
use overlay_tokens::{TokenError, UnixTime, Verified, VerifyError};

use super::{Login, Refusal, Role, client_token, not_denied, organisation, shown};
use crate::attempt::Attempt;
use crate::permissions::Permissions;
use crate::policy::{PROVISIONER, Policy, Provisioning, ProvisioningCompat};
use crate::reason::Reason;

/// Lets in the provisioner, by its password and a token whose key signed the broker's nonce.
pub(super) fn provisioner(
    attempt: &Attempt<'_>,
    policy: &Policy,
    provisioning: &Provisioning,
    now: UnixTime,
) -> Result<Login, Refusal> {
    if !provisioning.password.is(attempt.password.0) {
        return Err(Reason::ProvisionerPassword.into());
    }
    let login = |expires| Login {
        role: Role::Provisioner,
        account: policy.accounts.provisioning.clone(),
        name: PROVISIONER.to_owned(),
        expires,
        permissions: if provisioning.compat.provisioner_unrestricted {
            Permissions::unrestricted()
        } else {
            Permissions::provisioner()
        },
        dropped: Vec::new(),
    };
    if attempt.token.0.is_empty() {
        return if provisioning.without_token {
            Ok(login(None))
        } else {
            Err(Reason::ProvisionerToken.into())
        };
    }
    let token = client_token(attempt, policy, now)?;
    let refuse = |reason| Err(Refusal::from(reason).of(Purpose::Client, &token.callerid));
    if !token.granted().provisioner {
        return refuse(Reason::NotAProvisioner);
    }
    if organisation(&token) != policy.organisation {
        return refuse(Reason::ForeignProvisioner);
    }
    Ok(login(token.expires_at()))
}

/// Lets in a node by the token that it shares with others, under the name that it gives itself.
pub(super) fn unprovisioned(
    attempt: &Attempt<'_>,
    policy: &Policy,
    now: UnixTime,
) -> Result<Login, Refusal> {
    admitted(attempt, policy, now)
        .map_err(|refusal| refusal.of(Purpose::Provisioning, attempt.name))
}

fn admitted(attempt: &Attempt<'_>, policy: &Policy, now: UnixTime) -> Result<Login, Refusal> {
    let provisioning = policy
        .provisioning
        .as_ref()
        .ok_or(Reason::ProvisioningOff)?;
    let token = policy
        .memory
        .provisioning
        .verify(attempt.token.0, &policy.issuers, now)
        .map_err(|error| match error {
            TokenError::Verify(VerifyError::KeyType { .. }) => {
                Reason::ProvisioningSignerUnknown.into()
            }
            TokenError::Verify(_) | TokenError::Decode(_) => Refusal::from(error),
        })?;
    not_denied(policy, &token.standard, now)?;
    let node = node_of(attempt.name, &token, provisioning.compat)?;
    let kept_out = |name: &Identity| policy.denied.identities.contains(name.as_str());
    if node.as_ref().is_some_and(kept_out) {
        return Err(Reason::Denied.into());
    }
    Ok(Login {
        role: Role::Unprovisioned,
        account: policy.accounts.provisioning.clone(),
        name: format!("unprovisioned:{}", shown(attempt.name)),
        expires: token.expires_at(),
        permissions: Permissions::unprovisioned(node.as_ref(), provisioning.compat),
        dropped: Vec::new(),
    })
}

/// The node whose requests the connection may hear; nothing when it may hear those of all.
fn node_of(
    name: &str,
    token: &Verified<ProvisioningClaims>,
    compat: ProvisioningCompat,
) -> Result<Option<Identity>, Refusal> {
    let extension = token
        .overlay()
        .map_err(|error| Refusal::with(Reason::BadTokenExtensions, &error))?;
    match extension.identity {
        Some(own) if own.as_str() == name || compat.any_node_name => Ok(Some(own)),
        Some(_) => Err(Reason::AnotherNodesToken.into()),
        None if compat.any_node_name => Ok(None),
        None => Identity::new(name)
            .map(Some)
            .map_err(|error| Refusal::with(Reason::BadNodeName, &error)),
    }
}
