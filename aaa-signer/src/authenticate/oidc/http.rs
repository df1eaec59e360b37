//! The HTTP client with which the provider is asked: no redirects, bounded answers, and nothing readable on the way.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt as _};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::header::{HeaderValue, USER_AGENT};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use openidconnect::url::Url;
use openidconnect::{AsyncHttpClient, HttpRequest, HttpResponse};
use overlay_runtime::err_chain;

use crate::authenticate::trust::{self, TrustError};
use crate::config::is_confidential;

/// The largest answer that is read.
const MAX_ANSWER: usize = 1 << 20;

/// How long an unused connection is kept.
const IDLE: Duration = Duration::from_secs(30);

/// Why a question got no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    /// The provider names an address that would be readable on the way, or none.
    #[error("the provider names {0}, which is not encrypted")]
    Plain(String),
    /// No answer, or it broke off.
    #[error("{0}")]
    Broken(String),
    /// The answer is larger than any should be.
    #[error("the answer has more than {MAX_ANSWER} bytes")]
    TooLarge,
}

/// Asks; connections are kept.
#[derive(Clone)]
pub(super) struct Http {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl Http {
    pub(super) fn new(ca_file: Option<&Path>) -> Result<Self, TrustError> {
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(trust::tls(ca_file)?)
            .https_or_http()
            .enable_http1()
            .build();
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .pool_timer(TokioTimer::new())
            .build(connector);
        Ok(Self { client })
    }

    async fn fetch(&self, request: HttpRequest) -> Result<HttpResponse, FetchError> {
        let address = request.uri().to_string();
        if !Url::parse(&address).is_ok_and(|url| is_confidential(&url)) {
            return Err(FetchError::Plain(super::shown(&address)));
        }
        let (mut head, body) = request.into_parts();
        let agent = concat!("overlay-aaa-signer/", env!("CARGO_PKG_VERSION"));
        head.headers
            .insert(USER_AGENT, HeaderValue::from_static(agent));
        let request = hyper::Request::from_parts(head, Full::new(Bytes::from(body)));
        let answer = self
            .client
            .request(request)
            .await
            .map_err(|error| FetchError::Broken(err_chain(&error)))?;
        let (head, body) = answer.into_parts();
        match Limited::new(body, MAX_ANSWER).collect().await {
            Ok(body) => Ok(HttpResponse::from_parts(head, body.to_bytes().to_vec())),
            Err(error) if error.is::<LengthLimitError>() => Err(FetchError::TooLarge),
            Err(error) => Err(FetchError::Broken(err_chain(error.as_ref()))),
        }
    }
}

impl<'c> AsyncHttpClient<'c> for Http {
    type Error = FetchError;
    type Future = BoxFuture<'c, Result<HttpResponse, FetchError>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        self.fetch(request).boxed()
    }
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").finish_non_exhaustive()
    }
}
