//! The one login: user and password, the provisioner's token, and its signature over the broker's nonce.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use async_nats::{Auth, AuthError, ConnectOptions};
use overlay_protocol::SecretText;
use overlay_runtime::{Clock, Secrets, err_chain};
use overlay_tokens::own::{Holder, check_own};
use overlay_tokens::{Key, Nonce, UnixTime};
use zeroize::Zeroizing;

use crate::config::Config;

/// Why the own token or its key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// A file cannot be read.
    #[error("the provisioner's token or seed cannot be used: {0}")]
    Files(String),
    /// The files now name another caller: answers to what is under way would not find back.
    #[error("the token is now of `{now}`, and this process began as `{before}`: start it anew")]
    OtherCaller {
        /// Who the token names.
        now: String,
        /// Whom it named at the start.
        before: String,
    },
}

/// The own token with its key: read at the start and at each login.
#[derive(Debug)]
pub(super) struct Credentials {
    user: String,
    password: SecretText,
    token_file: PathBuf,
    seed_file: PathBuf,
    /// Whether the token is shown to the broker; else the password must do.
    is_shown: bool,
    secrets: Secrets,
    clock: Clock,
    holder: Mutex<Arc<Holder>>,
}

impl Credentials {
    pub(super) fn new(
        config: &Config,
        password: SecretText,
        secrets: &Secrets,
        clock: &Clock,
    ) -> Result<Self, CredentialsError> {
        let (token_file, seed_file, is_shown) =
            match (&config.login.token_file, &config.login.seed_file) {
                (Some(token), Some(seed)) => (token, seed, true),
                // Requests to nodes name a caller in any case.
                (_, _) => (&config.issuer_token_file, &config.issuer_seed_file, false),
            };
        let holder = read(token_file, seed_file, secrets)?;
        Ok(Self {
            user: config.login.user.clone(),
            password,
            token_file: token_file.clone(),
            seed_file: seed_file.clone(),
            is_shown,
            secrets: secrets.clone(),
            clock: clock.clone(),
            holder: Mutex::new(Arc::new(holder)),
        })
    }

    /// The token and key that requests are signed with now.
    pub(super) fn holder(&self) -> Arc<Holder> {
        let holder = self.holder.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&holder)
    }

    /// Options of one attempt to connect.
    pub(super) fn options(self: &Arc<Self>) -> ConnectOptions {
        let credentials = Arc::clone(self);
        ConnectOptions::with_auth_callback(move |nonce| {
            let shown = credentials.show(&nonce);
            async move { shown.map_err(AuthError::new) }
        })
        // Its answers come all at once when a broker with many waiting nodes is asked who waits.
        .client_capacity(8192)
    }

    fn show(&self, nonce: &[u8]) -> Result<Auth, String> {
        let mut auth = Auth::new();
        auth.username = Some(self.user.clone());
        auth.password = Some(self.password.expose().to_owned());
        if self.is_shown {
            let holder = self.read_again().map_err(|error| err_chain(&error))?;
            check_own(holder.text(), UnixTime::from(self.clock.now()))
                .map_err(|error| err_chain(&error))?;
            let nonce = Nonce::offered(nonce).map_err(|error| error.to_string())?;
            auth.token = Some(holder.text().to_owned());
            auth.jwt = Some(holder.text().to_owned());
            auth.signature = Some(nonce.sign(holder.key()).to_vec());
        }
        Ok(auth)
    }

    /// Whoever renewed the files need not start the provisioner anew.
    fn read_again(&self) -> Result<Arc<Holder>, CredentialsError> {
        let read = Arc::new(read(&self.token_file, &self.seed_file, &self.secrets)?);
        let mut holder = self.holder.lock().unwrap_or_else(PoisonError::into_inner);
        if read.name() != holder.name() {
            return Err(CredentialsError::OtherCaller {
                now: read.name().to_owned(),
                before: holder.name().to_owned(),
            });
        }
        *holder = Arc::clone(&read);
        Ok(read)
    }
}

/// Reads a token and the seed of its key.
fn read(
    token_file: &std::path::Path,
    seed_file: &std::path::Path,
    secrets: &Secrets,
) -> Result<Holder, CredentialsError> {
    let failed = |error: &dyn std::error::Error| CredentialsError::Files(err_chain(error));
    let token = overlay_tokens::file::read_token(token_file).map_err(|error| failed(&error))?;
    let key = read_key(seed_file, secrets)?;
    Holder::new(&token, key).map_err(|error| failed(&error))
}

/// Reads a seed file; white space around it is no fault.
pub(super) fn read_key(path: &std::path::Path, secrets: &Secrets) -> Result<Key, CredentialsError> {
    let failed = |error: &dyn std::error::Error| CredentialsError::Files(err_chain(error));
    let secret = secrets.read(path).map_err(|error| failed(&error))?;
    let seed = secret.expose_text().map_err(|error| failed(&error))?;
    let seed = Zeroizing::new(seed.to_owned());
    Key::from_seed_text(seed.as_bytes()).map_err(|error| failed(&error))
}
