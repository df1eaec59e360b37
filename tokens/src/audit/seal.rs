//! Signatures over a chain.

use overlay_protocol::audit::{Head, LineHash, Seal, head_text};
use serde::{Deserialize, Serialize};

use crate::UnixTime;
use crate::cache::{TokenError, VerifiedCache};
use crate::claims::ServerClaims;
use crate::issuers::Issuers;
use crate::key::{Key, KeyError};
use crate::verify::Verified;

/// Why a server token and its key cannot sign for a chain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealerError {
    /// The token is that of an ordinary node.
    #[error("the server token of `{identity}` has no permission service_host")]
    NotAService {
        /// Whose token it is.
        identity: String,
    },
    /// The key at hand is not that of the token.
    #[error("the key does not belong to the server token")]
    OtherKey,
    /// The token's public key is unusable.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// Why a signature over a chain is worth nothing.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// There is none.
    #[error("it is not signed")]
    Absent,
    /// The signer's token is not to be trusted, or was not when it signed.
    #[error("the signer's token is not to be trusted: {0}")]
    Token(#[from] TokenError),
    /// Another service signed.
    #[error("it is signed by `{identity}`, which is not the writer of the chain")]
    Identity {
        /// Who signed.
        identity: String,
    },
    /// An ordinary node signed.
    #[error("it is signed by `{identity}`, which is no host of services")]
    NotAService {
        /// Who signed.
        identity: String,
    },
    /// The signer's token has no usable key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The signature is not that of the signer's key.
    #[error("its signature is wrong")]
    Signature,
}

/// Who signs for a chain: the service's own server token and key. The chain is named by the token's identity.
#[derive(Debug)]
pub struct Sealer {
    key: Key,
    token: String,
    identity: String,
}

impl Sealer {
    /// Takes a host of services' verified token and its key.
    ///
    /// # Errors
    ///
    /// [`SealerError`]: nobody would accept what it signs.
    pub fn new(token: &Verified<ServerClaims>, key: Key) -> Result<Self, SealerError> {
        if !token.granted().service_host {
            return Err(SealerError::NotAService {
                identity: token.identity.clone(),
            });
        }
        if token.public_key()? != key.public() {
            return Err(SealerError::OtherKey);
        }
        Ok(Self {
            key,
            token: token.text().to_owned(),
            identity: token.identity.clone(),
        })
    }

    /// Name of the chain that this signer may sign for.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// Signs the head of a chain, to be kept apart from it.
    pub fn head(&self, head: Head, time: UnixTime) -> SignedHead {
        SignedHead {
            chain: self.identity.clone(),
            sequence: head.sequence,
            hash: head.hash.to_string(),
            time: time.secs,
            seal: self.sign(&head_text(&self.identity, head, time.secs)),
        }
    }

    pub(super) fn sign(&self, text: &str) -> Seal {
        Seal {
            signature: hex::encode(self.key.sign(text.as_bytes())),
            token: self.token.clone(),
        }
    }
}

/// The head of a chain as it was at some time, signed: what was there then must still be there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedHead {
    /// Name of the chain.
    pub chain: String,
    /// Number of its last line.
    pub sequence: u64,
    /// Hash of its last line, 64 hexadecimal digits.
    pub hash: String,
    /// When, in Unix seconds.
    pub time: i64,
    /// Who says so.
    #[serde(flatten)]
    pub seal: Seal,
}

impl SignedHead {
    /// The head, whether it is well signed or not; nothing when the hash is none.
    pub fn head_unverified(&self) -> Option<Head> {
        let hash: LineHash = self.hash.parse().ok()?;
        Some(Head {
            sequence: self.sequence,
            hash,
        })
    }

    /// The head, if the writer of the chain signed it.
    ///
    /// # Errors
    ///
    /// [`SealError`]: it says nothing.
    pub fn verify(&self, issuers: &Issuers) -> Result<Head, SealError> {
        let head = self.head_unverified().ok_or(SealError::Signature)?;
        let text = head_text(&self.chain, head, self.time);
        let tokens = VerifiedCache::new(1, 1 << 16);
        verify_seal(&self.seal, &self.chain, &text, self.time, issuers, &tokens)?;
        Ok(head)
    }
}

/// Checks that the writer of a chain signed `text` when its token was good.
pub(super) fn verify_seal(
    seal: &Seal,
    chain: &str,
    text: &str,
    time: i64,
    issuers: &Issuers,
    tokens: &VerifiedCache<ServerClaims>,
) -> Result<(), SealError> {
    let token = tokens.verify(&seal.token, issuers, UnixTime::from_secs(time))?;
    let identity = || token.identity.clone();
    if token.identity != chain {
        return Err(SealError::Identity {
            identity: identity(),
        });
    }
    if !token.granted().service_host {
        return Err(SealError::NotAService {
            identity: identity(),
        });
    }
    let mut signature = [0; 64];
    hex::decode_to_slice(&seal.signature, &mut signature)
        .map_err(|_no_signature| SealError::Signature)?;
    if !token.public_key()?.verify(text.as_bytes(), &signature) {
        return Err(SealError::Signature);
    }
    Ok(())
}
