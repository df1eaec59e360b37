//! `[tenants]`: whose requests are served, and where they may go.

use std::collections::{BTreeMap, BTreeSet};

use overlay_protocol::id::Collective;
use overlay_runtime::Fault;
use serde::Deserialize;

pub(super) const REFERENCE: &str = r#"# Tenants: a claim of users' tokens.
[tenants]
# Tenants that are served. Default: all. Tokens without a tenant are served unless one is required.
# serve = ["acme", "globex"]
# Whether a token without a tenant is refused.
# required = false
# Collectives that a tenant may address; one that is not named here may address all.
[tenants.collectives]
# acme = ["acme"]
"#;

/// The table as files hold it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawTenants {
    serve: Option<Vec<String>>,
    required: bool,
    collectives: BTreeMap<String, Vec<String>>,
}

/// Whose requests are served.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Tenants {
    /// Those that are served; nothing: all.
    pub serve: Option<BTreeSet<String>>,
    /// Whether a token must name one.
    pub required: bool,
    /// Where a tenant may go; one without an entry may go everywhere.
    pub collectives: BTreeMap<String, BTreeSet<String>>,
}

impl RawTenants {
    pub(super) fn check(self, at: &str, faults: &mut Vec<Fault>) -> Option<Tenants> {
        let before = faults.len();
        for name in self.serve.iter().flatten() {
            check_name(&format!("{at}.serve"), name, faults);
        }
        for (name, collectives) in &self.collectives {
            let key = format!("{at}.collectives.{name}");
            check_name(&key, name, faults);
            if let Some(serve) = &self.serve
                && !serve.contains(name)
            {
                faults.push(Fault::new(&key, "is of a tenant that is not served"));
            }
            for collective in collectives {
                if let Err(error) = Collective::new(collective.as_str()) {
                    faults.push(Fault::new(&key, error.to_string()).value(collective));
                }
            }
        }
        let tenants = Tenants {
            serve: self.serve.map(|names| names.into_iter().collect()),
            required: self.required,
            collectives: self
                .collectives
                .into_iter()
                .map(|(name, collectives)| (name, collectives.into_iter().collect()))
                .collect(),
        };
        (faults.len() == before).then_some(tenants)
    }
}

fn check_name(key: &str, name: &str, faults: &mut Vec<Fault>) {
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_name = name.len() <= 63
        && name.bytes().next().is_some_and(letter)
        && name
            .bytes()
            .all(|byte| letter(byte) || byte == b'_' || byte == b'-');
    if !is_name {
        faults.push(
            Fault::new(key, "is no name of a tenant")
                .value(name)
                .remedy("write lower-case letters, digits, `_` and `-`, at most 63"),
        );
    }
}
