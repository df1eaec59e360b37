//! The secrets that the configuration names, read.

use std::path::{Path, PathBuf};

use overlay_runtime::{Fault, SecretError, Secrets, err_chain};
use overlay_tokens::claims::ClientClaims;
use overlay_tokens::rsa::{RsaError, RsaPublic};
use overlay_tokens::{DecodeError, Key, KeyError, SecretText, Unverified};

use super::{Config, SecretSource};
use crate::policy::{KnownTokens, NodeSecret, Policy};

/// The secrets, read.
#[derive(Debug)]
pub struct Keys {
    /// Password at the broker.
    pub password: SecretText,
    /// Everything that the rules of enrolment depend on; the instance is still to be named.
    pub policy: Policy,
}

/// Why a secret cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// It cannot be read.
    #[error("{key}")]
    Read {
        /// The key of the configuration.
        key: &'static str,
        /// What is wrong.
        source: SecretError,
    },
    /// It is no seed.
    #[error("{key}: {}", path.display())]
    Seed {
        /// The key of the configuration.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: KeyError,
    },
    /// It is no token.
    #[error("{key}: {}", path.display())]
    Token {
        /// The key of the configuration.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: DecodeError,
    },
    /// The token's key is another one than the seed's.
    #[error("{key}: the token {} is not of the key whose seed is configured", path.display())]
    OtherKey {
        /// The key of the configuration.
        key: &'static str,
        /// The token's file.
        path: PathBuf,
    },
    /// The signer of provisioning tokens is no RSA key or certificate.
    #[error("{key}: {}", path.display())]
    Rsa {
        /// The key of the configuration.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: RsaError,
    },
}

impl KeysError {
    fn key(&self) -> &'static str {
        match self {
            Self::Read { key, .. }
            | Self::Seed { key, .. }
            | Self::Token { key, .. }
            | Self::OtherKey { key, .. }
            | Self::Rsa { key, .. } => key,
        }
    }

    pub(super) fn into_fault(self) -> Fault {
        Fault::new(self.key(), err_chain(&self))
    }
}

impl Keys {
    /// Reads all secrets.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with them.
    pub fn load(config: &Config, secrets: &Secrets) -> Result<Self, Vec<KeysError>> {
        let mut errors = Vec::new();
        let mut keep = |error| errors.push(error);
        let password = read("broker.password_file", &config.login.password, secrets)
            .map_err(&mut keep)
            .ok();
        let node_secrets: Vec<_> = config
            .node_secrets
            .iter()
            .filter_map(|node| {
                let secret = read("nodes.secret_files", &node.source, secrets);
                Some(NodeSecret {
                    secret: secret.map_err(&mut keep).ok()?,
                    names: node.names.clone(),
                })
            })
            .collect();
        let mut issuers = config.issuers.clone();
        if let Some(path) = &config.signer_file {
            match rsa(path) {
                Ok(signer) => issuers = issuers.with_provisioning_signer(signer),
                Err(error) => keep(error),
            }
        }
        if let (Some(token), Some(seed)) = (&config.login.token_file, &config.login.seed_file) {
            pair(
                ("login.token_file", token),
                ("login.seed_file", seed),
                secrets,
            )
            .unwrap_or_else(&mut keep);
        }
        if config.login.token_file.as_ref() != Some(&config.issuer_token_file) {
            pair(
                ("issue.token_file", &config.issuer_token_file),
                ("issue.seed_file", &config.issuer_seed_file),
                secrets,
            )
            .unwrap_or_else(&mut keep);
        }
        let (Some(password), true) = (password, errors.is_empty()) else {
            return Err(errors);
        };
        let policy = Policy {
            issuers,
            known_tokens: KnownTokens::default(),
            secrets: node_secrets,
            denied_tokens: config.denied_tokens.clone(),
            site: config.site.clone(),
            provisioner: config.identity.to_string(),
            instance: String::new(),
            component: config.component.clone(),
            calls: config.calls,
            features: config.features.clone(),
            names: config.names,
            issue: config.issue,
            helper: config.helper_rules,
            retry: config.retry,
            quarantine: config.quarantine,
            placements: config.placements.clone(),
        };
        Ok(Self { password, policy })
    }
}

/// Reads a secret text.
///
/// # Errors
///
/// When it cannot be read or is no text.
pub(crate) fn read(
    key: &'static str,
    source: &SecretSource,
    secrets: &Secrets,
) -> Result<SecretText, KeysError> {
    let unread = |source| KeysError::Read { key, source };
    match source {
        SecretSource::Given(secret) => Ok(secret.clone()),
        SecretSource::File(path) => {
            let secret = secrets.read(path).map_err(unread)?;
            Ok(secret.expose_text().map_err(unread)?.into())
        }
    }
}

/// Reads a token and the seed of its key, and compares them.
fn pair(
    (token_key, token): (&'static str, &Path),
    (seed_key, seed): (&'static str, &Path),
    secrets: &Secrets,
) -> Result<(), KeysError> {
    let unread = |key| move |source| KeysError::Read { key, source };
    let text = secrets.read(seed).map_err(unread(seed_key))?;
    let text = text.expose_text().map_err(unread(seed_key))?;
    let key = Key::from_seed_text(text.as_bytes()).map_err(|source| KeysError::Seed {
        key: seed_key,
        path: seed.to_owned(),
        source,
    })?;
    let text = std::fs::read_to_string(token).map_err(|source| KeysError::Read {
        key: token_key,
        source: SecretError::Read {
            path: token.to_owned(),
            source,
        },
    })?;
    let claims =
        Unverified::<ClientClaims>::decode(text.trim()).map_err(|source| KeysError::Token {
            key: token_key,
            path: token.to_owned(),
            source,
        })?;
    let claimed = &claims.claims_unverified().standard.public_key;
    if claimed.parse() != Ok(key.public()) {
        return Err(KeysError::OtherKey {
            key: token_key,
            path: token.to_owned(),
        });
    }
    Ok(())
}

fn rsa(path: &Path) -> Result<RsaPublic, KeysError> {
    let key = "nodes.signer_file";
    let pem = std::fs::read_to_string(path).map_err(|source| KeysError::Read {
        key,
        source: SecretError::Read {
            path: path.to_owned(),
            source,
        },
    })?;
    RsaPublic::from_pem(&pem).map_err(|source| KeysError::Rsa {
        key,
        path: path.to_owned(),
        source,
    })
}
