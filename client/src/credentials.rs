//! Who calls: the token and the key that proves it.

use std::fmt;
use std::path::{Path, PathBuf};

use overlay_tokens::claims::ClientClaims;
use overlay_tokens::own::{self, Holder, OwnError};
use overlay_tokens::{Key, UnixTime, Unverified};

use crate::config::Config;

/// A caller's token and key, read and checked as far as their owner can.
#[derive(Debug)]
pub struct Credentials {
    holder: Holder,
    can_sign: bool,
    token_id: String,
    actions: Vec<String>,
    has_policy: bool,
}

/// A key file that others on this machine may read or change.
///
/// A caller's key is used all the same, as Choria does; whoever uses it should be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExposedKey {
    /// The file.
    pub path: PathBuf,
    /// Its permission bits.
    pub mode: u32,
}

/// Why the caller's own token or key is of no use.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The token file cannot be read.
    #[error("the caller's token cannot be read")]
    ReadToken {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: overlay_tokens::file::FileError,
    },
    /// The seed file cannot be read.
    #[error("the caller's key cannot be read")]
    ReadSeed {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: overlay_tokens::file::FileError,
    },
    /// The token is not a client's, has expired or is not yet good.
    #[error("the token {} is not usable", path.display())]
    Token {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The token was made for another key.
    #[error("the token {} is for another key than {}", token.display(), seed.display())]
    OtherKey {
        /// The token's file.
        token: PathBuf,
        /// The seed's file.
        seed: PathBuf,
    },
}

impl ExposedKey {
    /// Looks at a key file; `None` when its owner alone may read it, or when it cannot be looked at.
    #[must_use]
    pub fn at(path: &Path) -> Option<Self> {
        let exposure = overlay_tokens::file::exposure(path).ok().flatten()?;
        Some(Self {
            path: path.to_owned(),
            mode: exposure.mode,
        })
    }
}

impl fmt::Display for ExposedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, mode } = self;
        write!(
            f,
            "the key file {} has mode {mode:04o}, others may read or change it; chmod 0600",
            path.display()
        )
    }
}

impl Credentials {
    /// Reads the files that `config` names and checks that they are good at `now` and belong together.
    ///
    /// # Errors
    ///
    /// A file cannot be read, or nobody would accept what is in it.
    pub fn load(config: &Config, now: UnixTime) -> Result<Self, CredentialsError> {
        let token_file = &config.token_file;
        let token = overlay_tokens::file::read_token(token_file).map_err(|source| {
            CredentialsError::ReadToken {
                path: token_file.clone(),
                source,
            }
        })?;
        let unusable = |source: Box<dyn std::error::Error + Send + Sync>| CredentialsError::Token {
            path: token_file.clone(),
            source,
        };
        own::check_own(&token, now).map_err(|source| unusable(Box::new(source)))?;
        let unverified = Unverified::<ClientClaims>::decode(&token)
            .map_err(|source| unusable(Box::new(source)))?;
        // The caller reads its own token: what it says is for display and for subjects only.
        let claims = unverified.claims_unverified();
        let permissions = claims.permissions;
        let token_id = claims.standard.jti.clone();
        let actions = claims.agents.clone();
        let has_policy = claims
            .opa_policy
            .as_ref()
            .is_some_and(|policy| !policy.is_empty());
        let key = overlay_tokens::file::read_seed(&config.seed_file).map_err(|source| {
            CredentialsError::ReadSeed {
                path: config.seed_file.clone(),
                source,
            }
        })?;
        let holder = match Holder::new(&token, key) {
            Ok(holder) => holder,
            Err(OwnError::OtherKey { .. }) => {
                return Err(CredentialsError::OtherKey {
                    token: token_file.clone(),
                    seed: config.seed_file.clone(),
                });
            }
            Err(source) => return Err(unusable(Box::new(source))),
        };
        let needs_signer = permissions.is_some_and(|granted| granted.signed_fleet_management);
        Ok(Self {
            holder,
            can_sign: !needs_signer,
            token_id,
            actions,
            has_policy,
        })
    }

    /// The caller as requests name it, such as `up=bob`.
    #[must_use]
    pub fn caller(&self) -> &str {
        self.holder.name()
    }

    /// The caller's part of reply subjects.
    #[must_use]
    pub fn uid(&self) -> &str {
        self.holder.unique_id()
    }

    /// When the token ends, in seconds since 1970.
    #[must_use]
    pub fn expires(&self) -> Option<i64> {
        self.holder.expires_at()
    }

    /// Whether the caller's own signature counts; else a signer must sign for it.
    #[must_use]
    pub fn can_sign(&self) -> bool {
        self.can_sign
    }

    pub(crate) fn token_id(&self) -> &str {
        &self.token_id
    }

    /// The token's list of actions, such as `rpcutil.ping` or `puppet.*`.
    pub(crate) fn actions(&self) -> &[String] {
        &self.actions
    }

    /// Whether the token holds a policy.
    pub(crate) fn has_policy(&self) -> bool {
        self.has_policy
    }

    pub(crate) fn token(&self) -> &str {
        self.holder.text()
    }

    pub(crate) fn key(&self) -> &Key {
        self.holder.key()
    }
}

/// A signature as texts carry it.
pub(crate) fn signature_text(signature: &[u8; 64]) -> String {
    signature.iter().map(|byte| format!("{byte:02x}")).collect()
}
