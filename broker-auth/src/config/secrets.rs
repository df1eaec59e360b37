//! The secrets that the configuration names, read and compared with each other.

use std::path::{Path, PathBuf};

use overlay_runtime::{Fault, SecretError, Secrets, err_chain};
use overlay_tokens::broker_jwt::{AccountKey, CurveKey, NkeyError};
use overlay_tokens::rsa::{RsaError, RsaPublic};

use super::Config;
use crate::policy::{Memory, Password, Policy, Provisioning, System};

/// The secrets, read.
#[derive(Debug)]
pub struct Keys {
    /// Signs users and answers.
    pub account: AccountKey,
    /// Opens requests and seals answers.
    pub curve: Option<CurveKey>,
    /// Everything that a decision depends on.
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
    /// It is no key of its kind.
    #[error("{key}: {}", path.display())]
    Key {
        /// The key of the configuration.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: NkeyError,
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
    /// It is not the key that the broker is configured with: no login would come through.
    #[error("{key} holds the seed of {own}, the broker's configuration has {configured}")]
    Differs {
        /// The key of the configuration.
        key: &'static str,
        /// Public key of the seed.
        own: String,
        /// Public key in the broker's configuration.
        configured: String,
    },
}

impl KeysError {
    fn key(&self) -> &'static str {
        match self {
            Self::Read { key, .. }
            | Self::Key { key, .. }
            | Self::Rsa { key, .. }
            | Self::Differs { key, .. } => key,
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
        let account = account(config, secrets).map_err(&mut keep).ok();
        let curve = curve(config, secrets).map_err(&mut keep).ok();
        let provisioning = config.provisioning.as_ref().and_then(|files| {
            let password = password("provisioning.password_file", &files.password_file, secrets);
            let password = password.map_err(&mut keep).ok()?;
            Some(Provisioning {
                password,
                without_token: files.without_token,
                compat: files.compat,
            })
        });
        let system = config.system.as_ref().and_then(|files| {
            let password = password("system.password_file", &files.password_file, secrets);
            let password = password.map_err(&mut keep).ok()?;
            Some(System {
                user: files.user.clone(),
                password,
            })
        });
        let signer = config
            .provisioning
            .as_ref()
            .and_then(|files| files.signer_file.as_deref());
        let signer = signer.map(rsa).transpose().map_err(&mut keep).ok();
        let (Some(account), Some(curve), Some(signer), true) =
            (account, curve, signer, errors.is_empty())
        else {
            return Err(errors);
        };
        let issuers = match signer {
            Some(signer) => config.issuers.clone().with_provisioning_signer(signer),
            None => config.issuers.clone(),
        };
        let memory = Memory::new(config.limits.token_memory);
        let policy = Policy {
            accounts: config.accounts.clone(),
            provisioning,
            system,
            certificates: config.certificates,
            certificate_hosts: config.certificate_hosts.clone(),
            offload: config.offload.clone(),
            silence_nodes: config.silence_nodes,
            node_expiry: config.node_expiry,
            login: config.login,
            denied: config.denied.clone(),
            ..Policy::new(issuers, config.organisation.clone(), memory)
        };
        Ok(Self {
            account,
            curve,
            policy,
        })
    }
}

fn account(config: &Config, secrets: &Secrets) -> Result<AccountKey, KeysError> {
    let key = "callout.account_seed_file";
    let account = from_seed(
        key,
        &config.callout.account_seed_file,
        secrets,
        AccountKey::from_seed,
    )?;
    differs(key, account.public(), config.callout.issuer.as_deref())?;
    Ok(account)
}

fn from_seed<K>(
    key: &'static str,
    path: &Path,
    secrets: &Secrets,
    parse: impl FnOnce(&str) -> Result<K, NkeyError>,
) -> Result<K, KeysError> {
    let unread = |source| KeysError::Read { key, source };
    let seed = secrets.read(path).map_err(unread)?;
    parse(seed.expose_text().map_err(unread)?).map_err(|source| KeysError::Key {
        key,
        path: path.to_owned(),
        source,
    })
}

fn curve(config: &Config, secrets: &Secrets) -> Result<Option<CurveKey>, KeysError> {
    let key = "callout.curve_seed_file";
    let Some(path) = &config.callout.curve_seed_file else {
        return Ok(None);
    };
    let curve = from_seed(key, path, secrets, CurveKey::from_seed)?;
    differs(key, curve.public(), config.callout.xkey.as_deref())?;
    Ok(Some(curve))
}

fn differs(key: &'static str, own: &str, configured: Option<&str>) -> Result<(), KeysError> {
    match configured {
        Some(configured) if configured != own => Err(KeysError::Differs {
            key,
            own: own.to_owned(),
            configured: configured.to_owned(),
        }),
        Some(_) | None => Ok(()),
    }
}

fn password(key: &'static str, path: &Path, secrets: &Secrets) -> Result<Password, KeysError> {
    let secret = secrets
        .read(path)
        .map_err(|source| KeysError::Read { key, source })?;
    let text = secret
        .expose_text()
        .map_err(|source| KeysError::Read { key, source })?;
    Ok(Password::new(text))
}

fn rsa(path: &Path) -> Result<RsaPublic, KeysError> {
    let key = "provisioning.signer_file";
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
