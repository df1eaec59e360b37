//! The services that a caller leans on: who signs for it, and where it logs in.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper::Uri;
use serde::Deserialize;

use super::check::span;
use super::raw::Span;

/// How long a signature may take in all; as Choria's client waits.
pub const DEFAULT_SIGNER_TIMEOUT: Duration = Duration::from_secs(12);
/// How long a login service may take for one answer: it hashes a password, and may ask a directory.
pub const DEFAULT_LOGIN_TIMEOUT: Duration = Duration::from_secs(20);

/// Who signs requests in the caller's stead.
#[derive(Debug, Clone)]
pub struct Signer {
    /// How it is asked.
    pub over: SignerOver,
    /// The limit for one signature, all tries together.
    pub timeout: Duration,
}

/// A way to the signer.
#[derive(Debug, Clone)]
pub enum SignerOver {
    /// The service `aaa_signer`, over the connection that the requests take.
    Broker,
    /// Web services, asked in turn.
    Web(Web),
}

/// Where a caller logs in.
#[derive(Debug, Clone)]
pub struct LoginPlace {
    /// The way that is taken unless another is asked for; none: no login service is configured.
    pub over: Option<LoginOver>,
    /// Web services, asked in turn.
    pub web: Web,
    /// The user's name, when the login service knows it by another one than this machine does.
    pub user: Option<String>,
    /// A program that logs in instead.
    pub helper: Option<PathBuf>,
    /// The limit for one answer.
    pub timeout: Duration,
}

/// A way to the login service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginOver {
    /// HTTPS.
    Https,
    /// The broker, which lets callers without a token in for this alone.
    Broker,
}

/// Web services that do the same.
#[derive(Debug, Clone, Default)]
pub struct Web {
    /// Their addresses: checked, `https`, or `http` on this host.
    pub urls: Vec<String>,
    /// Certificates that theirs must lead to; none: those of the system.
    pub ca_file: Option<PathBuf>,
    /// Takes any certificate, and `http` to anywhere: who answers is not known, and others can listen.
    pub insecure: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawSigner {
    pub(super) service: Option<bool>,
    #[serde(alias = "urls")]
    pub(super) url: Urls,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) verify: Option<bool>,
    pub(super) timeout: Option<Span>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawLogin {
    #[serde(alias = "urls")]
    pub(super) url: Urls,
    pub(super) over: Option<String>,
    pub(super) user: Option<String>,
    pub(super) helper: Option<PathBuf>,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) verify: Option<bool>,
    pub(super) timeout: Option<Span>,
}

/// One URL or a list of them.
#[derive(Debug, Default, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "OneOrMany")]
pub(super) struct Urls(pub(super) Vec<String>);

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl From<OneOrMany> for Urls {
    fn from(urls: OneOrMany) -> Self {
        match urls {
            OneOrMany::One(url) => Self(vec![url]),
            OneOrMany::Many(urls) => Self(urls),
        }
    }
}

pub(super) fn signer(raw: RawSigner, faults: &mut Vec<String>) -> Option<Signer> {
    let timeout = span(raw.timeout, DEFAULT_SIGNER_TIMEOUT);
    if timeout.is_zero() {
        faults.push("`signer.timeout` must be longer than nothing".to_owned());
    }
    let web = web("signer", raw.url, raw.ca_file, raw.verify, faults);
    let over = match (raw.service.unwrap_or(false), web.urls.is_empty()) {
        (true, _) => SignerOver::Broker,
        (false, false) => SignerOver::Web(web),
        (false, true) => return None,
    };
    Some(Signer { over, timeout })
}

pub(super) fn login(raw: RawLogin, faults: &mut Vec<String>) -> LoginPlace {
    let web = web("login", raw.url, raw.ca_file, raw.verify, faults);
    let over = match raw.over.as_deref() {
        Some(name) => match name.parse() {
            Ok(LoginOver::Https) if web.urls.is_empty() => {
                faults.push("`login.over` is https, so `login.urls` must be given".to_owned());
                None
            }
            Ok(over) => Some(over),
            Err(fault) => {
                faults.push(format!("`login.over`: {fault}"));
                None
            }
        },
        None => (!web.urls.is_empty()).then_some(LoginOver::Https),
    };
    LoginPlace {
        over,
        web,
        user: raw.user,
        helper: raw.helper,
        timeout: span(raw.timeout, DEFAULT_LOGIN_TIMEOUT),
    }
}

fn web(
    table: &str,
    urls: Urls,
    ca_file: Option<PathBuf>,
    verify: Option<bool>,
    faults: &mut Vec<String>,
) -> Web {
    let mut web = Web {
        urls: Vec::new(),
        ca_file,
        insecure: verify == Some(false),
    };
    for url in urls.0 {
        match web.check(&url) {
            Ok(()) => web.urls.push(url),
            Err(fault) => faults.push(format!("`{table}.urls`: {fault}")),
        }
    }
    if let Some(path) = web.ca_file.as_deref().filter(|path| !path.is_file()) {
        faults.push(no_file(table, path));
    }
    web
}

fn no_file(table: &str, path: &Path) -> String {
    format!("`{table}.ca_file`: there is no file {}", path.display())
}

impl Web {
    /// Checks that an address is one, and that nothing secret goes to it in the open.
    ///
    /// # Errors
    ///
    /// What is wrong with it, in words that do not repeat a password.
    pub fn check(&self, url: &str) -> Result<(), String> {
        if url.contains('@') {
            return Err("user and password do not go into an address".to_owned());
        }
        let uri: Uri = url
            .parse()
            .map_err(|_| format!("`{url}` is not an address"))?;
        let Some(host) = uri.host() else {
            return Err(format!("`{url}` has no host"));
        };
        match uri.scheme_str() {
            Some("https") => Ok(()),
            Some("http") if self.insecure || is_local(host) => Ok(()),
            Some("http") => Err(format!(
                "`{url}` is not encrypted, and not on this host: use https"
            )),
            Some(_) | None => Err(format!("`{url}` is neither https nor http")),
        }
    }
}

fn is_local(host: &str) -> bool {
    let host = host.trim_matches(['[', ']']);
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

impl std::str::FromStr for LoginOver {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "https" => Ok(Self::Https),
            "broker" => Ok(Self::Broker),
            _ => Err(format!("`{text}` is neither https nor broker")),
        }
    }
}

impl fmt::Display for LoginOver {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Https => "https",
            Self::Broker => "broker",
        })
    }
}
