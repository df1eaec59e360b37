//! The keys that the configuration names, read and checked: who this service is, and who signs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use overlay_protocol::id::{Identity, NameError};
use overlay_runtime::{Fault, SecretError, Secrets, err_chain};
use overlay_tokens::audit::{Sealer, SealerError};
use overlay_tokens::claims::{Claims, ClientClaims, ServerClaims};
use overlay_tokens::delegator::{self, DelegatorError};
use overlay_tokens::file::{self, FileError};
use overlay_tokens::issue::IssueError;
use overlay_tokens::own::{Holder, OwnError};
use overlay_tokens::{
    DecodeError, Issuers, Key, KeyError, UnixTime, Unverified, Verified, VerifyError,
};

use super::{Config, TokenFiles};

/// The keys, read whole.
#[derive(Debug)]
pub struct Keys {
    /// The server token of this instance with its key; nothing when nobody asks for it.
    pub server: Option<ServerIdentity>,
    /// Who signs requests; nothing when nothing is signed.
    pub delegator: Option<Delegator>,
}

/// Who this instance is to the cell.
#[derive(Debug)]
pub struct ServerIdentity {
    /// Its name, and that of the chain of its records.
    pub identity: Identity,
    /// Its token with its key.
    pub holder: Holder,
    /// Signs the chain of records.
    pub sealer: Arc<Sealer>,
}

/// Who signs requests for others.
#[derive(Debug)]
pub struct Delegator {
    /// Its token, as it goes beside each signature.
    pub token: Arc<str>,
    /// Its key.
    pub key: Key,
    /// When the token expires, in Unix seconds.
    pub expires_at: Option<i64>,
}

/// Why a key or token cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{key}: {}", path.display())]
pub struct KeysError {
    key: &'static str,
    path: PathBuf,
    #[source]
    problem: Problem,
}

/// What is wrong with a key or token.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Problem {
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error(transparent)]
    Seed(#[from] KeyError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error("no token of the kind that belongs here")]
    Decode(#[from] DecodeError),
    #[error("the token is not to be trusted")]
    Verify(#[from] VerifyError),
    #[error(transparent)]
    Own(#[from] OwnError),
    #[error("the token is of `{0}`, which is not the identity that is configured")]
    OtherIdentity(String),
    #[error(transparent)]
    Name(#[from] NameError),
    #[error(transparent)]
    Sealer(#[from] SealerError),
    #[error(transparent)]
    Delegator(#[from] DelegatorError),
    #[error(transparent)]
    Issue(#[from] IssueError),
}

impl KeysError {
    fn new(key: &'static str, path: &Path, problem: impl Into<Problem>) -> Self {
        Self {
            key,
            path: path.to_owned(),
            problem: problem.into(),
        }
    }

    pub(in crate::config) fn into_fault(self) -> Fault {
        Fault::new(self.key, err_chain(&self))
    }
}

/// The keys of the configuration that name a token and its seed.
pub(crate) struct Named<'a> {
    pub(crate) token_key: &'static str,
    pub(crate) seed_key: &'static str,
    pub(crate) files: &'a TokenFiles,
}

/// A file of the configuration that holds a secret.
#[derive(Clone, Copy)]
pub(crate) struct SecretFile<'a> {
    pub(crate) key: &'static str,
    pub(crate) path: &'a Path,
}

impl SecretFile<'_> {
    /// Works with its content.
    pub(crate) fn with<T>(
        self,
        secrets: &Secrets,
        work: impl FnOnce(&str) -> Result<T, Problem>,
    ) -> Result<T, KeysError> {
        let fault = |problem: Problem| KeysError::new(self.key, self.path, problem);
        let secret = secrets
            .read(self.path)
            .map_err(|error| fault(error.into()))?;
        let text = secret.expose_text().map_err(|error| fault(error.into()))?;
        work(text).map_err(fault)
    }
}

impl Named<'_> {
    pub(crate) fn token(&self) -> Result<String, KeysError> {
        file::read_token(&self.files.token_file).map_err(|error| self.token_fault(error))
    }

    /// What the token says, once it is verified.
    pub(crate) fn verified<C: Claims>(
        &self,
        text: &str,
        issuers: &Issuers,
        now: UnixTime,
    ) -> Result<Verified<C>, KeysError> {
        Unverified::<C>::decode(text)
            .map_err(|error| self.token_fault(error))?
            .verify(issuers, now)
            .map_err(|error| self.token_fault(error))
    }

    pub(crate) fn seed_file(&self) -> SecretFile<'_> {
        SecretFile {
            key: self.seed_key,
            path: &self.files.seed_file,
        }
    }

    fn seed(&self, secrets: &Secrets) -> Result<Key, KeysError> {
        self.seed_file()
            .with(secrets, |text| Ok(Key::from_seed_text(text.as_bytes())?))
    }

    pub(crate) fn token_fault(&self, problem: impl Into<Problem>) -> KeysError {
        KeysError::new(self.token_key, &self.files.token_file, problem)
    }
}

impl Keys {
    /// When the first of the tokens expires, in Unix seconds.
    pub(crate) fn expires_at(&self) -> Option<i64> {
        let server = self.server.as_ref();
        let server = server.and_then(|server| server.holder.expires_at());
        let delegator = self
            .delegator
            .as_ref()
            .and_then(|delegator| delegator.expires_at);
        [server, delegator].into_iter().flatten().min()
    }

    /// Reads all keys, and checks what each may do.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with them.
    pub fn load(config: &Config, secrets: &Secrets, now: UnixTime) -> Result<Self, Vec<KeysError>> {
        let mut errors = Vec::new();
        let mut keep = |error| errors.push(error);
        let server = config
            .identity
            .as_ref()
            .and_then(|files| server(files, config, secrets, now).map_err(&mut keep).ok());
        let delegator = config.signer.as_ref().and_then(|signer| {
            delegate(&signer.delegator, &config.issuers, secrets, now)
                .map_err(&mut keep)
                .ok()
        });
        if errors.is_empty() {
            Ok(Self { server, delegator })
        } else {
            Err(errors)
        }
    }
}

fn server(
    files: &TokenFiles,
    config: &Config,
    secrets: &Secrets,
    now: UnixTime,
) -> Result<ServerIdentity, KeysError> {
    let named = Named {
        token_key: "identity.token_file",
        seed_key: "identity.seed_file",
        files,
    };
    let text = named.token()?;
    let key = named.seed(secrets)?;
    let token = named.verified::<ServerClaims>(&text, &config.issuers, now)?;
    if let Some(expected) = &config.expected_identity
        && *expected != token.identity
    {
        return Err(named.token_fault(Problem::OtherIdentity(token.identity.clone())));
    }
    let identity =
        Identity::new(token.identity.as_str()).map_err(|error| named.token_fault(error))?;
    let sealer = Sealer::new(&token, key.clone()).map_err(|error| named.token_fault(error))?;
    Ok(ServerIdentity {
        identity,
        holder: Holder::new(&text, key).map_err(|error| named.token_fault(error))?,
        sealer: Arc::new(sealer),
    })
}

fn delegate(
    files: &TokenFiles,
    issuers: &Issuers,
    secrets: &Secrets,
    now: UnixTime,
) -> Result<Delegator, KeysError> {
    let named = Named {
        token_key: "signer.token_file",
        seed_key: "signer.seed_file",
        files,
    };
    let text = named.token()?;
    let key = named.seed(secrets)?;
    let token = named.verified::<ClientClaims>(&text, issuers, now)?;
    delegator::check(&token, &key.public(), now).map_err(|error| named.token_fault(error))?;
    Ok(Delegator {
        token: token.text().into(),
        key,
        expires_at: token.expires_at(),
    })
}
