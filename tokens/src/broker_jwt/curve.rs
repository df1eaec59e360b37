//! Sealing of callout messages: `xkv1`, a nonce of 24 bytes, a NaCl box.

use std::fmt;
use std::sync::Arc;

use crypto_box::aead::AeadInPlace as _;
use crypto_box::{Nonce, PublicKey, SalsaBox, SecretKey, Tag};
use nkeys::{KeyPairType, XKey};
use quick_cache::sync::Cache;
use zeroize::Zeroizing;

use super::nkey::{NkeyError, public_bytes, seed_bytes};
use crate::key::{KeyError, random};

const VERSION: &[u8] = b"xkv1";
const NONCE_BYTES: usize = 24;
const TAG_BYTES: usize = 16;
/// Peers whose shared key is remembered: the servers of a cluster, whose keys change at each of their starts.
const PEERS: usize = 64;

/// Why a sealed message was not opened or made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CurveError {
    /// The other side's key is no curve key.
    #[error("the other side's curve key is unusable")]
    Peer(#[source] NkeyError),
    /// The message is not of the sealed form.
    #[error("not a sealed message of version xkv1")]
    Form,
    /// The message was sealed for another key, by another key, or was changed.
    #[error("the sealed message does not open with this key")]
    Open,
    /// Sealing failed.
    #[error("the message cannot be sealed")]
    Seal,
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] KeyError),
}

/// A curve key: seed `SX...`, public `X...` (X25519). Masked in debug output.
///
/// Remembers the shared key of each peer, which saves the multiplication on the curve for every message but the first.
pub struct CurveKey {
    secret: SecretKey,
    public: String,
    peers: Cache<[u8; 32], Arc<SalsaBox>>,
}

impl CurveKey {
    /// Makes a new key from the randomness of the operating system.
    pub fn generate() -> Result<Self, NkeyError> {
        let mut seed = Zeroizing::new([0_u8; 32]);
        random(seed.as_mut())?;
        Ok(Self::from_raw(*seed))
    }

    /// Reads a seed text; white space around it is ignored.
    pub fn from_seed(text: &str) -> Result<Self, NkeyError> {
        Ok(Self::from_raw(*seed_bytes(
            text,
            &KeyPairType::Curve,
            "a curve key (X..., seed SX...)",
        )?))
    }

    /// The key of 32 raw seed bytes. The public key is that of X25519, not the ed25519 one, which would look as right.
    pub fn from_raw(seed: [u8; 32]) -> Self {
        Self {
            public: XKey::new_from_raw(seed).public_key(),
            secret: SecretKey::from(seed),
            peers: Cache::new(PEERS),
        }
    }

    /// The seed text, as NATS tools write it.
    pub fn seed(&self) -> Result<Zeroizing<String>, NkeyError> {
        XKey::new_from_raw(self.secret.to_bytes())
            .seed()
            .map(Zeroizing::new)
            .map_err(|error| NkeyError::Malformed {
                reason: error.to_string(),
            })
    }

    /// The public key text, to be compared with what the broker is configured with.
    pub fn public(&self) -> &str {
        &self.public
    }

    /// Opens a message that the holder of `sender` sealed for this key.
    pub fn open(&self, sender: &str, sealed: &[u8]) -> Result<Vec<u8>, CurveError> {
        let body = sealed.strip_prefix(VERSION).ok_or(CurveError::Form)?;
        let (nonce, body) = body.split_at_checked(NONCE_BYTES).ok_or(CurveError::Form)?;
        let (tag, body) = body.split_at_checked(TAG_BYTES).ok_or(CurveError::Form)?;
        let mut plain = body.to_vec();
        self.with_peer(sender)?
            .decrypt_in_place_detached(
                Nonce::from_slice(nonce),
                b"",
                &mut plain,
                Tag::from_slice(tag),
            )
            .map_err(|_forged| CurveError::Open)?;
        Ok(plain)
    }

    /// Seals a message for the holder of `recipient`.
    pub fn seal(&self, recipient: &str, plain: &[u8]) -> Result<Vec<u8>, CurveError> {
        let mut nonce = [0_u8; NONCE_BYTES];
        random(&mut nonce)?;
        let mut sealed = Vec::with_capacity(VERSION.len() + NONCE_BYTES + TAG_BYTES + plain.len());
        sealed.extend_from_slice(VERSION);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&[0; TAG_BYTES]);
        sealed.extend_from_slice(plain);
        let (head, body) = sealed.split_at_mut(VERSION.len() + NONCE_BYTES + TAG_BYTES);
        let tag = self
            .with_peer(recipient)?
            .encrypt_in_place_detached(Nonce::from_slice(&nonce), b"", body)
            .map_err(|_too_long| CurveError::Seal)?;
        head.split_at_mut(VERSION.len() + NONCE_BYTES)
            .1
            .copy_from_slice(&tag);
        Ok(sealed)
    }

    fn with_peer(&self, peer: &str) -> Result<Arc<SalsaBox>, CurveError> {
        let bytes = public_bytes(peer, &KeyPairType::Curve, "a curve key (X...)")
            .map_err(CurveError::Peer)?;
        self.peers.get_or_insert_with(&bytes, || {
            Ok(Arc::new(SalsaBox::new(
                &PublicKey::from(bytes),
                &self.secret,
            )))
        })
    }
}

impl fmt::Debug for CurveKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CurveKey(****, public {})", self.public)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The pair of a known seed and public key as nats-server was configured with.
    #[test]
    fn the_public_key_is_that_of_x25519() {
        let key = CurveKey::from_raw([0x31; 32]);
        assert_eq!(
            key.public(),
            "XACPL4URMLBRVDPPUGHG45BCETXIA36BOGFCPC7ILG5FMICAFOHTUJ23"
        );
        let seed = key.seed().unwrap();
        assert!(seed.starts_with("SX"));
        assert_eq!(CurveKey::from_seed(&seed).unwrap().public(), key.public());
    }

    #[test]
    fn a_message_opens_for_its_recipient_from_its_sender_only() {
        let [one, two, three] = [1, 2, 3].map(|byte| CurveKey::from_raw([byte; 32]));
        let sealed = one.seal(two.public(), b"a message").unwrap();
        assert_eq!(two.open(one.public(), &sealed).unwrap(), b"a message");
        assert_eq!(two.open(three.public(), &sealed), Err(CurveError::Open));
        assert_eq!(three.open(one.public(), &sealed), Err(CurveError::Open));
        assert_eq!(two.open(one.public(), &sealed[..30]), Err(CurveError::Form));
        assert_eq!(two.open(one.public(), b"eyJ"), Err(CurveError::Form));
        assert!(matches!(
            two.open("UAAA", &sealed),
            Err(CurveError::Peer(_))
        ));
    }

    #[test]
    fn the_library_of_nats_opens_what_we_seal() {
        let (ours, theirs) = (CurveKey::from_raw([5; 32]), XKey::new_from_raw([6; 32]));
        let sealed = ours.seal(&theirs.public_key(), b"text").unwrap();
        let sender = XKey::from_public_key(ours.public()).unwrap();
        assert_eq!(theirs.open(&sealed, &sender).unwrap(), b"text");
        let back = theirs.seal(b"answer", &sender).unwrap();
        assert_eq!(ours.open(&theirs.public_key(), &back).unwrap(), b"answer");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), sender in ".{0,60}") {
            let key = CurveKey::from_raw([1; 32]);
            prop_assert!(key.open(key.public(), &bytes).is_err());
            prop_assert!(key.open(&sender, &bytes).is_err());
        }
    }
}
