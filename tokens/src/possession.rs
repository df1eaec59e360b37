//! Proofs that a node makes while it is enrolled: that it holds a new key, and that it held the former one.

use overlay_protocol::provisioning::MAX_NONCE_BYTES;

use crate::key::{Key, KeyError, PublicKey};
use crate::nonce::Nonce;

/// What comes before the nonce in the text that a member signs in order to renew.
///
/// No other text that is signed begins with it: requests and replies are JSON, tokens begin with a header in base64,
/// chains with an id, and nonces of brokers have no dot.
const RENEWAL: &str = "overlay-renewal.";

/// Why a node has not proved that it holds a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PossessionError {
    /// No public key was given.
    #[error("no public key received")]
    NoKey,
    /// What was given is no public key.
    #[error("public key not understood")]
    Key(#[source] KeyError),
    /// The public key is one for which signatures can be made up.
    #[error("public key is a weak one")]
    WeakKey,
    /// No signature was given.
    #[error("no signature received")]
    NoSignature,
    /// The signature is not 128 hexadecimal digits.
    #[error("signature is not 128 hexadecimal digits")]
    Encoding,
    /// The signature is not the key's over the nonce.
    #[error("invalid nonce signature")]
    Invalid,
}

/// Why a nonce is not signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NonceRefused {
    /// Longer than [`MAX_NONCE_BYTES`].
    #[error("a nonce of {bytes} bytes is over the limit of {MAX_NONCE_BYTES}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// For a renewal: not 1 to 64 of A-Z, a-z, 0-9, - and _.
    #[error("a nonce for a renewal is 1 to {MAX_NONCE_BYTES} of A-Z, a-z, 0-9, - and _")]
    NotPlain,
}

/// Signs the text of a nonce as it is, as 128 lower-case hexadecimal digits.
///
/// Nothing in the signature says what it is for, so this is for a key that was made for the same request. What is short
/// enough is neither a request nor a reply.
///
/// # Errors
///
/// The nonce is longer than [`MAX_NONCE_BYTES`].
pub fn sign_possession(key: &Key, nonce: &str) -> Result<String, NonceRefused> {
    let bytes = nonce.len();
    if bytes > MAX_NONCE_BYTES {
        return Err(NonceRefused::TooLong { bytes });
    }
    Ok(hex::encode(key.sign(nonce.as_bytes())))
}

/// Checks that `signature` is by `public_key` over the text of the nonce; hexadecimal digits of either case.
///
/// # Errors
///
/// [`PossessionError`] says what is missing or wrong.
pub fn verify_possession(
    nonce: &str,
    public_key: &str,
    signature: &str,
) -> Result<PublicKey, PossessionError> {
    if public_key.is_empty() {
        return Err(PossessionError::NoKey);
    }
    let key: PublicKey = public_key.parse().map_err(PossessionError::Key)?;
    if key.is_weak() {
        return Err(PossessionError::WeakKey);
    }
    verify_hex(&key, nonce.as_bytes(), signature)?;
    Ok(key)
}

/// Signs the wish of a member to renew, with its current key, as 128 lower-case hexadecimal digits.
///
/// # Errors
///
/// The nonce is not 1 to 64 of A-Z, a-z, 0-9, - and _.
pub fn sign_renewal(key: &Key, nonce: &str) -> Result<String, NonceRefused> {
    Nonce::offered(nonce.as_bytes()).map_err(|_other| NonceRefused::NotPlain)?;
    Ok(hex::encode(key.sign(renewal(nonce).as_bytes())))
}

/// Checks that `signature` is by a member's current key over the nonce of a renewal.
///
/// # Errors
///
/// [`PossessionError`] says what is missing or wrong.
pub fn verify_renewal(
    key: &PublicKey,
    nonce: &str,
    signature: &str,
) -> Result<(), PossessionError> {
    if key.is_weak() {
        return Err(PossessionError::WeakKey);
    }
    verify_hex(key, renewal(nonce).as_bytes(), signature)
}

fn renewal(nonce: &str) -> String {
    format!("{RENEWAL}{nonce}")
}

fn verify_hex(key: &PublicKey, message: &[u8], signature: &str) -> Result<(), PossessionError> {
    if signature.is_empty() {
        return Err(PossessionError::NoSignature);
    }
    let mut bytes = [0_u8; 64];
    hex::decode_to_slice(signature, &mut bytes).map_err(|_not_hex| PossessionError::Encoding)?;
    if key.verify(message, &bytes) {
        Ok(())
    } else {
        Err(PossessionError::Invalid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: &str = "a60b74fe56d6454d8f5bc2af1288be3c";

    #[test]
    fn a_holder_proves_its_key_and_nobody_elses() {
        let (key, other) = (Key::from_seed([3; 32]), Key::from_seed([4; 32]));
        let public = key.public().to_string();
        let signature = sign_possession(&key, NONCE).unwrap();
        for (public, signature) in [
            (public.clone(), signature.clone()),
            (public.to_uppercase(), signature.to_uppercase()),
        ] {
            assert_eq!(
                verify_possession(NONCE, &public, &signature),
                Ok(key.public())
            );
        }
        for (nonce, public, signature, error) in [
            (NONCE, "", signature.as_str(), PossessionError::NoKey),
            (NONCE, public.as_str(), "", PossessionError::NoSignature),
            (NONCE, &public, &signature[1..], PossessionError::Encoding),
            (NONCE, &public, &signature[2..], PossessionError::Encoding),
            (NONCE, &public, &"z".repeat(128), PossessionError::Encoding),
            ("another", &public, &signature, PossessionError::Invalid),
            (
                NONCE,
                &other.public().to_string(),
                &signature,
                PossessionError::Invalid,
            ),
            (
                NONCE,
                &public[2..],
                &signature,
                PossessionError::Key(KeyError::Length { bytes: 62 }),
            ),
            (
                NONCE,
                &format!("01{}", "0".repeat(62)),
                &signature,
                PossessionError::WeakKey,
            ),
        ] {
            assert_eq!(verify_possession(nonce, public, signature), Err(error));
        }
    }

    #[test]
    fn a_long_text_is_not_signed() {
        let key = Key::from_seed([3; 32]);
        assert!(sign_possession(&key, &"x".repeat(64)).is_ok());
        assert_eq!(
            sign_possession(&key, &"x".repeat(65)),
            Err(NonceRefused::TooLong { bytes: 65 })
        );
    }

    #[test]
    fn a_proof_for_a_renewal_is_good_for_nothing_else() {
        let key = Key::from_seed([3; 32]);
        let public = key.public();
        let signature = sign_renewal(&key, NONCE).unwrap();
        assert_eq!(verify_renewal(&public, NONCE, &signature), Ok(()));
        assert_eq!(
            verify_possession(NONCE, &public.to_string(), &signature),
            Err(PossessionError::Invalid)
        );
        assert_eq!(
            verify_renewal(&public, NONCE, &sign_possession(&key, NONCE).unwrap()),
            Err(PossessionError::Invalid)
        );
        for nonce in ["", "a.b", "{}", "two words", &"x".repeat(65)] {
            assert_eq!(sign_renewal(&key, nonce), Err(NonceRefused::NotPlain));
        }
    }
}
