//! What tokens say: the claims of each purpose, as Choria's tokens library writes and reads them.

pub(crate) mod read;

mod client;
mod overlay;
mod provisioning;
mod server;
mod standard;

use std::fmt;

use overlay_protocol::id;
use serde_json::Value;

pub use client::{ClientClaims, ClientPermissions, delegated};
pub use overlay::{ExtensionError, MAX_FINGERPRINTS, OverlayExtension};
pub use provisioning::ProvisioningClaims;
pub use server::{ServerClaims, ServerPermissions};
pub use standard::Standard;

use read::ClaimSet;

/// Prefix of `iss` in a token that was issued by a chain issuer.
pub(crate) const CHAIN_ISSUED: &str = "C-";
/// Prefix of `iss` in the token of a chain issuer.
pub(crate) const ORG_ISSUED: &str = "I-";
/// Organisation that is meant when a token is made without one.
pub const DEFAULT_OU: &str = "choria";

/// What a token is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// A person, a service or a chain issuer: `choria_client_id`.
    Client,
    /// A fleet node: `choria_server`.
    Server,
    /// A node that has yet to be provisioned: `choria_provisioning`.
    Provisioning,
    /// Anything else, or nothing when the text is empty. Refused everywhere.
    Unknown(String),
}

impl Purpose {
    /// The text on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Client => "choria_client_id",
            Self::Server => "choria_server",
            Self::Provisioning => "choria_provisioning",
            Self::Unknown(text) => text,
        }
    }
}

impl Default for Purpose {
    fn default() -> Self {
        Self::Unknown(String::new())
    }
}

impl From<String> for Purpose {
    fn from(text: String) -> Self {
        [Self::Client, Self::Server, Self::Provisioning]
            .into_iter()
            .find(|purpose| purpose.as_str() == text)
            .unwrap_or(Self::Unknown(text))
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl serde::Serialize for Purpose {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> serde::Deserialize<'de> for Purpose {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

pub(crate) mod sealed {
    use super::{ClaimSet, Standard};

    /// What verification needs to know of each kind of claims.
    pub trait Kind: ClaimSetBound {
        /// Whether tokens of this kind may be issued by a chain issuer.
        const CHAINS: bool;
        /// Whether any `tcs`, not only that of a chain issued token, makes the issuer's expiry count.
        const ANY_TCS_EXPIRES: bool;

        /// Whether the claims are of this kind.
        fn fits(standard: &Standard) -> bool;
        /// Fills what a full parse fills in.
        fn complete(&mut self) {}
        /// The claims that all tokens have, to be changed by an issuer.
        fn standard_mut(&mut self) -> &mut Standard;
        /// The claims as the JSON text that is signed.
        fn to_json_text(&self) -> Result<zeroize::Zeroizing<String>, serde_json::Error>;
    }

    /// Hides the private [`ClaimSet`] behind a name that a public trait may mention.
    pub trait ClaimSetBound: Sized {
        /// Parses a JSON object.
        fn parse(json: &[u8]) -> Result<Self, serde_json::Error>;
    }

    impl<C: ClaimSet> ClaimSetBound for C {
        fn parse(json: &[u8]) -> Result<Self, serde_json::Error> {
            super::read::parse(json)
        }
    }
}

/// The claims of one purpose. Implemented by [`ClientClaims`], [`ServerClaims`] and [`ProvisioningClaims`] only.
pub trait Claims: sealed::Kind + fmt::Debug + Clone + Send + Sync + 'static {
    /// The purpose that these claims serve.
    const PURPOSE: Purpose;

    /// The claims that all tokens have.
    fn standard(&self) -> &Standard;

    /// The organisation, whose issuer must have signed.
    fn ou(&self) -> Option<&str>;

    /// The claims as JSON, secrets included: for issuing and for showing to their owner, not for logs.
    fn to_json(&self) -> Value {
        self.to_json_text()
            .ok()
            .and_then(|text| serde_json::from_str(&text).ok())
            .unwrap_or_default()
    }
}

/// Unique id of a caller or an identity in subjects: MD5 in lower-case hexadecimal, over the whole text, case kept.
pub fn unique_id(name: &str) -> String {
    id::md5_hex(name)
}

/// Unique id as builds of Choria in FIPS mode make it: SHA-256. Both forms must be granted.
pub fn unique_id_sha256(name: &str) -> String {
    id::sha256_hex(name)
}
