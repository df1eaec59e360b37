//! Proof of possession: the signature over the nonce that a broker sends to each connection.
//!
//! The key that signs nonces signs requests, replies and tokens too, and no signature says what it was made for. What
//! a broker offers is therefore signed only if it can be nothing but a nonce: see [`Nonce::offered`].

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::encoding;
use crate::key::{Key, PublicKey};

/// Longest nonce that is signed, in bytes; nats-server sends 15.
pub const MAX_NONCE_BYTES: usize = 64;

/// Why a signature does not prove that the holder has the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NonceError {
    /// No signature was sent.
    #[error("no signature over the nonce")]
    NoSignature,
    /// The broker sent no nonce, so nothing fresh was signed.
    #[error("the broker sent no nonce")]
    NoNonce,
    /// The text is not raw base64url.
    #[error("nonce signature is not base64url without padding")]
    Encoding,
    /// The signature is not the key's over the nonce.
    #[error("nonce signature is not by the token's key")]
    Invalid,
}

/// Why what a broker offers is not signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OfferError {
    /// It offers nothing, as a broker does whose configuration has no nkey user.
    #[error("the broker offers no nonce")]
    NoNonce,
    /// It might be something else that a signature by the same key means something on.
    #[error(
        "what the broker offers to be signed is not a nonce: {bytes} bytes that are not 1 to {MAX_NONCE_BYTES} of A-Z, a-z, 0-9, - and _"
    )]
    NotANonce {
        /// Its length.
        bytes: usize,
    },
}

/// What a broker sent in INFO, to be signed as it stands: it is not decoded.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Nonce<'a>(&'a str);

impl<'a> Nonce<'a> {
    /// Takes what a broker offers: 1 to 64 letters and digits of base64url.
    ///
    /// Requests and replies are JSON; what is signed of a token or a trust chain has a dot. Neither passes.
    ///
    /// # Errors
    ///
    /// Nothing is offered, or something else than a nonce.
    pub fn offered(bytes: &'a [u8]) -> Result<Self, OfferError> {
        if bytes.is_empty() {
            return Err(OfferError::NoNonce);
        }
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        match str::from_utf8(bytes) {
            Ok(text) if bytes.len() <= MAX_NONCE_BYTES && bytes.iter().all(plain) => Ok(Self(text)),
            Ok(_) | Err(_) => Err(OfferError::NotANonce { bytes: bytes.len() }),
        }
    }

    /// The nonce as it was offered, for keys that are not of this crate.
    pub fn as_str(self) -> &'a str {
        self.0
    }

    /// Signs the nonce.
    pub fn sign(self, key: &Key) -> [u8; 64] {
        key.sign(self.0.as_bytes())
    }
}

impl fmt::Debug for Nonce<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Nonce({:?})", self.0)
    }
}

/// Signs the nonce of a broker; the result is base64url without padding, as CONNECT carries it.
///
/// # Errors
///
/// The text is no nonce: see [`Nonce::offered`].
pub fn sign_nonce(key: &Key, nonce: &str) -> Result<String, OfferError> {
    Ok(encoding::encode(
        &Nonce::offered(nonce.as_bytes())?.sign(key),
    ))
}

/// Checks a signature over the nonce of a broker. Only raw base64url is read, without any leniency.
///
/// The nonce is what the verifier knows to be the broker's, whatever it looks like.
pub fn verify_nonce(key: &PublicKey, nonce: &str, signature: &str) -> Result<(), NonceError> {
    if signature.is_empty() {
        return Err(NonceError::NoSignature);
    }
    if nonce.is_empty() {
        return Err(NonceError::NoNonce);
    }
    let mut bytes = [0_u8; 66];
    let length = URL_SAFE_NO_PAD
        .decode_slice(signature, &mut bytes)
        .map_err(|_encoding| NonceError::Encoding)?;
    let signature = bytes.get(..length).unwrap_or_default();
    if key.verify(nonce.as_bytes(), signature) {
        Ok(())
    } else {
        Err(NonceError::Invalid)
    }
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};

    use super::*;

    const NONCE: &str = "0-LEW2OX3utEotM";

    #[test]
    fn only_what_can_be_nothing_else_is_signed() {
        let key = Key::from_seed([3; 32]);
        for nonce in [NONCE, "A", "_-9z", &"x".repeat(MAX_NONCE_BYTES)] {
            let signature = sign_nonce(&key, nonce).unwrap();
            assert_eq!(verify_nonce(&key.public(), nonce, &signature), Ok(()));
        }
        assert_eq!(sign_nonce(&key, ""), Err(OfferError::NoNonce));
        for other in [
            r#"{"protocol":"io.choria.protocol.v2.request"}"#,
            "{}",
            "eyJhbGciOiJFZERTQSIsInR5cCI6IkpXVCJ9.e30",
            "37eFOndSbOFjcxMiYwelm9JTfhF.ed4928c6",
            "0-LEW2OX3utEotM\n",
            "0-LEW2OX3utEotM=",
            "two words",
            "a+b/c",
            "ä",
            &"x".repeat(MAX_NONCE_BYTES + 1),
        ] {
            let bytes = other.len();
            assert_eq!(
                sign_nonce(&key, other),
                Err(OfferError::NotANonce { bytes }),
                "{other}"
            );
        }
        assert_eq!(
            Nonce::offered(&[0xff, b'a']),
            Err(OfferError::NotANonce { bytes: 2 })
        );
    }

    #[test]
    fn each_fault_has_its_name() {
        let key = Key::from_seed([3; 32]);
        let (public, good) = (key.public(), sign_nonce(&key, NONCE).unwrap());
        assert_eq!(verify_nonce(&public, NONCE, &good), Ok(()));
        assert_eq!(
            verify_nonce(&public, NONCE, ""),
            Err(NonceError::NoSignature)
        );
        assert_eq!(verify_nonce(&public, "", &good), Err(NonceError::NoNonce));
        assert_eq!(
            verify_nonce(&public, "another", &good),
            Err(NonceError::Invalid)
        );
        assert_eq!(
            verify_nonce(&Key::from_seed([4; 32]).public(), NONCE, &good),
            Err(NonceError::Invalid)
        );
        assert_eq!(
            verify_nonce(&public, NONCE, &good[..40]),
            Err(NonceError::Invalid)
        );
        for encoded in [
            STANDARD.encode(key.sign(NONCE.as_bytes())),
            URL_SAFE.encode(key.sign(NONCE.as_bytes())),
            format!("{good}\n"),
            format!("{good}{good}"),
        ] {
            assert_eq!(
                verify_nonce(&public, NONCE, &encoded),
                Err(NonceError::Encoding),
                "{encoded}"
            );
        }
    }
}
