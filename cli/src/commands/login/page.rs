//! Addresses of pages that a login service wants opened.

use std::fmt;

/// Longer addresses are none that a login needs.
const MAX_BYTES: usize = 8192;

/// An address that may be shown on a terminal and handed to a browser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address(String);

impl Address {
    /// Takes an address of the web in the characters that addresses are written in (RFC 3986); anything else is none.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let rest = text
            .strip_prefix("https://")
            .or_else(|| text.strip_prefix("http://"))?;
        let is_written =
            |c: char| c.is_ascii_alphanumeric() || "-._~:/?#[]@!$&'()*+,;=%".contains(c);
        let has_host = rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[');
        (has_host && text.len() <= MAX_BYTES && text.chars().all(is_written))
            .then(|| Self(text.to_owned()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// What the address says of `name`.
    pub(super) fn parameter(&self, name: &str) -> Option<String> {
        let (_, query) = self.0.split_once('?')?;
        parameter(query.split('#').next()?, name)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The value of `name` in the query of an address; one that is there twice is not there.
pub(super) fn parameter(query: &str, name: &str) -> Option<String> {
    let mut found = query.split('&').filter_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(key).as_deref() == Some(name)).then_some(value)
    });
    match (found.next(), found.next()) {
        (Some(value), None) => decoded(value),
        (Some(_) | None, _) => None,
    }
}

/// A part of a query without its escapes; `None` when they are none, or make no text.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                let value = digit()? * 16 + digit()?;
                bytes.push(u8::try_from(value).ok()?);
            }
            other => bytes.push(other),
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_as_it_was_written() {
        let query = "code=a%2Fb%3D&state=x+y&again=1&again=2&bad=%zz&empty=";
        let of = |name| parameter(query, name);
        assert_eq!(of("code").as_deref(), Some("a/b="));
        assert_eq!(of("state").as_deref(), Some("x y"));
        assert_eq!(of("empty").as_deref(), Some(""));
        assert_eq!(of("again"), None);
        assert_eq!(of("bad"), None);
        assert_eq!(of("missing"), None);
    }

    #[test]
    fn only_addresses_of_the_web_are_addresses() {
        let page = Address::parse("https://idp.example.net/auth?state=a%20b&x=1#state=c");
        let page = page.expect("an address");
        assert_eq!(page.parameter("state").as_deref(), Some("a b"));
        for text in [
            "",
            "https://",
            "https:///etc",
            "ftp://example.net/",
            "javascript:alert(1)",
            "https://example.net/ x",
            "https://example.net/\"onclick=",
            "-https://example.net/",
        ] {
            assert_eq!(Address::parse(text), None, "{text}");
        }
    }
}
