//! Logins: what is shown to a broker, from files that are read again each time.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_nats::{Auth, AuthError, ConnectOptions};
use overlay_runtime::{BrokerUrl, Clock, Secrets, err_chain};
use overlay_tokens::own::{Holder, check_own};
use overlay_tokens::{Nonce, OfferError, UnixTime};
use rustls::ClientConfig;

use crate::config::{Endpoint, Login};
use crate::login::{self, LoginError};
use crate::tls::TlsError;
use crate::{percent, tls};

/// Why nothing can be shown. Each names its file.
#[derive(Debug, thiserror::Error)]
pub(super) enum AccessError {
    #[error(transparent)]
    Login(#[from] LoginError),
    #[error(
        "token file {} is now of `{now}`, and this connection is of `{before}`: start the process anew",
        path.display()
    )]
    OtherCaller {
        path: PathBuf,
        now: String,
        before: String,
    },
    #[error(transparent)]
    Nonce(#[from] OfferError),
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// How one endpoint is logged in to.
pub(super) struct Access {
    login: Login,
    /// User and password, or token, of the first address that has them; for no other login.
    in_url: Option<BrokerUrl>,
    secrets: Secrets,
    clock: Clock,
    /// Whose token it is: the inbox is theirs as long as the connection lives.
    caller: Option<Caller>,
    insecure: Option<ClientConfig>,
    needs_tls: bool,
    /// What was wrong at the last login.
    problem: Mutex<Option<String>>,
}

#[derive(Debug)]
struct Caller {
    name: String,
    inbox_prefix: String,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access")
            .field("login", &self.login)
            .field("caller", &self.caller)
            .finish_non_exhaustive()
    }
}

impl Access {
    /// Reads what must be known before the first attempt.
    pub(super) fn new(
        endpoint: &Endpoint,
        secrets: &Secrets,
        clock: &Clock,
    ) -> Result<Self, AccessError> {
        let tls = &endpoint.tls;
        let insecure = tls
            .insecure
            .then(|| tls::insecure(tls.own.as_ref()))
            .transpose()?;
        let caller = match &endpoint.login {
            Login::Choria {
                token_file,
                seed_file,
                collective,
            } => {
                let holder = login::holder(token_file, seed_file, secrets)?;
                Some(Caller {
                    name: holder.name().to_owned(),
                    inbox_prefix: holder.inbox_prefix(collective),
                })
            }
            Login::None
            | Login::Nkey { .. }
            | Login::Password { .. }
            | Login::Credentials { .. } => None,
        };
        let in_url = endpoint
            .servers
            .iter()
            .find(|url| url.address().has_user_pass());
        Ok(Self {
            login: endpoint.login.clone(),
            in_url: in_url.cloned(),
            secrets: secrets.clone(),
            clock: clock.clone(),
            // As in the original: who configures authorities, an own certificate or a Choria token, wants TLS.
            needs_tls: tls.ca_file.is_some()
                || tls.own.is_some()
                || tls.first
                || tls.insecure
                || caller.is_some(),
            caller,
            insecure,
            problem: Mutex::default(),
        })
    }

    pub(super) fn inbox_prefix(&self) -> Option<String> {
        let caller = self.caller.as_ref()?;
        Some(caller.inbox_prefix.clone())
    }

    pub(super) fn needs_tls(&self) -> bool {
        self.needs_tls
    }

    pub(super) fn insecure_tls(&self) -> Option<ClientConfig> {
        self.insecure.clone()
    }

    /// What was wrong at the last login, for people.
    pub(super) fn why(&self) -> Option<String> {
        self.problem().clone()
    }

    /// Options of one attempt: what is shown is read when the broker asks.
    pub(super) fn options(self: &Arc<Self>) -> ConnectOptions {
        let access = Arc::clone(self);
        ConnectOptions::with_auth_callback(move |nonce| {
            let shown = access.show(&nonce);
            async move { shown.map_err(AuthError::new) }
        })
    }

    /// What is shown to a broker that sent this nonce.
    pub(super) fn show(&self, nonce: &[u8]) -> Result<Auth, String> {
        // Set first: what is shown in spite of a doubt, such as an expiry by this clock, leaves its own.
        *self.problem() = None;
        self.read(nonce).map_err(|error| {
            let error = err_chain(&error);
            *self.problem() = Some(error.clone());
            error
        })
    }

    fn read(&self, nonce: &[u8]) -> Result<Auth, AccessError> {
        let mut auth = Auth::new();
        match &self.login {
            Login::None => self.show_url(&mut auth),
            Login::Password {
                user,
                password_file,
            } => {
                let password = login::secret(password_file, &self.secrets)?;
                auth.username = Some(user.clone());
                auth.password = Some(login::text(&password, password_file)?.to_owned());
            }
            Login::Nkey { seed_file } => {
                let pair = login::nkey(seed_file, &self.secrets)?;
                let nonce = Nonce::offered(nonce)?;
                auth.nkey = Some(pair.public_key());
                auth.signature = Some(login::sign(&pair, nonce, seed_file)?);
            }
            Login::Credentials { file, seed_file } => {
                let found = login::user(file, seed_file.as_deref(), &self.secrets)?;
                let nonce = Nonce::offered(nonce)?;
                if let Some(expired) = login::expired(&found.jwt, self.now()) {
                    // The broker's clock decides; ours only explains its refusal.
                    *self.problem() = Some(format!(
                        "the user JWT in {} expired at {expired}",
                        file.display()
                    ));
                }
                auth.signature = Some(login::sign(&found.key, nonce, file)?);
                auth.jwt = Some(found.jwt);
            }
            Login::Choria {
                token_file,
                seed_file,
                collective: _,
            } => {
                let holder = login::holder(token_file, seed_file, &self.secrets)?;
                self.is_same(&holder, token_file)?;
                check_own(holder.text(), self.now()).map_err(|source| LoginError::Token {
                    path: token_file.clone(),
                    source,
                })?;
                let nonce = Nonce::offered(nonce)?;
                auth.token = Some(holder.text().to_owned());
                auth.jwt = Some(holder.text().to_owned());
                auth.signature = Some(nonce.sign(holder.key()).to_vec());
            }
        }
        Ok(auth)
    }

    /// `user:password@` or `token@` of an address, as the original's library takes them.
    fn show_url(&self, auth: &mut Auth) {
        let Some(url) = &self.in_url else {
            return;
        };
        let address = url.address();
        match (address.username(), address.password()) {
            (Some(user), Some(password)) => {
                auth.username = Some(percent::decode(user));
                auth.password = Some(percent::decode(password));
            }
            (Some(token), None) => auth.token = Some(percent::decode(token)),
            (None, _) => {}
        }
    }

    /// Replies come to the inbox of whoever opened the connection.
    fn is_same(&self, holder: &Holder, path: &Path) -> Result<(), AccessError> {
        match &self.caller {
            Some(caller) if caller.name != holder.name() => Err(AccessError::OtherCaller {
                path: path.to_owned(),
                now: holder.name().to_owned(),
                before: caller.name.clone(),
            }),
            Some(_) | None => Ok(()),
        }
    }

    fn now(&self) -> UnixTime {
        UnixTime::from(self.clock.now())
    }

    fn problem(&self) -> MutexGuard<'_, Option<String>> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
