//! Remembers verified tokens, so that a token that comes again costs a hash instead of up to three signatures.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use quick_cache::sync::Cache;
use quick_cache::{Equivalent, Weighter};

use crate::UnixTime;
use crate::claims::Claims;
use crate::encoding;
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
/// A token is found by its whole text together with what was trusted when it was verified, so a change of issuers never
/// finds an old verdict. Expiry, start of validity and the issuer's expiry are checked at each look-up. Refusals are not
/// remembered: whoever sends them could push out the good ones. Nor are other spellings of a good token, which anybody
/// can make of one that was seen: the signature is covered by nothing, and it is read leniently.
pub struct VerifiedCache<C> {
    tokens: Cache<Place<C>, Arc<Verified<C>>, ByLength>,
}

/// Where a token is kept: the text is that of the token itself.
struct Place<C> {
    trusted: [u8; 32],
    token: Arc<Verified<C>>,
}

/// What a token is looked for by.
struct Sought<'a> {
    trusted: &'a [u8; 32],
    text: &'a str,
}

impl<C: Claims> Place<C> {
    fn as_sought(&self) -> Sought<'_> {
        Sought {
            trusted: &self.trusted,
            text: self.token.text(),
        }
    }
}

impl Hash for Sought<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // The text tells tokens apart; the same text under another trust is rare and told by comparison.
        state.write(self.text.as_bytes());
    }
}

impl<C: Claims> Hash for Place<C> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_sought().hash(state);
    }
}

impl<C: Claims> Equivalent<Place<C>> for Sought<'_> {
    fn equivalent(&self, place: &Place<C>) -> bool {
        *self.trusted == place.trusted && self.text == place.token.text()
    }
}

impl<C: Claims> PartialEq for Place<C> {
    fn eq(&self, other: &Self) -> bool {
        self.as_sought().equivalent(other)
    }
}

impl<C: Claims> Eq for Place<C> {}

#[derive(Debug, Clone)]
struct ByLength;

impl<C: Claims> Weighter<Place<C>, Arc<Verified<C>>> for ByLength {
    fn weight(&self, _: &Place<C>, token: &Arc<Verified<C>>) -> u64 {
        // The text once and its parsed claims about as large again; never zero, which would mean "free".
        let text = u64::try_from(token.text().len()).unwrap_or(u64::MAX);
        text.saturating_mul(2).saturating_add(512)
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
        if let Some(known) = self.look_up(text, trusted, now) {
            return known.map_err(TokenError::from);
        }
        let token = Arc::new(verify(Unverified::<C>::decode(text)?)?);
        // What is before the signature has one spelling, the signed one.
        let signature = text.rsplit('.').next().unwrap_or_default();
        if !encoding::is_canonical(signature) {
            return Ok(token);
        }
        let place = Place {
            trusted: *trusted,
            token: Arc::clone(&token),
        };
        self.tokens.insert(place, Arc::clone(&token));
        Ok(token)
    }

    /// Finds a token that is remembered, and checks the time; nothing when it is not remembered, and nothing is decoded.
    pub fn find(
        &self,
        text: &str,
        issuers: &Issuers,
        now: UnixTime,
    ) -> Option<Result<Arc<Verified<C>>, VerifyError>> {
        self.look_up(text, issuers.id(), now)
    }

    fn look_up(
        &self,
        text: &str,
        trusted: &[u8; 32],
        now: UnixTime,
    ) -> Option<Result<Arc<Verified<C>>, VerifyError>> {
        let sought = Sought { trusted, text };
        let known = self.tokens.get(&sought)?;
        if let Err(error) = known.check_at(now) {
            self.tokens.remove(&sought);
            return Some(Err(error));
        }
        Some(Ok(known))
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
