//! Addresses of the original's: a list with commas, and options behind a question mark.

use std::time::Duration;

use super::duration::duration;
use crate::percent;

/// What a list of addresses says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Addresses {
    /// Without their options.
    pub(super) servers: Vec<String>,
    /// NATS credentials file.
    pub(super) credentials: Option<String>,
    /// NATS user: JWT file and seed file.
    pub(super) user: Option<(String, String)>,
    /// Any certificate is believed.
    pub(super) insecure: bool,
    /// TLS comes before the broker's greeting.
    pub(super) tls_first: bool,
    /// How long one attempt may take.
    pub(super) timeout: Option<Duration>,
    /// What is passed over.
    pub(super) odd: Vec<String>,
}

impl Addresses {
    /// Reads a list. Once an address has given credentials, options of later ones are passed over.
    pub(super) fn read(list: &str) -> Self {
        let mut read = Self::default();
        let addresses = list.split(',').map(str::trim);
        for address in addresses.filter(|address| !address.is_empty()) {
            let (server, options) = address.split_once('?').unwrap_or((address, ""));
            read.servers.push(server.to_owned());
            if !options.is_empty() {
                if read.credentials.is_some() || read.user.is_some() {
                    read.odd.push(
                        "options behind a second address, after credentials were given".to_owned(),
                    );
                } else {
                    read.options(options);
                }
            }
        }
        read
    }

    fn options(&mut self, options: &str) {
        let (mut jwt, mut nkey) = (None, None);
        for pair in options.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = percent::decode(&value.replace('+', " "));
            match percent::decode(key).as_str() {
                "credentials" => self.credentials = Some(value),
                "jwt" => jwt = Some(value),
                "nkey" => nkey = Some(value),
                "insecure" => self.insecure = truth(&value),
                "tls_handshake_first" => self.tls_first = truth(&value),
                "connect_timeout" => match duration(&value) {
                    Ok(limit) if !limit.is_zero() => self.timeout = Some(limit),
                    Ok(_) => {}
                    Err(error) => self.odd.push(format!("connect_timeout: {error}")),
                },
                other => self.odd.push(format!("the option {other}")),
            }
        }
        match (jwt, nkey) {
            (Some(jwt), Some(nkey)) => self.user = Some((jwt, nkey)),
            (None, None) => {}
            (Some(_), None) => self.odd.push("jwt without nkey".to_owned()),
            (None, Some(_)) => self.odd.push("nkey without jwt".to_owned()),
        }
    }
}

/// Truth as Go's library reads it.
fn truth(text: &str) -> bool {
    matches!(text, "1" | "t" | "T" | "true" | "TRUE" | "True")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn options_are_taken_off_and_read() {
        let read = Addresses::read(
            "nats://a:4222?credentials=%2Fetc%2Fa.creds&insecure=true, nats://b:4222?insecure=false",
        );
        assert_eq!(read.servers, ["nats://a:4222", "nats://b:4222"]);
        assert_eq!(read.credentials.as_deref(), Some("/etc/a.creds"));
        assert!(read.insecure && !read.tls_first);
        assert_eq!(read.odd.len(), 1);
        let read = Addresses::read(
            "tls://a?jwt=/j&nkey=/n&tls_handshake_first=1&connect_timeout=1m30s&x=y",
        );
        assert_eq!(read.user, Some(("/j".to_owned(), "/n".to_owned())));
        assert!(read.tls_first);
        assert_eq!(read.timeout, Some(Duration::from_secs(90)));
        assert_eq!(read.odd, ["the option x"]);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".*") {
            let read = Addresses::read(&text);
            prop_assert!(read.servers.iter().all(|server| !server.contains(',')));
        }
    }
}
