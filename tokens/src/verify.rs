//! Verification: the only way from an [`Unverified`] token to a [`Verified`] one.
//!
//! The order is that of Choria's tokens library: algorithm and key fit; for a token that names a chain issuer, both
//! signatures of the trust chain; the token's own signature; the time; the purpose; the issuer's expiry.

mod chain;

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use crate::UnixTime;
use crate::claims::{Claims, ClientClaims, Purpose, Standard};
use crate::issuers::Issuers;
use crate::key::{KeyError, PublicKey};
use crate::rsa::{RsaError, RsaPublic};
use crate::token::{Algorithm, Unverified};

pub use chain::ChainError;
pub(crate) use chain::Proved;

/// The key that a token is checked with: an organisation's issuer, or the RSA key of a provisioning signer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VerifyKey {
    /// An ed25519 key, for tokens signed by it or by a chain issuer under it.
    Ed25519(PublicKey),
    /// An RSA key, for tokens signed by it.
    Rsa(Arc<RsaPublic>),
}

/// Why a file holds no key to verify with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyKeyError {
    /// It looks like an ed25519 key and is none.
    #[error(transparent)]
    Ed25519(#[from] KeyError),
    /// It looks like a PEM text and holds no RSA key.
    #[error(transparent)]
    Rsa(#[from] RsaError),
}

impl VerifyKey {
    /// Reads the content of a key file: an RSA key or certificate as PEM, or exactly 64 hexadecimal digits.
    pub fn from_file_content(content: &[u8]) -> Result<Self, VerifyKeyError> {
        match str::from_utf8(content) {
            Ok(pem) if pem.starts_with("-----BEGIN") => Ok(RsaPublic::from_pem(pem)?.into()),
            Ok(hex) => Ok(hex.parse::<PublicKey>()?.into()),
            Err(_binary) => Err(KeyError::NotHex.into()),
        }
    }
}

impl From<PublicKey> for VerifyKey {
    fn from(key: PublicKey) -> Self {
        Self::Ed25519(key)
    }
}

impl From<RsaPublic> for VerifyKey {
    fn from(key: RsaPublic) -> Self {
        Self::Rsa(Arc::new(key))
    }
}

/// Why a token is not to be trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The algorithm is none that is accepted.
    #[error("signing algorithm `{name}` is not accepted")]
    Algorithm {
        /// Its name in the header.
        name: String,
    },
    /// The algorithm needs a key of another type than the trusted one.
    #[error("a token signed by {algorithm} cannot be checked with this type of key")]
    KeyType {
        /// The algorithm.
        algorithm: &'static str,
    },
    /// The token names no organisation.
    #[error("no organisation (`ou`) in the token")]
    NoOu,
    /// The token names an organisation that nobody is trusted for.
    #[error("no issuer is known for organisation `{ou}`")]
    UnknownOu {
        /// The organisation.
        ou: String,
    },
    /// The trust chain does not lead to the issuer.
    #[error("not signed by the issuer: {0}")]
    Chain(#[from] ChainError),
    /// The signature is not that of the trusted key.
    #[error("token signature is invalid")]
    Signature,
    /// The token's `exp` has come.
    #[error("token has expired")]
    Expired,
    /// The token's `nbf` is still to come.
    #[error("token is not valid yet")]
    NotYetValid,
    /// The token is for something else.
    #[error("not a {expected} token but one for `{found}`")]
    Purpose {
        /// The purpose asked for.
        expected: Purpose,
        /// The purpose claimed.
        found: Purpose,
    },
    /// The chain issuer has expired, or its expiry is missing where it must be.
    #[error("the issuer of the token has expired")]
    IssuerExpired,
}

/// A token whose signatures, time and purpose were verified; reads as its claims.
#[derive(Clone)]
pub struct Verified<C> {
    claims: C,
    text: Box<str>,
    key: VerifyKey,
    public_key: OnceLock<Result<PublicKey, KeyError>>,
}

impl<C: Claims> Unverified<C> {
    /// Checks the token against the issuers trusted at `now`; its `ou` selects the issuer.
    pub fn verify(self, issuers: &Issuers, now: UnixTime) -> Result<Verified<C>, VerifyError> {
        if C::PURPOSE == Purpose::Provisioning
            && self.algorithm != Algorithm::EdDsa
            && let Some(signer) = issuers.provisioning_signer()
        {
            let key = self.check(&VerifyKey::Rsa(Arc::clone(signer)), Some(issuers), now)?;
            return Ok(self.into_verified(key));
        }
        let mut found = Err(VerifyError::Signature);
        for key in issuers.keys_for(self.claims.ou())? {
            found = self.check(&VerifyKey::Ed25519(key), Some(issuers), now);
            if found.is_ok() {
                break;
            }
        }
        let key = found?;
        Ok(self.into_verified(key))
    }

    /// Checks the token with one key at `now`, whatever its `ou`: an organisation's issuer, or an RSA signer.
    pub fn verify_with_key(
        self,
        key: &VerifyKey,
        now: UnixTime,
    ) -> Result<Verified<C>, VerifyError> {
        let key = self.check(key, None, now)?;
        Ok(self.into_verified(key))
    }

    /// Checks the token with one key of a set of issuers, whatever its `ou`.
    pub(crate) fn verify_under(
        self,
        key: &PublicKey,
        issuers: &Issuers,
        now: UnixTime,
    ) -> Result<Verified<C>, VerifyError> {
        let key = self.check(&VerifyKey::Ed25519(*key), Some(issuers), now)?;
        Ok(self.into_verified(key))
    }

    /// The whole of verification; returns the key that signed.
    fn check(
        &self,
        trusted: &VerifyKey,
        issuers: Option<&Issuers>,
        now: UnixTime,
    ) -> Result<VerifyKey, VerifyError> {
        let standard = self.claims.standard();
        let key = match (&self.algorithm, trusted) {
            (Algorithm::EdDsa, VerifyKey::Ed25519(org)) => {
                let signer = if C::CHAINS && standard.is_chain_issued() {
                    chain::signer(standard, org, issuers)?
                } else {
                    *org
                };
                if !signer.verify(self.signed_bytes(), &self.signature) {
                    return Err(VerifyError::Signature);
                }
                VerifyKey::Ed25519(signer)
            }
            (Algorithm::Rs256 | Algorithm::Rs384 | Algorithm::Rs512, VerifyKey::Rsa(rsa)) => {
                if !rsa.verify(&self.algorithm, self.signed_bytes(), &self.signature) {
                    return Err(VerifyError::Signature);
                }
                trusted.clone()
            }
            (Algorithm::EdDsa, VerifyKey::Rsa(_)) => {
                return Err(VerifyError::KeyType { algorithm: "EdDSA" });
            }
            (Algorithm::Rs256 | Algorithm::Rs384 | Algorithm::Rs512, VerifyKey::Ed25519(_)) => {
                return Err(VerifyError::KeyType { algorithm: "RSA" });
            }
            (Algorithm::Other(name), _) => {
                return Err(VerifyError::Algorithm { name: name.clone() });
            }
        };
        check_time(standard, now)?;
        if !C::fits(standard) {
            return Err(VerifyError::Purpose {
                expected: C::PURPOSE,
                found: standard.purpose.clone(),
            });
        }
        check_issuer_expiry::<C>(standard, now)?;
        Ok(key)
    }

    fn into_verified(self, key: VerifyKey) -> Verified<C> {
        let mut claims = self.claims;
        claims.complete();
        Verified {
            claims,
            text: self.text,
            key,
            public_key: OnceLock::new(),
        }
    }
}

impl<C: Claims> Verified<C> {
    /// The earlier of `exp` and `issexp` in Unix seconds: after it the token is no longer good.
    pub fn expires_at(&self) -> Option<i64> {
        self.claims.standard().expires_at()
    }

    /// Checks again what changes with time: expiry, start of validity, the issuer's expiry.
    pub fn check_at(&self, now: UnixTime) -> Result<(), VerifyError> {
        check_time(self.claims.standard(), now)?;
        check_issuer_expiry::<C>(self.claims.standard(), now)
    }

    /// The holder's public key, parsed once; an error when the token has none, which the broker and receivers refuse.
    pub fn public_key(&self) -> Result<PublicKey, KeyError> {
        self.public_key
            .get_or_init(|| self.claims.standard().public_key.parse())
            .clone()
    }

    /// The key that signed the token: the organisation's, the chain issuer's, or an RSA signer's.
    pub fn verification_key(&self) -> &VerifyKey {
        &self.key
    }

    /// The token as received.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Takes the claims out; that they were verified is no longer visible.
    pub fn into_claims(self) -> C {
        self.claims
    }
}

impl Verified<ClientClaims> {
    /// Tells whether the holder may issue tokens: the organisation's issuer has signed its id and key into the chain.
    pub fn is_chain_issuer(&self) -> bool {
        match &self.key {
            VerifyKey::Ed25519(org) => chain::is_issuer(&self.claims.standard, org),
            VerifyKey::Rsa(_) => false,
        }
    }
}

impl<C> Deref for Verified<C> {
    type Target = C;

    fn deref(&self) -> &C {
        &self.claims
    }
}

impl<C: fmt::Debug> fmt::Debug for Verified<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verified")
            .field("claims", &self.claims)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

/// `exp` and `nbf` without leeway: good from `nbf` on and strictly before `exp`.
fn check_time(standard: &Standard, now: UnixTime) -> Result<(), VerifyError> {
    if standard.exp.is_some_and(|exp| !now.is_before(exp)) {
        return Err(VerifyError::Expired);
    }
    if standard.nbf.is_some_and(|nbf| now.is_before(nbf)) {
        return Err(VerifyError::NotYetValid);
    }
    Ok(())
}

/// The issuer's expiry, where a trust chain signature makes it count. Good up to the very instant `issexp`.
fn check_issuer_expiry<C: Claims>(standard: &Standard, now: UnixTime) -> Result<(), VerifyError> {
    if standard.tcs.is_empty() {
        return Ok(());
    }
    if !standard.is_chain_issued() {
        return if C::ANY_TCS_EXPIRES {
            Err(VerifyError::IssuerExpired)
        } else {
            Ok(())
        };
    }
    match (standard.issexp, standard.expires_at()) {
        (Some(_), Some(expires)) if !now.is_past(expires) => Ok(()),
        _ => Err(VerifyError::IssuerExpired),
    }
}
