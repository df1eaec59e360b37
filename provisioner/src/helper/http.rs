//! A service that answers questions: POST of the question, the answer as the body of status 200.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, USER_AGENT};
use hyper::{Request, Response, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use overlay_runtime::{SecretError, Secrets, err_chain};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::{ClientConfig, RootCertStore};
use tokio::time::Instant;

use super::{AskError, Bounds};

/// How long the token file is not looked at again.
const TOKEN_AGE: Duration = Duration::from_secs(10);

/// How long an unused connection is kept.
const IDLE: Duration = Duration::from_secs(30);

/// Why the service cannot be asked at all.
#[derive(Debug, thiserror::Error)]
pub enum HttpStartError {
    /// The address is none, or neither http nor https.
    #[error("`{0}` is no http or https address")]
    Url(String),
    /// What is asked and answered would be readable on the way.
    #[error("`{0}` is not encrypted, and not on this host; use https")]
    Plain(String),
    /// The authorities cannot be read.
    #[error("authorities in {}", path.display())]
    Authorities {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: pem::Error,
    },
    /// The authorities' file holds no certificate that can be used.
    #[error("no usable certificate in {}", .0.display())]
    NoAuthority(PathBuf),
    /// The system has no authorities.
    #[error("the system's authorities")]
    System(#[source] std::io::Error),
    /// TLS cannot be set up.
    #[error("TLS")]
    Tls(#[from] rustls::Error),
    /// The token cannot be read.
    #[error("bearer token")]
    Token(#[from] SecretError),
}

/// Asks the service; connections are kept.
#[derive(Debug)]
pub(super) struct Poster {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    uri: Uri,
    token: Option<Token>,
    bounds: Bounds,
}

/// A bearer token that is read again when its file may have changed.
#[derive(Debug)]
struct Token {
    path: PathBuf,
    secrets: Secrets,
    last: Mutex<Option<(Instant, HeaderValue)>>,
}

impl Poster {
    pub(super) fn new(
        url: &str,
        token_file: Option<PathBuf>,
        ca_file: Option<&Path>,
        secrets: Secrets,
        bounds: Bounds,
    ) -> Result<Self, HttpStartError> {
        let no_address = || HttpStartError::Url(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| no_address())?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none() {
            return Err(no_address());
        }
        let is_local = uri.host().is_some_and(|host| {
            let host = host.trim_matches(['[', ']']);
            host == "localhost"
                || host
                    .parse::<std::net::IpAddr>()
                    .is_ok_and(|address| address.is_loopback())
        });
        if uri.scheme_str() == Some("http") && !is_local {
            return Err(HttpStartError::Plain(url.to_owned()));
        }
        let connector = match ca_file {
            Some(path) => HttpsConnectorBuilder::new().with_tls_config(trusting(path)?),
            None => HttpsConnectorBuilder::new()
                .with_provider_and_native_roots(rustls::crypto::ring::default_provider())
                .map_err(HttpStartError::System)?,
        };
        let connector = connector.https_or_http().enable_http1().build();
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .pool_timer(TokioTimer::new())
            .build(connector);
        let token = token_file.map(|path| Token {
            path,
            secrets,
            last: Mutex::new(None),
        });
        if let Some(token) = &token {
            token.header()?;
        }
        Ok(Self {
            client,
            uri,
            token,
            bounds,
        })
    }

    pub(super) async fn ask(&self, question: Bytes) -> Result<Vec<u8>, AskError> {
        tokio::time::timeout(self.bounds.limit, self.post(question))
            .await
            .unwrap_or(Err(AskError::TimedOut(self.bounds.limit)))
    }

    async fn post(&self, question: Bytes) -> Result<Vec<u8>, AskError> {
        let unreachable = |error: &dyn std::error::Error| AskError::Unreachable(err_chain(error));
        let mut request = Request::post(self.uri.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json")
            .header(
                USER_AGENT,
                concat!("overlay-provisioner/", env!("CARGO_PKG_VERSION")),
            );
        if let Some(token) = &self.token {
            let header = token.header().map_err(|error| unreachable(&error))?;
            request = request.header(AUTHORIZATION, header);
        }
        let request = request
            .body(Full::new(question))
            .map_err(|error| unreachable(&error))?;
        let response = self
            .client
            .request(request)
            .await
            .map_err(|error| unreachable(&error))?;
        self.read(response).await
    }

    async fn read(&self, response: Response<hyper::body::Incoming>) -> Result<Vec<u8>, AskError> {
        let limit = self.bounds.max_output;
        let too_much = AskError::TooMuchOutput { limit };
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NO_CONTENT => return Err(AskError::NoOutput),
            status => return Err(AskError::Status(status.as_u16())),
        }
        let announced = response
            .headers()
            .get(CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        if announced.is_some_and(|length| length > limit) {
            return Err(too_much);
        }
        match Limited::new(response.into_body(), limit).collect().await {
            Ok(body) => {
                let body = body.to_bytes();
                if body.is_empty() {
                    return Err(AskError::NoOutput);
                }
                Ok(body.to_vec())
            }
            Err(error) if error.is::<LengthLimitError>() => Err(too_much),
            Err(error) => Err(AskError::Unreachable(err_chain(error.as_ref()))),
        }
    }
}

impl Token {
    fn header(&self) -> Result<HeaderValue, SecretError> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((read, header)) = &*last
            && read.elapsed() < TOKEN_AGE
        {
            return Ok(header.clone());
        }
        let secret = self.secrets.read(&self.path)?;
        let mut header = HeaderValue::from_str(&format!("Bearer {}", secret.expose_text()?))
            .map_err(|_| SecretError::NotText)?;
        header.set_sensitive(true);
        *last = Some((Instant::now(), header.clone()));
        Ok(header)
    }
}

/// TLS towards a service whose certificate these authorities sign.
fn trusting(path: &Path) -> Result<ClientConfig, HttpStartError> {
    let failed = |source| HttpStartError::Authorities {
        path: path.to_owned(),
        source,
    };
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(failed)?;
    let mut roots = RootCertStore::empty();
    let (added, _ignored) = roots.add_parsable_certificates(certificates);
    if added == 0 {
        return Err(HttpStartError::NoAuthority(path.to_owned()));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}
