//! The login service on the broker, for callers who have no token yet.
//!
//! The broker lets somebody in who proves to hold a key, for a short time and to the login service only. The key becomes
//! that of the session.

use std::time::Duration;

use async_nats::{Auth, AuthError, Client, ConnectOptions, RequestErrorKind};
use bytes::Bytes;
use overlay_protocol::subject;
use overlay_tokens::{Key, Nonce};
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::{LoginError, Step};
use crate::config::Config;
use crate::connection;
use crate::tls;

/// The user that asks to be let in for a login.
const USER: &str = "login";

/// A connection for logging in.
#[derive(Debug)]
pub(super) struct Desk {
    nats: Client,
    limit: Duration,
}

impl Desk {
    /// Connects as the holder of a key, and nothing more.
    pub(super) async fn enter(config: &Config, key: &Key) -> Result<Self, LoginError> {
        let servers = connection::addresses(&config.servers)?;
        let limit = config.login.timeout;
        let inbox = subject::login_reply_prefix(key.public().as_bytes());
        let options = options(key)
            .name("overlay-login")
            .custom_inbox_prefix(inbox)
            .request_timeout(Some(limit))
            .connection_timeout(connection::TRY_TIMEOUT);
        let options = tls::apply(options, &config.tls).map_err(LoginError::Tls)?;
        let nats =
            connection::connect(options, servers, config, "somebody without a token").await?;
        Ok(Self { nats, limit })
    }

    pub(super) async fn ask(
        &self,
        step: Step,
        body: Zeroizing<Vec<u8>>,
    ) -> Result<Bytes, LoginError> {
        let to = match step {
            Step::Methods => subject::LOGIN_METHODS,
            Step::Password => subject::LOGIN_PASSWORD,
            Step::Begin => subject::LOGIN_BEGIN,
            Step::Continue => subject::LOGIN_CONTINUE,
            Step::Logout => subject::LOGIN_LOGOUT,
        };
        let answer = timeout(self.limit, self.nats.request(to, Bytes::from_owner(body))).await;
        let message = match answer {
            Ok(Ok(message)) => message,
            Ok(Err(error)) if error.kind() == RequestErrorKind::NoResponders => {
                return Err(LoginError::Nobody);
            }
            Ok(Err(error)) if error.kind() == RequestErrorKind::TimedOut => {
                return Err(LoginError::Silent(self.limit));
            }
            Ok(Err(error)) => return Err(LoginError::NotTaken(error)),
            Err(_) => return Err(LoginError::Silent(self.limit)),
        };
        // A service that cannot do its work says so beside an empty answer.
        if let Some(status) = header(&message, "Nats-Service-Error-Code") {
            return Err(LoginError::Status {
                by: "the login service on the broker".to_owned(),
                status: status.parse().unwrap_or(500),
                said: header(&message, "Nats-Service-Error").unwrap_or_default(),
            });
        }
        Ok(message.payload)
    }
}

fn options(key: &Key) -> ConnectOptions {
    let key = key.clone();
    ConnectOptions::with_auth_callback(move |nonce| {
        let key = key.clone();
        async move {
            let nonce = Nonce::offered(&nonce).map_err(AuthError::new)?;
            let mut auth = Auth::new();
            auth.username = Some(USER.to_owned());
            auth.password = Some(key.public().to_string());
            auth.signature = Some(nonce.sign(&key).to_vec());
            Ok(auth)
        }
    })
}

fn header(message: &async_nats::Message, name: &str) -> Option<String> {
    let value = message.headers.as_ref()?.get(name)?;
    Some(crate::web::shown(value.as_str()))
}
