//! People of an OpenID provider, by a code at another device (RFC 8628) or by a browser on the same
//! machine (authorisation code with PKCE).
//!
//! The provider's tokens end here: what is believed is the ID token, verified, and what the provider's
//! userinfo adds to it; both are then turned by rules into what a token of ours says.

use std::fmt;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _};
use openidconnect::core::{CoreAuthenticationFlow, CoreTokenResponse};
use openidconnect::{
    AuthorizationCode, CsrfToken, Nonce, OAuth2TokenResponse as _, PkceCodeChallenge,
    PkceCodeVerifier, RedirectUrl, RequestTokenError, Scope, TokenResponse as _,
};
use overlay_protocol::signing::login::{Begun, MethodKind};
use overlay_runtime::{Secrets, err_chain};
use overlay_tokens::UnixTime;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::Refusal;
use super::trust::TrustError;
use crate::config::{AskUserinfo, FlowKind, Oidc};
use crate::login::Reason;
use crate::login::flow::{Flow, Next, Opening, Progress, Start};
use claims::Claims;
use http::FetchError;
use provider::{Provider, ProviderError, Session, asked_in_vain};

mod claims;
mod device;
mod http;
mod provider;
#[cfg(test)]
mod tests;
mod verify;

/// Name of the method, and kind of its caller ids.
const NAME: &str = "oidc";

/// The path of the only address to which a browser may bring a code.
const CALLBACK: &str = "/callback";
/// Its host: this machine, by number, as names can be made to lead elsewhere (RFC 8252).
const LOOPBACK: &str = "http://127.0.0.1:";

/// How long a code can be typed when the provider says longer.
const MAX_DEVICE: Duration = Duration::from_secs(60 * 60);

/// Logs people of a provider in.
#[derive(Debug)]
pub(crate) struct OidcLogin {
    settings: Oidc,
    provider: Provider,
}

/// What is to be known again at the next step.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Device(device::Waiting),
    Code {
        redirect_uri: String,
        verifier: String,
        nonce: String,
        state: String,
    },
}

impl OidcLogin {
    /// Prepares the login; the provider is asked when somebody logs in, as it may be down at present.
    pub(crate) fn new(settings: Oidc, secrets: &Secrets) -> Result<Self, TrustError> {
        Ok(Self {
            provider: Provider::new(&settings, secrets.clone())?,
            settings,
        })
    }

    async fn begin_at_provider(&self, start: &Start) -> Result<Opening, Refusal> {
        let session = self.provider.session().await?;
        match start.kind {
            MethodKind::Code => self.begin_code(&session, start),
            MethodKind::Device => self.begin_device(&session).await,
            MethodKind::Password => Err(Reason::Method.into()),
        }
    }

    fn begin_code(&self, session: &Session<'_>, start: &Start) -> Result<Opening, Refusal> {
        let redirect = loopback(&start.redirect_uri)?;
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let client = session.client().set_redirect_uri(redirect);
        let scopes = self.settings.scopes.iter().cloned().map(Scope::new);
        let (url, state, nonce) = client
            .authorize_url(
                CoreAuthenticationFlow::AuthorizationCode,
                CsrfToken::new_random,
                Nonce::new_random,
            )
            .add_scopes(scopes)
            .set_pkce_challenge(challenge)
            .url();
        session.check_address(&url)?;
        let kept = State::Code {
            redirect_uri: start.redirect_uri.clone(),
            verifier: verifier.into_secret(),
            nonce: nonce.secret().clone(),
            state: state.into_secret(),
        };
        Ok(Opening {
            begun: Begun {
                authorize_url: Some(url.into()),
                ..Begun::default()
            },
            state: kept.seal()?,
            validity: self.settings.flow_validity,
            single_step: true,
        })
    }

    async fn begin_device(&self, session: &Session<'_>) -> Result<Opening, Refusal> {
        let (mut begun, waiting) = device::begin(session, &self.settings.scopes).await?;
        let validity = waiting.validity().min(MAX_DEVICE);
        begun.interval = Some(waiting.interval().as_secs());
        Ok(Opening {
            begun,
            state: State::Device(waiting).seal()?,
            validity,
            single_step: false,
        })
    }

    async fn finish_at_provider(&self, state: &[u8], next: &Next) -> Result<Progress, Refusal> {
        let state: State = serde_json::from_slice(state)
            .map_err(|_| Refusal::new(Reason::Flow, "it holds no state of this method"))?;
        let session = self.provider.session().await?;
        let (answer, nonce) = match state {
            State::Device(waiting) => match device::poll(&session, &waiting, next.now).await? {
                device::Poll::Pending(wait) => return Ok(Progress::Pending(wait)),
                device::Poll::Done(answer) => (answer, None),
            },
            State::Code {
                redirect_uri,
                verifier,
                nonce,
                state,
            } => {
                if !bool::from(state.as_bytes().ct_eq(next.state.as_bytes())) {
                    let message = "the state is not the one that this login was begun with";
                    return Err(Refusal::new(Reason::Flow, message));
                }
                let verifier = PkceCodeVerifier::new(verifier);
                let code = AuthorizationCode::new(next.code.expose().to_owned());
                let answer = exchange(&session, code, verifier, redirect_uri).await?;
                (Box::new(answer), Some(Nonce::new(nonce)))
            }
        };
        let claims = self
            .claims(&session, &answer, nonce.as_ref(), next.now)
            .await?;
        let person = claims.person(&self.settings).await?;
        Ok(Progress::Person(Box::new(person)))
    }

    /// The verified claims of the ID token, and those of the userinfo where they are wanted.
    async fn claims(
        &self,
        session: &Session<'_>,
        answer: &CoreTokenResponse,
        nonce: Option<&Nonce>,
        now: UnixTime,
    ) -> Result<Claims, Refusal> {
        let Some(id_token) = answer.id_token() else {
            let message = "the answer has no ID token";
            return Err(Refusal::new(Reason::Provider, message));
        };
        let mut claims = match session.verify(id_token, nonce, now) {
            Err(fault) if fault.may_be_a_new_key() => {
                let newer = self.provider.with_new_keys(session).await?;
                newer.verify(id_token, nonce, now)
            }
            verdict => verdict,
        }
        .map_err(|fault| {
            Refusal::new(Reason::Provider, format!("ID token: {}", err_chain(&fault)))
        })?;
        let ask = match self.settings.userinfo {
            AskUserinfo::Always => true,
            AskUserinfo::IfNeeded => {
                claims.lack_something(&self.settings) && session.has_userinfo()
            }
            AskUserinfo::Never => false,
        };
        if ask {
            let subject = claims.subject()?.to_owned();
            claims.add(session.userinfo(answer.access_token(), subject).await?);
        }
        Ok(claims)
    }

    /// Asks for the result within the limit of a step.
    async fn limited<T>(
        &self,
        step: impl Future<Output = Result<T, Refusal>>,
    ) -> Result<T, Refusal> {
        let limit = self.settings.timeout;
        tokio::time::timeout(limit, step).await.unwrap_or_else(|_| {
            let message = format!(
                "the provider did not answer within {} ms",
                limit.as_millis()
            );
            Err(Refusal::new(Reason::Unavailable, message))
        })
    }
}

impl Flow for OidcLogin {
    fn name(&self) -> &'static str {
        NAME
    }

    fn kinds(&self) -> Vec<MethodKind> {
        let kind = |flow: &FlowKind| match flow {
            FlowKind::Device => MethodKind::Device,
            FlowKind::Code => MethodKind::Code,
        };
        self.settings.flows.iter().map(kind).collect()
    }

    fn begin<'a>(&'a self, start: &'a Start) -> BoxFuture<'a, Result<Opening, Refusal>> {
        self.limited(self.begin_at_provider(start)).boxed()
    }

    fn finish<'a>(
        &'a self,
        state: &'a [u8],
        next: &'a Next,
    ) -> BoxFuture<'a, Result<Progress, Refusal>> {
        self.limited(self.finish_at_provider(state, next)).boxed()
    }
}

impl State {
    fn seal(&self) -> Result<Zeroizing<Vec<u8>>, Refusal> {
        serde_json::to_vec(self)
            .map(Zeroizing::new)
            .map_err(|error| Refusal::new(Reason::Issue, error.to_string()))
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Device(_) => "Device(..)",
            Self::Code { .. } => "Code(..)",
        })
    }
}

impl From<ProviderError> for Refusal {
    fn from(error: ProviderError) -> Self {
        let reason = match error {
            ProviderError::Unavailable(_) => Reason::Unavailable,
            ProviderError::Refused(_) | ProviderError::Unusable(_) => Reason::Provider,
        };
        Self::new(reason, error.to_string())
    }
}

/// The address to which the browser brings the code; only a program on the same machine can listen there.
fn loopback(address: &str) -> Result<RedirectUrl, Refusal> {
    let port = address
        .strip_prefix(LOOPBACK)
        .and_then(|rest| rest.strip_suffix(CALLBACK))
        .filter(|port| port.bytes().all(|c| c.is_ascii_digit()))
        .and_then(|port| port.parse::<u16>().ok())
        .filter(|port| *port >= 1024);
    let url = port.and_then(|port| RedirectUrl::new(format!("{LOOPBACK}{port}{CALLBACK}")).ok());
    url.filter(|url| url.as_str() == address).ok_or_else(|| {
        let message = format!("the redirect address is not {LOOPBACK}PORT{CALLBACK}");
        Refusal::new(Reason::Flow, message)
    })
}

/// Turns the code that the browser brought into tokens.
async fn exchange(
    session: &Session<'_>,
    code: AuthorizationCode,
    verifier: PkceCodeVerifier,
    redirect_uri: String,
) -> Result<CoreTokenResponse, Refusal> {
    let redirect = loopback(&redirect_uri)?;
    let client = session.client().set_redirect_uri(redirect);
    let request = client
        .exchange_code(code)
        .map_err(|error| Refusal::new(Reason::Provider, error.to_string()))?
        .set_pkce_verifier(verifier);
    request
        .request_async(session.http())
        .await
        .map_err(|error| refused_by_provider(&error).into())
}

/// What an error of the token endpoint means.
fn refused_by_provider<T>(error: &RequestTokenError<FetchError, T>) -> ProviderError
where
    T: openidconnect::ErrorResponse + fmt::Display + 'static,
{
    match error {
        RequestTokenError::ServerResponse(response) => {
            ProviderError::Refused(shown(&response.to_string()))
        }
        RequestTokenError::Request(error) => asked_in_vain(error),
        RequestTokenError::Parse(error, _) => {
            ProviderError::Unusable(format!("its answer cannot be read: {error}"))
        }
        RequestTokenError::Other(text) => ProviderError::Unusable(shown(text)),
    }
}

/// A foreign text for the log: of bounded length, without control characters.
fn shown(text: &str) -> String {
    const MOST: usize = 300;
    let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    clean.take(MOST).collect()
}
