//! The issuer's token and key: checked whole at the start, read again while the service runs; one that is bad leaves the one before.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use overlay_runtime::{Clock, SecretError, Secrets, err_chain};
use overlay_tokens::claims::ClientClaims;
use overlay_tokens::file::{self, FileError};
use overlay_tokens::issue::IssueError;
use overlay_tokens::{DecodeError, Issuers, Key, KeyError, UnixTime, Unverified, VerifyError};
use sha2::{Digest as _, Sha256};

use super::issuer::Issuer;
use super::metrics::Metrics;
use super::places::Places;
use crate::config::IssuerFiles;

/// Why there is no issuer.
#[derive(Debug, thiserror::Error)]
#[error("login.{key}: {}", path.display())]
pub(crate) struct IssuerError {
    /// Key of the configuration that is at fault, below `login`.
    pub(crate) key: &'static str,
    path: PathBuf,
    #[source]
    problem: Problem,
}

#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error(transparent)]
    Seed(#[from] KeyError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error("no client token")]
    Decode(#[from] DecodeError),
    #[error("the token is not to be trusted")]
    Verify(#[from] VerifyError),
    #[error(transparent)]
    Issue(#[from] IssueError),
}

/// An issuer, what comes of its secret, and the hash of what it was read from.
struct Loaded {
    issuer: Issuer,
    places: Places,
    hash: [u8; 32],
}

/// Keeps the issuer that is good.
#[derive(Debug)]
pub(super) struct Keeper {
    files: IssuerFiles,
    issuers: Issuers,
    secrets: Secrets,
    clock: Clock,
    state: RwLock<State>,
}

#[derive(Debug)]
struct State {
    issuer: Arc<Issuer>,
    /// Those of the issuer's secret: instances that have read the same secret count together, also after it was replaced.
    places: Places,
    hash: [u8; 32],
    fault: Option<String>,
}

impl Keeper {
    /// Reads the issuer for the first time.
    pub(super) fn open(
        files: &IssuerFiles,
        issuers: &Issuers,
        secrets: &Secrets,
        clock: &Clock,
    ) -> Result<Self, IssuerError> {
        let loaded = load(files, issuers, secrets, clock.now().into())?;
        Ok(Self {
            files: files.clone(),
            issuers: issuers.clone(),
            secrets: secrets.clone(),
            clock: clock.clone(),
            state: RwLock::new(State {
                issuer: Arc::new(loaded.issuer),
                places: loaded.places,
                hash: loaded.hash,
                fault: None,
            }),
        })
    }

    /// The issuer that was good last.
    pub(super) fn current(&self) -> Arc<Issuer> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&state.issuer)
    }

    /// Where wrong passwords are counted at present.
    pub(super) fn places(&self) -> Places {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state.places.clone()
    }

    /// Reads the files again; reads the disk. A fault is told once.
    pub(super) fn look(&self, metrics: &Metrics) {
        let loaded = load(
            &self.files,
            &self.issuers,
            &self.secrets,
            self.clock.now().into(),
        );
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        match loaded {
            Ok(loaded) => {
                state.fault = None;
                if loaded.hash != state.hash {
                    tracing::info!(expires = ?loaded.issuer.expires_at(), "issuer of logins read again");
                    state.issuer = Arc::new(loaded.issuer);
                    state.places = loaded.places;
                    state.hash = loaded.hash;
                }
            }
            Err(error) => {
                let text = err_chain(&error);
                if state.fault.as_ref() != Some(&text) {
                    tracing::error!(error = %text, "issuer of logins cannot be used: the one before stays");
                    metrics.issuer_broken();
                    state.fault = Some(text);
                }
            }
        }
        metrics.issuer_expires(state.issuer.expires_at());
    }
}

/// Tells what is wrong with the issuer's files, if anything.
pub(crate) fn check(
    files: &IssuerFiles,
    issuers: &Issuers,
    secrets: &Secrets,
    now: UnixTime,
) -> Result<(), IssuerError> {
    load(files, issuers, secrets, now).map(drop)
}

fn load(
    files: &IssuerFiles,
    issuers: &Issuers,
    secrets: &Secrets,
    now: UnixTime,
) -> Result<Loaded, IssuerError> {
    let mut hash = Sha256::new();
    let (issuer, places) = match files {
        IssuerFiles::Key(path) => {
            let fault = |problem: Problem| IssuerError {
                key: "key_file",
                path: path.clone(),
                problem,
            };
            let secret = secrets.read(path).map_err(|error| fault(error.into()))?;
            let text = secret.expose_text().map_err(|error| fault(error.into()))?;
            hash.update(text);
            let issuer = Issuer::direct(text.as_bytes()).map_err(|error| fault(error.into()))?;
            (issuer, Places::of(text))
        }
        IssuerFiles::Chain(files) => {
            let token_fault = |problem: Problem| IssuerError {
                key: "token_file",
                path: files.token_file.clone(),
                problem,
            };
            let seed_fault = |problem: Problem| IssuerError {
                key: "seed_file",
                path: files.seed_file.clone(),
                problem,
            };
            let text =
                file::read_token(&files.token_file).map_err(|error| token_fault(error.into()))?;
            let secret = secrets
                .read(&files.seed_file)
                .map_err(|error| seed_fault(error.into()))?;
            let seed = secret
                .expose_text()
                .map_err(|error| seed_fault(error.into()))?;
            hash.update(&text);
            hash.update([0]);
            hash.update(seed);
            let key =
                Key::from_seed_text(seed.as_bytes()).map_err(|error| seed_fault(error.into()))?;
            let token = Unverified::<ClientClaims>::decode(&text)
                .map_err(|error| token_fault(error.into()))?
                .verify(issuers, now)
                .map_err(|error| token_fault(error.into()))?;
            let issuer = Issuer::chain(&token, key).map_err(|error| token_fault(error.into()))?;
            (issuer, Places::of(seed))
        }
    };
    Ok(Loaded {
        issuer,
        places,
        hash: hash.finalize().into(),
    })
}

#[cfg(test)]
mod tests;
