use serde_json::{Map, Value};

use super::DataError;

/// Reply of `rpcutil#inventory`, read as leniently as can be: what the node says of itself is a hint for the helper.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct InventoryReply {
    /// All of it, as it was received.
    pub data: Map<String, Value>,
}

impl InventoryReply {
    /// Takes the data of a reply.
    ///
    /// # Errors
    ///
    /// [`DataError::NoObject`] for data that is no object.
    pub fn from_value(data: Value) -> Result<Self, DataError> {
        match data {
            Value::Object(data) => Ok(Self { data }),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => Err(DataError::NoObject),
        }
    }

    /// Returns the version of the node's software.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        self.text("version")
    }

    /// Tells whether the node can replace its own software; not when it does not say so.
    #[must_use]
    pub fn upgradable(&self) -> bool {
        self.data.get("upgradable").and_then(Value::as_bool) == Some(true)
    }

    /// Returns the node's facts, if they are an object.
    #[must_use]
    pub fn facts(&self) -> Option<&Map<String, Value>> {
        self.data.get("facts").and_then(Value::as_object)
    }

    /// Returns the names of the node's agents; what is no text is left out.
    pub fn agents(&self) -> impl Iterator<Item = &str> {
        let agents = self.data.get("agents").and_then(Value::as_array);
        agents.into_iter().flatten().filter_map(Value::as_str)
    }

    /// Returns the collective that the node uses on its own.
    #[must_use]
    pub fn main_collective(&self) -> Option<&str> {
        self.text("main_collective")
    }

    fn text(&self, member: &str) -> Option<&str> {
        let text = self.data.get(member)?.as_str()?;
        Some(text).filter(|text| !text.is_empty())
    }
}
