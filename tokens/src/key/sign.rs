//! Who makes the signatures: `ed25519-dalek`, or where it was built in, `aws-lc`, in two thirds of the time (docs/adr/0022).

#[cfg(feature = "fast-signing")]
use std::sync::Arc;

#[cfg(feature = "fast-signing")]
use aws_lc_rs::signature::Ed25519KeyPair;
use ed25519_dalek::{Signer as _, SigningKey};

/// The same key for another library. Ed25519 leaves no choice, so both make the same signature of the same message.
#[derive(Clone)]
pub(super) struct Signer {
    /// Nothing when the library does not take the key; it wipes its copy when the last one goes.
    #[cfg(feature = "fast-signing")]
    pair: Option<Arc<Ed25519KeyPair>>,
}

impl Signer {
    #[cfg(feature = "fast-signing")]
    pub(super) fn of(seed: &[u8; 32]) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed);
        Self {
            pair: pair.ok().map(Arc::new),
        }
    }

    #[cfg(not(feature = "fast-signing"))]
    pub(super) const fn of(_seed: &[u8; 32]) -> Self {
        Self {}
    }

    pub(super) fn sign(&self, own: &SigningKey, message: &[u8]) -> [u8; 64] {
        self.fast(message)
            .unwrap_or_else(|| own.sign(message).to_bytes())
    }

    #[cfg(feature = "fast-signing")]
    fn fast(&self, message: &[u8]) -> Option<[u8; 64]> {
        let signature = self.pair.as_ref()?.try_sign(message).ok()?;
        signature.as_ref().try_into().ok()
    }

    #[cfg(not(feature = "fast-signing"))]
    const fn fast(&self, _message: &[u8]) -> Option<[u8; 64]> {
        None
    }
}

#[cfg(all(test, feature = "fast-signing"))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn both_libraries_make_the_same_signature(seed: [u8; 32], message: Vec<u8>) {
            let own = SigningKey::from_bytes(&seed);
            prop_assert_eq!(Signer::of(&seed).fast(&message), Some(own.sign(&message).to_bytes()));
        }
    }
}
