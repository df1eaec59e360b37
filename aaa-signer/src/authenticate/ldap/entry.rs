//! An entry of a directory, and how names of groups are compared.

use std::collections::HashMap;

use ldap3::SearchEntry;

/// An entry with the attributes that were asked for.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    dn: String,
    /// By name in lower case: directories do not tell case apart.
    attributes: HashMap<String, Vec<String>>,
}

impl Entry {
    pub(super) fn new(entry: SearchEntry) -> Self {
        let attributes = entry.attrs.into_iter();
        Self {
            dn: entry.dn,
            attributes: attributes
                .map(|(name, values)| (name.to_ascii_lowercase(), values))
                .collect(),
        }
    }

    pub(super) fn dn(&self) -> &str {
        &self.dn
    }

    /// The values of an attribute that are text; none when there are none, or may not be read.
    pub(super) fn values(&self, attribute: &str) -> &[String] {
        self.attributes
            .get(&attribute.to_ascii_lowercase())
            .map_or(&[], Vec::as_slice)
    }
}

/// The form in which names of groups are compared: without case, and without spaces around `,` and `=`.
pub(crate) fn spelled(group: &str) -> String {
    let parts = group.trim().split(',').map(|part| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let (name, value) = (name.trim(), value.trim());
        if part.contains('=') {
            format!("{name}={value}")
        } else {
            name.to_owned()
        }
    });
    let parts: Vec<String> = parts.collect();
    parts.join(",").to_lowercase()
}
