//! Claims of nodes that have yet to be provisioned.

use serde::Serialize;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::client::is_off;
use super::read::{self, claim_set};
use super::{Claims, DEFAULT_OU, Purpose, Standard, sealed};
use crate::SecretText;

/// Claims of a provisioning token: a bearer token, for its holder proves nothing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ProvisioningClaims {
    /// Shared secret that guards the provisioning agent; a node refuses an empty one.
    pub cht: SecretText,
    /// Whether messages are secured while provisioning. Does not switch on TLS verification.
    pub chs: bool,
    /// Broker URLs, comma separated.
    pub chu: String,
    /// Domain of the SRV records that name the brokers; exactly one of this and `chu` is to be set.
    pub chsrv: String,
    /// Whether nodes provision by default.
    pub chpd: bool,
    /// Path of the registration data file.
    pub chrd: String,
    /// Path of the facts file.
    pub chf: String,
    /// NATS user to present.
    pub chusr: String,
    /// NATS password to present.
    pub chpwd: SecretText,
    /// Free form extensions.
    pub extensions: Option<Map<String, Value>>,
    /// Organisation.
    pub ou: Option<String>,
    /// Whether the node speaks protocol v2.
    pub v2: bool,
    /// Whether in-place upgrades are allowed.
    pub update: bool,
    /// Claims that all tokens have.
    pub standard: Standard,
}

claim_set!(ProvisioningClaims {
    "cht" => cht by read::value,
    "chs" => chs by read::value,
    "chu" => chu by read::value,
    "chsrv" => chsrv by read::value,
    "chpd" => chpd by read::value,
    "chrd" => chrd by read::value,
    "chf" => chf by read::value,
    "chusr" => chusr by read::value,
    "chpwd" => chpwd by read::value,
    "extensions" => extensions by read::value,
    "ou" => ou by read::optional_text,
    "v2" => v2 by read::value,
    "update" => update by read::value,
    and standard
});

/// The signed form, which alone shows the secrets.
#[derive(Serialize)]
struct Wire<'a> {
    cht: &'a str,
    chs: bool,
    #[serde(skip_serializing_if = "str::is_empty")]
    chu: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    chsrv: &'a str,
    chpd: bool,
    #[serde(skip_serializing_if = "str::is_empty")]
    chrd: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    chf: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    chusr: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    chpwd: &'a str,
    extensions: Option<&'a Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ou: Option<&'a str>,
    #[serde(skip_serializing_if = "is_off")]
    v2: bool,
    #[serde(skip_serializing_if = "is_off")]
    update: bool,
    #[serde(flatten)]
    standard: &'a Standard,
}

impl sealed::Kind for ProvisioningClaims {
    const CHAINS: bool = false;
    const ANY_TCS_EXPIRES: bool = true;

    fn fits(standard: &Standard) -> bool {
        standard.purpose == Purpose::Provisioning || standard.sub == Purpose::Provisioning.as_str()
    }

    fn complete(&mut self) {
        self.ou.get_or_insert_with(|| DEFAULT_OU.to_owned());
    }

    fn standard_mut(&mut self) -> &mut Standard {
        &mut self.standard
    }

    fn to_json_text(&self) -> Result<Zeroizing<String>, serde_json::Error> {
        let wire = Wire {
            cht: self.cht.expose(),
            chs: self.chs,
            chu: &self.chu,
            chsrv: &self.chsrv,
            chpd: self.chpd,
            chrd: &self.chrd,
            chf: &self.chf,
            chusr: &self.chusr,
            chpwd: self.chpwd.expose(),
            extensions: self.extensions.as_ref(),
            ou: self.ou.as_deref(),
            v2: self.v2,
            update: self.update,
            standard: &self.standard,
        };
        serde_json::to_string(&wire).map(Zeroizing::new)
    }
}

impl Claims for ProvisioningClaims {
    const PURPOSE: Purpose = Purpose::Provisioning;

    fn standard(&self) -> &Standard {
        &self.standard
    }

    fn ou(&self) -> Option<&str> {
        self.ou.as_deref()
    }
}
