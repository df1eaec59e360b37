//! Signs nodes' tokens as a chain issuer whose files may be renewed at any time.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use overlay_runtime::{Secrets, err_chain};
use overlay_tokens::claims::{ClientClaims, ServerClaims};
use overlay_tokens::issue::ChainIssuer;
use overlay_tokens::{Issuers, UnixTime, Unverified};
use tokio::time::Instant;

use super::login::read_key;
use crate::enrol::IssuedToken;

/// How long the files are taken to be what they were.
const FRESH: Duration = Duration::from_secs(1);

/// The chain issuer, with its files.
#[derive(Debug)]
pub(super) struct Issuer {
    token_file: PathBuf,
    seed_file: PathBuf,
    secrets: Secrets,
    issuers: Issuers,
    current: Option<Current>,
}

#[derive(Debug)]
struct Current {
    chain: ChainIssuer,
    id: String,
    seen: Option<[Stamp; 2]>,
    looked: Instant,
}

/// What tells a file from the one that was there before.
type Stamp = (SystemTime, u64);

impl Issuer {
    pub(super) fn new(
        token_file: &Path,
        seed_file: &Path,
        secrets: &Secrets,
        issuers: Issuers,
    ) -> Self {
        Self {
            token_file: token_file.to_owned(),
            seed_file: seed_file.to_owned(),
            secrets: secrets.clone(),
            issuers,
            current: None,
        }
    }

    /// Signs the claims of a node's token.
    pub(super) fn issue(
        &mut self,
        claims: ServerClaims,
        now: UnixTime,
    ) -> Result<IssuedToken, String> {
        let current = self.current(now)?;
        let token = current
            .chain
            .issue(claims)
            .map_err(|error| err_chain(&error))?;
        Ok(IssuedToken {
            token: token.into(),
            issuer: current.id.clone(),
        })
    }

    /// When the issuer, and with it all that it signs, expires; in Unix seconds.
    pub(super) fn expires_at(&mut self, now: UnixTime) -> Result<Option<i64>, String> {
        Ok(self.current(now)?.chain.expires_at())
    }

    fn current(&mut self, now: UnixTime) -> Result<&Current, String> {
        let is_fresh = |current: &Current| current.looked.elapsed() < FRESH;
        if !self.current.as_ref().is_some_and(is_fresh) {
            let seen = self.stamps();
            match &mut self.current {
                // The same files still: an expired issuer is found by whoever verifies, and told below.
                Some(current) if seen.is_some() && current.seen == seen => {
                    current.looked = Instant::now();
                }
                Some(_) | None => {
                    let (chain, id) = self.read(now)?;
                    let before = self.current.as_ref().map(|current| current.id.as_str());
                    if before != Some(id.as_str()) {
                        tracing::info!(
                            issuer = id,
                            expires = chain.expires_at(),
                            "chain issuer read"
                        );
                    }
                    self.current = Some(Current {
                        chain,
                        id,
                        seen,
                        looked: Instant::now(),
                    });
                }
            }
        }
        let current = self.current.as_ref().ok_or("no chain issuer")?;
        let is_over = |expires: i64| !now.is_before(expires);
        if current.chain.expires_at().is_some_and(is_over) {
            return Err("the chain issuer's token has expired".to_owned());
        }
        Ok(current)
    }

    fn read(&self, now: UnixTime) -> Result<(ChainIssuer, String), String> {
        let failed = |error: &dyn std::error::Error| err_chain(error);
        let text =
            overlay_tokens::file::read_token(&self.token_file).map_err(|error| failed(&error))?;
        let key = read_key(&self.seed_file, &self.secrets).map_err(|error| failed(&error))?;
        let verified = Unverified::<ClientClaims>::decode(&text)
            .map_err(|error| failed(&error))?
            .verify(&self.issuers, now)
            .map_err(|error| failed(&error))?;
        let id = verified.standard.jti.clone();
        let chain = ChainIssuer::new(&verified, key).map_err(|error| failed(&error))?;
        Ok((chain, id))
    }

    fn stamps(&self) -> Option<[Stamp; 2]> {
        let stamp = |path: &Path| {
            // Under systemd they are credentials, and the configured files may be out of reach.
            let metadata = std::fs::metadata(self.secrets.locate(path)).ok()?;
            Some((metadata.modified().ok()?, metadata.len()))
        };
        Some([stamp(&self.token_file)?, stamp(&self.seed_file)?])
    }
}
