//! One user of the file: what is known of it is read in any letter case, what is not stays as it is.

use serde_json::{Map, Value};

/// A user as the file has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    members: Map<String, Value>,
}

impl Record {
    pub(super) fn new(members: Map<String, Value>) -> Self {
        Self { members }
    }

    /// A new user without anything but a name.
    pub(super) fn named(name: &str) -> Self {
        let mut record = Self::new(Map::new());
        record.set("username", name.into());
        record
    }

    pub(super) fn as_json(&self) -> &Map<String, Value> {
        &self.members
    }

    pub(super) fn name(&self) -> &str {
        self.text("username")
    }

    /// A text; empty when there is none.
    pub(super) fn text(&self, key: &str) -> &str {
        self.get(key).and_then(Value::as_str).unwrap_or_default()
    }

    pub(super) fn is_set(&self, key: &str) -> bool {
        !self.text(key).is_empty()
    }

    pub(super) fn is_true(&self, key: &str) -> bool {
        self.get(key).and_then(Value::as_bool).unwrap_or_default()
    }

    /// The texts of a list.
    pub(super) fn texts(&self, key: &str) -> Vec<&str> {
        self.get(key)
            .and_then(Value::as_array)
            .map(|list| list.iter().filter_map(Value::as_str).collect())
            .unwrap_or_default()
    }

    /// Names of the permissions that are on.
    pub(super) fn permissions(&self) -> Vec<&str> {
        let on =
            |(name, value): (&'_ String, &Value)| value == &Value::Bool(true) && !name.is_empty();
        self.get("broker_permissions")
            .and_then(Value::as_object)
            .map(|all| {
                all.iter()
                    .filter(|pair| on(*pair))
                    .map(|(name, _)| name.as_str())
                    .collect()
            })
            .unwrap_or_default()
    }

    /// Sets a member, and removes all that differ from it in letter case only.
    pub(super) fn set(&mut self, key: &str, value: Value) {
        self.remove(key);
        self.members.insert(key.to_owned(), value);
    }

    pub(super) fn remove(&mut self, key: &str) {
        self.members
            .retain(|name, _| !name.eq_ignore_ascii_case(key));
    }

    fn get(&self, key: &str) -> Option<&Value> {
        self.members.get(key).or_else(|| {
            self.members
                .iter()
                .find(|(name, _)| name.eq_ignore_ascii_case(key))
                .map(|(_, value)| value)
        })
    }
}
