//! Inputs and outputs of the agent [`AGENT`](super::AGENT), as original nodes and provisioners write them.
//!
//! Nodes take what is absent or `null` for empty, and so does this; what must be there is checked by whoever acts on it.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::field::{self, data};
use super::{DataError, Excess};
use crate::SecretText;

/// Names of the actions.
pub mod name {
    /// Shows the provisioning token and a fresh key for an exchange.
    pub const JWT: &str = "jwt";
    /// Makes a new signing key and proves that the node has it.
    pub const GEN25519: &str = "gen25519";
    /// Makes an RSA key and a certificate request.
    pub const GENCSR: &str = "gencsr";
    /// Writes configuration, tokens, certificates and policies.
    pub const CONFIGURE: &str = "configure";
    /// Replaces the node's own software.
    pub const RELEASE_UPDATE: &str = "release_update";
    /// Starts the node again, as what it is configured to be.
    pub const RESTART: &str = "restart";
    /// Ends the node.
    pub const SHUTDOWN: &str = "shutdown";
    /// Sends a member back to be enrolled again.
    pub const REPROVISION: &str = "reprovision";
}

data! {
    /// Request of `jwt`.
    pub struct JwtRequest {
        /// Secret that the node and its provisioner share.
        token: SecretText = "token",
        /// Asks a member that renews to prove its current key over this; original nodes ignore it.
        nonce: Option<String> = "nonce",
    }
}

data! {
    /// Reply of `jwt`.
    pub struct JwtReply {
        /// The provisioning token, as the node's file has it; it holds the shared secret.
        jwt: SecretText = "jwt",
        /// X25519 public key for the transport of a private key, 64 hexadecimal digits.
        ecdh_public: String = "ecdh_public",
        /// Current server token of a member that renews.
        server_jwt: Option<String> = "server_jwt",
        /// Signature by the current key over the nonce of the request, 128 hexadecimal digits.
        renewal_signature: Option<String> = "renewal_signature",
    }
}

data! {
    /// Request of `gen25519`.
    pub struct Gen25519Request {
        /// Secret that the node and its provisioner share.
        token: SecretText = "token",
        /// Text to be signed as it is, at most [`MAX_NONCE_BYTES`](super::MAX_NONCE_BYTES) long.
        nonce: String = "nonce",
    }
}

data! {
    /// Reply of `gen25519`.
    pub struct Gen25519Reply {
        /// The new public key, 64 hexadecimal digits.
        public_key: String = "public_key",
        /// Signature by the new key over the nonce, 128 hexadecimal digits.
        signature: String = "signature",
        /// Directory in which the node keeps the key and will keep the token.
        directory: String = "directory",
    }
}

data! {
    /// Request of `gencsr`; what is not named is left to the node.
    pub struct GencsrRequest {
        /// Secret that the node and its provisioner share.
        token: SecretText = "token",
        /// Common name; the node's certificate name when not given.
        cn: Option<String> = "cn",
        /// Country.
        country: Option<String> = "C",
        /// Locality.
        locality: Option<String> = "L",
        /// Organisation.
        organisation: Option<String> = "O",
        /// Organisational unit.
        unit: Option<String> = "OU",
        /// State or province; original nodes ignore it.
        state: Option<String> = "ST",
    }
}

data! {
    /// Reply of `gencsr`.
    pub struct GencsrReply {
        /// The request, PEM.
        csr: String = "csr",
        /// The public key, PEM.
        public_key: String = "public_key",
        /// Directory in which the node keeps the private key.
        ssldir: String = "ssldir",
    }
}

data! {
    /// Request of `configure`; all members are always written, empty ones as well.
    pub struct ConfigureRequest {
        /// Secret that the node and its provisioner share.
        token: SecretText = "token",
        /// JSON text of an object whose values are texts.
        config: SecretText = "config",
        /// Certificate, PEM.
        certificate: String = "certificate",
        /// Certificate authorities, PEM.
        ca: String = "ca",
        /// Directory for certificate, authorities and key.
        ssldir: String = "ssldir",
        /// Private key, encrypted for the node, PEM.
        key: SecretText = "key",
        /// X25519 public key that `key` was encrypted with, 64 hexadecimal digits.
        ecdh_public: String = "ecdh_public",
        /// Files for the action list authoriser, by file name.
        action_policies: BTreeMap<String, String> = "action_policies",
        /// Files for the Rego authoriser, by file name.
        opa_policies: BTreeMap<String, String> = "opa_policies",
        /// The node's server token.
        server_jwt: SecretText = "server_jwt",
    }
}

data! {
    /// Request of `release_update`.
    pub struct ReleaseUpdateRequest {
        /// Secret that the node and its provisioner share.
        token: SecretText = "token",
        /// URL of the repository.
        repository: String = "repository",
        /// Version to change to.
        version: String = "version",
    }
}

data! {
    /// Request of `restart`.
    pub struct RestartRequest {
        /// Secret that the node and its provisioner share.
        token: SecretText = "token",
        /// Upper bound of a random delay in seconds, to which two are added; 0 stands for 10.
        splay: i64 = "splay",
    }
}

data! {
    /// Request of `shutdown` and `reprovision`.
    pub struct TokenRequest {
        /// Secret that the node and its provisioner share.
        token: SecretText = "token",
    }
}

data! {
    /// Reply of `configure`, `release_update`, `restart`, `shutdown` and `reprovision`.
    pub struct MessageReply {
        /// What was done, for people.
        message: String = "message",
    }
}

/// Finds the inputs that are longer than the agent's description allows.
#[must_use]
pub fn excesses(action: &str, data: &Map<String, Value>) -> Vec<Excess> {
    field::excesses(super::AGENT, action, data)
}

impl Gen25519Reply {
    /// Returns the reply if all that a token needs is there.
    ///
    /// # Errors
    ///
    /// [`DataError::Missing`] for the first member that is empty.
    pub fn complete(self) -> Result<Self, DataError> {
        for (member, text) in [
            ("public_key", &self.public_key),
            ("signature", &self.signature),
            ("directory", &self.directory),
        ] {
            if text.is_empty() {
                return Err(DataError::Missing { member });
            }
        }
        Ok(self)
    }
}

impl JwtReply {
    /// Returns the token without the line end that a file may have.
    #[must_use]
    pub fn token_text(&self) -> &str {
        self.jwt.expose().trim_end()
    }
}
