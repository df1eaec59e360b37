//! Logins at another device, by a code that is typed there (RFC 8628).

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::future::{BoxFuture, FutureExt as _};
use openidconnect::core::{CoreDeviceAuthorizationResponse, CoreTokenResponse};
use openidconnect::{AsyncHttpClient, HttpRequest, HttpResponse, Scope};
use overlay_protocol::signing::login::Begun;
use overlay_tokens::UnixTime;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::http::{FetchError, Http};
use super::provider::{ProviderError, Session, asked_in_vain};
use super::refused_by_provider;
use crate::authenticate::Refusal;
use crate::login::Reason;

/// The longest code that somebody is asked to type.
const MAX_USER_CODE: usize = 64;
/// The longest time between two questions.
const MAX_INTERVAL: Duration = Duration::from_secs(120);

/// A login that waits for somebody at another device.
#[derive(Serialize, Deserialize)]
pub(super) struct Waiting(CoreDeviceAuthorizationResponse);

/// What a question brought.
pub(super) enum Poll {
    /// Nothing yet; to be asked again after this time.
    Pending(Duration),
    /// The provider's tokens.
    Done(Box<CoreTokenResponse>),
}

/// Asks, and keeps why there was no answer: the library takes that for a reason to wait.
struct Asker {
    http: Http,
    failure: Mutex<Option<ProviderError>>,
}

impl Asker {
    async fn ask(&self, request: HttpRequest) -> Result<HttpResponse, FetchError> {
        let answer = self.http.call(request).await;
        if let Err(error) = &answer {
            let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
            *failure = Some(asked_in_vain(error));
        }
        answer
    }

    fn take_failure(&self) -> Option<ProviderError> {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.take()
    }
}

impl<'c> AsyncHttpClient<'c> for Asker {
    type Error = FetchError;
    type Future = BoxFuture<'c, Result<HttpResponse, FetchError>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        self.ask(request).boxed()
    }
}

impl Waiting {
    pub(super) fn validity(&self) -> Duration {
        self.0.expires_in()
    }

    pub(super) fn interval(&self) -> Duration {
        self.0
            .interval()
            .clamp(Duration::from_secs(1), MAX_INTERVAL)
    }
}

/// Begins a login, and says what somebody is to be shown.
pub(super) async fn begin(
    session: &Session<'_>,
    scopes: &[String],
) -> Result<(Begun, Waiting), Refusal> {
    let client = session.device_client()?;
    let scopes = scopes.iter().cloned().map(Scope::new);
    let request = client.exchange_device_code().add_scopes(scopes);
    let answer: CoreDeviceAuthorizationResponse = request
        .request_async(session.http())
        .await
        .map_err(|error| refused_by_provider(&error))?;
    let user_code = answer.user_code().secret();
    // It is shown on a terminal.
    if user_code.len() > MAX_USER_CODE
        || !user_code.chars().all(|c| c.is_ascii_graphic() || c == ' ')
    {
        let text = "the code that it wants typed is no such code";
        return Err(ProviderError::Unusable(text.to_owned()).into());
    }
    session.check_address(answer.verification_uri().url())?;
    let complete = answer
        .verification_uri_complete()
        .and_then(|complete| openidconnect::url::Url::parse(complete.secret()).ok())
        .filter(|address| session.check_address(address).is_ok());
    let begun = Begun {
        verification_uri: Some(answer.verification_uri().to_string()),
        verification_uri_complete: complete.map(String::from),
        user_code: Some(user_code.clone()),
        ..Begun::default()
    };
    Ok((begun, Waiting(answer)))
}

/// Asks once whether somebody has confirmed.
///
/// The library asks until it is told; its wait between two questions is where this stops.
pub(super) async fn poll(
    session: &Session<'_>,
    waiting: &Waiting,
    now: UnixTime,
) -> Result<Poll, Refusal> {
    let now = DateTime::<Utc>::from_timestamp(now.secs, now.nanos)
        .ok_or_else(|| Refusal::new(Reason::Provider, "the clock of this host is out of range"))?;
    let asker = Asker {
        http: session.http().clone(),
        failure: Mutex::new(None),
    };
    let wait: Mutex<Duration> = Mutex::new(waiting.interval());
    let waits = Notify::new();
    let pause = |interval: Duration| {
        *wait.lock().unwrap_or_else(PoisonError::into_inner) = interval;
        waits.notify_one();
        std::future::pending::<()>()
    };
    let client = session.client();
    let request = client
        .exchange_device_access_token(&waiting.0)
        .map_err(|error| ProviderError::Unusable(error.to_string()))?
        .set_time_fn(move || now)
        .request_async(&asker, pause, None);
    let answer: Option<Result<CoreTokenResponse, _>> = tokio::select! {
        answer = request => Some(answer),
        () = waits.notified() => None,
    };
    if let Some(error) = asker.take_failure() {
        return Err(error.into());
    }
    match answer {
        None => {
            let wait = wait.into_inner().unwrap_or_else(PoisonError::into_inner);
            Ok(Poll::Pending(wait.min(MAX_INTERVAL)))
        }
        Some(Ok(answer)) => Ok(Poll::Done(Box::new(answer))),
        Some(Err(error)) => Err(refused_by_provider(&error).into()),
    }
}

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Waiting(..)")
    }
}
