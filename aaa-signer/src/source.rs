//! Who counts as one when it is counted how often somebody comes.

use std::net::{IpAddr, Ipv6Addr};

/// An IPv6 network of this many bits is one client's: hosts choose among its addresses (RFC 4291).
const IPV6_CLIENT_BITS: u32 = 64;

/// The address of a client, or the network of one that may have many.
pub(crate) fn client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let network = address.to_bits() >> IPV6_CLIENT_BITS << IPV6_CLIENT_BITS;
            Ipv6Addr::from_bits(network).into()
        }
    }
}

/// The same of an address as text; what is none is itself.
pub(crate) fn source(peer: &str) -> String {
    match peer.parse::<IpAddr>() {
        Ok(address) => client(address).to_string(),
        Err(_name) => peer.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::source;

    #[test]
    fn who_can_choose_among_addresses_of_a_network_is_one_source() {
        for (peer, expected) in [
            ("192.0.2.7", "192.0.2.7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
            ("2001:db8:1:2::1", "2001:db8:1:2::"),
            ("broker", "broker"),
        ] {
            assert_eq!(source(peer), expected);
        }
    }
}
