//! The issuer's token and key: checked whole at the start, read again while the service runs; one that is bad leaves the one before.

use std::sync::{Arc, PoisonError, RwLock};

use overlay_runtime::{Clock, Secrets, err_chain};
use overlay_tokens::claims::ClientClaims;
use overlay_tokens::{Issuers, Key, UnixTime};
use sha2::{Digest as _, Sha256};

use super::issuer::Issuer;
use super::metrics::Metrics;
use super::places::Places;
use crate::config::{IssuerFiles, KeysError, Named, SecretFile};

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
    ) -> Result<Self, KeysError> {
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
) -> Result<(), KeysError> {
    load(files, issuers, secrets, now).map(drop)
}

fn load(
    files: &IssuerFiles,
    issuers: &Issuers,
    secrets: &Secrets,
    now: UnixTime,
) -> Result<Loaded, KeysError> {
    let mut hash = Sha256::new();
    let (issuer, places) = match files {
        IssuerFiles::Key(path) => {
            let file = SecretFile {
                key: "login.key_file",
                path,
            };
            file.with(secrets, |text| {
                hash.update(text);
                Ok((Issuer::direct(text.as_bytes())?, Places::of(text)))
            })?
        }
        IssuerFiles::Chain(files) => {
            let named = Named {
                token_key: "login.token_file",
                seed_key: "login.seed_file",
                files,
            };
            let text = named.token()?;
            hash.update(&text);
            hash.update([0]);
            let (key, places) = named.seed_file().with(secrets, |seed| {
                hash.update(seed);
                Ok((Key::from_seed_text(seed.as_bytes())?, Places::of(seed)))
            })?;
            let token = named.verified::<ClientClaims>(&text, issuers, now)?;
            let issuer = Issuer::chain(&token, key).map_err(|error| named.token_fault(error))?;
            (issuer, places)
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
