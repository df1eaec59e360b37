//! What is judged once a node has answered for the first time.

use std::sync::Arc;

use overlay_protocol::id::{Identity, MAX_NAME_BYTES, sha256_hex};
use overlay_protocol::provisioning::{NodeRecord, NodeState, TokenFacts};
use overlay_tokens::claims::{OverlayExtension, ProvisioningClaims, ServerClaims};
use overlay_tokens::{
    PublicKey, TokenError, UnixTime, Unverified, Verified, VerifyError, verify_renewal,
};

use super::command::{NameState, Why, cut};
use crate::policy::{Conflict, Policy};
use crate::reason::Reason;

/// Member of a token's extensions that tells where its nodes are.
const SITE: &str = "site";

/// A provisioning token that is good for this node.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) token: Arc<Verified<ProvisioningClaims>>,
    pub(super) facts: TokenFacts,
    pub(super) site: Option<String>,
}

/// Judges a provisioning token.
pub(super) fn token(
    text: &str,
    identity: &Identity,
    policy: &Policy,
    now: UnixTime,
) -> Result<Shown, Why> {
    let known = &policy.known_tokens.0;
    let token = known
        .verify(text, &policy.issuers, now)
        .map_err(|error| match error {
            TokenError::Decode(error) => Why::new(
                Reason::TokenMalformed,
                format!("the node's provisioning token cannot be read: {error}"),
            ),
            TokenError::Verify(error) => Why::new(
                reason(&error),
                format!("the node's provisioning token is not good: {error}"),
            ),
        })?;
    let id = &token.standard.jti;
    if policy.denied_tokens.contains(id) {
        return Err(Why::new(
            Reason::TokenDenied,
            format!("the node's provisioning token {id} is on the deny list"),
        ));
    }
    let extension = OverlayExtension::of(token.extensions.as_ref())
        .map_err(|error| Why::new(Reason::TokenExtension, error.to_string()))?;
    if let Some(only) = &extension.identity
        && only != identity
    {
        return Err(Why::new(
            Reason::TokenOtherName,
            format!("the node's provisioning token is good for {only} only"),
        ));
    }
    if extension.one_time && id.is_empty() {
        return Err(Why::new(
            Reason::TokenExtension,
            "the node's provisioning token is good once and has no id to remember it by",
        ));
    }
    // An issuer may write long texts into a token, and records must stay small.
    let some =
        |text: &str| Some(cut(text, MAX_NAME_BYTES).to_owned()).filter(|text| !text.is_empty());
    let facts = TokenFacts {
        sha256: sha256_hex(text),
        id: some(id),
        organisation: token.ou.as_deref().and_then(some),
        issuer: some(&token.standard.iss),
        expires: token.expires_at(),
        bound_to: extension.identity.map(String::from),
        one_time: extension.one_time,
    };
    let site = token
        .extensions
        .as_ref()
        .and_then(|extensions| some(extensions.get(SITE)?.as_str()?))
        .or_else(|| policy.site.clone());
    Ok(Shown { token, facts, site })
}

fn reason(error: &VerifyError) -> Reason {
    match error {
        VerifyError::Algorithm { .. }
        | VerifyError::KeyType { .. }
        | VerifyError::NoOu
        | VerifyError::UnknownOu { .. }
        | VerifyError::Chain(_)
        | VerifyError::Signature => Reason::TokenUntrusted,
        VerifyError::Expired | VerifyError::NotYetValid | VerifyError::IssuerExpired => {
            Reason::TokenExpired
        }
        VerifyError::Purpose { .. } => Reason::TokenPurpose,
    }
}

/// Judges the proof of a node that it is the member of its name: its token that is still good, and a signature by the
/// token's key over our nonce. Returns the old key.
///
/// The key must be the one that a token was issued for last, where that is known, and the organisation that of the
/// provisioning token; a token that has ended proves it for that key only. What proves nothing is no fault: the node then has
/// to be taken as a new one.
pub(super) fn renewal(
    server_jwt: &str,
    (nonce, signature): (&str, &str),
    identity: &Identity,
    (last, ou): (Option<&str>, Option<&str>),
    policy: &Policy,
    now: UnixTime,
) -> Result<Option<PublicKey>, Why> {
    let unproven = |text: String| Why::new(Reason::KeyUnproven, text);
    let Ok(token) = Unverified::<ServerClaims>::decode(server_jwt.trim_end()) else {
        return Ok(None);
    };
    let claims = &token.claims_unverified().standard;
    // A key that another has replaced, and a token that is denied itself or by its issuer, prove nothing.
    let superseded = last.is_some_and(|last| last != claims.public_key);
    let denied = [Some(claims.jti.as_str()), claims.chain_issuer_id()]
        .into_iter()
        .flatten()
        .any(|id| policy.denied_tokens.contains(id));
    if superseded || denied || token.claims_unverified().ou.as_deref() != ou {
        return Ok(None);
    }
    let ended = claims
        .expires_at()
        .filter(|expires| !now.is_before(*expires));
    if ended.is_some() && last != Some(claims.public_key.as_str()) {
        return Ok(None);
    }
    let good_at = ended.map_or(now, |ended| UnixTime::from_secs(ended.saturating_sub(1)));
    let Ok(token) = token.verify(&policy.issuers, good_at) else {
        return Ok(None);
    };
    if token.identity != identity.as_str() {
        return Err(unproven(format!(
            "the token by which the node wants to renew is that of {:?}",
            cut(&token.identity, MAX_NAME_BYTES)
        )));
    }
    let key = token
        .public_key()
        .map_err(|error| unproven(format!("the node's old token has no key: {error}")))?;
    verify_renewal(&key, nonce, signature)
        .map_err(|error| unproven(format!("the node did not prove its old key: {error}")))?;
    Ok(Some(key))
}

/// Until when a token is good that a member of this name holds.
pub(super) fn held_until(record: &NodeRecord, now: UnixTime) -> Option<i64> {
    let expires = record.issued.as_ref()?.expires;
    (!is_unconfirmed(record) && now.is_before(expires)).then_some(expires)
}

/// Whether the last token was issued to a node that was not seen as a member since.
pub(super) fn is_unconfirmed(record: &NodeRecord) -> bool {
    let on_its_way = matches!(record.state, NodeState::Enrolling | NodeState::Restarting);
    on_its_way || record.reason.as_deref() == Some(Reason::NotSeen.as_str())
}

/// Judges whether the name may be had: nothing stands against it, or the helper has to confirm, or it may not.
pub(super) fn name(
    identity: &Identity,
    state: NameState,
    held_until: Option<i64>,
    policy: &Policy,
) -> Result<Option<Why>, Why> {
    let live = match state {
        NameState::Free => None,
        NameState::Live => Some(Why::new(
            Reason::NameLive,
            format!("a node of the name {identity} is connected to the fleet"),
        )),
        NameState::Unknown => Some(Why::new(
            Reason::NameUnknown,
            format!("whether a node of the name {identity} is connected cannot be found out"),
        )),
    };
    let held = held_until.map(|expires| {
        Why::new(
            Reason::NameHeld,
            format!("the name {identity} was enrolled, and its token is good until {expires}"),
        )
    });
    let mut confirm = None;
    for (why, rule) in [(live, policy.names.live), (held, policy.names.held)] {
        match (why, rule) {
            (None, _) | (Some(_), Conflict::Allow) => {}
            (Some(why), Conflict::Refuse) => return Err(why),
            (Some(why), Conflict::Confirm) => confirm = confirm.or(Some(why)),
        }
    }
    Ok(confirm)
}
