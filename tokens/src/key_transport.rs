//! How a private key that the provisioner made reaches its node: an X25519 exchange (RFC 7748) and an encrypted PEM block.
//!
//! The form is the one that Choria nodes read: the old PEM encryption with AES-256-CBC, its key made of the raw shared
//! secret by MD5 (OpenSSL's `EVP_BytesToKey`, one round), and nothing that authenticates it. What comes out is therefore
//! taken only if it has the outer form of a key.

mod pem;

use std::fmt;

use aes::Aes256;
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockDecryptMut as _, BlockEncryptMut as _, KeyIvInit as _};
use md5::{Digest as _, Md5};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::{Zeroize as _, Zeroizing};

use crate::key::{KeyError, random};

/// Longest PEM text of a key that is read, in bytes.
pub const MAX_PEM_BYTES: usize = 64 * 1024;

/// Label that transported keys have, whatever they are.
const LABEL: &str = "RSA PRIVATE KEY";
const CIPHER: &str = "AES-256-CBC";

/// Why no secret is shared with a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ExchangeError {
    /// The text is not 64 hexadecimal digits.
    #[error("a public key for an exchange is 64 hexadecimal digits, this has {bytes} bytes")]
    Length {
        /// Bytes that were given.
        bytes: usize,
    },
    /// A character is not a hexadecimal digit.
    #[error("a public key for an exchange is 64 hexadecimal digits, this has another character")]
    NotHex,
    /// The key is one of the few with which everybody shares the same secret.
    #[error("the public key for an exchange is of low order")]
    LowOrder,
}

/// Why a private key was not encrypted or decrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// Longer than [`MAX_PEM_BYTES`].
    #[error("a key of {bytes} bytes is over the limit of {MAX_PEM_BYTES}")]
    TooLong {
        /// Length of the text.
        bytes: usize,
    },
    /// No PEM block with a private key.
    #[error("no PEM block of a private key")]
    NoKey,
    /// The key to be sent is encrypted already.
    #[error("key is encrypted already")]
    Encrypted,
    /// The key that came is not encrypted.
    #[error("key is not encrypted")]
    NotEncrypted,
    /// It is encrypted in another way than AES-256-CBC with 16 bytes of IV.
    #[error("key is encrypted in another way than {CIPHER}")]
    Cipher,
    /// The secret is another one, or the text was changed.
    #[error("key cannot be decrypted with this secret")]
    Secret,
}

/// A private X25519 key for one exchange. Masked when shown for debugging, wiped when dropped.
#[derive(Clone)]
pub struct ExchangeKey(StaticSecret);

impl ExchangeKey {
    /// Makes a new key from the randomness of the operating system.
    ///
    /// # Errors
    ///
    /// The operating system gave no random bytes.
    pub fn generate() -> Result<Self, KeyError> {
        let mut bytes = Zeroizing::new([0_u8; 32]);
        random(bytes.as_mut())?;
        Ok(Self::from_bytes(*bytes))
    }

    /// Takes 32 random bytes.
    pub fn from_bytes(mut bytes: [u8; 32]) -> Self {
        let key = Self(StaticSecret::from(bytes));
        bytes.zeroize();
        key
    }

    /// The public half as 64 lower-case hexadecimal digits.
    pub fn public_hex(&self) -> String {
        hex::encode(PublicKey::from(&self.0).as_bytes())
    }

    /// The secret shared with the holder of a public key.
    ///
    /// # Errors
    ///
    /// [`ExchangeError`] when the text is no key, or one with which nothing is secret.
    pub fn shared(&self, peer_hex: &str) -> Result<SharedSecret, ExchangeError> {
        let mut peer = [0_u8; 32];
        if peer_hex.len() != 64 {
            let bytes = peer_hex.len();
            // Go reads the digits first, so a text that has others is told as such whatever its length.
            return Err(match hex::decode(peer_hex) {
                Err(hex::FromHexError::InvalidHexCharacter { .. }) => ExchangeError::NotHex,
                Ok(_) | Err(_) => ExchangeError::Length { bytes },
            });
        }
        hex::decode_to_slice(peer_hex, &mut peer).map_err(|_not_hex| ExchangeError::NotHex)?;
        let shared = self.0.diffie_hellman(&PublicKey::from(peer));
        if !shared.was_contributory() {
            return Err(ExchangeError::LowOrder);
        }
        Ok(SharedSecret(Zeroizing::new(*shared.as_bytes())))
    }
}

impl fmt::Debug for ExchangeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ExchangeKey(****, public {})", self.public_hex())
    }
}

/// What two sides of an exchange share. Masked when shown for debugging, wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct SharedSecret(Zeroizing<[u8; 32]>);

impl SharedSecret {
    /// Takes a secret that was made elsewhere.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The secret itself; the caller keeps it out of logs.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// OpenSSL's `EVP_BytesToKey` with MD5 and one round; the salt is the first half of the IV.
    fn cipher_key(&self, iv: &[u8; 16]) -> Zeroizing<[u8; 32]> {
        let (salt, _) = iv.split_at(8);
        let mut first: [u8; 16] = Md5::new()
            .chain_update(*self.0)
            .chain_update(salt)
            .finalize()
            .into();
        let mut second: [u8; 16] = Md5::new()
            .chain_update(first)
            .chain_update(*self.0)
            .chain_update(salt)
            .finalize()
            .into();
        let mut key = Zeroizing::new([0_u8; 32]);
        for (to, from) in key.iter_mut().zip(first.iter().chain(&second)) {
            *to = *from;
        }
        first.zeroize();
        second.zeroize();
        key
    }
}

impl fmt::Debug for SharedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedSecret(****)")
    }
}

/// Makes an initialisation vector from the randomness of the operating system.
///
/// # Errors
///
/// The operating system gave no random bytes.
pub fn random_iv() -> Result<[u8; 16], KeyError> {
    let mut iv = [0_u8; 16];
    random(&mut iv)?;
    Ok(iv)
}

/// Encrypts the first private key of a PEM text for the holder of the shared secret; `iv` is used once, see [`random_iv`].
///
/// # Errors
///
/// [`TransportError`] when there is no key, or an encrypted one.
pub fn encrypt_private_key(
    pem: &str,
    shared: &SharedSecret,
    iv: [u8; 16],
) -> Result<String, TransportError> {
    let block = pem::Block::read(pem)?;
    if block.is_encrypted() {
        return Err(TransportError::Encrypted);
    }
    if !matches!(block.label, LABEL | "PRIVATE KEY" | "EC PRIVATE KEY") || !is_sequence(&block.der)
    {
        return Err(TransportError::NoKey);
    }
    let key = shared.cipher_key(&iv);
    let encryptor = cbc::Encryptor::<Aes256>::new(key.as_slice().into(), &iv.into());
    let encrypted = encryptor.encrypt_padded_vec_mut::<Pkcs7>(&block.der);
    let headers = format!(
        "Proc-Type: 4,ENCRYPTED\nDEK-Info: {CIPHER},{}\n\n",
        hex::encode(iv)
    );
    let text = pem::write(LABEL, &headers, &encrypted);
    Ok(text.to_string())
}

/// Decrypts a private key; the result is a PEM text with the label `RSA PRIVATE KEY`, whatever the key is.
///
/// # Errors
///
/// [`TransportError`] when there is no encrypted key, or it is for another secret.
pub fn decrypt_private_key(
    pem: &str,
    shared: &SharedSecret,
) -> Result<Zeroizing<String>, TransportError> {
    let block = pem::Block::read(pem)?;
    let info = block
        .header("DEK-Info")
        .ok_or(TransportError::NotEncrypted)?;
    let (cipher, iv_hex) = info.split_once(',').ok_or(TransportError::Cipher)?;
    let mut iv = [0_u8; 16];
    if cipher != CIPHER || hex::decode_to_slice(iv_hex, &mut iv).is_err() {
        return Err(TransportError::Cipher);
    }
    let key = shared.cipher_key(&iv);
    let decryptor = cbc::Decryptor::<Aes256>::new(key.as_slice().into(), &iv.into());
    let decrypted = decryptor
        .decrypt_padded_vec_mut::<Pkcs7>(&block.der)
        .map(Zeroizing::new)
        .map_err(|_padding| TransportError::Secret)?;
    if !is_sequence(&decrypted) {
        return Err(TransportError::Secret);
    }
    Ok(pem::write(LABEL, "", &decrypted))
}

/// Tells whether the bytes are one DER sequence and nothing else, as every form of a private key is.
fn is_sequence(der: &[u8]) -> bool {
    let (content, length) = match der {
        [0x30, length, content @ ..] if *length < 0x80 => (content, usize::from(*length)),
        [0x30, 0x81, length, content @ ..] => (content, usize::from(*length)),
        [0x30, 0x82, high, low, content @ ..] => {
            (content, usize::from(u16::from_be_bytes([*high, *low])))
        }
        _ => return false,
    };
    content.len() == length
}

#[cfg(test)]
mod tests;
