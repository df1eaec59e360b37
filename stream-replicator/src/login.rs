//! What is shown at a login, read from its files.

mod credentials;

use std::path::{Path, PathBuf};

use nkeys::KeyPair;
use overlay_runtime::{Secret, SecretError, Secrets};
use overlay_tokens::own::{Holder, OwnError};
use overlay_tokens::{Key, Nonce};
use zeroize::Zeroizing;

use crate::config::Login;

pub(crate) use credentials::expired;

/// Why there is nothing to show. Each names its file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoginError {
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error("{}", path.display())]
    NoText { path: PathBuf, source: SecretError },
    #[error("read {}", path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("token file {}", path.display())]
    Token { path: PathBuf, source: OwnError },
    #[error(transparent)]
    TokenFile(#[from] overlay_tokens::file::FileError),
    #[error("seed file {}", path.display())]
    Seed {
        path: PathBuf,
        source: overlay_tokens::KeyError,
    },
    #[error("seed file {}", path.display())]
    Nkey {
        path: PathBuf,
        source: nkeys::error::Error,
    },
    #[error("credentials file {} has no {what}", path.display())]
    Credentials { path: PathBuf, what: &'static str },
}

/// A NATS user with its key.
pub(crate) struct User {
    pub(crate) jwt: String,
    pub(crate) key: KeyPair,
}

/// Looks at the files of a login.
pub(crate) fn inspect(login: &Login, secrets: &Secrets) -> Result<(), LoginError> {
    match login {
        Login::None => {}
        Login::Nkey { seed_file } => drop(nkey(seed_file, secrets)?),
        Login::Password { password_file, .. } => {
            let password = secret(password_file, secrets)?;
            text(&password, password_file)?;
        }
        Login::Credentials { file, seed_file } => {
            drop(user(file, seed_file.as_deref(), secrets)?.jwt);
        }
        Login::Choria {
            token_file,
            seed_file,
            collective: _,
        } => drop(holder(token_file, seed_file, secrets)?),
    }
    Ok(())
}

/// Reads a Choria token and the seed of its key.
pub(crate) fn holder(
    token_file: &Path,
    seed_file: &Path,
    secrets: &Secrets,
) -> Result<Holder, LoginError> {
    let place = secrets.locate(token_file);
    let token = overlay_tokens::file::read_token(&place)?;
    let seed = secret(seed_file, secrets)?;
    let seed = Zeroizing::new(text(&seed, seed_file)?.to_owned());
    let key = Key::from_seed_text(seed.as_bytes()).map_err(|source| LoginError::Seed {
        path: seed_file.to_owned(),
        source,
    })?;
    Holder::new(&token, key).map_err(|source| LoginError::Token {
        path: place,
        source,
    })
}

/// Reads a NATS user and the seed of its key.
pub(crate) fn user(
    file: &Path,
    seed_file: Option<&Path>,
    secrets: &Secrets,
) -> Result<User, LoginError> {
    let found = credentials::read(file, seed_file, secrets)?;
    let key = pair(&found.seed, seed_file.unwrap_or(file))?;
    Ok(User {
        jwt: found.jwt,
        key,
    })
}

/// Reads the seed of an nkey.
pub(crate) fn nkey(path: &Path, secrets: &Secrets) -> Result<KeyPair, LoginError> {
    let seed = secret(path, secrets)?;
    pair(text(&seed, path)?, path)
}

fn pair(seed: &str, path: &Path) -> Result<KeyPair, LoginError> {
    KeyPair::from_seed(seed).map_err(|source| LoginError::Nkey {
        path: path.to_owned(),
        source,
    })
}

/// Signs a broker's nonce.
pub(crate) fn sign(key: &KeyPair, nonce: Nonce<'_>, path: &Path) -> Result<Vec<u8>, LoginError> {
    key.sign(nonce.as_str().as_bytes())
        .map_err(|source| LoginError::Nkey {
            path: path.to_owned(),
            source,
        })
}

/// Reads a file that only its owner may read.
pub(crate) fn secret(path: &Path, secrets: &Secrets) -> Result<Secret, LoginError> {
    Ok(secrets.read(path)?)
}

pub(crate) fn text<'a>(secret: &'a Secret, path: &Path) -> Result<&'a str, LoginError> {
    secret.expose_text().map_err(|source| LoginError::NoText {
        path: path.to_owned(),
        source,
    })
}
