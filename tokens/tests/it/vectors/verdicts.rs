//! Tokens and what the original says of them.

use overlay_testkit::vectors::{Loader, Outcome};
use overlay_tokens::claims::{Claims, ClientClaims, ProvisioningClaims, Purpose, ServerClaims};
use overlay_tokens::own::{OwnError, check_own};
use overlay_tokens::{
    ChainError, TokenError, UnixTime, Unverified, Verified, VerifyError, VerifyKey,
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{Keys, now, rules, same, same_json, text, with_keys};
use crate::support::b64;

/// A kind of reason for a refusal, as fine as both sides tell it.
#[derive(Debug, PartialEq, Eq)]
enum Reason {
    Malformed,
    Algorithm,
    KeyType,
    NoKey,
    Chain,
    ChainOrganisation,
    ChainIssuer,
    ChainIdTime,
    ChainMissing,
    Signature,
    Expired,
    NotYetValid,
    Purpose,
    IssuerExpired,
}

impl Reason {
    /// The same, or both about the chain and one of them not telling more.
    fn agrees_with(&self, other: &Self) -> bool {
        let of_chain = |reason: &Self| {
            matches!(
                reason,
                Self::Chain
                    | Self::ChainOrganisation
                    | Self::ChainIssuer
                    | Self::ChainIdTime
                    | Self::ChainMissing
            )
        };
        self == other
            || of_chain(self) && of_chain(other) && (*self == Self::Chain || *other == Self::Chain)
    }
}

pub(super) fn verdicts(file: &Value, loader: &Loader) -> Outcome {
    with_keys(file, loader, |case, keys| {
        judge(case, text(case, "token")?, &case["expect"], keys)
    })
}

pub(super) fn library_differences(file: &Value, loader: &Loader) -> Outcome {
    with_keys(file, loader, |case, keys| {
        judge(case, text(case, "token")?, &case["expect"]["v0.0.4"], keys)
    })
}

pub(super) fn huge(file: &Value, loader: &Loader) -> Outcome {
    with_keys(file, loader, |case, keys| {
        let number = |member: &str| case[member].as_u64().and_then(|n| usize::try_from(n).ok());
        let filling = match (case["by_letter"].as_str(), number("by_nested_lists")) {
            (Some(letter), _) => letter.repeat(number("times").ok_or("no times")?),
            (None, Some(deep)) => "[".repeat(deep) + &"]".repeat(deep),
            (None, None) => return Err("no recipe".to_owned()),
        };
        let claims = text(case, "claims_text")?.replacen(text(case, "replace")?, &filling, 1);
        let signed = format!("{}.{}", b64(text(case, "header_text")?), b64(&claims));
        let signature = keys.key(text(case, "sign_key")?)?.sign(signed.as_bytes());
        let token = format!("{signed}.{}", crate::support::b64_bytes(&signature));
        same("length", &Some(token.len()), &number("token_length"))?;
        same(
            "hash",
            &hex::encode(Sha256::digest(&token)).as_str(),
            &text(case, "token_sha256")?,
        )?;
        judge(case, &token, &case["expect"], keys)
    })
}

fn judge(case: &Value, token: &str, expect: &Value, keys: &Keys) -> Result<(), String> {
    let now = now(case);
    let kind = text(case, "kind")?;
    if kind == "own" {
        return judge_own(token, expect, now);
    }
    let key = keys.verify_key(case["verify_with"].as_str().unwrap_or_default())?;
    match kind {
        "client" => judge_as::<ClientClaims>(token, kind, expect, key, now, |token| {
            if let Some(theirs) = expect["is_chain_issuer"].as_bool() {
                same("is_chain_issuer", &token.is_chain_issuer(), &theirs)?;
            }
            unique_id(expect, &token.unique_id())
        }),
        "server" => judge_as::<ServerClaims>(token, kind, expect, key, now, |token| {
            unique_id(expect, &token.unique_id())
        }),
        "provisioning" => {
            judge_as::<ProvisioningClaims>(token, kind, expect, key, now, |_token| Ok(()))
        }
        other => Err(format!("unknown kind {other}")),
    }
}

fn judge_own(token: &str, expect: &Value, now: UnixTime) -> Result<(), String> {
    let ours = check_own(token, now);
    same(
        "valid",
        &ours.is_ok(),
        &expect["valid"].as_bool().unwrap_or_default(),
    )?;
    match (ours, expect["error"].as_str()) {
        (Err(OwnError::Expired), Some(theirs)) if theirs.contains("expired") => Ok(()),
        (Err(OwnError::NotYetValid), Some(theirs)) if theirs.contains("not valid yet") => Ok(()),
        (Ok(()), None) => Ok(()),
        (ours, theirs) => Err(format!("{ours:?} where the original says {theirs:?}")),
    }
}

pub(super) fn judge_as<C: Claims>(
    token: &str,
    kind: &str,
    expect: &Value,
    key: Option<VerifyKey>,
    now: UnixTime,
    more: impl FnOnce(&Verified<C>) -> Result<(), String>,
) -> Result<(), String> {
    unproved(token, kind, expect)?;
    let verdict = match key {
        Some(key) => decode_and_verify::<C>(token, &key, now).map_err(|error| reason(&error)),
        None => Err(Reason::NoKey),
    };
    let theirs = expect["valid"].as_bool().ok_or("no verdict")?;
    if let Some(rule) = rules::stricter(token, kind) {
        return match verdict {
            Ok(_) => Err(format!("accepted against our rule: {rule}")),
            Err(_) => Ok(()),
        };
    }
    match verdict {
        Ok(verified) if theirs => accepted(&verified, expect, now).and_then(|()| more(&verified)),
        Err(ours) if !theirs => match expect["error"].as_str().and_then(go_reason) {
            Some(theirs) if ours.agrees_with(&theirs) => Ok(()),
            Some(theirs) => Err(format!("refused as {ours:?}, not as {theirs:?}")),
            None => Ok(()),
        },
        Ok(_) => Err("accepted, which the original refuses".to_owned()),
        Err(ours) => Err(format!("refused as {ours:?}, which the original accepts")),
    }
}

fn decode_and_verify<C: Claims>(
    token: &str,
    key: &VerifyKey,
    now: UnixTime,
) -> Result<Verified<C>, TokenError> {
    Ok(Unverified::<C>::decode(token)?.verify_with_key(key, now)?)
}

/// What is read from a token without a look at its signature.
fn unproved(token: &str, kind: &str, expect: &Value) -> Result<(), String> {
    if expect.get("alg_error").is_some() || rules::stricter(token, kind).is_some() {
        return Ok(());
    }
    if let Some(theirs) = expect["alg"].as_str() {
        let ours = overlay_tokens::algorithm(token).map_err(|error| error.to_string())?;
        same("alg", &ours.as_str(), &theirs)?;
    }
    if let Some(theirs) = expect["purpose"].as_str() {
        let ours = overlay_tokens::purpose(token).map_err(|error| error.to_string())?;
        same("purpose", &ours.as_str(), &theirs)?;
    }
    Ok(())
}

fn accepted<C: Claims>(token: &Verified<C>, expect: &Value, now: UnixTime) -> Result<(), String> {
    if let Some(theirs) = expect.get("claims") {
        same_json("claims", &token.to_json(), theirs)?;
    }
    if let Some(theirs) = expect.get("expire_time") {
        same("expire_time", &json!(token.expires_at()), theirs)?;
    }
    if let Some(theirs) = expect["is_expired"].as_bool() {
        same(
            "is_expired",
            &token.standard().is_expired_for_holder(now),
            &theirs,
        )?;
    }
    if let Some(theirs) = expect["is_chain_issuer_unverified"].as_bool() {
        let ours = C::PURPOSE == Purpose::Client && token.standard().looks_like_chain_issuer();
        same("is_chain_issuer_unverified", &ours, &theirs)?;
    }
    if let (Some(theirs), VerifyKey::Ed25519(ours)) = (
        expect["verification_key"].as_str(),
        token.verification_key(),
    ) {
        same("verification_key", &ours.to_string().as_str(), &theirs)?;
    }
    Ok(())
}

fn unique_id(expect: &Value, ours: &str) -> Result<(), String> {
    expect["unique_id"]
        .as_str()
        .map_or(Ok(()), |theirs| same("unique_id", &ours, &theirs))
}

fn reason(error: &TokenError) -> Reason {
    match error {
        TokenError::Decode(_) => Reason::Malformed,
        TokenError::Verify(error) => match error {
            VerifyError::Algorithm { .. } => Reason::Algorithm,
            VerifyError::KeyType { .. } => Reason::KeyType,
            VerifyError::Chain(ChainError::Organisation) => Reason::ChainOrganisation,
            VerifyError::Chain(ChainError::ChainIssuer) => Reason::ChainIssuer,
            VerifyError::Chain(ChainError::IdTime) => Reason::ChainIdTime,
            VerifyError::Chain(ChainError::Missing { .. }) => Reason::ChainMissing,
            VerifyError::Chain(_) => Reason::Chain,
            VerifyError::Signature => Reason::Signature,
            VerifyError::Expired => Reason::Expired,
            VerifyError::NotYetValid => Reason::NotYetValid,
            VerifyError::Purpose { .. } => Reason::Purpose,
            VerifyError::IssuerExpired => Reason::IssuerExpired,
            VerifyError::NoOu | VerifyError::UnknownOu { .. } => Reason::NoKey,
        },
    }
}

/// The reason in the original's error text, where it is one that we tell as well.
fn go_reason(text: &str) -> Option<Reason> {
    let table = [
        ("not signed by org issuer", Reason::ChainOrganisation),
        ("invalid chain signature", Reason::ChainIssuer),
        ("id is not based on issued time", Reason::ChainIdTime),
        ("not signed by issuer: no ", Reason::ChainMissing),
        ("not signed by issuer: id not set", Reason::ChainMissing),
        ("not signed by issuer", Reason::Chain),
        ("token is malformed", Reason::Malformed),
        ("signing method", Reason::Algorithm),
        ("public key required", Reason::KeyType),
        ("invalid public key", Reason::NoKey),
        ("token signature is invalid", Reason::Signature),
        ("invalid claims: token is expired", Reason::Expired),
        ("token is not valid yet", Reason::NotYetValid),
        ("not a client token", Reason::Purpose),
        ("not a server token", Reason::Purpose),
        ("not a provisioning token", Reason::Purpose),
    ];
    if text == "token is expired" {
        return Some(Reason::IssuerExpired);
    }
    table
        .into_iter()
        .find(|(part, _)| text.contains(part))
        .map(|(_, reason)| reason)
}
