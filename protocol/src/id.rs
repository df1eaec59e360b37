//! Names and identifiers that may stand in subjects and messages.
//!
//! A name that would break out of its place in a subject cannot be made, so [`crate::subject`] need not check again.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use md5::{Digest as _, Md5};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

mod ksuid;

pub use ksuid::{Ksuid, KsuidError};

/// Longest name in bytes; a subject of several names still fits a broker's control line.
pub const MAX_NAME_BYTES: usize = 255;

/// Why a text is no name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing, or nothing before, after or between dots.
    #[error("name is empty or has an empty part")]
    Empty,
    /// Longer than [`MAX_NAME_BYTES`].
    #[error("name is longer than {MAX_NAME_BYTES} bytes")]
    TooLong,
    /// White space, a control character, or U+FFFD, which stands for what was no text.
    #[error("name has white space or a control character")]
    Space,
    /// A wildcard of the broker.
    #[error("name has a wildcard")]
    Wildcard,
    /// A dot in a name that must be one token of a subject.
    #[error("name has a dot")]
    Dot,
}

fn check(text: &str, dots: bool) -> Result<(), NameError> {
    if text.len() > MAX_NAME_BYTES {
        return Err(NameError::TooLong);
    }
    for found in text.chars() {
        // the broker takes the replacement character for broken text
        if found.is_whitespace() || found.is_control() || found == '\u{fffd}' {
            return Err(NameError::Space);
        }
        if matches!(found, '*' | '>') {
            return Err(NameError::Wildcard);
        }
    }
    if !dots && text.contains('.') {
        return Err(NameError::Dot);
    }
    if text.split('.').any(str::is_empty) {
        return Err(NameError::Empty);
    }
    Ok(())
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $dots:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks and takes a text.
            ///
            /// # Errors
            ///
            /// [`NameError`] says which rule the text breaks.
            pub fn new(text: impl AsRef<str> + Into<Arc<str>>) -> Result<Self, NameError> {
                check(text.as_ref(), $dots)?;
                Ok(Self(text.into()))
            }

            /// Returns the text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl TryFrom<&str> for $name {
            type Error = NameError;

            fn try_from(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.as_str().to_owned()
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name! {
    /// Name of a node, mostly its host name; may have dots.
    Identity, true
}
name! {
    /// Name of a collective: a group of nodes with subjects of its own.
    Collective, false
}
name! {
    /// Name of an agent.
    AgentName, false
}

/// Name of a tenant in tokens: 1 to 63 of `a-z`, `0-9`, `_` and `-`, of which the first is a letter or digit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Tenant(String);

/// A text that is no name of a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a tenant is 1 to 63 of a-z, 0-9, _ and -, beginning with a letter or digit")]
pub struct NoTenant;

impl Tenant {
    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Tenant {
    type Error = NoTenant;

    fn try_from(text: String) -> Result<Self, NoTenant> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let first = text.bytes().next().is_some_and(plain);
        let rest = text
            .bytes()
            .all(|byte| plain(byte) || matches!(byte, b'_' | b'-'));
        (first && rest && text.len() <= 63)
            .then_some(Self(text))
            .ok_or(NoTenant)
    }
}

impl FromStr for Tenant {
    type Err = NoTenant;

    fn from_str(text: &str) -> Result<Self, NoTenant> {
        text.to_owned().try_into()
    }
}

impl From<Tenant> for String {
    fn from(tenant: Tenant) -> Self {
        tenant.0
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Returns the lower-case hex MD5 of a text: the unique id of a caller or identity in reply subjects.
#[must_use]
pub fn md5_hex(text: &str) -> String {
    hex::encode(Md5::digest(text.as_bytes()))
}

/// Returns the lower-case hex SHA-256 of a text: the unique id that peers in FIPS mode use.
#[must_use]
pub fn sha256_hex(text: &str) -> String {
    hex::encode(Sha256::digest(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::{AgentName, Collective, Identity, NameError, Tenant, md5_hex, sha256_hex};

    #[test]
    fn an_identity_may_have_dots_and_letters_of_any_script() {
        for text in ["n1", "n1.example.net", "a.b.c.d", "é.example.net", "up=bob"] {
            assert_eq!(Identity::new(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn a_name_that_would_break_a_subject_is_refused() {
        for (text, error) in [
            ("", NameError::Empty),
            (".", NameError::Empty),
            ("a..b", NameError::Empty),
            (".a", NameError::Empty),
            ("a.", NameError::Empty),
            ("star*", NameError::Wildcard),
            ("gt>", NameError::Wildcard),
            ("a b", NameError::Space),
            ("a\u{a0}b", NameError::Space),
            ("a\r\nPUB", NameError::Space),
            ("a\0", NameError::Space),
            ("a\u{fffd}", NameError::Space),
        ] {
            assert_eq!(Identity::new(text), Err(error), "{text:?}");
            assert!(Collective::new(text).is_err(), "{text:?}");
            assert!(AgentName::new(text).is_err(), "{text:?}");
        }
        assert_eq!(Identity::new("x".repeat(256)), Err(NameError::TooLong));
        assert_eq!(Collective::new("a.b"), Err(NameError::Dot));
    }

    #[test]
    fn a_name_is_checked_when_it_is_deserialised() {
        assert!(serde_json::from_str::<Identity>("\"n1.example.net\"").is_ok());
        assert!(serde_json::from_str::<Identity>("\"n1.>\"").is_err());
    }

    #[test]
    fn a_tenant_is_a_short_plain_word() {
        for good in ["a", "0", "acme-2_x", &"t".repeat(63)] {
            assert_eq!(good.parse::<Tenant>().unwrap().as_str(), good);
        }
        for bad in ["", "-a", "_a", "A", "a.b", "a b", "é", &"t".repeat(64)] {
            assert!(bad.parse::<Tenant>().is_err(), "{bad}");
        }
    }

    #[test]
    fn unique_ids_are_those_of_the_protocol() {
        assert_eq!(md5_hex("up=bob"), "72dc525f8fe0064c0372c1fb3d729560");
        assert_eq!(
            md5_hex("n1.example.net"),
            "38e94427598c62d98e1d2121c68a20a4"
        );
        assert_eq!(
            sha256_hex("up=bob"),
            "a49a21f8923940b1a0d4044bdeda660a5e083b5159b84ba4355abbe6fdf94d78"
        );
    }
}
