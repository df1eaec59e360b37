//! Lists of hosts and networks, as configuration writes them.

use std::net::IpAddr;
use std::str::FromStr;

/// A host (`10.1.2.3`) or a network (`10.0.0.0/8`, `fd00::/8`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

/// Why a text is neither host nor network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// Not an address.
    #[error("`{0}` is not an IP address")]
    Address(String),
    /// A prefix length that the kind of address does not have.
    #[error("`{0}` is not a prefix length of this kind of address")]
    Bits(String),
}

/// Hosts and networks; empty means none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostList(Vec<Network>);

impl Network {
    /// Whether the network holds an address. An IPv4 address in IPv6 clothing counts as IPv4.
    #[must_use]
    pub fn holds(&self, host: IpAddr) -> bool {
        match (self.address, host.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(host)) => same_prefix(
                u128::from(own.to_bits()) << 96,
                u128::from(host.to_bits()) << 96,
                self.bits,
            ),
            (IpAddr::V6(own), IpAddr::V6(host)) => {
                same_prefix(own.to_bits(), host.to_bits(), self.bits)
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

fn same_prefix(one: u128, other: u128, bits: u8) -> bool {
    (one ^ other).leading_zeros() >= u32::from(bits)
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address
            .parse()
            .map_err(|_not_one| NetworkError::Address(address.to_owned()))?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => most,
            Some(bits) => bits
                .parse()
                .ok()
                .filter(|bits| *bits <= most)
                .ok_or_else(|| NetworkError::Bits(bits.to_owned()))?,
        };
        Ok(Self { address, bits })
    }
}

impl HostList {
    /// Whether no host is listed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a host, as the broker writes it, is listed. What is no address never is.
    #[must_use]
    pub fn holds(&self, host: &str) -> bool {
        !self.0.is_empty()
            && host
                .parse()
                .is_ok_and(|host| self.0.iter().any(|network| network.holds(host)))
    }
}

impl FromIterator<Network> for HostList {
    fn from_iter<I: IntoIterator<Item = Network>>(networks: I) -> Self {
        Self(networks.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(texts: &[&str]) -> HostList {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn hosts_and_networks_hold_what_they_say() {
        let list = list(&["10.0.0.0/8", "192.168.1.7", "fd00::/8"]);
        for inside in ["10.255.0.1", "192.168.1.7", "fd12::1", "::ffff:10.1.1.1"] {
            assert!(list.holds(inside), "{inside}");
        }
        for outside in [
            "11.0.0.1",
            "192.168.1.8",
            "fe80::1",
            "",
            "10.0.0",
            "localhost",
        ] {
            assert!(!list.holds(outside), "{outside}");
        }
    }

    #[test]
    fn a_prefix_of_nothing_holds_everything_of_its_kind() {
        assert!(list(&["0.0.0.0/0"]).holds("1.2.3.4"));
        assert!(!list(&["0.0.0.0/0"]).holds("::1"));
        assert!(list(&["::/0"]).holds("::1"));
    }

    #[test]
    fn an_empty_list_holds_nobody() {
        assert!(!HostList::default().holds("127.0.0.1"));
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for wrong in [
            "",
            "10.0.0.0/33",
            "10.0.0.0/-1",
            "::/129",
            "host",
            "10.0.0.0/8/8",
            "10/8",
        ] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
    }
}
