//! Texts of the command line to typed inputs.

use serde_json::{Map, Number, Value};

use super::{Action, Input, InputError, InputKind, ValueError};

impl Action {
    /// Converts `key=value` texts to typed inputs, checks them, adds defaults, and checks those that stand for a value.
    ///
    /// The empty default of a text stands for none and need not pass the input's own rules. Keys that are not declared as they are given are lower-cased; of a key given twice the last one counts.
    ///
    /// # Errors
    ///
    /// [`InputError`] for the first input that is not declared, not convertible, not allowed, or missing.
    pub fn convert_inputs(
        &self,
        pairs: &[(String, String)],
    ) -> Result<Map<String, Value>, InputError> {
        let mut data = Map::new();
        for (key, text) in pairs {
            let name = if self.input.contains_key(key) {
                key.clone()
            } else {
                key.to_lowercase()
            };
            let Some(input) = self.input.get(&name) else {
                return Err(InputError::Undeclared(name));
            };
            let value = input
                .convert(text)
                .and_then(|value| input.validate(&value).map(|()| value))
                .map_err(|reason| InputError::Invalid {
                    name: name.clone(),
                    reason,
                })?;
            data.insert(name, value);
        }
        for (name, input) in &self.input {
            if data.contains_key(name) {
                continue;
            }
            if let Some(default) = &input.default
                && !(input.kind == InputKind::String && default == "")
            {
                input
                    .validate(default)
                    .map_err(|reason| InputError::Invalid {
                        name: name.clone(),
                        reason,
                    })?;
            }
        }
        let data = self.with_defaults(data);
        let missing = self
            .input
            .iter()
            .find(|(name, input)| !input.optional && !data.contains_key(*name));
        match missing {
            Some((name, _)) => Err(InputError::Required(name.clone())),
            None => Ok(data),
        }
    }
}

impl Input {
    /// Converts a text to this input's type, without checking it further.
    ///
    /// # Errors
    ///
    /// [`ValueError`] when the text is no value of the type.
    pub fn convert(&self, text: &str) -> Result<Value, ValueError> {
        match self.kind {
            InputKind::String | InputKind::List => Ok(Value::String(text.to_owned())),
            InputKind::Integer => {
                text.parse::<i64>()
                    .map(Value::from)
                    .map_err(|_error| ValueError::NotA {
                        text: text.to_owned(),
                        kind: "integer",
                    })
            }
            InputKind::Number if text.parse::<i64>().is_ok() => {
                Ok(text.parse::<i64>().map_or(Value::Null, Value::from))
            }
            InputKind::Float | InputKind::Number => text
                .parse::<f64>()
                .ok()
                .and_then(Number::from_f64)
                .map(Value::Number)
                .ok_or_else(|| ValueError::NotA {
                    text: text.to_owned(),
                    kind: "float",
                }),
            InputKind::Boolean => go_bool(text)
                .map(Value::Bool)
                .ok_or_else(|| ValueError::NotA {
                    text: text.to_owned(),
                    kind: "boolean",
                }),
            InputKind::Hash => serde_json::from_str::<Map<String, Value>>(text)
                .map(Value::Object)
                .map_err(|_error| ValueError::NotJson {
                    text: text.to_owned(),
                    kind: "a hash",
                }),
            InputKind::Array => serde_json::from_str::<Vec<Value>>(text)
                .map(Value::Array)
                .map_err(|_error| ValueError::NotJson {
                    text: text.to_owned(),
                    kind: "an array",
                }),
        }
    }
}

/// Reads a boolean as Go's `ParseBool` does.
fn go_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}
