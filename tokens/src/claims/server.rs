//! Claims of fleet nodes.

use serde::Serialize;
use zeroize::Zeroizing;

use super::client::is_off;
use super::read::{self, claim_set};
use super::{Claims, Purpose, Standard, sealed};

/// Claims of a server token.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ServerClaims {
    /// The node's name, such as `ginkgo.example.net`.
    pub identity: String,
    /// Collectives that the node takes part in.
    pub collectives: Vec<String>,
    /// What the node may do besides answering requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub permissions: Option<ServerPermissions>,
    /// Organisation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ou: Option<String>,
    /// Further subjects to publish to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pub_subjects: Vec<String>,
    /// Claims that all tokens have.
    #[serde(flatten)]
    pub standard: Standard,
}

/// What a node may do besides answering requests. Each is off unless claimed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct ServerPermissions {
    /// Submits messages for others on the node.
    #[serde(skip_serializing_if = "is_off")]
    pub submission: bool,
    /// Uses streams.
    #[serde(skip_serializing_if = "is_off")]
    pub streams: bool,
    /// Uses governors; counts only together with `streams`.
    #[serde(skip_serializing_if = "is_off")]
    pub governor: bool,
    /// Hosts service agents.
    #[serde(skip_serializing_if = "is_off")]
    pub service_host: bool,
}

claim_set!(ServerPermissions {
    "submission" => submission by read::value,
    "streams" => streams by read::value,
    "governor" => governor by read::value,
    "service_host" => service_host by read::value,
});

claim_set!(ServerClaims {
    "identity" => identity by read::value,
    "collectives" => collectives by read::texts,
    "permissions" => permissions by read::object,
    "ou" => ou by read::optional_text,
    "pub_subjects" => pub_subjects by read::texts,
    and standard
});

impl ServerClaims {
    /// What the node may do; nothing when the claim is absent.
    pub fn granted(&self) -> ServerPermissions {
        self.permissions.unwrap_or_default()
    }

    /// Unique id of the node in subjects: MD5 of `identity`.
    pub fn unique_id(&self) -> String {
        super::unique_id(&self.identity)
    }

    /// Unique id as builds in FIPS mode make it: SHA-256 of `identity`.
    pub fn unique_id_sha256(&self) -> String {
        super::unique_id_sha256(&self.identity)
    }
}

impl sealed::Kind for ServerClaims {
    const CHAINS: bool = true;
    const ANY_TCS_EXPIRES: bool = true;

    fn fits(standard: &Standard) -> bool {
        standard.purpose == Purpose::Server
    }

    fn standard_mut(&mut self) -> &mut Standard {
        &mut self.standard
    }

    fn to_json_text(&self) -> Result<Zeroizing<String>, serde_json::Error> {
        serde_json::to_string(self).map(Zeroizing::new)
    }
}

impl Claims for ServerClaims {
    const PURPOSE: Purpose = Purpose::Server;

    fn standard(&self) -> &Standard {
        &self.standard
    }

    fn ou(&self) -> Option<&str> {
        self.ou.as_deref()
    }
}
