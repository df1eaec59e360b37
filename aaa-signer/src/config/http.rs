//! The section `[http]`: where login and signature are served over HTTP, and what one client may take of it.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use overlay_runtime::{Fault, Period};
use serde::Deserialize;

/// The smallest body that must get in: a token of a few kB, a request and its signature.
const MIN_BODY: usize = 16 * 1024;

/// The largest body that may be allowed: what one broker message may hold.
const MAX_BODY: usize = 8 * 1024 * 1024;

/// The section as commented TOML.
pub(super) const REFERENCE: &str = r#"# Login and signature over HTTP. Without this section they are served over the broker only.
[http]
# Address and port, by number.
listen = "0.0.0.0:8443"
# PEM: the certificate, then those between it and its authority; and its private key, mode 0600.
# They are read again when they change, all together: a pair that does not fit is logged and the old one stays.
certificate_file = "/etc/overlay/tls/aaa.pem"
key_file = "/etc/overlay/tls/aaa.key"
# PEM: authorities of clients' certificates. With it, every client must have one. Clients of Choria have none when they
# ask for a signature.
# client_ca_file = "/etc/overlay/tls/clients.pem"
# Plain HTTP on an address that others reach: passwords and tokens travel in clear. Only behind a proxy of the same host.
insecure = false
# Serve /metrics here too. The admin listener always does.
metrics = false
# Proxies, by address or network, whose X-Forwarded-For names the client for limits and the audit.
trusted_proxies = []
# How often the files above are looked at.
reload = "5s"

[http.limits]
# Connections at once, in all and of one address (a trusted proxy counts for its clients).
connections = 1024
connections_per_peer = 256
# The longest body in bytes.
body_bytes = 524288
# How long a handshake, the head of a request, and the pause between two requests may take.
header_timeout = "10s"
# How long a body may take to arrive, and an answer to be taken.
body_timeout = "10s"
# How long a request may be worked on.
request_timeout = "30s"
# How long a connection is kept.
connection_age = "10m"
"#;

/// The section as it is written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawHttp {
    listen: Option<String>,
    certificate_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
    client_ca_file: Option<PathBuf>,
    insecure: bool,
    metrics: bool,
    trusted_proxies: Vec<String>,
    reload: Option<Period>,
    limits: RawHttpLimits,
}

/// `[http.limits]` as it is written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawHttpLimits {
    connections: Option<usize>,
    connections_per_peer: Option<usize>,
    body_bytes: Option<usize>,
    header_timeout: Option<Period>,
    body_timeout: Option<Period>,
    request_timeout: Option<Period>,
    connection_age: Option<Period>,
}

/// Where and how HTTP is served.
#[derive(Clone, Debug)]
pub struct Http {
    /// Address and port.
    pub listen: SocketAddr,
    /// Certificate and key; nothing: plain HTTP.
    pub tls: Option<TlsFiles>,
    /// Whether `/metrics` is served here too, beside the admin listener.
    pub metrics: bool,
    /// Proxies whose word about the client's address is taken.
    pub trusted_proxies: Vec<IpNet>,
    /// What one client may take.
    pub limits: HttpLimits,
}

/// The files of TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM: the certificate, then those between it and its authority.
    pub certificate: PathBuf,
    /// PEM: its private key.
    pub key: PathBuf,
    /// PEM: authorities of clients' certificates, which are then required.
    pub client_ca: Option<PathBuf>,
    /// How often the files are looked at.
    pub reload: Duration,
}

/// What connections and requests may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpLimits {
    /// Connections at once; further ones wait in the system's queue.
    pub connections: NonZeroUsize,
    /// Connections at once of one address; further ones are closed.
    pub connections_per_peer: NonZeroUsize,
    /// The longest body, in bytes.
    pub body_bytes: usize,
    /// How long a handshake, the head of a request, and the pause between two requests may take.
    pub header_timeout: Duration,
    /// How long a body may take to arrive, and an answer to be taken.
    pub body_timeout: Duration,
    /// How long a request may be worked on.
    pub request_timeout: Duration,
    /// How long a connection is kept.
    pub connection_age: Duration,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            connections: NonZeroUsize::MIN.saturating_add(1023),
            connections_per_peer: NonZeroUsize::MIN.saturating_add(255),
            body_bytes: 512 * 1024,
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            connection_age: Duration::from_secs(600),
        }
    }
}

impl RawHttp {
    /// Checks the section that stands at `at`, adding to `faults`.
    pub(super) fn check(self, at: &str, faults: &mut Vec<Fault>) -> Option<Http> {
        let before = faults.len();
        let key = |member: &str| format!("{at}.{member}");
        let listen = listen(self.listen.as_deref(), &key("listen"), faults);
        let reload = self.reload.map_or(Duration::from_secs(5), Duration::from);
        if reload.is_zero() {
            faults.push(Fault::new(key("reload"), "is no time").remedy("write \"5s\""));
        }
        let tls = match (self.certificate_file, self.key_file) {
            (Some(certificate), Some(key)) => Some(TlsFiles {
                certificate,
                key,
                client_ca: self.client_ca_file.clone(),
                reload,
            }),
            (Some(_), None) => {
                let fault = Fault::new(key("key_file"), "is missing");
                faults.push(fault.remedy("set it beside certificate_file"));
                None
            }
            (None, Some(_)) => {
                let fault = Fault::new(key("certificate_file"), "is missing");
                faults.push(fault.remedy("set it beside key_file"));
                None
            }
            (None, None) => None,
        };
        if tls.is_none() && self.client_ca_file.is_some() {
            let fault = Fault::new(key("client_ca_file"), "is given without TLS");
            faults.push(fault.remedy("set certificate_file and key_file, or take it out"));
        }
        if tls.is_some() && self.insecure {
            let fault = Fault::new(key("insecure"), "is set beside a certificate");
            faults.push(fault.remedy("take it out"));
        }
        if let Some(listen) = listen
            && faults.len() == before
            && tls.is_none()
            && !self.insecure
            && !listen.ip().is_loopback()
        {
            let fault = Fault::new(key("listen"), "would take passwords and tokens in clear");
            faults.push(fault.value(listen).remedy(
                "set certificate_file and key_file, listen on 127.0.0.1, or write insecure = true",
            ));
        }
        let trusted_proxies = networks(&self.trusted_proxies, &key("trusted_proxies"), faults);
        let limits = self.limits.check(&key("limits"), faults);
        (faults.len() == before).then_some(Http {
            listen: listen?,
            tls,
            metrics: self.metrics,
            trusted_proxies,
            limits,
        })
    }
}

impl RawHttpLimits {
    fn check(self, at: &str, faults: &mut Vec<Fault>) -> HttpLimits {
        let default = HttpLimits::default();
        let mut count = |given: Option<usize>, member: &str, default: NonZeroUsize| {
            let Some(given) = given else { return default };
            NonZeroUsize::new(given).unwrap_or_else(|| {
                faults.push(
                    Fault::new(format!("{at}.{member}"), "is none").remedy("write 1 or more"),
                );
                default
            })
        };
        let connections = count(self.connections, "connections", default.connections);
        let connections_per_peer = count(
            self.connections_per_peer,
            "connections_per_peer",
            default.connections_per_peer,
        );
        let mut time = |given: Option<Period>, member: &str, default: Duration| {
            let given = given.map_or(default, Duration::from);
            if given.is_zero() {
                faults.push(
                    Fault::new(format!("{at}.{member}"), "is no time").remedy("write \"10s\""),
                );
            }
            given
        };
        let limits = HttpLimits {
            connections,
            connections_per_peer,
            body_bytes: self.body_bytes.unwrap_or(default.body_bytes),
            header_timeout: time(
                self.header_timeout,
                "header_timeout",
                default.header_timeout,
            ),
            body_timeout: time(self.body_timeout, "body_timeout", default.body_timeout),
            request_timeout: time(
                self.request_timeout,
                "request_timeout",
                default.request_timeout,
            ),
            connection_age: time(
                self.connection_age,
                "connection_age",
                default.connection_age,
            ),
        };
        if !(MIN_BODY..=MAX_BODY).contains(&limits.body_bytes) {
            faults.push(
                Fault::new(format!("{at}.body_bytes"), "is out of range")
                    .remedy(format!("write {MIN_BODY} to {MAX_BODY}")),
            );
        }
        limits
    }
}

fn listen(text: Option<&str>, key: &str, faults: &mut Vec<Fault>) -> Option<SocketAddr> {
    let remedy = "write \"0.0.0.0:8443\"";
    let Some(text) = text else {
        faults.push(Fault::new(key, "is missing").remedy(remedy));
        return None;
    };
    match text.parse() {
        Ok(address) => Some(address),
        Err(_) => {
            faults.push(Fault::new(key, "is not an address and port").remedy(remedy));
            None
        }
    }
}

fn networks(texts: &[String], key: &str, faults: &mut Vec<Fault>) -> Vec<IpNet> {
    let mut networks = Vec::new();
    for text in texts {
        let network = text
            .parse::<IpNet>()
            .or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from));
        match network {
            Ok(network) => networks.push(network),
            Err(_) => faults.push(
                Fault::new(key, "is not an address or a network")
                    .value(format!("{text:?}"))
                    .remedy("write \"10.0.0.7\" or \"10.0.0.0/24\""),
            ),
        }
    }
    networks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<Http, Vec<String>> {
        let raw: RawHttp = toml::from_str(text).unwrap();
        let mut faults = Vec::new();
        let checked = raw.check("http", &mut faults);
        checked.ok_or_else(|| faults.iter().map(ToString::to_string).collect())
    }

    fn faults(text: &str) -> String {
        check(text).unwrap_err().join("\n")
    }

    #[test]
    fn plain_http_off_loopback_needs_a_word() {
        assert!(check("listen = '127.0.0.1:8080'").unwrap().tls.is_none());
        assert!(check("listen = '[::1]:8080'").is_ok());
        assert!(faults("listen = '0.0.0.0:8080'").contains("in clear"));
        assert!(check("listen = '0.0.0.0:8080'\ninsecure = true").is_ok());
        let both = "listen = '0.0.0.0:1'\ncertificate_file = 'a'\nkey_file = 'b'\ninsecure = true";
        assert!(faults(both).contains("http.insecure"));
    }

    #[test]
    fn a_certificate_and_its_key_come_together() {
        assert!(faults("listen = '0.0.0.0:1'\ncertificate_file = 'a'").contains("http.key_file"));
        assert!(faults("listen = '0.0.0.0:1'\nkey_file = 'a'").contains("http.certificate_file"));
        let no_tls = "listen = '127.0.0.1:1'\nclient_ca_file = 'a'";
        assert!(faults(no_tls).contains("http.client_ca_file"));
        let all =
            "listen = '0.0.0.0:1'\ncertificate_file = 'a'\nkey_file = 'b'\nclient_ca_file = 'c'";
        assert!(check(all).unwrap().tls.unwrap().client_ca.is_some());
    }

    #[test]
    fn proxies_are_addresses_or_networks() {
        let proxies =
            "listen = '127.0.0.1:1'\ntrusted_proxies = ['10.0.0.7', '10.1.0.0/16', '::1']";
        assert_eq!(check(proxies).unwrap().trusted_proxies.len(), 3);
        let name = "listen = '127.0.0.1:1'\ntrusted_proxies = ['proxy.example']";
        assert!(faults(name).contains("\"proxy.example\""));
    }

    #[test]
    fn all_faults_of_the_limits_are_told_at_once() {
        let text = "[limits]\nconnections = 0\nbody_bytes = 10\nheader_timeout = '0s'";
        let faults = faults(text);
        for key in ["http.listen", "connections", "body_bytes", "header_timeout"] {
            assert!(faults.contains(key), "{key} in {faults}");
        }
    }

    #[test]
    fn the_reference_is_a_section_that_is_read() {
        let table: toml::Table = toml::from_str(REFERENCE).unwrap();
        let raw: RawHttp = table["http"].clone().try_into().unwrap();
        let mut faults = Vec::new();
        assert_eq!(
            raw.check("http", &mut faults).unwrap().limits,
            HttpLimits::default()
        );
        assert!(faults.is_empty());
    }
}
