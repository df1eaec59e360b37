//! The trust chain: organisation issuer, chain issuer, token.

use quick_cache::Equivalent;
use quick_cache::sync::Cache;

use overlay_protocol::id::Ksuid;

use crate::claims::{CHAIN_ISSUED, ORG_ISSUED, Standard};
use crate::issuers::Issuers;
use crate::key::PublicKey;

/// Why a trust chain does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// A claim that every chain issued token needs is absent.
    #[error("claim `{claim}` is missing")]
    Missing {
        /// Its name.
        claim: &'static str,
    },
    /// `jti` is no KSUID.
    #[error("the token id is not a KSUID")]
    Id,
    /// `jti` was not made at `iat`.
    #[error("the token id was not made at the time of issue")]
    IdTime,
    /// `iss` is not `C-<id>.<public key>`.
    #[error("the issuer is not an id and a public key")]
    Issuer,
    /// `tcs` is not two signatures.
    #[error("the trust chain signature is not two signatures")]
    Signatures,
    /// The organisation has not signed the chain issuer.
    #[error("the chain issuer is not signed by the organisation issuer")]
    Organisation,
    /// The chain issuer has not signed this token's id.
    #[error("the token id is not signed by the chain issuer")]
    ChainIssuer,
}

/// Checks both signatures of the chain and returns the chain issuer's key, which must have signed the token.
///
/// Libraries of Choria before v0.0.4 left out the organisation's signature, so that anybody could be a chain issuer.
pub(super) fn signer(
    standard: &Standard,
    org: &PublicKey,
    issuers: Option<&Issuers>,
) -> Result<PublicKey, ChainError> {
    for (claim, absent) in [
        ("iss", standard.iss.is_empty()),
        ("public_key", standard.public_key.is_empty()),
        ("tcs", standard.tcs.is_empty()),
        ("jti", standard.jti.is_empty()),
        ("iat", standard.iat.is_none()),
        ("exp", standard.exp.is_none()),
    ] {
        if absent {
            return Err(ChainError::Missing { claim });
        }
    }
    let id: Ksuid = standard
        .jti
        .parse()
        .map_err(|_not_a_ksuid| ChainError::Id)?;
    if i64::try_from(id.unix_seconds()).ok() != standard.iat {
        return Err(ChainError::IdTime);
    }
    if standard.issexp.is_none() {
        return Err(ChainError::Missing { claim: "issexp" });
    }
    let issuer = standard
        .iss
        .strip_prefix(CHAIN_ISSUED)
        .ok_or(ChainError::Issuer)?;
    two_parts(issuer).ok_or(ChainError::Issuer)?;
    let (by_org, by_issuer) = two_parts(&standard.tcs).ok_or(ChainError::Signatures)?;

    let key = match issuers.and_then(|issuers| pinned(issuers, issuer)) {
        Some(key) => key,
        None => chain_issuer(org, issuer, by_org, issuers.map(Issuers::chains))?,
    };
    let signature = signature(by_issuer).ok_or(ChainError::Signatures)?;
    let signed = [&standard.jti, ".", by_org].concat();
    if !key.verify(signed.as_bytes(), &signature) {
        return Err(ChainError::ChainIssuer);
    }
    Ok(key)
}

/// Tells whether `org` has signed the claims' id and key into the chain, as it does for chain issuers.
pub(super) fn is_issuer(standard: &Standard, org: &PublicKey) -> bool {
    standard.looks_like_chain_issuer()
        && standard
            .iss
            .strip_prefix(ORG_ISSUED)
            .is_some_and(|key| key == org.to_string())
        && signature(&standard.tcs).is_some_and(|signature| {
            org.verify(
                [&standard.jti, ".", &standard.public_key]
                    .concat()
                    .as_bytes(),
                &signature,
            )
        })
}

/// A chain issuer as it was proved: who signed, its id, its key, the signature; bytes, however a token writes them.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Proved {
    org: [u8; 32],
    id: Box<str>,
    key: [u8; 32],
    by_org: [u8; 64],
}

/// What a proof is looked for by.
#[derive(Hash)]
struct Sought<'a> {
    org: &'a [u8; 32],
    id: &'a str,
    key: &'a [u8; 32],
    by_org: &'a [u8; 64],
}

impl Equivalent<Proved> for Sought<'_> {
    fn equivalent(&self, proved: &Proved) -> bool {
        *self.org == proved.org
            && *self.id == *proved.id
            && *self.key == proved.key
            && *self.by_org == proved.by_org
    }
}

/// The key of chain issuer `<id>.<key>` if it is trusted without the organisation's signature.
fn pinned(issuers: &Issuers, issuer: &str) -> Option<PublicKey> {
    let (_id, text) = two_parts(issuer)?;
    let key = text.parse().ok()?;
    issuers.is_pinned(&key).then_some(key)
}

/// Checks the organisation's signature over the chain issuer `<id>.<key>`, unless it was found good before.
fn chain_issuer(
    org: &PublicKey,
    issuer: &str,
    by_org: &str,
    proved: Option<&Cache<Proved, PublicKey>>,
) -> Result<PublicKey, ChainError> {
    let (id, text) = two_parts(issuer).ok_or(ChainError::Issuer)?;
    let mut bytes = [0_u8; 32];
    hex::decode_to_slice(text, &mut bytes).map_err(|_no_key| ChainError::Issuer)?;
    let signature = signature(by_org).ok_or(ChainError::Signatures)?;
    let sought = Sought {
        org: org.as_bytes(),
        id,
        key: &bytes,
        by_org: &signature,
    };
    if let Some(key) = proved.and_then(|cache| cache.get(&sought)) {
        return Ok(key);
    }
    let key: PublicKey = text.parse().map_err(|_no_key| ChainError::Issuer)?;
    if !org.verify(format!("{id}.{key}").as_bytes(), &signature) {
        return Err(ChainError::Organisation);
    }
    if let Some(cache) = proved {
        let place = Proved {
            org: *org.as_bytes(),
            id: id.into(),
            key: bytes,
            by_org: signature,
        };
        cache.insert(place, key);
    }
    Ok(key)
}

/// Splits at the only dot into two parts, neither empty.
fn two_parts(text: &str) -> Option<(&str, &str)> {
    let (one, two) = text.split_once('.')?;
    (!one.is_empty() && !two.is_empty() && !two.contains('.')).then_some((one, two))
}

/// A signature of 64 bytes in hexadecimal. Another length can verify nothing and is no signature.
fn signature(hex: &str) -> Option<[u8; 64]> {
    let mut bytes = [0_u8; 64];
    hex::decode_to_slice(hex, &mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Key;

    #[test]
    fn a_proof_is_remembered_once_however_it_is_written() {
        let (org, issuer) = (Key::from_seed([1; 32]), Key::from_seed([2; 32]).public());
        let key = issuer.to_string();
        let by_org = hex::encode(org.sign(format!("id.{key}").as_bytes()));
        let cache = Cache::new(16);
        for key in [key.clone(), key.to_uppercase()] {
            for by_org in [by_org.clone(), by_org.to_uppercase()] {
                let found =
                    chain_issuer(&org.public(), &format!("id.{key}"), &by_org, Some(&cache));
                assert_eq!(found, Ok(issuer));
            }
        }
        assert_eq!(cache.len(), 1);
        let other = chain_issuer(
            &org.public(),
            &format!("other.{key}"),
            &by_org,
            Some(&cache),
        );
        assert_eq!(other, Err(ChainError::Organisation));
    }
}
