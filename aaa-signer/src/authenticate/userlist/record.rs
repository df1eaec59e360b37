//! One user, as the file has it: Choria's keys in whatever case Go takes them, and ours.

use std::collections::BTreeMap;
use std::fmt;

use overlay_protocol::SecretText;
use overlay_tokens::claims::ClientPermissions;
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

/// A user as the file has it: nothing is checked but types.
#[derive(Debug, Default)]
pub(super) struct Record {
    pub username: String,
    pub password: SecretText,
    pub password_file: String,
    pub organization: String,
    pub acls: Vec<String>,
    pub acls_file: String,
    pub opa_policy: String,
    pub opa_policy_file: String,
    pub properties: BTreeMap<String, String>,
    pub broker_permissions: Option<ClientPermissions>,
    pub totp: SecretText,
    pub totp_file: String,
    pub disabled: bool,
    pub tenant: String,
    pub validity: String,
    /// Keys that mean nothing here: a misspelt right is worth a word.
    pub unknown: Vec<String>,
    /// Keys that came twice, letter case aside: the last counts, as with Go.
    pub twice: Vec<&'static str>,
}

impl<'de> Deserialize<'de> for Record {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(RecordVisitor)
    }
}

struct RecordVisitor;

impl<'de> Visitor<'de> for RecordVisitor {
    type Value = Record;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a user, which is a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Record, A::Error> {
        let mut record = Record::default();
        let mut seen = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            let folded = key.to_ascii_lowercase();
            let Some(known) = KEYS.iter().find(|known| **known == folded) else {
                map.next_value::<IgnoredAny>()?;
                record.unknown.push(key);
                continue;
            };
            if seen.contains(known) && !record.twice.contains(known) {
                record.twice.push(known);
            }
            seen.push(known);
            record.read(known, &mut map)?;
        }
        Ok(record)
    }
}

/// Keys of a record, ours after Choria's.
const KEYS: [&str; 15] = [
    "username",
    "password",
    "organization",
    "acls",
    "opa_policy",
    "opa_policy_file",
    "properties",
    "broker_permissions",
    "password_file",
    "acls_file",
    "totp",
    "totp_file",
    "disabled",
    "tenant",
    "validity",
];

impl Record {
    /// Whether a permission is on.
    pub(super) fn grants(&self, which: impl Fn(&ClientPermissions) -> bool) -> bool {
        self.broker_permissions.as_ref().is_some_and(which)
    }

    fn read<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "username" => self.username = value(map)?,
            "password" => self.password = value::<String, _>(map)?.into(),
            "password_file" => self.password_file = value(map)?,
            "organization" => self.organization = value(map)?,
            "acls" => self.acls = value::<Vec<Option<String>>, _>(map)?.texts(),
            "acls_file" => self.acls_file = value(map)?,
            "opa_policy" => self.opa_policy = value(map)?,
            "opa_policy_file" => self.opa_policy_file = value(map)?,
            "properties" => {
                let properties: BTreeMap<String, Option<String>> = value(map)?;
                self.properties = properties
                    .into_iter()
                    .map(|(name, text)| (name, text.unwrap_or_default()))
                    .collect();
            }
            "broker_permissions" => {
                let given: Option<BTreeMap<String, Value>> = map.next_value()?;
                self.broker_permissions = given
                    .map(|given| permissions(&given).map_err(A::Error::custom))
                    .transpose()?;
            }
            "totp" => self.totp = value::<String, _>(map)?.into(),
            "totp_file" => self.totp_file = value(map)?,
            "disabled" => self.disabled = value(map)?,
            "tenant" => self.tenant = value(map)?,
            "validity" => self.validity = value(map)?,
            _ => {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

/// `null` counts as absent, as with Go.
fn value<'de, T, A>(map: &mut A) -> Result<T, A::Error>
where
    T: DeserializeOwned + Default,
    A: MapAccess<'de>,
{
    Ok(map.next_value::<Option<T>>()?.unwrap_or_default())
}

trait Texts {
    fn texts(self) -> Vec<String>;
}

impl Texts for Vec<Option<String>> {
    fn texts(self) -> Vec<String> {
        self.into_iter().map(Option::unwrap_or_default).collect()
    }
}

/// The permissions that are known by their name, letter case aside; others are passed over.
pub(crate) fn permissions(given: &BTreeMap<String, Value>) -> Result<ClientPermissions, String> {
    let mut permissions = ClientPermissions::default();
    for (name, value) in given {
        let on = match value {
            Value::Bool(on) => *on,
            Value::Null => false,
            Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
                return Err(format!("permission `{name}` is neither true nor false"));
            }
        };
        let slot = match name.to_ascii_lowercase().as_str() {
            "streams_admin" => &mut permissions.streams_admin,
            "streams_user" => &mut permissions.streams_user,
            "events_viewer" => &mut permissions.events_viewer,
            "election_user" => &mut permissions.election_user,
            "system_user" => &mut permissions.system_user,
            "governor" => &mut permissions.governor,
            "org_admin" => &mut permissions.org_admin,
            "fleet_management" => &mut permissions.fleet_management,
            "signed_fleet_management" => &mut permissions.signed_fleet_management,
            "service" => &mut permissions.service,
            "authentication_delegator" => &mut permissions.authentication_delegator,
            "provisioner" => &mut permissions.provisioner,
            "audit_viewer" => &mut permissions.audit_viewer,
            _ => continue,
        };
        *slot = on;
    }
    Ok(permissions)
}
