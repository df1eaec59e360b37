//! RSA keys, which Choria still allows for provisioning tokens: signed with RS256, verified with RS256, RS384 and RS512.

mod der;

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::rsa::KeyPair;
use ring::signature::{
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
    RSA_PKCS1_SHA256, UnparsedPublicKey,
};
use zeroize::Zeroizing;

use crate::token::Algorithm;

/// Why a PEM text is no usable RSA key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RsaError {
    /// No PEM block of a kind that is read here.
    #[error("no PEM block {expected}")]
    Pem {
        /// Kinds that are read.
        expected: &'static str,
    },
    /// The block is broken or holds another kind of key.
    #[error("not an RSA key")]
    NotRsa,
    /// The key is not accepted, most likely shorter than 2048 bits.
    #[error("RSA key not accepted: {reason}")]
    Refused {
        /// What the cryptographic library says.
        reason: String,
    },
    /// Signing failed.
    #[error("signing with the RSA key failed")]
    Sign,
}

/// A public RSA key of 2048 to 8192 bits.
#[derive(Clone, PartialEq, Eq)]
pub struct RsaPublic {
    /// `RSAPublicKey` of RFC 8017.
    der: Box<[u8]>,
}

impl RsaPublic {
    /// Reads the first `PUBLIC KEY` or `CERTIFICATE` block of a PEM text.
    ///
    /// Of a certificate only the key is taken: neither its dates nor who signed it count, as with Choria.
    pub fn from_pem(pem: &str) -> Result<Self, RsaError> {
        let (label, der) = block(pem)?;
        let key = match label {
            "PUBLIC KEY" => der::rsa_key_of_spki(&der),
            "CERTIFICATE" => der::rsa_key_of_certificate(&der),
            _ => {
                return Err(RsaError::Pem {
                    expected: "`PUBLIC KEY` or `CERTIFICATE`",
                });
            }
        };
        Ok(Self {
            der: key.ok_or(RsaError::NotRsa)?.into(),
        })
    }

    /// Tells whether `signature` is this key's over `message` under one of the RSA algorithms.
    pub fn verify(&self, algorithm: &Algorithm, message: &[u8], signature: &[u8]) -> bool {
        let parameters = match algorithm {
            Algorithm::Rs256 => &RSA_PKCS1_2048_8192_SHA256,
            Algorithm::Rs384 => &RSA_PKCS1_2048_8192_SHA384,
            Algorithm::Rs512 => &RSA_PKCS1_2048_8192_SHA512,
            Algorithm::EdDsa | Algorithm::Other(_) => return false,
        };
        UnparsedPublicKey::new(parameters, &self.der)
            .verify(message, signature)
            .is_ok()
    }

    pub(crate) fn der(&self) -> &[u8] {
        &self.der
    }
}

impl fmt::Debug for RsaPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RsaPublic({} bytes)", self.der.len())
    }
}

/// A private RSA key for signing. Masked when shown for debugging.
pub struct RsaPrivate(KeyPair);

impl RsaPrivate {
    /// Reads the first `RSA PRIVATE KEY` (PKCS #1) or `PRIVATE KEY` (PKCS #8) block of a PEM text.
    pub fn from_pem(pem: &str) -> Result<Self, RsaError> {
        let (label, der) = block(pem)?;
        let pair = match label {
            "RSA PRIVATE KEY" => KeyPair::from_der(&der),
            "PRIVATE KEY" => KeyPair::from_pkcs8(&der),
            _ => {
                return Err(RsaError::Pem {
                    expected: "`RSA PRIVATE KEY` or `PRIVATE KEY`",
                });
            }
        };
        pair.map(Self).map_err(|rejected| RsaError::Refused {
            reason: rejected.to_string(),
        })
    }

    /// The public half.
    pub fn public(&self) -> RsaPublic {
        RsaPublic {
            der: self.0.public().as_ref().into(),
        }
    }

    /// Signs `message` with RS256.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, RsaError> {
        let mut signature = vec![0; self.0.public().modulus_len()];
        self.0
            .sign(
                &RSA_PKCS1_SHA256,
                &SystemRandom::new(),
                message,
                &mut signature,
            )
            .map_err(|_unspecified| RsaError::Sign)?;
        Ok(signature)
    }
}

impl fmt::Debug for RsaPrivate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RsaPrivate(****)")
    }
}

/// Label and bytes of the first PEM block (RFC 7468).
fn block(pem: &str) -> Result<(&str, Zeroizing<Vec<u8>>), RsaError> {
    let found = || {
        let (_, rest) = pem.split_once("-----BEGIN ")?;
        let (label, rest) = rest.split_once("-----")?;
        let (body, _) = rest.split_once(&format!("-----END {label}-----"))?;
        let text = body.bytes().filter(|byte| !byte.is_ascii_whitespace());
        let text: Zeroizing<Vec<u8>> = Zeroizing::new(text.collect());
        let der = STANDARD.decode(text.as_slice()).ok()?;
        Some((label, Zeroizing::new(der)))
    };
    found().ok_or(RsaError::Pem {
        expected: "of a key",
    })
}
