//! Issuing: new claims, the trust chain, the signature.

mod build;

use overlay_protocol::id::{Ksuid, KsuidError};
use zeroize::Zeroizing;

use crate::claims::{CHAIN_ISSUED, Claims, ClientClaims, ORG_ISSUED, Standard};
use crate::encoding;
use crate::key::{Key, KeyError, PublicKey};
use crate::rsa::{RsaError, RsaPrivate};
use crate::token::{Algorithm, MAX_TOKEN_BYTES};
use crate::verify::Verified;

pub use build::{
    ClientToken, DEFAULT_ISSUER, DEFAULT_VALIDITY_SECONDS, ProvisioningToken, ServerToken,
};

/// Why a token cannot be issued.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// A claim that this kind of token needs was not given.
    #[error("{what} is required")]
    Missing {
        /// What is missing, for people.
        what: &'static str,
    },
    /// Both of two claims were given of which one is allowed.
    #[error("broker urls and an srv domain exclude each other")]
    UrlsAndSrv,
    /// The chain issuer has no expiry, so that what it issues would have none either.
    #[error("the chain issuer has no expiry")]
    IssuerWithoutExpiry,
    /// The chain issuer's token has no public key.
    #[error("the chain issuer has no public key")]
    IssuerWithoutKey,
    /// The token of the issuer is not that of a chain issuer.
    #[error("the token is not that of a chain issuer")]
    NotAChainIssuer,
    /// The key at hand is not the chain issuer's.
    #[error("the key does not belong to the chain issuer's token")]
    OtherKey,
    /// The token is as long as no receiver reads it.
    #[error("the token would have {bytes} bytes, which is over the limit of {MAX_TOKEN_BYTES}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// The time of issue does not fit a token id.
    #[error("no token id for this time: {0}")]
    Time(#[from] KsuidError),
    /// The organisation's or the holder's key is unusable, or there are no random bytes.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The RSA key cannot sign.
    #[error(transparent)]
    Rsa(#[from] RsaError),
    /// The claims cannot be written as JSON.
    #[error("claims cannot be written")]
    Json(#[source] serde_json::Error),
}

/// The key that signs a token.
#[derive(Debug, Clone, Copy)]
pub enum SigningKey<'a> {
    /// Ed25519, for every kind of token.
    Ed25519(&'a Key),
    /// RSA (RS256), which Choria still takes for provisioning tokens.
    Rsa(&'a RsaPrivate),
}

impl<'a> From<&'a Key> for SigningKey<'a> {
    fn from(key: &'a Key) -> Self {
        Self::Ed25519(key)
    }
}

impl<'a> From<&'a RsaPrivate> for SigningKey<'a> {
    fn from(key: &'a RsaPrivate) -> Self {
        Self::Rsa(key)
    }
}

/// A private key of either type, as a file of signing keys holds it.
#[derive(Debug)]
pub enum PrivateKey {
    /// 64 hexadecimal digits.
    Ed25519(Box<Key>),
    /// A PEM text.
    Rsa(Box<RsaPrivate>),
}

impl PrivateKey {
    /// Reads the content of a key file: exactly 64 bytes are an ed25519 seed, anything else must be an RSA key as PEM.
    pub fn from_file_content(content: &[u8]) -> Result<Self, IssueError> {
        if content.len() == 64 {
            return Ok(Self::Ed25519(Box::new(Key::from_seed_text(content)?)));
        }
        let pem = str::from_utf8(content)
            .ok()
            .filter(|pem| pem.starts_with("-----BEGIN "))
            .unwrap_or_default();
        Ok(Self::Rsa(Box::new(RsaPrivate::from_pem(pem)?)))
    }
}

impl<'a> From<&'a PrivateKey> for SigningKey<'a> {
    fn from(key: &'a PrivateKey) -> Self {
        match key {
            PrivateKey::Ed25519(key) => Self::Ed25519(key),
            PrivateKey::Rsa(key) => Self::Rsa(key),
        }
    }
}

/// Signs claims as they stand and returns the token.
pub fn sign<'a, C: Claims>(
    claims: &C,
    key: impl Into<SigningKey<'a>>,
) -> Result<String, IssueError> {
    let key = key.into();
    let json: Zeroizing<String> = claims.to_json_text().map_err(IssueError::Json)?;
    let algorithm = match key {
        SigningKey::Ed25519(_) => Algorithm::EdDsa,
        SigningKey::Rsa(_) => Algorithm::Rs256,
    };
    let mut token = String::with_capacity(json.len() * 4 / 3 + 512);
    token.push_str(algorithm.header().unwrap_or_default());
    token.push('.');
    encoding::encode_onto(json.as_bytes(), &mut token);
    let signature = match key {
        SigningKey::Ed25519(key) => key.sign(token.as_bytes()).to_vec(),
        SigningKey::Rsa(key) => key.sign(token.as_bytes())?,
    };
    token.push('.');
    encoding::encode_onto(&signature, &mut token);
    if token.len() > MAX_TOKEN_BYTES {
        return Err(IssueError::TooLong { bytes: token.len() });
    }
    Ok(token)
}

/// Makes `standard` that of a chain issuer: the organisation's name for itself, and its signature over id and key.
pub fn add_org_issuer_data(standard: &mut Standard, org: &Key) -> Result<(), IssueError> {
    if standard.jti.is_empty() {
        return Err(IssueError::Missing { what: "a token id" });
    }
    if standard.public_key.is_empty() {
        return Err(IssueError::Missing {
            what: "a public key",
        });
    }
    standard.iss = format!("{ORG_ISSUED}{}", org.public());
    standard.tcs = hex::encode(
        org.sign(
            [&standard.jti, ".", &standard.public_key]
                .concat()
                .as_bytes(),
        ),
    );
    Ok(())
}

/// Makes `standard` that of a token issued by the chain issuer whose claims and key are given.
///
/// The expiry is capped at the issuer's, and becomes the issuer's when there was none.
pub fn add_chain_issuer_data(
    standard: &mut Standard,
    issuer: &Standard,
    key: &Key,
) -> Result<(), IssueError> {
    let expires = issuer.exp.ok_or(IssueError::IssuerWithoutExpiry)?;
    if issuer.public_key.is_empty() {
        return Err(IssueError::IssuerWithoutKey);
    }
    if issuer.jti.is_empty() || issuer.tcs.is_empty() || issuer.tcs.contains('.') {
        return Err(IssueError::NotAChainIssuer);
    }
    if issuer.public_key.parse::<PublicKey>()? != key.public() {
        return Err(IssueError::OtherKey);
    }
    if standard.jti.is_empty() {
        return Err(IssueError::Missing { what: "a token id" });
    }
    if standard.public_key.is_empty() {
        return Err(IssueError::Missing {
            what: "a public key",
        });
    }
    let signature = hex::encode(key.sign([&standard.jti, ".", &issuer.tcs].concat().as_bytes()));
    standard.iss = format!("{CHAIN_ISSUED}{}.{}", issuer.jti, issuer.public_key);
    standard.issexp = Some(expires);
    standard.exp = Some(standard.exp.map_or(expires, |exp| exp.min(expires)));
    standard.tcs = [&issuer.tcs, ".", &signature].concat();
    Ok(())
}

/// The organisation's issuer, offline by custom: signs tokens itself and makes chain issuers.
#[derive(Debug)]
pub struct OrgIssuer {
    key: Key,
}

impl OrgIssuer {
    /// Takes the organisation's key.
    pub fn new(key: Key) -> Self {
        Self { key }
    }

    /// The key that everybody must trust.
    pub fn public(&self) -> PublicKey {
        self.key.public()
    }

    /// Signs a token of any kind.
    pub fn issue<C: Claims>(&self, claims: &C) -> Result<String, IssueError> {
        sign(claims, &self.key)
    }

    /// Makes the holder of `claims` a chain issuer, and signs its token.
    ///
    /// A chain issuer makes no requests itself, so fleet access and delegation are taken from it.
    pub fn issue_chain_issuer(&self, mut claims: ClientClaims) -> Result<String, IssueError> {
        if let Some(permissions) = &mut claims.permissions {
            permissions.fleet_management = false;
            permissions.signed_fleet_management = false;
            permissions.authentication_delegator = false;
        }
        add_org_issuer_data(&mut claims.standard, &self.key)?;
        sign(&claims, &self.key)
    }
}

/// A chain issuer, such as the login service or the provisioner: a verified token and its key.
#[derive(Debug)]
pub struct ChainIssuer {
    standard: Standard,
    key: Key,
}

/// Claims that a chain issuer may sign: those of clients and servers, not of unprovisioned nodes.
pub trait Chainable: Claims {}
impl Chainable for ClientClaims {}
impl Chainable for crate::claims::ServerClaims {}

impl ChainIssuer {
    /// Takes a chain issuer's verified token and its key.
    pub fn new(token: &Verified<ClientClaims>, key: Key) -> Result<Self, IssueError> {
        if !token.is_chain_issuer() {
            return Err(IssueError::NotAChainIssuer);
        }
        if token.public_key()? != key.public() {
            return Err(IssueError::OtherKey);
        }
        if token.standard.exp.is_none() {
            return Err(IssueError::IssuerWithoutExpiry);
        }
        Ok(Self {
            standard: token.standard.clone(),
            key,
        })
    }

    /// When the issuer expires, and with it all that it issued; in Unix seconds.
    pub fn expires_at(&self) -> Option<i64> {
        self.standard.exp
    }

    /// Adds the trust chain to `claims`, caps their expiry, and signs them.
    pub fn issue<C: Chainable>(&self, mut claims: C) -> Result<String, IssueError> {
        add_chain_issuer_data(claims.standard_mut(), &self.standard, &self.key)?;
        sign(&claims, &self.key)
    }
}

/// A new token id for a time in Unix seconds.
pub(crate) fn new_id(now_secs: i64) -> Result<Ksuid, IssueError> {
    let mut random = [0_u8; 16];
    crate::key::random(&mut random)?;
    let seconds = u64::try_from(now_secs).map_err(|_before_1970| KsuidError::Time)?;
    Ok(Ksuid::from_parts(seconds, random)?)
}
