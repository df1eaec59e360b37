//! The token that a signing service signs with, checked before it does.

use crate::UnixTime;
use crate::claims::ClientClaims;
use crate::key::{KeyError, PublicKey};
use crate::verify::Verified;

/// Why a token and its key are not those of a delegator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DelegatorError {
    /// The token lacks the permission, so nodes refuse what it signs.
    #[error("`{callerid}` has no permission authentication_delegator")]
    NotADelegator {
        /// Whose token it is.
        callerid: String,
    },
    /// The token's public key is unusable.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The key at hand is not that of the token.
    #[error("the key does not belong to the delegator's token")]
    OtherKey,
    /// Nobody accepts its signatures any more.
    #[error("the delegator's token has expired")]
    Expired,
}

/// Checks that a verified token is that of a delegator, good at `now`, and that `key` is its key.
///
/// # Errors
///
/// [`DelegatorError`] says what is wrong: nodes would refuse all that is signed with it.
pub fn check(
    token: &Verified<ClientClaims>,
    key: &PublicKey,
    now: UnixTime,
) -> Result<(), DelegatorError> {
    if !token.granted().authentication_delegator {
        return Err(DelegatorError::NotADelegator {
            callerid: token.callerid.clone(),
        });
    }
    if token.public_key()? != *key {
        return Err(DelegatorError::OtherKey);
    }
    token
        .check_at(now)
        .map_err(|_expired| DelegatorError::Expired)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::ClientPermissions;
    use crate::issue::{ClientToken, sign};
    use crate::key::Key;
    use crate::token::Unverified;

    const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

    fn token(permissions: ClientPermissions, key: &Key) -> Verified<ClientClaims> {
        let org = Key::from_seed([1; 32]);
        let claims = ClientToken {
            public_key: Some(key.public()),
            permissions: Some(permissions),
            ..ClientToken::new("signer")
        }
        .claims(NOW)
        .unwrap();
        Unverified::<ClientClaims>::decode(&sign(&claims, &org).unwrap())
            .unwrap()
            .verify_with_key(&org.public().into(), NOW)
            .unwrap()
    }

    #[test]
    fn only_a_delegator_with_its_own_key_passes_and_only_until_it_expires() {
        let key = Key::from_seed([2; 32]);
        let delegates = ClientPermissions {
            authentication_delegator: true,
            ..ClientPermissions::default()
        };
        let good = token(delegates, &key);
        assert_eq!(check(&good, &key.public(), NOW), Ok(()));
        let later = UnixTime::from_secs(NOW.secs + 3600);
        assert_eq!(
            check(&good, &key.public(), later),
            Err(DelegatorError::Expired)
        );
        let other = Key::from_seed([3; 32]).public();
        assert_eq!(check(&good, &other, NOW), Err(DelegatorError::OtherKey));
        let none = token(ClientPermissions::default(), &key);
        assert!(matches!(
            check(&none, &key.public(), NOW),
            Err(DelegatorError::NotADelegator { .. })
        ));
    }
}
