//! Whose request it is, by address: the other end of the connection, or whom a trusted proxy names.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, HeaderName};
use ipnet::IpNet;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The client's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    /// The other end of the connection.
    Direct(SocketAddr),
    /// An address that a trusted proxy named.
    Forwarded(IpAddr),
}

impl Peer {
    /// Of a request that came by no connection.
    pub(super) const UNKNOWN: Self = Self::Forwarded(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED));

    /// The address alone.
    pub(super) fn ip(self) -> IpAddr {
        match self {
            Self::Direct(address) => address.ip().to_canonical(),
            Self::Forwarded(address) => address,
        }
    }
}

/// The form in records: the address alone, as a port says nothing afterwards.
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ip().fmt(f)
    }
}

/// Proxies whose word is taken.
#[derive(Debug)]
pub(super) struct Proxies(pub(super) Vec<IpNet>);

impl Proxies {
    pub(super) fn trust(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// The client of a request that came over a connection from `address`.
    ///
    /// Each proxy adds whom it heard to the right end of `X-Forwarded-For`, so it is read from there: the first address
    /// that is no trusted proxy is the client. What stands left of it is the client's own invention.
    pub(super) fn client(&self, address: SocketAddr, headers: &HeaderMap) -> Peer {
        let direct = Peer::Direct(address);
        if !self.trust(address.ip()) {
            return direct;
        }
        let mut client = direct;
        let values = headers.get_all(FORWARDED_FOR);
        let mut lines: Vec<_> = values.iter().collect();
        lines.reverse();
        let named = lines
            .iter()
            .flat_map(|line| line.to_str().unwrap_or_default().rsplit(','));
        for text in named {
            let Some(named) = parse(text.trim()) else {
                // Whoever wrote that is the last one known.
                return client;
            };
            client = Peer::Forwarded(named);
            if !self.trust(named) {
                return client;
            }
        }
        client
    }
}

/// An address, with or without a port.
fn parse(text: &str) -> Option<IpAddr> {
    let address = text
        .parse()
        .or_else(|_| text.parse::<SocketAddr>().map(|address| address.ip()));
    address.ok().map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn client(from: &str, lines: &[&'static str]) -> String {
        let trusted = ["10.0.0.0/24", "::1/128"].map(|text| text.parse().unwrap());
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(FORWARDED_FOR, HeaderValue::from_static(line));
        }
        let proxies = Proxies(trusted.to_vec());
        proxies.client(from.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn a_strangers_word_about_itself_is_not_taken() {
        assert_eq!(client("192.0.2.1:5", &["10.9.9.9"]), "192.0.2.1");
        assert_eq!(client("192.0.2.1:5", &[]), "192.0.2.1");
    }

    #[test]
    fn a_trusted_proxy_names_the_client() {
        assert_eq!(client("10.0.0.7:5", &["192.0.2.1"]), "192.0.2.1");
        assert_eq!(client("[::1]:5", &["192.0.2.1:4711"]), "192.0.2.1");
        assert_eq!(
            client("[::ffff:10.0.0.7]:5", &["[2001:db8::1]:4711"]),
            "2001:db8::1"
        );
        assert_eq!(client("10.0.0.7:5", &[]), "10.0.0.7");
    }

    #[test]
    fn what_a_client_wrote_before_its_proxy_is_not_taken() {
        let invented = "203.0.113.5, 192.0.2.1, 10.0.0.8";
        assert_eq!(client("10.0.0.7:5", &[invented]), "192.0.2.1");
        assert_eq!(
            client("10.0.0.7:5", &["203.0.113.5", "192.0.2.1"]),
            "192.0.2.1"
        );
        assert_eq!(client("10.0.0.7:5", &["192.0.2.1, unknown"]), "10.0.0.7");
        assert_eq!(
            client("10.0.0.7:5", &["192.0.2.1, unknown, 10.0.0.8"]),
            "10.0.0.8"
        );
    }
}
