//! Logging in: a new key, the proof of who one is, and the token that a login service makes of them.
//!
//! ```text
//! LoginClient::new ── methods ── password ───────────┐
//!                             └─ begin ── continue ──┴── token ── accept ──> Session ── store
//! ```
//!
//! Nothing is written before [`Session::store`]: a login that fails leaves the old session as it is.

mod broker;
mod places;
mod session;

use bytes::Bytes;
use overlay_protocol::SecretText;
use overlay_protocol::signing::login::{
    self as wire, Begin, Begun, Continue, Continued, LoginRequest, LoginResponse, Logout, Method,
    MethodKind, Methods, PasswordLogin,
};
use overlay_tokens::{Issuers, Key, KeyError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use self::broker::Desk;
use self::places::Service;
pub use self::session::{Forgotten, Session, SessionError, forget};
use crate::clock;
use crate::config::{Config, LoginOver};
use crate::connection::ConnectError;
use crate::credentials::Credentials;
use crate::message::chain;
use crate::tls::TlsError;
use crate::web::WebError;

/// Longest password that is sent; login services take no more.
pub const MAX_PASSWORD_BYTES: usize = 1024;

/// The login services of a configuration, as somebody without a token sees them.
#[derive(Debug)]
pub struct LoginClient {
    places: Vec<Place>,
    /// The place that is asked; those before it have failed.
    at: usize,
    /// The key of the session that is to be.
    key: Key,
}

#[derive(Debug)]
enum Place {
    Web(Service),
    Broker(Desk),
}

/// What a login service can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Methods,
    Password,
    Begin,
    Continue,
    Logout,
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// The configuration names none.
    #[error("no login service is configured")]
    NotConfigured,
    /// The service says no.
    #[error("{0}")]
    Refused(String),
    /// The service says neither yes nor no.
    #[error("no token received")]
    NoToken,
    /// An answer with another status than 200.
    #[error("invalid response code {status}: {said}")]
    Status {
        /// Who answered.
        by: String,
        /// The status.
        status: u16,
        /// The beginning of the answer.
        said: String,
    },
    /// A web service cannot be asked.
    #[error(transparent)]
    Web(#[from] WebError),
    /// Of several places none answered.
    #[error("no login service could be asked: {}", tries.join("; "))]
    Unreachable {
        /// Each with its reason.
        tries: Vec<String>,
    },
    /// An answer that is none.
    #[error("the answer of {by} is not understood")]
    Answer {
        /// Who answered.
        by: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The service does not know this way to log in.
    #[error("{0} cannot log anybody in this way")]
    NotOffered(String),
    /// The service would not look at a one-time code, or it is not known whether it does.
    #[error("{0} takes no one-time codes")]
    NoCodes(String),
    /// The broker cannot be reached, or lets nobody in without a token.
    #[error("no login over the broker")]
    Broker(#[from] ConnectError),
    /// Nobody answers logins on the broker.
    #[error("nobody answers logins on the broker")]
    Nobody,
    /// No answer over the broker.
    #[error("no login service answered on the broker within {0:?}")]
    Silent(std::time::Duration),
    /// The broker did not take the question.
    #[error("the broker does not let the question through")]
    NotTaken(#[source] async_nats::RequestError),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// No key could be made.
    #[error("cannot make a key for the session")]
    Key(#[source] KeyError),
    /// The password is longer than any service takes.
    #[error("a password has at most {MAX_PASSWORD_BYTES} bytes")]
    PasswordTooLong,
}

impl LoginClient {
    /// Prepares logins as the configuration says, or over another way.
    ///
    /// # Errors
    ///
    /// No place is configured, or the broker lets nobody in who has no token.
    pub async fn new(config: &Config, over: Option<LoginOver>) -> Result<Self, LoginError> {
        let key = Key::generate().map_err(LoginError::Key)?;
        let login = &config.login;
        let places = match over.or(login.over) {
            Some(LoginOver::Broker) => vec![Place::Broker(Desk::enter(config, &key).await?)],
            Some(LoginOver::Https) if !login.web.urls.is_empty() => login
                .web
                .urls
                .iter()
                .map(|url| Ok(Place::Web(Service::new(url, &login.web, login.timeout)?)))
                .collect::<Result<_, TlsError>>()?,
            Some(LoginOver::Https) | None => return Err(LoginError::NotConfigured),
        };
        Ok(Self { places, at: 0, key })
    }

    /// Who is asked, for people.
    #[must_use]
    pub fn asked(&self) -> String {
        self.places
            .get(self.at)
            .map_or_else(|| "nobody".to_owned(), Place::name)
    }

    /// Asks how one can log in. A service of Choria's kind takes a password.
    ///
    /// # Errors
    ///
    /// None of the places answers.
    pub async fn methods(&mut self) -> Result<Methods, LoginError> {
        let mut tries = Vec::new();
        while let Some(place) = self.places.get_mut(self.at) {
            match place.methods().await {
                Ok(methods) => return Ok(methods),
                Err(error) => tries.push(error),
            }
            self.at += 1;
        }
        Err(none_answered(tries))
    }

    /// Logs in with a password and, where there is a second factor, its code.
    ///
    /// # Errors
    ///
    /// The service refuses, or none of the places answers.
    pub async fn password(
        &mut self,
        user: &str,
        password: &SecretText,
        otp: Option<&SecretText>,
    ) -> Result<String, LoginError> {
        if password.expose().len() > MAX_PASSWORD_BYTES {
            return Err(LoginError::PasswordTooLong);
        }
        let mut tries = Vec::new();
        while let Some(place) = self.places.get(self.at) {
            if otp.is_some() && !place.takes_codes() {
                tries.push(LoginError::NoCodes(place.name()));
                self.next()?;
                continue;
            }
            let timestamp = clock::now().secs.to_string();
            let proof = wire::password_text(&timestamp, user, password.expose());
            let request = PasswordLogin {
                login: LoginRequest {
                    username: user.to_owned(),
                    password: password.clone(),
                    timestamp,
                    public_key: self.key.public().to_string(),
                    signature: self.prove(&proof),
                },
                otp: otp.cloned(),
            };
            match self.ask(Step::Password, encode(&request)).await {
                Ok(body) => return self.token(&body),
                Err(error) => tries.push(error),
            }
            self.next()?;
        }
        Err(none_answered(tries))
    }

    /// Begins a login that goes on elsewhere: on another device, or in a browser.
    ///
    /// # Errors
    ///
    /// The service refuses, or none of the places answers.
    pub async fn begin(
        &mut self,
        method: &Method,
        redirect_uri: &str,
    ) -> Result<Begun, LoginError> {
        let mut tries = Vec::new();
        while self.at < self.places.len() {
            let timestamp = clock::now().secs.to_string();
            let proof =
                wire::begin_text(&timestamp, &method.name, method.kind.as_str(), redirect_uri);
            let request = Begin {
                method: method.name.clone(),
                kind: method.kind.as_str().to_owned(),
                public_key: self.key.public().to_string(),
                timestamp,
                redirect_uri: redirect_uri.to_owned(),
                signature: self.prove(&proof),
            };
            match self.ask(Step::Begin, encode(&request)).await {
                Ok(body) => {
                    let begun = decode::<Begun>(&body).map_err(|source| self.misread(source))?;
                    return refused_or(begun.error.as_deref(), begun.clone());
                }
                Err(error) => tries.push(error),
            }
            self.next()?;
        }
        Err(none_answered(tries))
    }

    /// Asks how a login that was begun stands, or goes on with what a browser brought back.
    ///
    /// # Errors
    ///
    /// The service refuses, or the place that began it does not answer.
    pub async fn continue_flow(
        &mut self,
        flow: &str,
        code: &str,
        state: &str,
    ) -> Result<Continued, LoginError> {
        let timestamp = clock::now().secs.to_string();
        let proof = wire::continue_text(&timestamp, flow, code, state);
        let request = Continue {
            flow: flow.to_owned(),
            code: (!code.is_empty()).then(|| code.into()),
            state: (!state.is_empty()).then(|| state.to_owned()),
            public_key: self.key.public().to_string(),
            timestamp,
            signature: self.prove(&proof),
        };
        let body = self.ask(Step::Continue, encode(&request)).await?;
        let continued = decode::<Continued>(&body).map_err(|source| self.misread(source))?;
        refused_or(continued.error.as_deref(), continued.clone())
    }

    /// Ends the session of a token at the service, so that nobody can use it any more.
    ///
    /// # Errors
    ///
    /// The service refuses, knows no such thing, or none of the places answers.
    pub async fn logout(&mut self, credentials: &Credentials) -> Result<(), LoginError> {
        let mut tries = Vec::new();
        while self.at < self.places.len() {
            let timestamp = clock::now().secs.to_string();
            let proof = wire::logout_text(&timestamp, credentials.token_id());
            let request = Logout {
                token: credentials.token().into(),
                timestamp,
                signature: crate::credentials::signature_text(
                    &credentials.key().sign(proof.as_bytes()),
                ),
            };
            match self.ask(Step::Logout, encode(&request)).await {
                Ok(body) => {
                    let answer =
                        decode::<LoginResponse>(&body).map_err(|source| self.misread(source))?;
                    return refused_or(Some(&answer.error), ());
                }
                Err(error) => tries.push(error),
            }
            self.next()?;
        }
        Err(none_answered(tries))
    }

    /// Checks the token that a login yielded, and makes a session of it and its key.
    ///
    /// # Errors
    ///
    /// It is not a client's, not for this key, not good now, or of somebody who is not trusted.
    pub fn accept(self, token: &str, issuers: Option<&Issuers>) -> Result<Session, SessionError> {
        Session::check(token, self.key, issuers, clock::now())
    }

    /// Goes on to the next place, with a key of its own: the same proof is not taken twice.
    fn next(&mut self) -> Result<(), LoginError> {
        self.at += 1;
        if self.at < self.places.len() {
            self.key = Key::generate().map_err(LoginError::Key)?;
        }
        Ok(())
    }

    fn prove(&self, text: &str) -> String {
        crate::credentials::signature_text(&self.key.sign(text.as_bytes()))
    }

    async fn ask(&mut self, step: Step, body: Zeroizing<Vec<u8>>) -> Result<Bytes, LoginError> {
        match self.places.get(self.at) {
            Some(Place::Web(service)) => service.ask(step, body).await,
            Some(Place::Broker(desk)) => desk.ask(step, body).await,
            None => Err(LoginError::NotConfigured),
        }
    }

    fn token(&self, body: &[u8]) -> Result<String, LoginError> {
        let answer = decode::<LoginResponse>(body).map_err(|source| self.misread(source))?;
        refused_or(Some(&answer.error), ())?;
        if answer.token.trim().is_empty() {
            return Err(LoginError::NoToken);
        }
        Ok(answer.token)
    }

    fn misread(&self, source: serde_json::Error) -> LoginError {
        LoginError::Answer {
            by: self.asked(),
            source,
        }
    }
}

fn refused_or<T>(error: Option<&str>, answer: T) -> Result<T, LoginError> {
    match error {
        None | Some("") => Ok(answer),
        Some(error) => Err(LoginError::Refused(crate::web::shown(error))),
    }
}

fn encode(message: &impl Serialize) -> Zeroizing<Vec<u8>> {
    // These are texts and lists of texts, which can always be written.
    Zeroizing::new(serde_json::to_vec(message).unwrap_or_default())
}

/// Reads an answer; what is null is absent, as Choria's client has it.
fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, serde_json::Error> {
    let mut answer: Map<String, Value> = serde_json::from_slice(body)?;
    answer.retain(|_, value| !value.is_null());
    serde_json::from_value(Value::Object(answer))
}

/// The reason itself when one place was asked, all reasons when there were several.
fn none_answered(mut tries: Vec<LoginError>) -> LoginError {
    match (tries.len(), tries.pop()) {
        (_, None) => LoginError::NotConfigured,
        (1, Some(error)) => error,
        (_, Some(last)) => {
            tries.push(last);
            let name = |error: &LoginError| {
                if let LoginError::Status { by, .. } = error {
                    format!("{by}: {error}")
                } else {
                    chain(error)
                }
            };
            LoginError::Unreachable {
                tries: tries.iter().map(name).collect(),
            }
        }
    }
}

impl Place {
    fn name(&self) -> String {
        match self {
            Self::Web(service) => service.name().to_owned(),
            Self::Broker(_) => "the broker".to_owned(),
        }
    }

    fn takes_codes(&self) -> bool {
        match self {
            Self::Web(service) => service.is_ours(),
            Self::Broker(_) => true,
        }
    }

    async fn methods(&mut self) -> Result<Methods, LoginError> {
        let body = match self {
            Self::Web(service) => match service.methods().await? {
                Some(body) => body,
                None => return Ok(of_choria()),
            },
            Self::Broker(desk) => {
                let nothing = Zeroizing::new(b"{}".to_vec());
                desk.ask(Step::Methods, nothing).await?
            }
        };
        known_methods(&body).map_err(|source| LoginError::Answer {
            by: self.name(),
            source,
        })
    }
}

/// Reads the methods; those of a kind that is not known here are left out.
fn known_methods(body: &[u8]) -> Result<Methods, serde_json::Error> {
    let mut answer: Map<String, Value> = serde_json::from_slice(body)?;
    if let Some(Value::Array(methods)) = answer.get_mut("methods") {
        methods.retain(|method| serde_json::from_value::<Method>(method.clone()).is_ok());
    }
    serde_json::from_value(Value::Object(answer))
}

/// What Choria's login service can: a name and a password.
fn of_choria() -> Methods {
    Methods {
        methods: vec![Method {
            name: "userlist".to_owned(),
            kind: MethodKind::Password,
        }],
        ..Methods::default()
    }
}
