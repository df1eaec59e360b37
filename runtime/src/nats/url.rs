//! Addresses of brokers.

use std::fmt;
use std::str::FromStr;

use async_nats::ServerAddr;

use crate::config::url_passwords;

/// The address of a broker; a password in it is masked when shown.
#[derive(Clone, PartialEq, Eq)]
pub struct BrokerUrl(ServerAddr);

/// Says what is wrong with an address, without showing it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not the address of a broker: {0}")]
pub struct BrokerUrlError(String);

impl FromStr for BrokerUrl {
    type Err = BrokerUrlError;

    /// Reads `scheme://[user:password@]host[:port]`; without a scheme it is `nats`.
    fn from_str(text: &str) -> Result<Self, BrokerUrlError> {
        let fail = |reason: &str| BrokerUrlError(reason.to_owned());
        if text
            .chars()
            .any(|c| c.is_whitespace() || c.is_control() || c == ',')
        {
            return Err(fail("it has a space or a comma"));
        }
        let address: ServerAddr = text
            .parse()
            .map_err(|error: std::io::Error| BrokerUrlError(error.to_string()))?;
        if address.host().is_empty() {
            return Err(fail("it has no host"));
        }
        if address.host().contains('%') {
            return Err(fail("its host has a percent sign"));
        }
        Ok(Self(address))
    }
}

impl BrokerUrl {
    /// The address as the client library takes it.
    pub fn address(&self) -> &ServerAddr {
        &self.0
    }
}

impl fmt::Display for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&url_passwords(self.0.clone().into_inner().as_str()))
    }
}

impl fmt::Debug for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_hosts_and_urls() {
        for (text, shown) in [
            ("nats://a.example:4222", "nats://a.example:4222"),
            ("a.example:4222", "nats://a.example:4222"),
            ("wss://a.example:443", "wss://a.example:443"),
            ("tls://[::1]:4222", "tls://[::1]:4222"),
        ] {
            let url: BrokerUrl = text.parse().unwrap();
            assert_eq!(
                url.to_string().trim_end_matches('/'),
                shown.trim_end_matches(":443")
            );
        }
    }

    #[test]
    fn refuses_what_is_no_address() {
        for text in [
            "",
            "http://a:80",
            "nats://",
            "a b:4222",
            "a:1,b:2",
            "nats://a:99999",
            "nats://%zz",
        ] {
            assert!(text.parse::<BrokerUrl>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn masks_its_password() {
        let url: BrokerUrl = "nats://rip:s3cret@a.example:4222".parse().unwrap();
        assert_eq!(format!("{url:?} {url}").matches("s3cret").count(), 0);
    }
}
