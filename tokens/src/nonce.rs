//! Proof of possession: the signature over the nonce that a broker sends to each connection.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::encoding;
use crate::key::{Key, PublicKey};

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

/// The text that a broker sends in INFO, to be signed as it stands: it is not decoded.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Nonce<'a>(pub &'a str);

impl Nonce<'_> {
    /// Signs the nonce; the result is base64url without padding, as CONNECT carries it.
    pub fn sign(self, key: &Key) -> String {
        encoding::encode(&key.sign(self.0.as_bytes()))
    }

    /// Checks a signature over this nonce. Only raw base64url is read, without any leniency.
    pub fn verify(self, key: &PublicKey, signature: &str) -> Result<(), NonceError> {
        if signature.is_empty() {
            return Err(NonceError::NoSignature);
        }
        if self.0.is_empty() {
            return Err(NonceError::NoNonce);
        }
        let mut bytes = [0_u8; 66];
        let length = URL_SAFE_NO_PAD
            .decode_slice(signature, &mut bytes)
            .map_err(|_encoding| NonceError::Encoding)?;
        let signature = bytes.get(..length).unwrap_or_default();
        if key.verify(self.0.as_bytes(), signature) {
            Ok(())
        } else {
            Err(NonceError::Invalid)
        }
    }
}

impl fmt::Debug for Nonce<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Nonce({:?})", self.0)
    }
}

/// Signs the nonce of a broker: see [`Nonce::sign`].
pub fn sign_nonce(key: &Key, nonce: &str) -> String {
    Nonce(nonce).sign(key)
}

/// Checks a signature over the nonce of a broker: see [`Nonce::verify`].
pub fn verify_nonce(key: &PublicKey, nonce: &str, signature: &str) -> Result<(), NonceError> {
    Nonce(nonce).verify(key, signature)
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};

    use super::*;

    const NONCE: &str = "0-LEW2OX3utEotM";

    #[test]
    fn each_fault_has_its_name() {
        let key = Key::from_seed([3; 32]);
        let (public, good) = (key.public(), sign_nonce(&key, NONCE));
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
