//! Remembers verified tokens, so that a token that comes again costs a hash instead of up to three signatures.

use std::fmt;
use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;
use sha2::{Digest as _, Sha256};

use crate::UnixTime;
use crate::claims::Claims;
use crate::issuers::Issuers;
use crate::key::PublicKey;
use crate::token::{DecodeError, Unverified};
use crate::verify::{Verified, VerifyError};

/// Why a token text is not to be trusted.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// It is no token.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// It is a token that must not be trusted.
    #[error(transparent)]
    Verify(#[from] VerifyError),
}

/// A bounded memory of verified tokens of one purpose.
///
/// The key is a hash of the token text and of everything that was trusted when it was verified, so a change of issuers
/// never finds an old verdict. Expiry, start of validity and the issuer's expiry are checked at each look-up. Refusals
/// are not remembered: whoever sends them could push out the good ones.
pub struct VerifiedCache<C> {
    tokens: Cache<[u8; 32], Arc<Verified<C>>, ByLength>,
}

#[derive(Debug, Clone)]
struct ByLength;

impl<C: Claims> Weighter<[u8; 32], Arc<Verified<C>>> for ByLength {
    fn weight(&self, _: &[u8; 32], token: &Arc<Verified<C>>) -> u64 {
        // The text once and its parsed claims about as large again; never zero, which would mean "free".
        u64::try_from(token.text().len())
            .unwrap_or(u64::MAX)
            .saturating_mul(2)
            .saturating_add(512)
    }
}

impl<C: Claims> VerifiedCache<C> {
    /// A cache for about `tokens` tokens that takes at most `bytes` of memory for them.
    pub fn new(tokens: usize, bytes: u64) -> Self {
        Self {
            tokens: Cache::with_weighter(tokens, bytes, ByLength),
        }
    }

    /// Decodes and verifies `text` at `now`, or finds that this was done before and checks only the time.
    pub fn verify(
        &self,
        text: &str,
        issuers: &Issuers,
        now: UnixTime,
    ) -> Result<Arc<Verified<C>>, TokenError> {
        self.find_or(text, issuers.id(), now, |token| token.verify(issuers, now))
    }

    /// As [`VerifiedCache::verify`], with one key of the set, whatever organisation the token names.
    pub(crate) fn verify_under(
        &self,
        text: &str,
        key: &PublicKey,
        issuers: &Issuers,
        now: UnixTime,
    ) -> Result<Arc<Verified<C>>, TokenError> {
        self.find_or(text, key.as_bytes(), now, |token| {
            token.verify_under(key, issuers, now)
        })
    }

    fn find_or(
        &self,
        text: &str,
        trusted: &[u8; 32],
        now: UnixTime,
        verify: impl FnOnce(Unverified<C>) -> Result<Verified<C>, VerifyError>,
    ) -> Result<Arc<Verified<C>>, TokenError> {
        let place: [u8; 32] = Sha256::new()
            .chain_update(trusted)
            .chain_update(text)
            .finalize()
            .into();
        if let Some(known) = self.tokens.get(&place) {
            return match known.check_at(now) {
                Ok(()) => Ok(known),
                Err(error) => {
                    self.tokens.remove(&place);
                    Err(error.into())
                }
            };
        }
        let verified = Arc::new(verify(Unverified::<C>::decode(text)?)?);
        self.tokens.insert(place, Arc::clone(&verified));
        Ok(verified)
    }

    /// Tokens remembered at the moment.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Tells whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }
}

impl<C: Claims> fmt::Debug for VerifiedCache<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifiedCache")
            .field("tokens", &self.len())
            .finish_non_exhaustive()
    }
}
