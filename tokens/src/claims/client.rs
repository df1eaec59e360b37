//! Claims of people, services and chain issuers.

use std::collections::BTreeMap;

use overlay_protocol::id::{NoTenant, Tenant};
use serde::Serialize;
use zeroize::Zeroizing;

use super::read::{self, claim_set};
use super::{Claims, Purpose, Standard, sealed};

/// Claims of a client token.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ClientClaims {
    /// Who calls, such as `up=rip`.
    pub callerid: String,
    /// Actions that the login service may sign for this caller: `agent` or `agent.action`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub agents: Vec<String>,
    /// Organisation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ou: Option<String>,
    /// Free properties for policies.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub user_properties: BTreeMap<String, String>,
    /// Rego text that decides what the login service may sign.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opa_policy: Option<String>,
    /// Tenant that the caller belongs to; ours, Choria's programs do not look at it. See [`ClientClaims::tenant`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// What the caller may do; absent means the least, not the most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub permissions: Option<ClientPermissions>,
    /// Further subjects to publish to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pub_subjects: Vec<String>,
    /// Further subjects to subscribe to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sub_subjects: Vec<String>,
    /// Claims that all tokens have.
    #[serde(flatten)]
    pub standard: Standard,
}

/// What a client may do. Each is off unless claimed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct ClientPermissions {
    /// Administers streams: all of the JetStream API.
    #[serde(skip_serializing_if = "is_off")]
    pub streams_admin: bool,
    /// Uses streams, buckets and object stores.
    #[serde(skip_serializing_if = "is_off")]
    pub streams_user: bool,
    /// Sees lifecycle and machine events.
    #[serde(skip_serializing_if = "is_off")]
    pub events_viewer: bool,
    /// Takes part in leader elections.
    #[serde(skip_serializing_if = "is_off")]
    pub election_user: bool,
    /// May log in to the system account.
    #[serde(skip_serializing_if = "is_off")]
    pub system_user: bool,
    /// Uses governors; counts only together with a streams permission.
    #[serde(skip_serializing_if = "is_off")]
    pub governor: bool,
    /// May do everything in the organisation's account.
    #[serde(skip_serializing_if = "is_off")]
    pub org_admin: bool,
    /// Makes requests to the fleet, signed by itself.
    #[serde(skip_serializing_if = "is_off")]
    pub fleet_management: bool,
    /// Makes requests to the fleet that a delegator must sign.
    #[serde(skip_serializing_if = "is_off")]
    pub signed_fleet_management: bool,
    /// Is a service, whose tokens may live long.
    #[serde(skip_serializing_if = "is_off")]
    pub service: bool,
    /// May sign requests for others.
    #[serde(skip_serializing_if = "is_off")]
    pub authentication_delegator: bool,
    /// May log in as the provisioner.
    #[serde(skip_serializing_if = "is_off")]
    pub provisioner: bool,
    /// Reads the audit of logins and signatures; ours, Choria's programs do not look at it.
    #[serde(skip_serializing_if = "is_off")]
    pub audit_viewer: bool,
}

impl ClientPermissions {
    /// May make requests to the fleet, by itself or through a delegator.
    pub fn has_fleet_access(&self) -> bool {
        self.fleet_management || self.signed_fleet_management
    }

    /// Names of what is granted, as in tokens.
    pub fn names(&self) -> Vec<&'static str> {
        [
            ("streams_admin", self.streams_admin),
            ("streams_user", self.streams_user),
            ("events_viewer", self.events_viewer),
            ("election_user", self.election_user),
            ("system_user", self.system_user),
            ("governor", self.governor),
            ("org_admin", self.org_admin),
            ("fleet_management", self.fleet_management),
            ("signed_fleet_management", self.signed_fleet_management),
            ("service", self.service),
            ("authentication_delegator", self.authentication_delegator),
            ("provisioner", self.provisioner),
            ("audit_viewer", self.audit_viewer),
        ]
        .into_iter()
        .filter_map(|(name, granted)| granted.then_some(name))
        .collect()
    }
}

claim_set!(ClientPermissions {
    "streams_admin" => streams_admin by read::value,
    "streams_user" => streams_user by read::value,
    "events_viewer" => events_viewer by read::value,
    "election_user" => election_user by read::value,
    "system_user" => system_user by read::value,
    "governor" => governor by read::value,
    "org_admin" => org_admin by read::value,
    "fleet_management" => fleet_management by read::value,
    "signed_fleet_management" => signed_fleet_management by read::value,
    "service" => service by read::value,
    "authentication_delegator" => authentication_delegator by read::value,
    "provisioner" => provisioner by read::value,
    "audit_viewer" => audit_viewer by read::value,
});

impl ClientClaims {
    /// What the caller may do; nothing when the claim is absent.
    pub fn granted(&self) -> ClientPermissions {
        self.permissions.unwrap_or_default()
    }

    /// The tenant, checked; nothing when the token names none.
    ///
    /// # Errors
    ///
    /// [`NoTenant`] when the claim is no name of a tenant: the token is good for no tenant, nor for none.
    pub fn tenant(&self) -> Result<Option<Tenant>, NoTenant> {
        self.tenant.as_deref().map(str::parse).transpose()
    }

    /// Unique id of the caller in subjects: MD5 of `callerid`.
    pub fn unique_id(&self) -> String {
        super::unique_id(&self.callerid)
    }

    /// Unique id as builds in FIPS mode make it: SHA-256 of `callerid`.
    pub fn unique_id_sha256(&self) -> String {
        super::unique_id_sha256(&self.callerid)
    }

    /// The caller id as a delegator writes it into requests.
    pub fn delegated_callerid(&self) -> String {
        delegated(&self.callerid)
    }
}

/// A caller id, or a name in one, as a delegator writes it into requests: `@` and `.` become `_`, so that several are written alike.
pub fn delegated(callerid: &str) -> String {
    callerid.replace(['@', '.'], "_")
}

claim_set!(ClientClaims {
    "callerid" => callerid by read::value,
    "agents" => agents by read::texts,
    "ou" => ou by read::optional_text,
    "user_properties" => user_properties by read::properties,
    "opa_policy" => opa_policy by read::optional_text,
    "tenant" => tenant by read::optional_text,
    "permissions" => permissions by read::object,
    "pub_subjects" => pub_subjects by read::texts,
    "sub_subjects" => sub_subjects by read::texts,
    and standard
});

impl sealed::Kind for ClientClaims {
    const CHAINS: bool = true;
    const ANY_TCS_EXPIRES: bool = false;

    fn fits(standard: &Standard) -> bool {
        standard.purpose == Purpose::Client
    }

    fn standard_mut(&mut self) -> &mut Standard {
        &mut self.standard
    }

    fn to_json_text(&self) -> Result<Zeroizing<String>, serde_json::Error> {
        serde_json::to_string(self).map(Zeroizing::new)
    }
}

impl Claims for ClientClaims {
    const PURPOSE: Purpose = Purpose::Client;

    fn standard(&self) -> &Standard {
        &self.standard
    }

    fn ou(&self) -> Option<&str> {
        self.ou.as_deref()
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
pub(super) fn is_off(flag: &bool) -> bool {
    !*flag
}
