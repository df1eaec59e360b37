//! Members of an action's data, read one by one so that an error can name the member without showing its value.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::SecretText;
use crate::rpc::ddl;

/// Data of an action that cannot be read; no value of it is shown, as it may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DataError {
    /// The data is no object.
    #[error("data is no object")]
    NoObject,
    /// A member is of another type.
    #[error("{member} is not {expected}")]
    Type {
        /// Name of the member.
        member: &'static str,
        /// Type that it should have, with its article.
        expected: &'static str,
    },
    /// A member is missing or empty.
    #[error("{member} is missing")]
    Missing {
        /// Name of the member.
        member: &'static str,
    },
}

/// An input that is longer than the agent's description allows.
///
/// Nodes do not check this themselves; only clients that go by the description do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{input} of {bytes} bytes is above the described limit of {limit}")]
pub struct Excess {
    /// Name of the input.
    pub input: String,
    /// Length in bytes.
    pub bytes: usize,
    /// Limit in bytes.
    pub limit: usize,
}

/// A type that a member of an action's data can have.
pub(super) trait Field: Sized {
    /// What it is called in errors.
    const NAME: &'static str;

    /// Reads a member; nothing when the type is wrong.
    fn read(value: Option<Value>) -> Option<Self>;

    /// Writes the member; nothing leaves it out.
    fn write(&self) -> Option<Value>;
}

impl Field for String {
    const NAME: &'static str = "a text";

    fn read(value: Option<Value>) -> Option<Self> {
        match value {
            None | Some(Value::Null) => Some(Self::new()),
            Some(Value::String(text)) => Some(text),
            Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => None,
        }
    }

    fn write(&self) -> Option<Value> {
        Some(Value::String(self.clone()))
    }
}

impl Field for SecretText {
    const NAME: &'static str = String::NAME;

    fn read(value: Option<Value>) -> Option<Self> {
        String::read(value).map(Self::from)
    }

    fn write(&self) -> Option<Value> {
        Some(Value::String(self.expose().to_owned()))
    }
}

/// Absent, `null` and the empty text are all nothing.
impl Field for Option<String> {
    const NAME: &'static str = String::NAME;

    fn read(value: Option<Value>) -> Option<Self> {
        String::read(value).map(|text| Some(text).filter(|text| !text.is_empty()))
    }

    fn write(&self) -> Option<Value> {
        self.clone().map(Value::String)
    }
}

impl Field for Option<SecretText> {
    const NAME: &'static str = String::NAME;

    fn read(value: Option<Value>) -> Option<Self> {
        SecretText::read(value).map(|text| Some(text).filter(|text| !text.is_empty()))
    }

    fn write(&self) -> Option<Value> {
        self.as_ref().and_then(Field::write)
    }
}

/// A number of seconds; one with a fraction of zero is whole, as JSON of other languages has it.
impl Field for i64 {
    const NAME: &'static str = "a whole number";

    fn read(value: Option<Value>) -> Option<Self> {
        match value {
            None | Some(Value::Null) => Some(0),
            Some(Value::Number(number)) => number.as_i64(),
            Some(Value::Bool(_) | Value::String(_) | Value::Array(_) | Value::Object(_)) => None,
        }
    }

    fn write(&self) -> Option<Value> {
        Some(Value::from(*self))
    }
}

/// Files by name; a `null` in place of a text is the empty text, as Go reads it.
impl Field for BTreeMap<String, String> {
    const NAME: &'static str = "an object of texts";

    fn read(value: Option<Value>) -> Option<Self> {
        match value {
            None | Some(Value::Null) => Some(Self::new()),
            Some(Value::Object(members)) => members
                .into_iter()
                .map(|(name, value)| Some((name, String::read(Some(value))?)))
                .collect(),
            Some(Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => None,
        }
    }

    fn write(&self) -> Option<Value> {
        Some(Value::Object(
            self.iter()
                .map(|(name, text)| (name.clone(), Value::String(text.clone())))
                .collect(),
        ))
    }
}

/// Takes one member out of the data.
pub(super) fn take<T: Field>(
    data: &mut Map<String, Value>,
    member: &'static str,
) -> Result<T, DataError> {
    T::read(data.remove(member)).ok_or(DataError::Type {
        member,
        expected: T::NAME,
    })
}

/// Puts one member into the data.
pub(super) fn put<T: Field>(data: &mut Map<String, Value>, member: &'static str, field: &T) {
    if let Some(value) = field.write() {
        data.insert(member.to_owned(), value);
    }
}

/// Finds the texts that are longer than the description of `agent` allows.
pub(super) fn excesses(agent: &str, action: &str, data: &Map<String, Value>) -> Vec<Excess> {
    let Some(action) = ddl::builtin(agent).and_then(|ddl| ddl.action(action)) else {
        return Vec::new();
    };
    let long = action.input.iter().filter_map(|(name, input)| {
        let bytes = data.get(name)?.as_str()?.len();
        let limit = input.maxlength;
        (limit > 0 && bytes > limit).then(|| Excess {
            input: name.clone(),
            bytes,
            limit,
        })
    });
    long.collect()
}

/// Declares the data of an action: a struct, how it is read and how it is written.
macro_rules! data {
    (
        $(#[$doc:meta])*
        pub struct $name:ident {
            $($(#[$field_doc:meta])* $field:ident: $type:ty = $member:literal),* $(,)?
        }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $type,)*
        }

        impl $name {
            /// Reads the data of a request or reply; members that are not known are ignored, absent and `null` ones are empty.
            ///
            /// # Errors
            ///
            /// [`DataError`] names the first member that is of another type.
            pub fn from_data(
                mut data: serde_json::Map<String, serde_json::Value>,
            ) -> Result<Self, $crate::provisioning::DataError> {
                Ok(Self {
                    $($field: $crate::provisioning::field::take(&mut data, $member)?,)*
                })
            }

            /// Reads the data of a reply.
            ///
            /// # Errors
            ///
            /// As [`Self::from_data`], and for data that is no object.
            pub fn from_value(
                data: serde_json::Value,
            ) -> Result<Self, $crate::provisioning::DataError> {
                match data {
                    serde_json::Value::Object(data) => Self::from_data(data),
                    _ => Err($crate::provisioning::DataError::NoObject),
                }
            }

            /// Writes the data, secrets included.
            #[must_use]
            pub fn to_data(&self) -> serde_json::Map<String, serde_json::Value> {
                let mut data = serde_json::Map::new();
                $($crate::provisioning::field::put(&mut data, $member, &self.$field);)*
                data
            }
        }
    };
}
pub(super) use data;
