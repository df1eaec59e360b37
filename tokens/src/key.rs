//! Ed25519 keys in the forms Choria keeps them: 64 hexadecimal digits for a seed, the same for a public key.

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::{Signature, SigningKey, Verifier as _, VerifyingKey};
use zeroize::Zeroizing;

mod sign;

use sign::Signer;

/// Why a key was not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The text is not exactly 64 hexadecimal digits.
    #[error("a key is exactly 64 hexadecimal digits without a line end, this has {bytes} bytes")]
    Length {
        /// Bytes that were given.
        bytes: usize,
    },
    /// A character is not a hexadecimal digit.
    #[error("a key is exactly 64 hexadecimal digits, this has another character")]
    NotHex,
    /// The 32 bytes are no point of the curve.
    #[error("not an ed25519 public key")]
    NotAPoint,
    /// The operating system gave no random bytes.
    #[error("no random bytes from the operating system: {0}")]
    Random(String),
}

/// A private ed25519 key. Masked when shown for debugging, wiped when dropped.
#[derive(Clone)]
pub struct Key {
    own: SigningKey,
    signer: Signer,
}

impl Key {
    /// Makes a new key from the randomness of the operating system.
    pub fn generate() -> Result<Self, KeyError> {
        let mut seed = Zeroizing::new([0_u8; 32]);
        random(seed.as_mut())?;
        Ok(Self::of(&seed))
    }

    /// The key of a 32-byte seed (RFC 8032).
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self::of(&Zeroizing::new(seed))
    }

    /// Reads a seed file's content: exactly 64 hexadecimal digits of either case, no line end.
    pub fn from_seed_text(text: &[u8]) -> Result<Self, KeyError> {
        Ok(Self::of(&Zeroizing::new(from_hex(text)?)))
    }

    fn of(seed: &[u8; 32]) -> Self {
        Self {
            own: SigningKey::from_bytes(seed),
            signer: Signer::of(seed),
        }
    }

    /// The seed as 64 lower-case hexadecimal digits, as Choria's seed files hold it.
    pub fn seed_text(&self) -> Zeroizing<String> {
        Zeroizing::new(hex::encode(self.own.as_bytes()))
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.own.verifying_key())
    }

    /// Signs `message` itself: no hash before, no context (RFC 8032, pure Ed25519).
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.signer.sign(&self.own, message)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key(****, public {})", self.public())
    }
}

/// A public ed25519 key with its decompressed point, so that each verification saves a square root.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// Takes the 32 bytes of a public key. Encodings that Go's library accepts are accepted.
    pub fn from_bytes(bytes: [u8; 32]) -> Result<Self, KeyError> {
        VerifyingKey::from_bytes(&bytes)
            .map(Self)
            .map_err(|_not_a_point| KeyError::NotAPoint)
    }

    /// The 32 bytes as they were given.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// Tells whether `signature` is this key's over `message`, by the same rules as Go's `crypto/ed25519`:
    /// 64 bytes, reduced scalar, the point compared as bytes, no multiplication by the cofactor.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        Signature::from_slice(signature)
            .is_ok_and(|signature| self.0.verify(message, &signature).is_ok())
    }

    /// Tells whether the key is one of the few points for which signatures over any message can be made up.
    pub fn is_weak(&self) -> bool {
        self.0.is_weak()
    }

    /// Tells whether a configured text is a key itself rather than a file name: 64 hexadecimal digits.
    pub fn looks_like_one(text: &str) -> bool {
        text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        Self::from_bytes(from_hex(text.as_bytes())?)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0_u8; 64];
        hex::encode_to_slice(self.as_bytes(), &mut text).map_err(|_impossible| fmt::Error)?;
        f.write_str(str::from_utf8(&text).map_err(|_impossible| fmt::Error)?)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl std::hash::Hash for PublicKey {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

/// Fills `bytes` from the operating system.
pub(crate) fn random(bytes: &mut [u8]) -> Result<(), KeyError> {
    getrandom::fill(bytes).map_err(|error| KeyError::Random(error.to_string()))
}

fn from_hex(text: &[u8]) -> Result<[u8; 32], KeyError> {
    if text.len() != 64 {
        return Err(KeyError::Length { bytes: text.len() });
    }
    let mut bytes = [0_u8; 32];
    hex::decode_to_slice(text, &mut bytes).map_err(|_not_hex| KeyError::NotHex)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
