//! Inputs and outputs of actions as types.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// Inputs or outputs that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the data is not understood")]
pub struct DataError {
    source: serde_json::Error,
}

/// Reads inputs or outputs.
///
/// # Errors
///
/// [`DataError`] when a member is missing or of another type.
pub fn from_data<T: DeserializeOwned>(data: Map<String, Value>) -> Result<T, DataError> {
    serde_json::from_value(Value::Object(data)).map_err(|source| DataError { source })
}

/// Writes inputs or outputs.
#[must_use]
pub fn to_data<T: Serialize>(value: &T) -> Map<String, Value> {
    match serde_json::to_value(value) {
        Ok(Value::Object(data)) => data,
        Ok(_) | Err(_) => Map::new(),
    }
}
