//! The configuration as it is written, before it is checked.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};

use super::Environment;
use super::services::{RawLogin, RawSigner, Urls};

/// `client.toml`. Every key may be left out.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Raw {
    pub(super) collective: Option<String>,
    pub(super) identity: Option<String>,
    pub(super) token_file: Option<PathBuf>,
    pub(super) seed_file: Option<PathBuf>,
    pub(super) ttl: Option<Span>,
    pub(super) library_dirs: Vec<PathBuf>,
    pub(super) require_filter: bool,
    pub(super) limit_method: Option<String>,
    pub(super) broker: RawBroker,
    pub(super) discovery: RawDiscovery,
    pub(super) issuers: BTreeMap<String, String>,
    pub(super) signer: RawSigner,
    pub(super) login: RawLogin,
    /// Whether it is Choria's file, whose users know other words.
    #[serde(skip)]
    pub(super) is_choria: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawBroker {
    pub(super) servers: Vec<String>,
    pub(super) tls: Option<bool>,
    pub(super) verify: Option<bool>,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) certificate_file: Option<PathBuf>,
    pub(super) key_file: Option<PathBuf>,
    pub(super) connect_timeout: Option<Span>,
    pub(super) user: Option<String>,
    pub(super) password_file: Option<PathBuf>,
    /// Only Choria's file holds a password itself.
    #[serde(skip)]
    pub(super) password: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawDiscovery {
    pub(super) method: Option<String>,
    pub(super) timeout: Option<Span>,
    pub(super) full: bool,
    pub(super) inventory_file: Option<PathBuf>,
}

/// A span of time: `"2s"`, `"500ms"`, `"1m"`, or a number of seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Span(pub(super) Duration);

impl Raw {
    /// Makes every path absolute, seen from `base`.
    pub(super) fn resolve_paths(&mut self, base: &Path, environment: &Environment) {
        let files = [
            &mut self.token_file,
            &mut self.seed_file,
            &mut self.broker.password_file,
            &mut self.broker.ca_file,
            &mut self.broker.certificate_file,
            &mut self.broker.key_file,
            &mut self.discovery.inventory_file,
            &mut self.signer.ca_file,
            &mut self.login.ca_file,
            &mut self.login.helper,
        ];
        for path in files.into_iter().flatten().chain(&mut self.library_dirs) {
            *path = base.join(environment.expand(path));
        }
    }

    /// Lets `OVERLAY_…` variables replace what the file says; empty ones count as absent.
    pub(super) fn apply_environment(&mut self, environment: &Environment) -> Result<(), String> {
        let text = |name: &str| environment.variable(name).map(str::to_owned);
        let list = |name: &str| {
            environment.variable(name).map(|value| {
                value
                    .split(',')
                    .map(|item| item.trim().to_owned())
                    .filter(|i| !i.is_empty())
            })
        };
        let path = |name: &str| {
            let value = environment.variable(name)?;
            Some(
                environment
                    .current_dir
                    .join(environment.expand(Path::new(value))),
            )
        };
        let span = |name: &str| match environment.variable(name) {
            None => Ok(None),
            Some(value) => parse_span(value)
                .map(|span| Some(Span(span)))
                .ok_or_else(|| format!("{name}: `{value}` is no span of time such as 2s or 500ms")),
        };
        let switch = |name: &str| match environment.variable(name) {
            None => Ok(None),
            Some("true" | "1") => Ok(Some(true)),
            Some("false" | "0") => Ok(Some(false)),
            Some(value) => Err(format!("{name}: `{value}` is neither true nor false")),
        };
        if let Some(servers) = list("OVERLAY_BROKER__SERVERS") {
            self.broker.servers = servers.collect();
        }
        if let Some(dirs) = list("OVERLAY_LIBRARY_DIRS") {
            self.library_dirs = dirs.map(|dir| environment.current_dir.join(dir)).collect();
        }
        replace(&mut self.collective, text("OVERLAY_COLLECTIVE"));
        replace(&mut self.identity, text("OVERLAY_IDENTITY"));
        replace(&mut self.token_file, path("OVERLAY_TOKEN_FILE"));
        replace(&mut self.seed_file, path("OVERLAY_SEED_FILE"));
        replace(&mut self.ttl, span("OVERLAY_TTL")?);
        replace(&mut self.limit_method, text("OVERLAY_LIMIT_METHOD"));
        let broker = &mut self.broker;
        replace(&mut broker.tls, switch("OVERLAY_BROKER__TLS")?);
        replace(&mut broker.verify, switch("OVERLAY_BROKER__VERIFY")?);
        replace(&mut broker.ca_file, path("OVERLAY_BROKER__CA_FILE"));
        replace(
            &mut broker.certificate_file,
            path("OVERLAY_BROKER__CERTIFICATE_FILE"),
        );
        replace(&mut broker.key_file, path("OVERLAY_BROKER__KEY_FILE"));
        replace(
            &mut broker.connect_timeout,
            span("OVERLAY_BROKER__CONNECT_TIMEOUT")?,
        );
        replace(&mut broker.user, text("OVERLAY_BROKER__USER"));
        replace(
            &mut broker.password_file,
            path("OVERLAY_BROKER__PASSWORD_FILE"),
        );
        replace(
            &mut self.discovery.method,
            text("OVERLAY_DISCOVERY__METHOD"),
        );
        replace(
            &mut self.discovery.timeout,
            span("OVERLAY_DISCOVERY__TIMEOUT")?,
        );
        replace(
            &mut self.discovery.inventory_file,
            path("OVERLAY_DISCOVERY__INVENTORY_FILE"),
        );
        let signer = &mut self.signer;
        replace(&mut signer.service, switch("OVERLAY_SIGNER__SERVICE")?);
        replace(&mut signer.ca_file, path("OVERLAY_SIGNER__CA_FILE"));
        replace(&mut signer.verify, switch("OVERLAY_SIGNER__VERIFY")?);
        replace(&mut signer.timeout, span("OVERLAY_SIGNER__TIMEOUT")?);
        if let Some(urls) = list("OVERLAY_SIGNER__URLS") {
            signer.url = Urls(urls.collect());
        }
        let login = &mut self.login;
        replace(&mut login.over, text("OVERLAY_LOGIN__OVER"));
        replace(&mut login.user, text("OVERLAY_LOGIN__USER"));
        replace(&mut login.ca_file, path("OVERLAY_LOGIN__CA_FILE"));
        replace(&mut login.verify, switch("OVERLAY_LOGIN__VERIFY")?);
        replace(&mut login.timeout, span("OVERLAY_LOGIN__TIMEOUT")?);
        if let Some(urls) = list("OVERLAY_LOGIN__URLS") {
            login.url = Urls(urls.collect());
        }
        Ok(())
    }
}

fn replace<T>(field: &mut Option<T>, value: Option<T>) {
    if value.is_some() {
        *field = value;
    }
}

/// Reads `2s`, `500ms`, `1m`, `1h`, or a plain number of seconds.
pub(super) fn parse_span(text: &str) -> Option<Duration> {
    let text = text.trim();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: f64 = digits.trim_end().parse().ok()?;
    let seconds = match &text[digits.len()..] {
        "ms" => number / 1000.0,
        "" | "s" => number,
        "m" => number * 60.0,
        "h" => number * 3600.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(seconds).ok()
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SpanVisitor;
        impl Visitor<'_> for SpanVisitor {
            type Value = Span;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a span of time such as \"2s\" or \"500ms\", or seconds")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Span, E> {
                let span = parse_span(text);
                span.map(Span)
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
            fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<Span, E> {
                let span = u64::try_from(seconds).map(Duration::from_secs);
                span.map(Span)
                    .map_err(|_| E::invalid_value(de::Unexpected::Signed(seconds), &self))
            }
            fn visit_f64<E: de::Error>(self, seconds: f64) -> Result<Span, E> {
                let span = Duration::try_from_secs_f64(seconds);
                span.map(Span)
                    .map_err(|_| E::invalid_value(de::Unexpected::Float(seconds), &self))
            }
        }
        deserializer.deserialize_any(SpanVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_read_with_and_without_unit() {
        assert_eq!(parse_span("2s"), Some(Duration::from_secs(2)));
        assert_eq!(parse_span("1.5"), Some(Duration::from_millis(1500)));
        assert_eq!(parse_span("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(parse_span("2m"), Some(Duration::from_secs(120)));
        for wrong in ["", "s", "-1", "2 days", "2x", "nan", "1e400s"] {
            assert_eq!(parse_span(wrong), None, "{wrong}");
        }
    }
}
