//! Whom to trust: the organisations' issuers by name, or a bare list of signers.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use quick_cache::sync::Cache;
use sha2::{Digest as _, Sha256};

use crate::key::PublicKey;
use crate::rsa::RsaPublic;
use crate::verify::{Proved, VerifyError};

/// Chain issuers remembered as proved; each organisation has a handful.
const CHAIN_ISSUERS: usize = 256;

/// Why a set of issuers cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IssuersError {
    /// Nobody would be trusted.
    #[error("no issuer given")]
    Empty,
    /// An organisation without a name.
    #[error("an issuer has no organisation name")]
    NoName,
    /// An organisation comes twice.
    #[error("organisation `{ou}` has two issuers")]
    Twice {
        /// Its name.
        ou: String,
    },
    /// Signatures of this key can be made up.
    #[error("issuer key {key} is a weak point that proves nothing")]
    Weak {
        /// The key, in hexadecimal.
        key: String,
    },
}

/// The issuers that are trusted, checked: the organisation that a token names selects the key that must have signed it.
///
/// Also remembers which chain issuers were proved, so that the organisation's signature over a chain issuer is checked
/// once and not with every token. That memory is bounded and holds only what was verified.
#[derive(Clone)]
pub struct Issuers {
    trust: Trust,
    provisioning_signer: Option<Arc<RsaPublic>>,
    pinned: Vec<PublicKey>,
    id: [u8; 32],
    chains: Arc<Cache<Proved, PublicKey>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Trust {
    ByOu(BTreeMap<String, PublicKey>),
    AnyOf(Vec<PublicKey>),
}

impl Issuers {
    /// Trusts one issuer for each organisation.
    pub fn new(
        issuers: impl IntoIterator<Item = (String, PublicKey)>,
    ) -> Result<Self, IssuersError> {
        let mut by_ou = BTreeMap::new();
        for (ou, key) in issuers {
            if ou.is_empty() {
                return Err(IssuersError::NoName);
            }
            check(key)?;
            if by_ou.insert(ou.clone(), key).is_some() {
                return Err(IssuersError::Twice { ou });
            }
        }
        if by_ou.is_empty() {
            return Err(IssuersError::Empty);
        }
        Ok(Self::of(Trust::ByOu(by_ou), None, Vec::new()))
    }

    /// Trusts each of `keys` whatever organisation a token names: Choria's `trusted_signers`.
    pub fn trusted_signers(
        keys: impl IntoIterator<Item = PublicKey>,
    ) -> Result<Self, IssuersError> {
        let keys: Vec<_> = keys.into_iter().collect();
        keys.iter().try_for_each(|key| check(*key))?;
        if keys.is_empty() {
            return Err(IssuersError::Empty);
        }
        Ok(Self::of(Trust::AnyOf(keys), None, Vec::new()))
    }

    /// Trusts the tokens that one chain issuer issued, whatever organisation they name, and nothing else.
    ///
    /// Configurations of Choria's own signer often name that key where the organisation's belongs.
    pub fn pinned(key: PublicKey) -> Result<Self, IssuersError> {
        check(key)?;
        // the key stands for the organisation as well, which signs what is not chain issued
        Ok(Self::of(Trust::AnyOf(vec![key]), None, vec![key]))
    }

    /// Trusts chain issuer `key` too without the organisation's signature over it; all else is checked as ever.
    pub fn with_chain_issuer(mut self, key: PublicKey) -> Result<Self, IssuersError> {
        check(key)?;
        self.pinned.push(key);
        Ok(Self::of(self.trust, self.provisioning_signer, self.pinned))
    }

    /// Trusts `signer` too, for provisioning tokens with an RSA signature and for nothing else.
    #[must_use]
    pub fn with_provisioning_signer(self, signer: RsaPublic) -> Self {
        Self::of(self.trust, Some(Arc::new(signer)), self.pinned)
    }

    /// The issuer of an organisation; nothing for an unknown one and for a list of signers.
    pub fn key_of(&self, ou: &str) -> Option<&PublicKey> {
        match &self.trust {
            Trust::ByOu(by_ou) => by_ou.get(ou),
            Trust::AnyOf(_) => None,
        }
    }

    /// Names of the organisations, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        match &self.trust {
            Trust::ByOu(by_ou) => Some(by_ou.keys().map(String::as_str)),
            Trust::AnyOf(_) => None,
        }
        .into_iter()
        .flatten()
    }

    /// Tells whether the organisation of a token selects its issuer.
    pub(crate) fn is_by_ou(&self) -> bool {
        matches!(self.trust, Trust::ByOu(_))
    }

    /// The trusted signers; none when organisations select their issuers.
    pub(crate) fn trusted(&self) -> &[PublicKey] {
        match &self.trust {
            Trust::ByOu(_) => &[],
            Trust::AnyOf(keys) => keys,
        }
    }

    /// The keys that may have signed a token of organisation `ou`.
    pub(crate) fn keys_for(&self, ou: Option<&str>) -> Result<Vec<PublicKey>, VerifyError> {
        match &self.trust {
            Trust::ByOu(by_ou) => {
                let ou = ou.ok_or(VerifyError::NoOu)?;
                let key = by_ou
                    .get(ou)
                    .ok_or_else(|| VerifyError::UnknownOu { ou: ou.to_owned() })?;
                Ok(vec![*key])
            }
            Trust::AnyOf(keys) => Ok(keys.clone()),
        }
    }

    pub(crate) fn provisioning_signer(&self) -> Option<&Arc<RsaPublic>> {
        self.provisioning_signer.as_ref()
    }

    /// A hash over everything that is trusted: what one set verified says nothing about another.
    pub(crate) fn id(&self) -> &[u8; 32] {
        &self.id
    }

    /// Tells whether a chain issuer needs no signature of its organisation.
    pub(crate) fn is_pinned(&self, chain_issuer: &PublicKey) -> bool {
        self.pinned.contains(chain_issuer)
    }

    pub(crate) fn chains(&self) -> &Cache<Proved, PublicKey> {
        &self.chains
    }

    fn of(
        trust: Trust,
        provisioning_signer: Option<Arc<RsaPublic>>,
        pinned: Vec<PublicKey>,
    ) -> Self {
        let mut hash = Sha256::new();
        match &trust {
            Trust::ByOu(by_ou) => {
                for (ou, key) in by_ou {
                    hash.update(b"ou\0");
                    hash.update(ou.len().to_be_bytes());
                    hash.update(ou);
                    hash.update(key.as_bytes());
                }
            }
            Trust::AnyOf(keys) => {
                for key in keys {
                    hash.update(b"any\0");
                    hash.update(key.as_bytes());
                }
            }
        }
        if let Some(signer) = &provisioning_signer {
            hash.update(b"rsa\0");
            hash.update(signer.der());
        }
        for key in &pinned {
            hash.update(b"pinned\0");
            hash.update(key.as_bytes());
        }
        Self {
            trust,
            provisioning_signer,
            pinned,
            id: hash.finalize().into(),
            chains: Arc::new(Cache::new(CHAIN_ISSUERS)),
        }
    }
}

impl fmt::Debug for Issuers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuers")
            .field("trust", &self.trust)
            .field("provisioning_signer", &self.provisioning_signer)
            .field("pinned", &self.pinned)
            .finish_non_exhaustive()
    }
}

fn check(key: PublicKey) -> Result<(), IssuersError> {
    if key.is_weak() {
        Err(IssuersError::Weak {
            key: key.to_string(),
        })
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Key;

    #[test]
    fn useless_sets_are_refused() {
        let key = Key::from_seed([1; 32]).public();
        let mut identity = [0_u8; 32];
        identity[0] = 1;
        let weak = PublicKey::from_bytes(identity).unwrap();
        assert_eq!(Issuers::new([]).unwrap_err(), IssuersError::Empty);
        assert_eq!(
            Issuers::trusted_signers([]).unwrap_err(),
            IssuersError::Empty
        );
        assert_eq!(
            Issuers::new([(String::new(), key)]).unwrap_err(),
            IssuersError::NoName
        );
        assert_eq!(
            Issuers::new([("a".into(), key), ("a".into(), key)]).unwrap_err(),
            IssuersError::Twice { ou: "a".into() }
        );
        assert_eq!(
            Issuers::new([("a".into(), weak)]).unwrap_err(),
            IssuersError::Weak {
                key: weak.to_string()
            }
        );
    }

    #[test]
    fn different_trust_has_a_different_id() {
        let (one, two) = (
            Key::from_seed([1; 32]).public(),
            Key::from_seed([2; 32]).public(),
        );
        let sets = [
            Issuers::new([("a".into(), one)]).unwrap(),
            Issuers::new([("b".into(), one)]).unwrap(),
            Issuers::new([("a".into(), two)]).unwrap(),
            Issuers::new([("a".into(), one), ("b".into(), two)]).unwrap(),
            Issuers::trusted_signers([one]).unwrap(),
            Issuers::pinned(one).unwrap(),
            Issuers::new([("a".into(), one)])
                .unwrap()
                .with_chain_issuer(two)
                .unwrap(),
        ];
        let ids: std::collections::BTreeSet<_> = sets.iter().map(|set| *set.id()).collect();
        assert_eq!(ids.len(), sets.len());
    }
}
