//! Stored passwords, and the pool of threads on which they are compared.

mod blocks;

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;

use argon2::password_hash::{Output, Salt};
use argon2::{Algorithm, Argon2, Params, PasswordHash, Version};
use overlay_protocol::SecretText;
use prometheus::IntCounter;
use tokio::sync::Semaphore;

use blocks::Blocks;

/// Bcrypt looks at so many bytes and ignores the rest; a longer password is refused instead.
pub(crate) const BCRYPT_BYTES: usize = 72;
/// Dearest bcrypt hash that is taken: some three seconds of a processor.
const BCRYPT_COST: u32 = 16;
/// Dearest argon2id hash that is taken: memory in KiB, passes, lanes.
const ARGON2_MEMORY: u32 = 256 * 1024;
const ARGON2_PASSES: u32 = 32;
const ARGON2_LANES: u32 = 16;

/// A hash that no password is known for, of the cost that `overlay user` gives to new ones.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$b3ZlcmxheS1ub2JvZHktaGVyZQ$\
                      AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// What a user list holds in place of a password.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Stored {
    /// `$2a$`, `$2b$` or `$2y$`, as Choria's service and `htpasswd` make them.
    Bcrypt(Arc<str>),
    /// `$argon2id$`, a PHC text.
    Argon2id(Arc<str>),
    /// No hash that is understood, so that no password fits: this is how Choria's users are locked.
    Unusable,
}

/// What came of comparing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compared {
    /// It is the password.
    Fits,
    /// It is another one.
    Differs,
    /// The hash would have looked at its first [`BCRYPT_BYTES`] only.
    Cut,
    /// There is nothing to compare with.
    Unusable,
}

/// Why a hash is refused where it must be a good one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StoredError {
    /// It is no hash that is understood.
    #[error("is neither a bcrypt nor an argon2id hash")]
    Kind,
    /// It would take too long or too much memory to compare.
    #[error(
        "costs more than is allowed: bcrypt up to cost 16, argon2id up to 256 MiB, 32 passes and 16 lanes"
    )]
    Cost,
}

impl Stored {
    /// Reads what stands in place of a password; anything that is no good hash fits no password.
    #[cfg(test)]
    pub(crate) fn read(text: &str) -> Self {
        Self::check(text).unwrap_or(Self::Unusable)
    }

    /// Reads a hash that must be a good one.
    pub(crate) fn check(text: &str) -> Result<Self, StoredError> {
        if text.starts_with("$argon2id$") {
            let hash = PasswordHash::new(text).map_err(|_malformed| StoredError::Kind)?;
            let params = Params::try_from(&hash).map_err(|_malformed| StoredError::Kind)?;
            if hash.salt.is_none() || hash.hash.is_none() {
                return Err(StoredError::Kind);
            }
            let bounded = params.m_cost() <= ARGON2_MEMORY
                && params.t_cost() <= ARGON2_PASSES
                && params.p_cost() <= ARGON2_LANES;
            return if bounded {
                Ok(Self::Argon2id(text.into()))
            } else {
                Err(StoredError::Cost)
            };
        }
        let hash: bcrypt::HashParts = text.parse().map_err(|_malformed| StoredError::Kind)?;
        let known = ["$2a$", "$2b$", "$2y$"]
            .iter()
            .any(|kind| text.starts_with(kind));
        match (known, hash.get_cost()) {
            (false, _) => Err(StoredError::Kind),
            (true, 4..=BCRYPT_COST) => Ok(Self::Bcrypt(text.into())),
            (true, _) => Err(StoredError::Cost),
        }
    }

    /// A hash of nobody's password, for the work of comparing.
    pub(crate) fn nobody() -> Self {
        Self::Argon2id(NOBODY.into())
    }

    /// Whether there is something to compare with.
    pub(crate) fn is_usable(&self) -> bool {
        *self != Self::Unusable
    }

    /// Compares; takes as long as the hash says, so not on a thread that others wait for.
    fn compare(&self, password: &str, blocks: &Blocks) -> Compared {
        let fits = match self {
            Self::Bcrypt(hash) => {
                let fits = bcrypt::verify(password, hash).unwrap_or(false);
                if password.len() > BCRYPT_BYTES {
                    return Compared::Cut;
                }
                fits
            }
            Self::Argon2id(hash) => argon2id(hash, password, blocks).unwrap_or(false),
            Self::Unusable => return Compared::Unusable,
        };
        if fits {
            Compared::Fits
        } else {
            Compared::Differs
        }
    }
}

/// Whether a password fits a PHC text.
fn argon2id(
    hash: &str,
    password: &str,
    blocks: &Blocks,
) -> Result<bool, argon2::password_hash::Error> {
    let hash = PasswordHash::new(hash)?;
    let (Some(salt), Some(expected)) = (hash.salt, hash.hash) else {
        return Ok(false);
    };
    let params = Params::try_from(&hash)?;
    let version = hash.version.map(Version::try_from).transpose()?;
    let count = params.block_count();
    let argon2 = Argon2::new(Algorithm::Argon2id, version.unwrap_or_default(), params);
    let mut bytes = [0_u8; Salt::MAX_LENGTH];
    let salt = salt.decode_b64(&mut bytes)?;
    let found = Output::init_with(expected.len(), |out| {
        blocks.lend(count, |blocks| {
            argon2.hash_password_into_with_memory(password.as_bytes(), salt, out, blocks)
        })?;
        Ok(())
    })?;
    // Compared in constant time.
    Ok(found == expected)
}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bcrypt(_) => "Bcrypt(****)",
            Self::Argon2id(_) => "Argon2id(****)",
            Self::Unusable => "Unusable",
        })
    }
}

/// Too many passwords wait to be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many passwords wait to be compared")]
pub(crate) struct Crowded;

/// Compares passwords, so many at a time on threads of their own, and lets so many wait.
#[derive(Debug, Clone)]
pub(crate) struct Hasher {
    working: Arc<Semaphore>,
    admitted: Arc<Semaphore>,
    done: IntCounter,
    blocks: Blocks,
}

impl Hasher {
    /// `threads` compare at a time, and `waiting` more may wait for them.
    ///
    /// # Errors
    ///
    /// None with the name that the counter has.
    pub(crate) fn new(threads: NonZeroUsize, waiting: usize) -> Result<Self, prometheus::Error> {
        Ok(Self {
            working: Arc::new(Semaphore::new(threads.get())),
            admitted: Arc::new(Semaphore::new(threads.get().saturating_add(waiting))),
            done: IntCounter::new(
                "overlay_aaa_password_hashes_total",
                "Password hashes that were computed, whoever asked",
            )?,
            blocks: Blocks::default(),
        })
    }

    /// How many hashes were computed.
    #[cfg(test)]
    pub(crate) fn done(&self) -> u64 {
        self.done.get()
    }

    /// Shows how many hashes were computed.
    pub(crate) fn counter(&self) -> IntCounter {
        self.done.clone()
    }

    /// Does work of which a comparison is part, on a thread where it may take its time, when its turn comes.
    ///
    /// Once begun it is finished, and holds its place, even when nobody waits for the answer any more.
    pub(crate) async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Comparer) -> T + Send + 'static,
    ) -> Result<T, Crowded> {
        let place = Arc::clone(&self.admitted)
            .try_acquire_owned()
            .map_err(|_none| Crowded)?;
        let turn = Arc::clone(&self.working).acquire_owned().await;
        let comparer = Comparer {
            done: self.done.clone(),
            blocks: self.blocks.clone(),
        };
        let work = tokio::task::spawn_blocking(move || {
            let _held = (place, turn);
            work(&comparer)
        });
        // Only a panic or the end of the process keeps it from answering.
        work.await.map_err(|_lost| Crowded)
    }
}

/// Leave to compare, which takes long.
#[derive(Debug)]
pub(crate) struct Comparer {
    done: IntCounter,
    blocks: Blocks,
}

impl Comparer {
    /// Compares `password` with what is stored; with nothing usable, the work is done all the same, with `otherwise`.
    pub(crate) fn compare(
        &self,
        stored: &Stored,
        otherwise: &Stored,
        password: &SecretText,
    ) -> Compared {
        self.done.inc();
        if stored.is_usable() {
            stored.compare(password.expose(), &self.blocks)
        } else {
            otherwise.compare(password.expose(), &self.blocks);
            Compared::Unusable
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET_A: &str = "$2a$05$m0tNKxBQy5gIkElYrL1xG.hXAXqXWa7HrH9N9HnqaSTMxoBldTcGC";

    #[test]
    fn good_hashes_are_told_from_bad_and_dear_ones() {
        for prefix in ["$2a$", "$2b$", "$2y$"] {
            let hash = SECRET_A.replacen("$2a$", prefix, 1);
            assert_eq!(
                Stored::read(&hash).compare("secret", &Blocks::default()),
                Compared::Fits
            );
            assert_eq!(
                Stored::read(&hash).compare("Secret", &Blocks::default()),
                Compared::Differs
            );
        }
        assert!(Stored::nobody().is_usable());
        assert_eq!(Stored::check(NOBODY), Ok(Stored::nobody()));
        assert_eq!(
            Stored::nobody().compare("", &Blocks::default()),
            Compared::Differs
        );
        for bad in [
            "",
            "*LOCKED*",
            "plaintext",
            "$2a$05$short",
            "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ",
            "$argon2i$v=19$m=19456,t=2,p=1$b3ZlcmxheS1ub2JvZHktaGVyZQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        ] {
            assert_eq!(Stored::check(bad), Err(StoredError::Kind), "{bad}");
            assert_eq!(
                Stored::read(bad).compare(bad, &Blocks::default()),
                Compared::Unusable
            );
        }
        let dear = SECRET_A.replacen("$05$", "$31$", 1);
        assert_eq!(Stored::check(&dear), Err(StoredError::Cost));
        let dear = NOBODY.replacen("m=19456", "m=4194304", 1);
        assert_eq!(Stored::check(&dear), Err(StoredError::Cost));
    }

    #[test]
    fn argon2id_fits_one_password_whatever_was_compared_before_in_the_same_memory() {
        let blocks = Blocks::default();
        let hashes = [64, 1024, 256].map(|memory| {
            let params = Params::new(memory, 2, 2, None).unwrap();
            let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
            let salt = argon2::password_hash::SaltString::encode_b64(b"sixteen bytes...").unwrap();
            let hash = argon2::PasswordHasher::hash_password(&argon2, b"secret", &salt).unwrap();
            Stored::check(&hash.to_string()).unwrap()
        });
        for _ in 0..3 {
            for stored in &hashes {
                assert_eq!(stored.compare("secret", &blocks), Compared::Fits);
                assert_eq!(stored.compare("Secret", &blocks), Compared::Differs);
                assert_eq!(stored.compare("", &blocks), Compared::Differs);
            }
        }
        let other = "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$AAAA";
        assert_eq!(
            Stored::Argon2id(other.into()).compare("secret", &blocks),
            Compared::Differs
        );
    }

    #[test]
    fn what_bcrypt_would_cut_is_refused() {
        let letters = "x".repeat(72);
        let stored = Stored::read("$2a$05$.oF8q4/xCOeJpDM1Vg0ZCuFcCTUKGfHylG7XHNKw3MRXRuYsfPk72");
        assert_eq!(stored.compare(&letters, &Blocks::default()), Compared::Fits);
        assert_eq!(
            stored.compare(&format!("{letters}x"), &Blocks::default()),
            Compared::Cut
        );
    }

    #[tokio::test]
    async fn who_would_wait_too_long_is_told_so_and_the_work_is_counted() {
        let hasher = Hasher::new(NonZeroUsize::MIN, 1).unwrap();
        let stored = Stored::read(SECRET_A);
        let compare = || {
            let (stored, password) = (stored.clone(), SecretText::from("secret"));
            hasher.work(move |comparer| comparer.compare(&stored, &Stored::nobody(), &password))
        };
        let (one, two, three) = tokio::join!(compare(), compare(), compare());
        assert_eq!(one, Ok(Compared::Fits));
        assert_eq!(two, Ok(Compared::Fits));
        assert_eq!(three, Err(Crowded));
        assert_eq!(hasher.done(), 2);
    }
}
