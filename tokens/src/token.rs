//! A token as received: decoded, not trusted.

use std::fmt;

use serde_json::Value;

use crate::claims::read::{self, ClaimSet, claim_set};
use crate::claims::{Claims, ClientClaims, ProvisioningClaims, Purpose, ServerClaims};
use crate::encoding;

/// Longest token text that is read, in bytes. Choria sets no limit; a broker's control line of 64 KiB is one.
pub const MAX_TOKEN_BYTES: usize = 64 * 1024;

/// First segment of nearly every token: `{"alg":"EdDSA","typ":"JWT"}`.
const EDDSA_HEADER: &str = "eyJhbGciOiJFZERTQSIsInR5cCI6IkpXVCJ9";
/// First segment of tokens signed by RSA keys: `{"alg":"RS256","typ":"JWT"}`.
pub(crate) const RS256_HEADER: &str = "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9";

/// How a token is signed, by its header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Algorithm {
    /// Ed25519 (RFC 8037).
    EdDsa,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    Rs384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    Rs512,
    /// Anything else, `none` and the symmetric ones included: never verified. Empty when the header names none.
    Other(String),
}

impl Algorithm {
    /// The name in the header.
    pub fn as_str(&self) -> &str {
        match self {
            Self::EdDsa => "EdDSA",
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Other(name) => name,
        }
    }

    /// First segment of a token with this algorithm.
    pub(crate) const fn header(&self) -> Option<&'static str> {
        match self {
            Self::EdDsa => Some(EDDSA_HEADER),
            Self::Rs256 => Some(RS256_HEADER),
            Self::Rs384 | Self::Rs512 | Self::Other(_) => None,
        }
    }
}

impl From<String> for Algorithm {
    fn from(name: String) -> Self {
        [Self::EdDsa, Self::Rs256, Self::Rs384, Self::Rs512]
            .into_iter()
            .find(|known| known.as_str() == name)
            .unwrap_or(Self::Other(name))
    }
}

impl Default for Algorithm {
    fn default() -> Self {
        Self::Other(String::new())
    }
}

/// Which part of a token a fault lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The first segment.
    Header,
    /// The second segment.
    Claims,
    /// The third segment.
    Signature,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Header => "header",
            Self::Claims => "claims",
            Self::Signature => "signature",
        })
    }
}

/// Why a text is no token.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Longer than [`MAX_TOKEN_BYTES`].
    #[error("token of {bytes} bytes is over the limit of {MAX_TOKEN_BYTES}")]
    TooLong {
        /// Length of the text.
        bytes: usize,
    },
    /// Not exactly three segments between dots.
    #[error("a token has exactly three segments between dots")]
    Segments,
    /// A segment is no base64url without padding.
    #[error("token {part} is not base64url without padding")]
    Base64 {
        /// The segment.
        part: Part,
        /// What is wrong with it.
        #[source]
        source: base64::DecodeError,
    },
    /// A segment is no JSON of the expected shape.
    #[error("token {part} not understood")]
    Json {
        /// The segment.
        part: Part,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// The header demands extensions (`crit`) that nobody here knows; RFC 7515 says to refuse it.
    #[error("token header has critical extensions")]
    Critical,
}

/// A decoded token about which nothing is proved. Only [`Unverified::verify`] and its siblings make a
/// [`Verified`](crate::Verified) of it, and only that lets its claims be used for a decision:
///
/// ```
/// use overlay_tokens::{Issuers, UnixTime, Unverified, Verified, claims::ClientClaims};
///
/// fn decide(caller: &Verified<ClientClaims>) -> bool {
///     caller.granted().fleet_management
/// }
///
/// fn may(token: &str, issuers: &Issuers, now: UnixTime) -> Result<bool, overlay_tokens::TokenError> {
///     let caller = Unverified::<ClientClaims>::decode(token)?.verify(issuers, now)?;
///     Ok(decide(&caller))
/// }
/// ```
///
/// The wrong order does not compile:
///
/// ```compile_fail
/// use overlay_tokens::{Unverified, Verified, claims::ClientClaims};
///
/// fn decide(caller: &Verified<ClientClaims>) -> bool {
///     caller.granted().fleet_management
/// }
///
/// let token = Unverified::<ClientClaims>::decode("a.b.c").unwrap();
/// decide(&token); // not verified: does not compile
/// ```
///
/// Nor can its claims be reached without saying so, nor a `Verified` be made by hand:
///
/// ```compile_fail
/// use overlay_tokens::{Unverified, claims::ClientClaims};
///
/// let token = Unverified::<ClientClaims>::decode("a.b.c").unwrap();
/// let caller = &token.callerid; // no such field: see `claims_unverified`
/// ```
///
/// ```compile_fail
/// use overlay_tokens::{Verified, claims::ClientClaims};
///
/// let forged = Verified { claims: ClientClaims::default() };
/// ```
#[derive(Clone)]
pub struct Unverified<C> {
    pub(crate) text: Box<str>,
    /// How much of `text` is signed: header, dot, claims.
    pub(crate) signed: usize,
    pub(crate) algorithm: Algorithm,
    pub(crate) claims: C,
    pub(crate) signature: Vec<u8>,
}

impl<C: Claims> Unverified<C> {
    /// Decodes a token text: three segments, as lenient with line ends as Choria, bounded in size and depth.
    pub fn decode(text: &str) -> Result<Self, DecodeError> {
        let segments = Segments::split(text)?;
        let algorithm = segments.algorithm()?;
        let claims = C::parse(&segments.claims_json()?).map_err(|source| DecodeError::Json {
            part: Part::Claims,
            source,
        })?;
        let signature = match algorithm {
            // Nothing will be verified by it, and the algorithm is what the error should name.
            Algorithm::Other(_) => Vec::new(),
            Algorithm::EdDsa | Algorithm::Rs256 | Algorithm::Rs384 | Algorithm::Rs512 => {
                segments.decode(Part::Signature)?
            }
        };
        Ok(Self {
            text: text.into(),
            signed: segments.signed,
            algorithm,
            claims,
            signature,
        })
    }

    /// The claims, about which nothing is proved: for choosing an issuer and for showing, never for deciding.
    pub fn claims_unverified(&self) -> &C {
        &self.claims
    }

    /// The organisation that the token says it is of.
    pub fn ou_unverified(&self) -> Option<&str> {
        self.claims.ou()
    }

    /// How the token says it is signed.
    pub fn algorithm(&self) -> &Algorithm {
        &self.algorithm
    }

    /// The token as received.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The bytes under the signature.
    pub(crate) fn signed_bytes(&self) -> &[u8] {
        self.text.as_bytes().get(..self.signed).unwrap_or_default()
    }
}

impl<C: fmt::Debug> fmt::Debug for Unverified<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unverified")
            .field("algorithm", &self.algorithm)
            .field("claims", &self.claims)
            .finish_non_exhaustive()
    }
}

/// A decoded token of any purpose that is known.
#[derive(Debug, Clone)]
pub enum Token {
    /// A client token.
    Client(Box<Unverified<ClientClaims>>),
    /// A server token.
    Server(Box<Unverified<ServerClaims>>),
    /// A provisioning token.
    Provisioning(Box<Unverified<ProvisioningClaims>>),
    /// A token of a purpose that nobody serves.
    Unknown(String),
}

impl Token {
    /// Decodes a token text as what it says it is for.
    pub fn decode(text: &str) -> Result<Self, DecodeError> {
        Ok(match purpose(text)? {
            Purpose::Client => Self::Client(Box::new(Unverified::decode(text)?)),
            Purpose::Server => Self::Server(Box::new(Unverified::decode(text)?)),
            Purpose::Provisioning => Self::Provisioning(Box::new(Unverified::decode(text)?)),
            Purpose::Unknown(other) => Self::Unknown(other),
        })
    }
}

/// What a token says it is for; nothing is proved. The signature is not even looked at.
pub fn purpose(text: &str) -> Result<Purpose, DecodeError> {
    let hint: PurposeHint = peek(text)?;
    if hint.purpose == Purpose::default() && hint.sub == Purpose::Provisioning.as_str() {
        return Ok(Purpose::Provisioning);
    }
    Ok(hint.purpose)
}

/// Reads a few claims out of a token; nothing is proved and the signature is not even looked at.
pub(crate) fn peek<C: ClaimSet>(text: &str) -> Result<C, DecodeError> {
    let segments = Segments::split(text)?;
    segments.algorithm()?;
    read::parse(&segments.claims_json()?).map_err(|source| DecodeError::Json {
        part: Part::Claims,
        source,
    })
}

/// How a token says it is signed.
pub fn algorithm(text: &str) -> Result<Algorithm, DecodeError> {
    Segments::split(text)?.algorithm()
}

#[derive(Default)]
struct PurposeHint {
    purpose: Purpose,
    sub: String,
}

claim_set!(PurposeHint {
    "purpose" => purpose by read::value,
    "sub" => sub by read::value,
});

#[derive(Default)]
struct Header {
    /// Anything but a text names no algorithm.
    alg: Value,
    crit: Option<Value>,
}

claim_set!(Header {
    "alg" => alg by read::value,
    "crit" => crit by read::value,
});

struct Segments<'a> {
    header: &'a str,
    claims: &'a str,
    signature: &'a str,
    signed: usize,
}

impl<'a> Segments<'a> {
    fn split(text: &'a str) -> Result<Self, DecodeError> {
        if text.len() > MAX_TOKEN_BYTES {
            return Err(DecodeError::TooLong { bytes: text.len() });
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(DecodeError::Segments)?;
        let (header, claims) = signed.split_once('.').ok_or(DecodeError::Segments)?;
        if claims.contains('.') {
            return Err(DecodeError::Segments);
        }
        Ok(Self {
            header,
            claims,
            signature,
            signed: signed.len(),
        })
    }

    fn decode(&self, part: Part) -> Result<Vec<u8>, DecodeError> {
        let text = match part {
            Part::Header => self.header,
            Part::Claims => self.claims,
            Part::Signature => self.signature,
        };
        encoding::decode_segment(text).map_err(|source| DecodeError::Base64 { part, source })
    }

    fn claims_json(&self) -> Result<Vec<u8>, DecodeError> {
        self.decode(Part::Claims)
    }

    fn algorithm(&self) -> Result<Algorithm, DecodeError> {
        match self.header {
            EDDSA_HEADER => return Ok(Algorithm::EdDsa),
            RS256_HEADER => return Ok(Algorithm::Rs256),
            _ => {}
        }
        let header: Header =
            read::parse(&self.decode(Part::Header)?).map_err(|source| DecodeError::Json {
                part: Part::Header,
                source,
            })?;
        if header.crit.is_some() {
            return Err(DecodeError::Critical);
        }
        Ok(Algorithm::from(
            header.alg.as_str().unwrap_or_default().to_owned(),
        ))
    }
}

#[cfg(test)]
mod tests;
