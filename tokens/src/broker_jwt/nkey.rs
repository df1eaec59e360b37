//! NATS keys with a seed: accounts, which sign users and answers, and users, which log in.

use std::fmt;

use nkeys::{KeyPair, KeyPairType};
use zeroize::Zeroizing;

use crate::key::{Key, KeyError, PublicKey, random};

/// Why a NATS key was not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NkeyError {
    /// Not a key of this alphabet at all.
    #[error("not a NATS key: {reason}")]
    Malformed {
        /// What is wrong with it, without the key itself.
        reason: String,
    },
    /// A key of another kind.
    #[error("a NATS key of another kind, {expected} is expected")]
    Kind {
        /// The kind asked for.
        expected: &'static str,
    },
    /// The key is no point of the curve, or there are no random bytes.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// Reads the bytes of a public NATS key of one kind.
pub(super) fn public_bytes(
    text: &str,
    kind: &KeyPairType,
    expected: &'static str,
) -> Result<[u8; 32], NkeyError> {
    let (prefix, bytes) = nkeys::from_public_key(text).map_err(|error| malformed(&error))?;
    if KeyPairType::from(prefix) == *kind {
        Ok(bytes)
    } else {
        Err(NkeyError::Kind { expected })
    }
}

/// Reads the public key of a server, `N...`.
pub(super) fn server_key(text: &str) -> Result<PublicKey, NkeyError> {
    Ok(PublicKey::from_bytes(public_bytes(
        text,
        &KeyPairType::Server,
        "a server key (N...)",
    )?)?)
}

/// Reads the bytes of a seed of one kind.
pub(super) fn seed_bytes(
    text: &str,
    kind: &KeyPairType,
    expected: &'static str,
) -> Result<Zeroizing<[u8; 32]>, NkeyError> {
    let (prefix, seed) = nkeys::decode_seed(text.trim()).map_err(|error| malformed(&error))?;
    let seed = Zeroizing::new(seed);
    if KeyPairType::from(prefix) == *kind {
        Ok(seed)
    } else {
        Err(NkeyError::Kind { expected })
    }
}

fn malformed(error: &nkeys::error::Error) -> NkeyError {
    NkeyError::Malformed {
        reason: error.to_string(),
    }
}

macro_rules! nkey {
    ($(#[$doc:meta])* $name:ident, $kind:expr, $expected:literal) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name {
            key: Key,
            public: String,
        }

        impl $name {
            /// Makes a new key from the randomness of the operating system.
            pub fn generate() -> Result<Self, NkeyError> {
                let mut seed = Zeroizing::new([0_u8; 32]);
                random(seed.as_mut())?;
                Self::from_raw(*seed)
            }

            /// Reads a seed text; white space around it is ignored, as files of NATS seeds end in a line end.
            pub fn from_seed(text: &str) -> Result<Self, NkeyError> {
                Self::from_raw(*seed_bytes(text, &$kind, $expected)?)
            }

            /// The key of 32 raw seed bytes.
            pub fn from_raw(seed: [u8; 32]) -> Result<Self, NkeyError> {
                let pair = KeyPair::new_from_raw($kind, seed).map_err(|error| malformed(&error))?;
                Ok(Self { public: pair.public_key(), key: Key::from_seed(seed) })
            }

            /// The seed text, as NATS tools write it.
            pub fn seed(&self) -> Result<Zeroizing<String>, NkeyError> {
                let raw = Zeroizing::new(self.key.seed_text());
                let mut seed = Zeroizing::new([0_u8; 32]);
                hex::decode_to_slice(raw.as_bytes(), seed.as_mut()).map_err(|_never| KeyError::NotHex)?;
                KeyPair::new_from_raw($kind, *seed)
                    .and_then(|pair| pair.seed())
                    .map(Zeroizing::new)
                    .map_err(|error| malformed(&error))
            }

            /// The public key text.
            pub fn public(&self) -> &str {
                &self.public
            }

            /// Signs `message`.
            pub fn sign(&self, message: &[u8]) -> [u8; 64] {
                self.key.sign(message)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}(****, public {})", stringify!($name), self.public)
            }
        }
    };
}

nkey! {
    /// An account key: seed `SA...`, public `A...`. Signs user JWTs and answers. Masked in debug output.
    AccountKey, KeyPairType::Account, "an account key (A..., seed SA...)"
}

nkey! {
    /// A user key: seed `SU...`, public `U...`. Logs our own services in. Masked in debug output.
    UserKey, KeyPairType::User, "a user key (U..., seed SU...)"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_survive_a_round_trip_and_kinds_are_told_apart() {
        let account = AccountKey::generate().unwrap();
        let seed = account.seed().unwrap();
        assert!(seed.starts_with("SA") && account.public().starts_with('A'));
        assert_eq!(
            AccountKey::from_seed(&format!("{}\n", *seed))
                .unwrap()
                .public(),
            account.public()
        );
        assert!(matches!(
            UserKey::from_seed(&seed),
            Err(NkeyError::Kind { .. })
        ));
        assert!(!format!("{account:?}").contains(seed.as_str()));
        let user = UserKey::from_raw([9; 32]).unwrap();
        assert!(user.seed().unwrap().starts_with("SU") && user.public().starts_with('U'));
    }

    #[test]
    fn broken_texts_are_errors() {
        for text in [
            "",
            "SA",
            "S",
            "é",
            &"A".repeat(56),
            &"S".repeat(58),
            &"é".repeat(29),
            &"é".repeat(28),
        ] {
            AccountKey::from_seed(text).unwrap_err();
            server_key(text).unwrap_err();
        }
    }
}
