//! The provisioning token as a node reads it: where to go, what to say there, what is allowed.

use std::path::{Path, PathBuf};

use overlay_protocol::id::Identity;
use overlay_tokens::claims::{ProvisioningClaims, Purpose};
use overlay_tokens::file::{self, FileError};
use overlay_tokens::{DecodeError, SecretText, Unverified};
use subtle::ConstantTimeEq as _;

use crate::config::Tls;
use crate::resolve::{Servers, SrvNames};

/// Where a token is looked for besides beside the configuration.
const PLACES: [&str; 2] = [
    "/etc/overlay/provisioning.jwt",
    "/etc/choria/provisioning.jwt",
];

/// The name of the file beside the configuration.
const NAME: &str = "provisioning.jwt";

/// Schemes that the broker connection knows; Choria takes any other word for `nats`.
const SCHEMES: [&str; 4] = ["nats", "tls", "ws", "wss"];

/// Why a token is of no use to this node. It is not the node that checks its signature.
#[derive(Debug, thiserror::Error)]
pub enum TicketError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// It is no provisioning token.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// It is a token of another kind.
    #[error("token is not a provisioning token")]
    Purpose,
    /// It carries no secret.
    #[error("no auth token")]
    NoSecret,
    /// It names no broker.
    #[error("no srv domain or urls")]
    NoServers,
    /// It names brokers in two ways.
    #[error("both srv domain and URLs supplied")]
    TwoServers,
    /// An address of a broker is none.
    #[error("`{0}` is no address of a broker: it needs a host and a port")]
    Server(String),
    /// What this project adds to tokens is malformed.
    #[error("extension `overlay`: {0}")]
    Extension(String),
    /// It is for one node only, and that is not this one.
    #[error("it is for `{token}` only, this node is `{node}`")]
    OtherNode {
        /// Whom the token is for.
        token: String,
        /// Who reads it.
        node: String,
    },
}

/// A token that was read.
#[derive(Debug)]
pub struct Ticket {
    path: PathBuf,
    text: SecretText,
    claims: ProvisioningClaims,
    servers: Servers,
    authorities: Vec<[u8; 32]>,
    identity: Option<String>,
}

/// The files that may hold a token: the one that is named, else the usual ones.
pub fn places(named: Option<&Path>, configuration: &Path) -> Vec<PathBuf> {
    if let Some(named) = named {
        return vec![named.to_owned()];
    }
    let mut places = vec![configuration.with_file_name(NAME)];
    places.extend(PLACES.map(PathBuf::from));
    places
}

/// The first of the places where there is a file.
pub fn find(places: &[PathBuf]) -> Option<&PathBuf> {
    places.iter().find(|place| place.exists())
}

impl Ticket {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// [`TicketError`]; the node then does as if there was no token.
    pub fn read(path: &Path) -> Result<Self, TicketError> {
        let text = file::read_token(path)?;
        Self::new(path.to_owned(), &text)
    }

    fn new(path: PathBuf, text: &str) -> Result<Self, TicketError> {
        let claims = Unverified::<ProvisioningClaims>::decode(text)?
            .claims_unverified()
            .clone();
        let purpose = Purpose::Provisioning;
        if claims.standard.purpose != purpose && claims.standard.sub != purpose.as_str() {
            return Err(TicketError::Purpose);
        }
        if claims.cht.is_empty() {
            return Err(TicketError::NoSecret);
        }
        let servers = match (claims.chu.trim(), claims.chsrv.trim()) {
            ("", "") => return Err(TicketError::NoServers),
            ("", domain) => Servers {
                srv_domain: Some(domain.trim_matches('.').to_owned()),
                srv_names: SrvNames::Provisioner,
                ..Servers::default()
            },
            (urls, "") => Servers {
                hosts: urls
                    .split(',')
                    .map(|url| address(url.trim()))
                    .collect::<Result<_, _>>()?,
                ..Servers::default()
            },
            (_, _) => return Err(TicketError::TwoServers),
        };
        let overlay = claims
            .overlay()
            .map_err(|error| TicketError::Extension(overlay_runtime::err_chain(&error)))?;
        Ok(Self {
            path,
            text: SecretText::from(text),
            servers,
            authorities: overlay.ca_sha256,
            identity: overlay.identity.map(|identity| identity.to_string()),
            claims,
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The token, without white space around it.
    pub fn text(&self) -> &str {
        self.text.expose()
    }

    /// What it says; its signature was not checked.
    pub fn claims(&self) -> &ProvisioningClaims {
        &self.claims
    }

    /// Where the brokers are.
    pub fn servers(&self) -> &Servers {
        &self.servers
    }

    /// How a broker is known: by the authorities that the token pins, else not at all.
    pub fn tls(&self) -> Tls {
        if self.authorities.is_empty() {
            Tls::Unverified
        } else {
            Tls::Pinned(self.authorities.clone())
        }
    }

    /// Whether provisioning is the default.
    pub fn is_default(&self) -> bool {
        self.claims.chpd
    }

    /// Whether a caller has the secret; takes the same time for every wrong one of the right length.
    pub fn opens_for(&self, secret: &SecretText) -> bool {
        let known = self.claims.cht.expose().as_bytes();
        known.ct_eq(secret.expose().as_bytes()).into()
    }

    /// Whether the token is good for a node of this name.
    ///
    /// # Errors
    ///
    /// [`TicketError::OtherNode`] for a token that is bound to another.
    pub fn fits(&self, node: &Identity) -> Result<(), TicketError> {
        match &self.identity {
            Some(token) if token != node.as_str() => Err(TicketError::OtherNode {
                token: token.clone(),
                node: node.to_string(),
            }),
            Some(_) | None => Ok(()),
        }
    }

    /// The name that the token is bound to.
    pub fn identity(&self) -> Option<&str> {
        self.identity.as_deref()
    }
}

fn address(text: &str) -> Result<String, TicketError> {
    let (scheme, rest) = text.split_once("://").unwrap_or(("nats", text));
    let scheme = SCHEMES
        .iter()
        .find(|known| **known == scheme)
        .map_or("nats", |known| *known);
    let rest = rest.trim_end_matches('/');
    let sound = rest.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)
    }) && !rest.contains(['@', '/', ' ']);
    if sound {
        Ok(format!("{scheme}://{rest}"))
    } else {
        Err(TicketError::Server(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use overlay_tokens::issue::{ProvisioningToken, sign};
    use overlay_tokens::{Key, UnixTime};

    use super::*;

    fn read(change: impl FnOnce(&mut ProvisioningClaims)) -> Result<Ticket, TicketError> {
        let token = ProvisioningToken {
            token: "s3cret".into(),
            urls: vec!["nats://b1.example.net:4222".to_owned()],
            by_default: true,
            ..ProvisioningToken::default()
        };
        let mut claims = token.claims(UnixTime::from_secs(1_700_000_000)).unwrap();
        change(&mut claims);
        let text = sign(&claims, &Key::from_seed([1; 32])).unwrap();
        Ticket::new(PathBuf::from("/x"), &text)
    }

    #[test]
    fn brokers_are_named_in_one_way_and_have_ports() {
        let hosts = |urls: &str| {
            read(|token| token.chu = urls.to_owned()).map(|ticket| ticket.servers.hosts)
        };
        assert_eq!(hosts("b1:4222").unwrap(), ["nats://b1:4222"]);
        assert_eq!(
            hosts("tls://b1:4222, wss://b2:443/,http://b3:80").unwrap(),
            ["tls://b1:4222", "wss://b2:443", "nats://b3:80"]
        );
        for none in [
            "nats://b1",
            "b1:0",
            ":4222",
            "nats://user:pass@b1:4222",
            "b1:4222,",
        ] {
            assert!(matches!(hosts(none), Err(TicketError::Server(_))), "{none}");
        }
        assert!(matches!(hosts(""), Err(TicketError::NoServers)));
        let both = read(|token| token.chsrv = "example.net".to_owned());
        assert!(matches!(both, Err(TicketError::TwoServers)));
        let srv = read(|token| {
            token.chu.clear();
            token.chsrv = "example.net.".to_owned();
        })
        .unwrap();
        assert_eq!(srv.servers.srv_domain.as_deref(), Some("example.net"));
        assert_eq!(srv.servers.srv_names, SrvNames::Provisioner);
    }

    #[test]
    fn a_token_without_secret_is_of_no_use_and_a_secret_is_compared_whole() {
        assert!(matches!(
            read(|token| token.cht = "".into()),
            Err(TicketError::NoSecret)
        ));
        let ticket = read(|_| {}).unwrap();
        assert!(ticket.opens_for(&"s3cret".into()));
        for wrong in ["", "s3cre", "s3crets", "S3cret"] {
            assert!(!ticket.opens_for(&wrong.into()), "{wrong}");
        }
        assert!(!format!("{ticket:?}").contains("s3cret"));
    }

    #[test]
    fn the_file_beside_the_configuration_is_looked_at_first() {
        let found = places(None, Path::new("/etc/x/server.conf"));
        assert_eq!(found[0], Path::new("/etc/x/provisioning.jwt"));
        assert_eq!(found.len(), 3);
        assert_eq!(
            places(Some(Path::new("/t")), Path::new("/etc/x/server.conf")),
            [PathBuf::from("/t")]
        );
    }
}
