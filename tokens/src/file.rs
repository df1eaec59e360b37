//! Key and token files in Choria's forms: the one place of this crate that touches the disk.
//!
//! A seed or token that others on the machine may read or write is reported, not refused: Choria reads it too, and secrets that
//! an orchestrator mounts often have such a mode. Whoever loads it logs the [`Exposure`].

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::issue::{IssueError, PrivateKey};
use crate::key::{Key, KeyError, PublicKey};
use crate::token::MAX_TOKEN_BYTES;
use crate::verify::{VerifyKey, VerifyKeyError};

/// Mode of every file that is written here.
const PRIVATE: u32 = 0o600;
/// Longest key file that is looked at; a key has 64 bytes.
const MAX_KEY_BYTES: u64 = 4096;
/// Longest PEM file that is read.
const MAX_PEM_BYTES: u64 = 64 * 1024;

/// Why a file was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("cannot read {path}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It cannot be written.
    #[error("cannot write {path}", path = path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It exists and is not to be overwritten.
    #[error("{path} exists and is not overwritten", path = path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// It is longer than anything of its kind.
    #[error("{path} is longer than {limit} bytes", path = path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// Longest that is read.
        limit: u64,
    },
    /// It holds no key.
    #[error("{path} holds no key", path = path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: KeyError,
    },
    /// It holds no key to sign with.
    #[error("{path} holds no key to sign with", path = path.display())]
    Signing {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<IssueError>,
    },
    /// It holds no key to verify with.
    #[error("{path} holds no key to verify with", path = path.display())]
    Verifying {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: VerifyKeyError,
    },
    /// It is no text.
    #[error("{path} is not a text", path = path.display())]
    NotText {
        /// The file.
        path: PathBuf,
    },
}

/// What to do when the file to be written exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overwrite {
    /// Replace it in one step.
    Yes,
    /// Leave it and fail.
    No,
}

/// A secret file that more than its owner may read or write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exposure {
    /// Permission bits of the file.
    pub mode: u32,
}

/// Reads a seed: exactly 64 hexadecimal digits, no line end, as Choria's loader demands.
pub fn read_seed(path: &Path) -> Result<Key, FileError> {
    let content = Zeroizing::new(read(path, MAX_KEY_BYTES)?);
    Key::from_seed_text(&content).map_err(|source| FileError::Key {
        path: path.to_owned(),
        source,
    })
}

/// Tells whether a file of secrets may be read, or replaced by other ones, by others than its owner.
pub fn exposure(path: &Path) -> Result<Option<Exposure>, FileError> {
    let metadata = fs::metadata(path).map_err(|source| FileError::Read {
        path: path.to_owned(),
        source,
    })?;
    let mode = metadata.mode() & 0o7777;
    Ok((mode & 0o066 != 0).then_some(Exposure { mode }))
}

/// Writes a seed as 64 lower-case digits without a line end, mode 0600, all or nothing.
pub fn write_seed(path: &Path, key: &Key, overwrite: Overwrite) -> Result<(), FileError> {
    write(path, key.seed_text().as_bytes(), overwrite)
}

/// Reads a public key: exactly 64 hexadecimal digits of either case, no line end.
pub fn read_public(path: &Path) -> Result<PublicKey, FileError> {
    let content = read(path, MAX_KEY_BYTES)?;
    let text = String::from_utf8(content).map_err(|_binary| FileError::NotText {
        path: path.to_owned(),
    })?;
    text.parse().map_err(|source| FileError::Key {
        path: path.to_owned(),
        source,
    })
}

/// Writes a public key as 64 lower-case digits without a line end, mode 0600 as Choria does, all or nothing.
pub fn write_public(path: &Path, key: &PublicKey, overwrite: Overwrite) -> Result<(), FileError> {
    write(path, key.to_string().as_bytes(), overwrite)
}

/// Reads a token, white space around it trimmed; what it says is not looked at.
pub fn read_token(path: &Path) -> Result<String, FileError> {
    let limit = u64::try_from(MAX_TOKEN_BYTES).unwrap_or(u64::MAX);
    let content = read(path, limit)?;
    let text = String::from_utf8(content).map_err(|_binary| FileError::NotText {
        path: path.to_owned(),
    })?;
    Ok(text.trim().to_owned())
}

/// Writes a token without a line end, mode 0600, in place of an existing one, all or nothing.
pub fn write_token(path: &Path, token: &str) -> Result<(), FileError> {
    write(path, token.trim().as_bytes(), Overwrite::Yes)
}

/// Reads a PEM file of an RSA key or certificate.
pub fn read_pem(path: &Path) -> Result<Zeroizing<String>, FileError> {
    let content = read(path, MAX_PEM_BYTES)?;
    String::from_utf8(content)
        .map(Zeroizing::new)
        .map_err(|_binary| FileError::NotText {
            path: path.to_owned(),
        })
}

/// Reads a key to sign with: an ed25519 seed, or an RSA key as PEM.
pub fn read_private_key(path: &Path) -> Result<PrivateKey, FileError> {
    let content = Zeroizing::new(read(path, MAX_PEM_BYTES)?);
    PrivateKey::from_file_content(&content).map_err(|source| FileError::Signing {
        path: path.to_owned(),
        source: Box::new(source),
    })
}

/// Reads a key to verify with: 64 hexadecimal digits, or an RSA key or certificate as PEM.
pub fn read_verify_key(path: &Path) -> Result<VerifyKey, FileError> {
    let content = read(path, MAX_PEM_BYTES)?;
    VerifyKey::from_file_content(&content).map_err(|source| FileError::Verifying {
        path: path.to_owned(),
        source,
    })
}

/// Path of the seed that belongs to a token file when none is configured: the same with the extension `.key`.
pub fn default_seed_path(token: &Path) -> PathBuf {
    token.with_extension("key")
}

fn read(path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    let failed = |source| FileError::Read {
        path: path.to_owned(),
        source,
    };
    let mut content = Vec::new();
    let taken = File::open(path)
        .map_err(failed)?
        .take(limit + 1)
        .read_to_end(&mut content)
        .map_err(failed)?;
    if u64::try_from(taken).is_ok_and(|taken| taken <= limit) {
        Ok(content)
    } else {
        Err(FileError::TooLong {
            path: path.to_owned(),
            limit,
        })
    }
}

/// Writes beside the file and moves into place, so that a reader sees the old content or the new one, never half.
fn write(path: &Path, content: &[u8], overwrite: Overwrite) -> Result<(), FileError> {
    let failed = |source| FileError::Write {
        path: path.to_owned(),
        source,
    };
    let beside = beside(path).map_err(failed)?;
    let result = (|| {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(PRIVATE)
            .open(&beside)?;
        file.write_all(content)?;
        file.sync_all()?;
        match overwrite {
            Overwrite::Yes => fs::rename(&beside, path),
            // Linking fails when the name is taken, and no moment lies between look and act.
            Overwrite::No => fs::hard_link(&beside, path).and_then(|()| fs::remove_file(&beside)),
        }
    })();
    match result {
        Ok(()) => Ok(()),
        Err(source) => {
            // Nothing more can be done about a leftover; the error that matters is the first.
            drop(fs::remove_file(&beside));
            if overwrite == Overwrite::No && source.kind() == io::ErrorKind::AlreadyExists {
                return Err(FileError::Exists {
                    path: path.to_owned(),
                });
            }
            Err(failed(source))
        }
    }
}

fn beside(path: &Path) -> io::Result<PathBuf> {
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    let mut random = [0_u8; 8];
    crate::key::random(&mut random).map_err(io::Error::other)?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{}", hex::encode(random)));
    Ok(path.with_file_name(hidden))
}
