//! Table `broker`: where the brokers are, how they are trusted, what is shown to them.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use overlay_protocol::id::Identity;
use overlay_runtime::{Fault, Secret};

use super::{fault, time};
use crate::config::{Broker, Login, Password, RawBroker, RawConfig, Tls};
use crate::resolve::{Servers, SrvNames};

/// What an address of a broker may begin with.
const SCHEMES: [&str; 4] = ["nats", "tls", "ws", "wss"];

pub(super) fn broker(
    raw: &RawConfig,
    identity: Option<&Identity>,
    faults: &mut Vec<Fault>,
) -> Option<Broker> {
    let demanded = verification_is_demanded(raw);
    let raw = &raw.broker;
    let hosts = urls("broker.servers", raw.servers.as_deref(), faults);
    let fallback = urls(
        "broker.fallback_servers",
        raw.fallback_servers.as_deref(),
        faults,
    );
    let mut name_servers = Vec::new();
    for text in raw.name_servers.iter().flatten() {
        let address = text
            .parse::<SocketAddr>()
            .or_else(|_| text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53)));
        match address {
            Ok(address) => name_servers.push(address),
            Err(_) => faults.push(fault(
                "broker.name_servers",
                format!("`{text}` is no address"),
            )),
        }
    }
    let domain = match (&raw.srv_domain, identity) {
        (Some(domain), _) => Some(domain.trim_matches('.').to_owned()),
        (None, Some(identity)) if raw.use_srv == Some(true) => identity
            .as_str()
            .split_once('.')
            .map(|(_, domain)| domain.to_owned()),
        (None, Some(_) | None) => None,
    };
    let srv = domain.filter(|_| hosts.is_empty() && raw.use_srv != Some(false));
    if hosts.is_empty() && srv.is_none() && fallback.is_empty() {
        faults.push(fault(
            "broker.servers",
            "needs a broker, or `srv_domain` to look one up",
        ));
    }
    let tls = tls(raw, demanded, &hosts, srv.is_some(), faults);
    let certificate = match (&raw.certificate_file, &raw.key_file) {
        (Some(certificate), Some(key)) => Some((certificate.clone(), key.clone())),
        (None, None) => None,
        (Some(_), None) => {
            faults.push(fault(
                "broker.key_file",
                "is needed with `certificate_file`",
            ));
            None
        }
        (None, Some(_)) => {
            faults.push(fault(
                "broker.certificate_file",
                "is needed with `key_file`",
            ));
            None
        }
    };
    let login = login(raw, faults);
    let connect_timeout = time(
        "broker.connect_timeout",
        raw.connect_timeout.as_deref(),
        Duration::from_secs(5),
        faults,
    );
    Some(Broker {
        servers: Servers {
            hosts,
            srv_domain: srv,
            srv_names: SrvNames::Fleet,
            name_servers,
            fallback,
        },
        tls: tls?,
        certificate,
        login,
        connect_timeout,
    })
}

fn login(raw: &RawBroker, faults: &mut Vec<Fault>) -> Option<Login> {
    let password = match (&raw.password_file, &raw.password) {
        (Some(file), _) => Some(Password::File(file.clone())),
        (None, Some(text)) => Some(Password::Given(Secret::new(text.clone()))),
        (None, None) => None,
    };
    match (&raw.user, password) {
        (Some(user), Some(password)) => Some(Login {
            user: user.clone(),
            password,
        }),
        (Some(_), None) => {
            faults.push(fault("broker.password_file", "is needed with `user`"));
            None
        }
        (None, Some(_)) => {
            faults.push(fault("broker.user", "is needed with a password"));
            None
        }
        (None, None) => None,
    }
}

/// Whether brokers must be verified. With a file of Choria's that names no authority they are not, as with Choria, unless
/// the operator's part says so.
pub(in crate::config) fn verification_is_demanded(raw: &RawConfig) -> bool {
    let by_default = raw.choria_file.is_none() || raw.broker.ca_file.is_some();
    raw.broker.verify.unwrap_or(by_default)
}

fn tls(
    raw: &RawBroker,
    demanded: bool,
    hosts: &[String],
    srv: bool,
    faults: &mut Vec<Fault>,
) -> Option<Tls> {
    let encrypted = raw.tls.unwrap_or(true);
    for url in hosts {
        let fits = match url.split_once("://") {
            Some(("ws", _)) => !encrypted,
            Some(("wss" | "tls", _)) => encrypted,
            Some(_) | None => true,
        };
        if !fits {
            faults.push(fault(
                "broker.tls",
                format!("is {encrypted}, which does not fit {url}"),
            ));
        }
    }
    match (encrypted, demanded, &raw.ca_file) {
        (false, _, _) if srv || !hosts.iter().all(|url| is_local(url)) => {
            faults.push(fault(
                "broker.tls",
                "may be off for brokers on this machine only",
            ));
            None
        }
        (false, _, _) => Some(Tls::None),
        (true, false, _) => Some(Tls::Unverified),
        (true, true, Some(file)) if file.as_os_str() == "system" => Some(Tls::System),
        (true, true, Some(file)) => Some(Tls::Verified(file.clone())),
        (true, true, None) => {
            faults.push(fault(
                "broker.ca_file",
                "is needed to know the broker (`system` = the system's authorities); \
                 `verify = false` goes without, and without protection",
            ));
            None
        }
    }
}

fn is_local(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.rsplit_once(':').map_or(rest, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn urls(key: &str, given: Option<&[String]>, faults: &mut Vec<Fault>) -> Vec<String> {
    let mut urls = Vec::new();
    for text in given.unwrap_or_default() {
        let (scheme, rest) = text.split_once("://").unwrap_or(("nats", text));
        let port = rest
            .rsplit_once(':')
            .map(|(_, port)| port.trim_end_matches('/'));
        if !SCHEMES.contains(&scheme) {
            faults.push(fault(
                key,
                format!("`{text}`: the scheme is one of {SCHEMES:?}"),
            ));
        } else if rest.contains('@') {
            faults.push(fault(key, "an address carries no user name or password"));
        } else if port.is_none_or(|port| port.parse::<u16>().is_err()) {
            faults.push(fault(
                key,
                format!("`{text}` needs a port, as in host:4222"),
            ));
        } else {
            urls.push(format!("{scheme}://{rest}"));
        }
    }
    urls
}
