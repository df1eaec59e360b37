//! A session on disk: the token and the seed of its key.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use overlay_tokens::file::{self, FileError, Overwrite};
use overlay_tokens::own::{self, Holder, LEEWAY_SECONDS, OwnError};
use overlay_tokens::{Issuers, Key, Token, UnixTime, VerifyError};
use zeroize::Zeroizing;

use crate::config::Config;

/// A token that was checked, and its key. On disk only after [`Session::store`].
#[derive(Debug)]
pub struct Session {
    holder: Holder,
}

/// Why a token makes no session, or a session is not on disk.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// It is no token.
    #[error("what the login service sent is no token")]
    Decode(#[from] overlay_tokens::DecodeError),
    /// It is a token for something else.
    #[error("what the login service sent is no client's token")]
    NoClient,
    /// It is for another key, or not good now.
    #[error("the token that the login service sent is of no use")]
    Own(#[from] OwnError),
    /// It has no end that a broker would take.
    #[error("the token that the login service sent never ends, and brokers refuse such ones")]
    Endless,
    /// Its issuer is not among those that are configured.
    #[error("the token that the login service sent is not of an issuer that is trusted here")]
    Untrusted(#[from] VerifyError),
    /// A directory cannot be made.
    #[error("cannot make the directory {}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file cannot be written; the old session is as it was.
    #[error("the new session cannot be saved")]
    File(#[from] FileError),
    /// A file cannot be put in its place; the old session is as it was.
    #[error("the new session cannot be put in the place of {}", path.display())]
    Place {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file cannot be removed.
    #[error("cannot remove {}", path.display())]
    Remove {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// What a logout found to remove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forgotten {
    /// Whether there was a token.
    pub token: bool,
    /// Whether there was a seed.
    pub seed: bool,
}

impl Session {
    /// Checks what a login service sent: a client's token, for this key, good now, of a trusted issuer.
    ///
    /// # Errors
    ///
    /// It is not.
    pub fn check(
        text: &str,
        key: Key,
        issuers: Option<&Issuers>,
        now: UnixTime,
    ) -> Result<Self, SessionError> {
        let Token::Client(token) = Token::decode(text.trim())? else {
            return Err(SessionError::NoClient);
        };
        let not_before = token.claims_unverified().standard.nbf;
        own::check_own(text.trim(), now)?;
        if let Some(issuers) = issuers {
            // The clock of the service may be a little ahead of this one's.
            let leeway = now.secs.saturating_add(LEEWAY_SECONDS);
            let at = match not_before {
                Some(start) if start > now.secs && start <= leeway => UnixTime {
                    secs: start,
                    nanos: 0,
                },
                Some(_) | None => now,
            };
            token.verify(issuers, at)?;
        }
        let holder = Holder::new(text, key)?;
        if holder.expires_at().is_none() {
            return Err(SessionError::Endless);
        }
        Ok(Self { holder })
    }

    /// The caller as requests name it, such as `up=bob`.
    #[must_use]
    pub fn caller(&self) -> &str {
        self.holder.name()
    }

    /// When it ends, in seconds since 1970.
    #[must_use]
    pub fn expires(&self) -> Option<i64> {
        self.holder.expires_at()
    }

    /// Puts token and seed in the place of the old ones, both or neither, readable by their owner alone.
    ///
    /// # Errors
    ///
    /// They cannot be written; the old session is as it was.
    pub fn store(&self, config: &Config) -> Result<(), SessionError> {
        let token = real(&config.token_file);
        let seed = real(&config.seed_file);
        for path in [&token, &seed] {
            make_directory(path)?;
        }
        let (new_token, new_seed) = (beside(&token), beside(&seed));
        let placed = file::write_token(&new_token, self.holder.text())
            .and_then(|()| file::write_seed(&new_seed, self.holder.key(), Overwrite::Yes))
            .map_err(SessionError::from)
            .and_then(|()| place(&new_seed, &seed, &new_token, &token));
        for left in [&new_token, &new_seed] {
            // They are gone when all went well.
            fs::remove_file(left).ok();
        }
        placed
    }
}

/// Moves both files into place; when the second cannot be moved, the first is put back.
fn place(new_seed: &Path, seed: &Path, new_token: &Path, token: &Path) -> Result<(), SessionError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| SessionError::Place { path, source }
    };
    let old = match fs::read(seed) {
        Ok(old) => Some(Zeroizing::new(old)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(failed(seed)(error)),
    };
    fs::rename(new_seed, seed).map_err(failed(seed))?;
    let moved = fs::rename(new_token, token).map_err(failed(token));
    if moved.is_err() {
        let back = match &old {
            Some(old) => write_private(new_seed, old).and_then(|()| fs::rename(new_seed, seed)),
            None => fs::remove_file(seed),
        };
        if let Err(error) = back {
            tracing::error!(%error, seed = %seed.display(), "the old seed cannot be put back");
        }
    }
    moved
}

fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Removes token and seed; the seed is overwritten first.
///
/// # Errors
///
/// One of them cannot be removed.
pub fn forget(config: &Config) -> Result<Forgotten, SessionError> {
    Ok(Forgotten {
        seed: remove(&config.seed_file, true)?,
        token: remove(&config.token_file, false)?,
    })
}

fn remove(path: &Path, is_secret: bool) -> Result<bool, SessionError> {
    let failed = |source| SessionError::Remove {
        path: path.to_owned(),
        source,
    };
    let target = real(path);
    if is_secret {
        match wipe(&target) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other.map_err(failed)?,
        }
    }
    let mut found = false;
    for path in [&target, path] {
        match fs::remove_file(path) {
            Ok(()) => found = true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(found)
}

/// Overwrites a file where it lies. What a file system keeps of old versions is beyond a program's reach.
fn wipe(path: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(path)?;
    let length = usize::try_from(file.metadata()?.len().min(4096)).unwrap_or(4096);
    file.write_all(&Zeroizing::new(vec![b'0'; length]))?;
    file.sync_all()
}

/// The file that a path leads to: what a link points at is replaced, not the link.
fn real(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

fn beside(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".new");
    path.with_file_name(name)
}

fn make_directory(file: &Path) -> Result<(), SessionError> {
    let Some(path) = file.parent().filter(|path| !path.as_os_str().is_empty()) else {
        return Ok(());
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| SessionError::Directory {
            path: path.to_owned(),
            source,
        })
}
