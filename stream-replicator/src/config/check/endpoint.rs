//! Brokers, certificates and logins.

use std::path::PathBuf;
use std::time::Duration;

use overlay_runtime::{BrokerUrl, Fault};

use super::super::raw::RawEndpoint;
use super::super::{Endpoint, Login, Tls};
use super::{COLLECTIVE, both, parsed, span};

/// How long one attempt to connect may take, unless set.
const ATTEMPT: Duration = Duration::from_secs(5);

/// Checks a table with what it inherited; `at` is the place of the table.
///
/// `unverified`: believes any certificate where the original does.
pub(super) fn check(
    at: &str,
    raw: RawEndpoint,
    unverified: bool,
    faults: &mut Vec<Fault>,
) -> Option<Endpoint> {
    let before = faults.len();
    let key = |member: &str| format!("{at}.{member}");
    let servers = servers(&key("servers"), raw.servers.as_deref(), faults);
    let own = both(
        (&key("cert_file"), raw.cert_file.clone()),
        (&key("key_file"), raw.key_file.clone()),
        faults,
    );
    let login = login(at, &raw, faults);
    let api_prefix = raw.api_prefix.filter(|prefix| {
        let valid = overlay_protocol::subject::is_valid(prefix);
        if !valid {
            let fault = Fault::new(key("api_prefix"), "cannot stand in a subject");
            faults.push(fault.value(prefix).remedy("write such as \"$JS.cell.API\""));
        }
        valid
    });
    let attempt_limit = span(
        key("attempt_limit"),
        raw.attempt_limit,
        ATTEMPT,
        Duration::from_millis(100),
        faults,
    );
    let is_choria = matches!(login, Some(Login::Choria { .. }));
    let tls = Tls {
        ca_file: raw.ca_file,
        first: raw.tls_first.unwrap_or_default(),
        insecure: raw.insecure.unwrap_or_default() || (unverified && is_choria && own.is_none()),
        own,
    };
    if faults.len() > before {
        return None;
    }
    Some(Endpoint {
        servers,
        tls,
        login: login?,
        api_prefix,
        attempt_limit,
    })
}

fn servers(at: &str, raw: Option<&[String]>, faults: &mut Vec<Fault>) -> Vec<BrokerUrl> {
    let raw = raw.unwrap_or_default();
    if raw.is_empty() {
        let fault = Fault::new(at, "names no broker");
        faults.push(fault.remedy("write [\"nats://HOST:PORT\"]"));
    }
    let mut servers = Vec::new();
    for server in raw {
        match server.parse::<BrokerUrl>() {
            Ok(url) => servers.push(url),
            Err(error) => faults.push(
                Fault::new(at, error.to_string())
                    .value(format!("{server:?}"))
                    .remedy("write nats://HOST:PORT (or tls, ws, wss)"),
            ),
        }
    }
    servers
}

/// The one way to log in that the table has keys of.
fn login(at: &str, raw: &RawEndpoint, faults: &mut Vec<Fault>) -> Option<Login> {
    let key = |member: &str| format!("{at}.{member}");
    let choria = raw.token_file.is_some() || raw.seed_file.is_some() || raw.collective.is_some();
    let password = raw.user.is_some() || raw.password_file.is_some();
    let ways: Vec<&str> = [
        (choria, "token_file"),
        (raw.jwt_file.is_some(), "jwt_file"),
        (
            raw.nkey_file.is_some() && raw.jwt_file.is_none(),
            "nkey_file",
        ),
        (raw.credentials_file.is_some(), "credentials_file"),
        (password, "user"),
    ]
    .into_iter()
    .filter_map(|(given, key)| given.then_some(key))
    .collect();
    if ways.len() > 1 {
        let fault = Fault::new(at, format!("logs in in several ways: {}", ways.join(", ")));
        faults.push(fault.remedy("keep the keys of one"));
        return None;
    }
    if choria {
        let (token_file, seed_file) = files(
            (key("token_file"), &raw.token_file),
            (key("seed_file"), &raw.seed_file),
            faults,
        )?;
        let collective = raw.collective.as_deref().unwrap_or(COLLECTIVE);
        return Some(Login::Choria {
            token_file,
            seed_file,
            collective: parsed(&key("collective"), collective, faults)?,
        });
    }
    if raw.jwt_file.is_some() {
        let (file, seed_file) = files(
            (key("jwt_file"), &raw.jwt_file),
            (key("nkey_file"), &raw.nkey_file),
            faults,
        )?;
        return Some(Login::Credentials {
            file,
            seed_file: Some(seed_file),
        });
    }
    if let Some(seed_file) = raw.nkey_file.clone() {
        return Some(Login::Nkey { seed_file });
    }
    if let Some(file) = raw.credentials_file.clone() {
        return Some(Login::Credentials {
            file,
            seed_file: None,
        });
    }
    if password {
        let user = raw.user.clone().map(PathBuf::from);
        let (user, password_file) = files(
            (key("user"), &user),
            (key("password_file"), &raw.password_file),
            faults,
        )?;
        return Some(Login::Password {
            user: user.to_string_lossy().into_owned(),
            password_file,
        });
    }
    Some(Login::None)
}

/// Two keys that both must be there.
fn files(
    (one_key, one): (String, &Option<PathBuf>),
    (other_key, other): (String, &Option<PathBuf>),
    faults: &mut Vec<Fault>,
) -> Option<(PathBuf, PathBuf)> {
    let before = faults.len();
    let pair = both((&one_key, one.clone()), (&other_key, other.clone()), faults);
    if pair.is_none() && faults.len() == before {
        faults.push(
            Fault::new(one_key.as_str(), "is missing").remedy(format!("set it and {other_key}")),
        );
    }
    pair
}
