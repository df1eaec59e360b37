//! The claims that every token has, whatever its purpose.

use overlay_protocol::id::Ksuid;
use serde::Serialize;

use super::read::{self, claim_set};
use super::{CHAIN_ISSUED, ORG_ISSUED, Purpose};
use crate::UnixTime;

/// Claims common to all tokens. An empty text or list means that the claim is absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Standard {
    /// What the token is for.
    pub purpose: Purpose,
    /// Trust chain signature: `<hex>` of a chain issuer, `<hex>.<hex>` of what it issues.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub tcs: String,
    /// The holder's ed25519 public key, 64 hexadecimal digits, exactly as claimed: the trust chain signs this text.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub public_key: String,
    /// When the chain issuer that issued this token expires, in Unix seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issexp: Option<i64>,
    /// Issuer: free text, `I-<public key>` of a chain issuer, or `C-<id>.<public key>` naming the chain issuer.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub iss: String,
    /// Subject; only provisioning tokens have one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sub: String,
    /// Audience; never set and never checked by Choria.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub aud: Vec<String>,
    /// Expiry in Unix seconds: good strictly before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exp: Option<i64>,
    /// Start of validity in Unix seconds: good from it on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nbf: Option<i64>,
    /// Time of issue in Unix seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iat: Option<i64>,
    /// Token id: a KSUID whose time equals `iat`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub jti: String,
}

claim_set!(Standard {
    "purpose" => purpose by read::value,
    "tcs" => tcs by read::value,
    "public_key" => public_key by read::value,
    "issexp" => issexp by read::time,
    "iss" => iss by read::value,
    "sub" => sub by read::value,
    "aud" => aud by read::audience,
    "exp" => exp by read::time,
    "nbf" => nbf by read::time,
    "iat" => iat by read::time,
    "jti" => jti by read::value,
});

impl Standard {
    /// The earlier of `exp` and `issexp`, in Unix seconds; nothing when neither is set.
    pub fn expires_at(&self) -> Option<i64> {
        match (self.exp, self.issexp) {
            (Some(exp), Some(issexp)) => Some(exp.min(issexp)),
            (one, other) => one.or(other),
        }
    }

    /// Tells whether a holder must treat the token as expired: past [`Standard::expires_at`], or without any expiry.
    ///
    /// Stricter than verification, which lets a token without `exp` pass.
    pub fn is_expired_for_holder(&self, now: UnixTime) -> bool {
        self.expires_at().is_none_or(|expires| now.is_past(expires))
    }

    /// Tells whether the token says that a chain issuer issued it.
    pub fn is_chain_issued(&self) -> bool {
        self.iss.starts_with(CHAIN_ISSUED)
    }

    /// The id of the token of the chain issuer that issued this token; nothing when none did.
    pub fn chain_issuer_id(&self) -> Option<&str> {
        let issuer = self.iss.strip_prefix(CHAIN_ISSUED)?;
        issuer.split_once('.').map(|(id, _key)| id)
    }

    /// Tells whether the chain issuer that issued this token was made more than `seconds` before `now`. Its age is in its id,
    /// for which the organisation's issuer has signed; one that has none there is too old.
    pub fn is_of_issuer_older_than(&self, seconds: i64, now: UnixTime) -> bool {
        let Some(id) = self.chain_issuer_id() else {
            return false;
        };
        let made = id.parse::<Ksuid>().ok();
        let made = made.and_then(|id| i64::try_from(id.unix_seconds()).ok());
        made.is_none_or(|made| now.secs.saturating_sub(made) > seconds)
    }

    /// Tells whether the claims are those of a chain issuer; whether they are true is for verification to say.
    pub fn looks_like_chain_issuer(&self) -> bool {
        self.iss.starts_with(ORG_ISSUED)
            && !self.tcs.is_empty()
            && !self.public_key.is_empty()
            && !self.jti.is_empty()
    }

    /// The purpose, with the older provisioning tokens recognised by their subject.
    pub fn effective_purpose(&self) -> Purpose {
        if self.purpose == Purpose::default() && self.sub == Purpose::Provisioning.as_str() {
            Purpose::Provisioning
        } else {
            self.purpose.clone()
        }
    }
}
