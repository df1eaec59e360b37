//! One's own token: whether it is still worth presenting, and what goes with it to the broker.

use overlay_protocol::id::Collective;
use overlay_protocol::subject;

use crate::UnixTime;
use crate::claims::Purpose;
use crate::claims::read::{self, claim_set};
use crate::key::{Key, KeyError, PublicKey};
use crate::nonce::{OfferError, sign_nonce};
use crate::token::{self, DecodeError, Token};

/// Clocks may differ by this much, in seconds, when a program looks at its own token. Receivers give none.
pub const LEEWAY_SECONDS: i64 = 5;

/// Why one's own token is of no use.
#[derive(Debug, thiserror::Error)]
pub enum OwnError {
    /// It is no token.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// It has expired, or it has no expiry where one is needed.
    #[error("token has expired")]
    Expired,
    /// It is not yet valid.
    #[error("token is not valid yet")]
    NotYetValid,
    /// It is neither a client's nor a server's.
    #[error("a `{purpose}` token cannot log in with a signature")]
    Purpose {
        /// What it is for.
        purpose: String,
    },
    /// The token's public key is unreadable.
    #[error("token has no usable public key")]
    NoKey(#[source] KeyError),
    /// The seed belongs to another token.
    #[error("the key is not the token's: the token names {token}, the key is {key}")]
    OtherKey {
        /// Public key in the token, in hexadecimal.
        token: String,
        /// Public half of the key at hand, in hexadecimal.
        key: String,
    },
    /// What the broker offers is not to be signed.
    #[error(transparent)]
    Offer(#[from] OfferError),
}

/// Checks the time of one's own token with five seconds of leeway; its signature is for others to check.
pub fn check_own(text: &str, now: UnixTime) -> Result<(), OwnError> {
    let times: Times = token::peek(text)?;
    let shifted = |by: i64| UnixTime {
        secs: now.secs.saturating_add(by),
        nanos: now.nanos,
    };
    if times
        .exp
        .is_some_and(|exp| !shifted(-LEEWAY_SECONDS).is_before(exp))
    {
        return Err(OwnError::Expired);
    }
    if times
        .nbf
        .is_some_and(|nbf| shifted(LEEWAY_SECONDS).is_before(nbf))
    {
        return Err(OwnError::NotYetValid);
    }
    Ok(())
}

#[derive(Default)]
struct Times {
    exp: Option<i64>,
    nbf: Option<i64>,
}

claim_set!(Times {
    "exp" => exp by read::time,
    "nbf" => nbf by read::time,
});

/// A client or server token together with its key: what a connection presents.
#[derive(Debug, Clone)]
pub struct Holder {
    text: String,
    key: Key,
    name: String,
    unique_id: String,
    expires_at: Option<i64>,
}

impl Holder {
    /// Takes a token's text, white space around it trimmed, and the key that belongs to it.
    ///
    /// The token is not verified: the holder has no need to trust it.
    pub fn new(text: &str, key: Key) -> Result<Self, OwnError> {
        let text = text.trim();
        let (name, standard) = match Token::decode(text)? {
            Token::Client(token) => {
                let claims = token.claims_unverified();
                (claims.callerid.clone(), claims.standard.clone())
            }
            Token::Server(token) => {
                let claims = token.claims_unverified();
                (claims.identity.clone(), claims.standard.clone())
            }
            Token::Provisioning(_) => {
                return Err(OwnError::Purpose {
                    purpose: Purpose::Provisioning.as_str().to_owned(),
                });
            }
            Token::Unknown(purpose) => return Err(OwnError::Purpose { purpose }),
        };
        let token: PublicKey = standard.public_key.parse().map_err(OwnError::NoKey)?;
        if token != key.public() {
            return Err(OwnError::OtherKey {
                token: token.to_string(),
                key: key.public().to_string(),
            });
        }
        Ok(Self {
            text: text.to_owned(),
            key,
            unique_id: crate::claims::unique_id(&name),
            name,
            expires_at: standard.expires_at(),
        })
    }

    /// The token's text, trimmed, for `auth_token` and `caller`.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The key that belongs to the token.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The caller id or the identity.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name's place in subjects.
    pub fn unique_id(&self) -> &str {
        &self.unique_id
    }

    /// When the token or its issuer expires, in Unix seconds.
    pub fn expires_at(&self) -> Option<i64> {
        self.expires_at
    }

    /// Prefix of the holder's private inbox in a collective: `{collective}.reply.{unique id}`.
    pub fn inbox_prefix(&self, collective: &Collective) -> String {
        subject::inbox_prefix(collective, &self.unique_id)
    }

    /// Signs a broker's nonce, unless the token has expired or has no expiry: the broker would refuse it anyway.
    ///
    /// # Errors
    ///
    /// The token has expired, or what is offered is [no nonce](crate::Nonce::offered).
    pub fn sign_nonce(&self, nonce: &str, now: UnixTime) -> Result<String, OwnError> {
        if self.expires_at.is_none_or(|expires| now.is_past(expires)) {
            return Err(OwnError::Expired);
        }
        Ok(sign_nonce(&self.key, nonce)?)
    }
}
