//! Logins over the broker: a NATS service in the account of the login and signing service.
//!
//! People who have yet to log in are in an account of their own, from which nothing but these subjects leads here. The broker
//! makes the subject of the answer, and says in a header of its own from which address the question came.

use std::sync::Arc;
use std::time::Duration;

use async_nats::service::endpoint::Endpoint;
use async_nats::service::error::Error as ServiceError;
use async_nats::service::{Request, ServiceExt as _};
use async_nats::{Client, Message};
use bytes::Bytes;
use futures_util::StreamExt as _;
use overlay_protocol::signing::CANNOT_SIGN;
use overlay_protocol::signing::LOGIN_FAILED;
use overlay_protocol::signing::login::{
    Begin, Continue, LoginRequest, LoginResponse, Logout, PasswordLogin,
};
use overlay_runtime::{CancellationToken, Tasks};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::metrics::Unread;
use super::{From, LoginAnswer, LoginService, LogoutAnswer};
use crate::via::Via;

/// Name of the NATS service.
const NAME: &str = "overlay-login";
/// One of the instances gets each question.
const QUEUE: &str = "overlay-login";
/// What comes before the verbs.
const GROUP: &str = "overlay.login.v1";
/// Questions that are worked on at a time.
pub(super) const AT_A_TIME: usize = 256;
/// Longest question, in bytes.
pub(super) const MAX_BYTES: usize = 64 * 1024;
/// An answer is due within this time.
const PATIENCE: Duration = Duration::from_secs(30);
/// What the subject of an answer begins with when the question came from the account of those who log in.
const MAPPED: &str = "_R_.";
/// What it begins with when the question came from the account of the service itself.
const INBOX: &str = "_INBOX.";
/// Header in which the broker says from where a question of another account came.
const REQUEST_INFO: &str = "Nats-Request-Info";

#[derive(Debug, Clone, Copy)]
enum Verb {
    Methods,
    Password,
    Begin,
    Continue,
    Logout,
}

impl Verb {
    const ALL: [Self; 5] = [
        Self::Methods,
        Self::Password,
        Self::Begin,
        Self::Continue,
        Self::Logout,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Methods => "methods",
            Self::Password => "password",
            Self::Begin => "begin",
            Self::Continue => "continue",
            Self::Logout => "logout",
        }
    }
}

/// What the broker says of who asks.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RequestInfo {
    host: String,
}

/// Subscribes, and answers until the shutdown; each question that is worked on has one of `places`.
pub(super) async fn serve(
    login: LoginService,
    client: Client,
    places: Arc<Semaphore>,
    tasks: &Tasks,
    shutdown: &CancellationToken,
) -> Result<(), async_nats::Error> {
    let service = client
        .service_builder()
        .description("Logs people in: methods, password, begin, continue, logout")
        .queue_group(QUEUE)
        .start(NAME, env!("CARGO_PKG_VERSION"))
        .await?;
    let group = service.group(GROUP);
    for verb in Verb::ALL {
        let endpoint = group.endpoint(verb.name()).await?;
        let responder = Responder {
            login: login.clone(),
            verb,
            places: Arc::clone(&places),
            tasks: tasks.clone(),
        };
        let shutdown = shutdown.clone();
        tasks.spawn("login responder", async move {
            responder.answer(endpoint, &shutdown).await;
            Ok(())
        });
    }
    let shutdown = shutdown.clone();
    // The handle answers who asks about the service, as long as it is there.
    tasks.spawn("login service", async move {
        shutdown.cancelled().await;
        drop(service.stop().await);
        Ok(())
    });
    Ok(())
}

#[derive(Debug, Clone)]
struct Responder {
    login: LoginService,
    verb: Verb,
    places: Arc<Semaphore>,
    tasks: Tasks,
}

impl Responder {
    async fn answer(self, mut endpoint: Endpoint, shutdown: &CancellationToken) {
        while let Some(Some(request)) = shutdown.run_until_cancelled(endpoint.next()).await {
            let Some(from) = from(&request.message) else {
                // The subject of the answer is whoever's asks, and we may publish more than they.
                self.unread(Unread::ReplySubject);
                continue;
            };
            match Arc::clone(&self.places).try_acquire_owned() {
                Ok(place) => {
                    let responder = self.clone();
                    self.tasks.spawn_job("login question", async move {
                        responder.one(request, from, place).await;
                    });
                }
                Err(_full) => {
                    self.unread(Unread::Busy);
                    respond(&request, Err(busy())).await;
                }
            }
        }
        drop(endpoint.stop().await);
    }

    async fn one(self, request: Request, from: From, place: OwnedSemaphorePermit) {
        let answer = if request.message.payload.len() > MAX_BYTES {
            self.unread(Unread::TooLong);
            Err(malformed("the question is too long"))
        } else {
            match tokio::time::timeout(PATIENCE, self.decide(&request.message, from)).await {
                Ok(answer) => answer,
                Err(_late) => Err(busy()),
            }
        };
        respond(&request, answer).await;
        drop(place);
    }

    async fn decide(&self, message: &Message, from: From) -> Result<Bytes, ServiceError> {
        match self.verb {
            Verb::Methods => encode(&self.login.methods()),
            Verb::Password => {
                let PasswordLogin { login, otp } = self.decode(message)?;
                encode(&self.password(login, otp, from).await?)
            }
            Verb::Begin => {
                let begin: Begin = self.decode(message)?;
                encode(&self.login.begin(begin, from).await.map_err(|_| busy())?)
            }
            Verb::Continue => {
                let step: Continue = self.decode(message)?;
                encode(&self.login.continue_(step, from).await.map_err(|_| busy())?)
            }
            Verb::Logout => {
                let logout: Logout = self.decode(message)?;
                match self.login.logout(logout, from).await {
                    LogoutAnswer::Done => encode(&LoginResponse::default()),
                    LogoutAnswer::Failed => encode(&refused(LOGIN_FAILED)),
                    LogoutAnswer::Busy => Err(busy()),
                }
            }
        }
    }

    fn decode<T: DeserializeOwned>(&self, message: &Message) -> Result<T, ServiceError> {
        serde_json::from_slice(&message.payload).map_err(|_malformed| {
            self.unread(Unread::Malformed);
            malformed("no such JSON")
        })
    }

    fn unread(&self, why: Unread) {
        self.login.inner.metrics.unread(why);
    }

    async fn password(
        &self,
        login: LoginRequest,
        otp: Option<overlay_protocol::SecretText>,
        from: From,
    ) -> Result<LoginResponse, ServiceError> {
        match self.login.password(login, otp, from).await {
            LoginAnswer::Token(token) => Ok(LoginResponse {
                token,
                error: String::new(),
            }),
            LoginAnswer::Failed => Ok(refused(LOGIN_FAILED)),
            LoginAnswer::CannotSign => Ok(refused(CANNOT_SIGN)),
            LoginAnswer::Busy => Err(busy()),
        }
    }
}

/// Who asks, when the answer goes where answers to them may go.
fn from(message: &Message) -> Option<From> {
    let reply = message.reply.as_ref()?.as_str();
    let plain = !reply.contains(['*', '>', ' ']);
    let peer = if plain && reply.starts_with(MAPPED) {
        let info: RequestInfo = serde_json::from_str(request_info(message)?).ok()?;
        info.host
    } else if plain && reply.starts_with(INBOX) {
        "broker".to_owned()
    } else {
        return None;
    };
    Some(From {
        via: Via::Broker,
        peer,
    })
}

/// The broker's word of who asks: its header, when the message has that one and nothing else in its headers.
///
/// The broker removes a stranger's header of this name and adds its own at the end, but goes by bytes: there are header blocks
/// in which it does not find the stranger's, or in which its own becomes a part of the line before. Those who log in send no
/// headers, so that a block that is longer than the broker's header has something in it that somebody else wrote, be it
/// something that is no header and of which the parser says nothing.
fn request_info(message: &Message) -> Option<&str> {
    let headers = message.headers.as_ref()?;
    let mut values = headers.get_all(REQUEST_INFO);
    let info = values.next()?.as_str();
    if headers.len() > 1 || values.next().is_some() {
        return None;
    }
    let block =
        "NATS/1.0\r\n".len() + REQUEST_INFO.len() + ": ".len() + info.len() + "\r\n\r\n".len();
    let reply = message.reply.as_ref().map_or(0, |reply| reply.len());
    let whole = message.subject.len() + reply + block + message.payload.len();
    (message.length == whole).then_some(info)
}

async fn respond(request: &Request, answer: Result<Bytes, ServiceError>) {
    if let Err(error) = request.respond(answer).await {
        tracing::warn!(%error, "an answer of the login service was not sent");
    }
}

fn encode(answer: &impl Serialize) -> Result<Bytes, ServiceError> {
    serde_json::to_vec(answer)
        .map(Bytes::from)
        .map_err(|_impossible| malformed("no answer"))
}

fn refused(error: &str) -> LoginResponse {
    LoginResponse {
        token: String::new(),
        error: error.to_owned(),
    }
}

fn busy() -> ServiceError {
    ServiceError {
        status: "too much is to be done at present, try again".to_owned(),
        code: 503,
    }
}

fn malformed(status: &str) -> ServiceError {
    ServiceError {
        status: status.to_owned(),
        code: 400,
    }
}

#[cfg(test)]
mod tests {
    use async_nats::HeaderMap;

    use super::*;

    const SUBJECT: &str = "overlay.login.v1.password";

    fn peer(reply: Option<&str>, info: Option<&str>) -> Option<String> {
        let headers: Vec<_> = info.map(|info| (REQUEST_INFO, info)).into_iter().collect();
        peer_of(reply, &headers, 0)
    }

    /// With so many bytes more in the block than its headers have.
    fn peer_of(
        reply: Option<&str>,
        headers: &[(&'static str, &str)],
        more: usize,
    ) -> Option<String> {
        let mut map = HeaderMap::new();
        let mut block = "NATS/1.0\r\n\r\n".len() + more;
        for (name, value) in headers {
            map.append(*name, *value);
            block += name.len() + value.len() + 4;
        }
        let message = Message {
            subject: SUBJECT.into(),
            reply: reply.map(Into::into),
            payload: Bytes::from_static(b"{}"),
            headers: Some(map),
            status: None,
            description: None,
            length: SUBJECT.len() + reply.map_or(0, str::len) + block + 2,
        };
        from(&message).map(|from| from.peer)
    }

    #[test]
    fn the_broker_s_word_stands_alone_or_is_not_believed() {
        let reply = Some("_R_.abc.1");
        let (ours, forged) = (r#"{"host":"192.0.2.7"}"#, r#"{"host":"203.0.113.9"}"#);
        let word = (REQUEST_INFO, ours);
        assert_eq!(peer_of(reply, &[word], 0).as_deref(), Some("192.0.2.7"));
        for (headers, more) in [
            (vec![(REQUEST_INFO, forged), word], 0),
            (vec![word, ("X", "a")], 0),
            // The broker's own became a part of the line before it, or that line is none.
            (
                vec![(REQUEST_INFO, forged), ("X", "Nats-Request-Info: {}")],
                0,
            ),
            (vec![(REQUEST_INFO, forged)], 40),
            (vec![word], 1),
        ] {
            assert_eq!(peer_of(reply, &headers, more), None, "{headers:?} {more}");
        }
    }

    #[test]
    fn answers_go_where_answers_to_strangers_may_go_and_nowhere_else() {
        let host = Some(r#"{"acc":"login","host":"192.0.2.7","rtt":1}"#);
        assert_eq!(peer(Some("_R_.abc.1"), host).as_deref(), Some("192.0.2.7"));
        // Without the broker's word nobody knows who asks.
        assert_eq!(peer(Some("_R_.abc.1"), None), None);
        assert_eq!(peer(Some("_R_.abc.1"), Some("rubbish")), None);
        // Within the account of the service there is no such word, and none is believed.
        assert_eq!(peer(Some("_INBOX.abc.1"), host).as_deref(), Some("broker"));
        for elsewhere in [
            None,
            Some("overlay.audit.aaa.aaa-1"),
            Some("$KV.AAA_LOGINS.fail.00000"),
            Some("$JS.API.STREAM.DELETE.KV_AAA_LOGINS"),
            Some("_INBOX.>"),
            Some("_R_.*"),
        ] {
            assert_eq!(peer(elsewhere, host), None, "{elsewhere:?}");
        }
    }
}
