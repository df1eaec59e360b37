//! Questions to web services: JSON by POST, or GET.

use std::time::Duration;

use async_nats::rustls::Error as TlsFault;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::header::{ACCEPT, CONTENT_TYPE, USER_AGENT};
use hyper::{Method, Request, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::config;
use crate::message::chain;
use crate::tls::{self, TlsError};

/// Answers are no longer: a request at the broker's usual limit, signed and encoded twice.
const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;
/// A host that does not even take a connection is given up early, so that the next one is tried.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// A client of web services; connections are kept.
#[derive(Debug)]
pub(crate) struct Web {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    limit: Duration,
}

/// What a service said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) status: u16,
    pub(crate) body: Bytes,
}

/// Why a web service did not say anything.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    /// The address is none.
    #[error("`{0}` is not an address")]
    Address(String),
    /// No connection, or none that lasted until the answer.
    #[error("{url} cannot be asked")]
    Unreachable {
        /// Who was asked.
        url: String,
        /// Why there is no answer.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The certificate is not trusted.
    #[error("the certificate of {url} is not trusted")]
    Untrusted {
        /// Who was asked.
        url: String,
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No answer in time.
    #[error("{url} did not answer within {within:?}")]
    Silent {
        /// Who was asked.
        url: String,
        /// The limit.
        within: Duration,
    },
    /// The answer is longer than any that makes sense.
    #[error("the answer of {url} has more than {MAX_ANSWER_BYTES} bytes")]
    TooLong {
        /// Who was asked.
        url: String,
    },
}

impl Web {
    /// Prepares questions that may take `limit` each.
    pub(crate) fn new(config: &config::Web, limit: Duration) -> Result<Self, TlsError> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_LIMIT.min(limit)));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls::for_web(config)?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self { client, limit })
    }

    pub(crate) async fn get(&self, url: &str) -> Result<Said, WebError> {
        self.ask(Method::GET, url, Bytes::new()).await
    }

    /// Posts JSON, which is wiped when it has left.
    pub(crate) async fn post(&self, url: &str, json: Zeroizing<Vec<u8>>) -> Result<Said, WebError> {
        self.ask(Method::POST, url, Bytes::from_owner(json)).await
    }

    async fn ask(&self, method: Method, url: &str, body: Bytes) -> Result<Said, WebError> {
        let within = self.limit;
        timeout(within, self.exchange(method, url, body))
            .await
            .unwrap_or_else(|_| {
                Err(WebError::Silent {
                    url: url.to_owned(),
                    within,
                })
            })
    }

    async fn exchange(&self, method: Method, url: &str, body: Bytes) -> Result<Said, WebError> {
        let no_address = || WebError::Address(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| no_address())?;
        let mut request = Request::builder()
            .method(&method)
            .uri(uri)
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, concat!("overlay/", env!("CARGO_PKG_VERSION")));
        if method == Method::POST {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let request = request.body(Full::new(body)).map_err(|_| no_address())?;
        let response = self
            .client
            .request(request)
            .await
            .map_err(|error| failed(url, error.into()))?;
        let status = response.status().as_u16();
        match Limited::new(response.into_body(), MAX_ANSWER_BYTES)
            .collect()
            .await
        {
            Ok(body) => Ok(Said {
                status,
                body: body.to_bytes(),
            }),
            Err(error) if error.is::<LengthLimitError>() => Err(WebError::TooLong {
                url: url.to_owned(),
            }),
            Err(error) => Err(failed(url, error)),
        }
    }
}

fn failed(url: &str, source: Box<dyn std::error::Error + Send + Sync>) -> WebError {
    let url = url.to_owned();
    let is_untrusted = is_about_certificate(source.as_ref());
    // The outermost error of the library only says that it is one.
    let source = source.source().map(chain).map_or(source, Into::into);
    if is_untrusted {
        WebError::Untrusted { url, source }
    } else {
        WebError::Unreachable { url, source }
    }
}

fn is_about_certificate(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(TlsFault::InvalidCertificate(_)) = error.downcast_ref() {
            return true;
        }
        // TLS errors travel inside of those of the socket.
        if let Some(inner) = error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref)
            && is_about_certificate(inner)
        {
            return true;
        }
        cause = error.source();
    }
    false
}

impl Said {
    /// The beginning of the body, in one line that can be shown.
    pub(crate) fn shown(&self) -> String {
        shown(&String::from_utf8_lossy(&self.body))
    }
}

/// Text of a stranger in one line of bounded length, without what would move a cursor.
pub(crate) fn shown(text: &str) -> String {
    const MAX: usize = 300;
    let mut line: String = text
        .trim()
        .chars()
        .take(MAX)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if text.trim().chars().nth(MAX).is_some() {
        line.push('…');
    }
    line
}
