//! Descriptions of agents: actions, inputs, outputs, and how replies are summed up.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::{DecodeError, Layer};
use crate::json::Limits;

mod aggregate;
mod builtin;
mod chart;
mod convert;
mod format;
mod validate;

pub use aggregate::{Aggregates, Summary};
pub use builtin::{builtin, builtins};
pub use validate::{InputError, ValueError};

/// Schema id that descriptions carry.
pub const SCHEMA: &str = "https://choria.io/schemas/mcorpc/ddl/v1/agent.json";

/// Description of an agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ddl {
    /// Schema id; [`SCHEMA`], if any.
    #[serde(rename = "$schema", default, skip_serializing_if = "String::is_empty")]
    pub schema: String,
    /// What the agent is.
    pub metadata: Metadata,
    /// What it does.
    pub actions: Vec<Action>,
}

/// What an agent is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// Name, as in subjects.
    pub name: String,
    /// One sentence.
    pub description: String,
    /// Who wrote it.
    pub author: String,
    /// Licence, mostly an SPDX id.
    pub license: String,
    /// One to three numbers with dots.
    pub version: String,
    /// Where to read more.
    pub url: String,
    /// Seconds after which a client stops waiting for an action.
    pub timeout: u64,
    /// What runs the agent, `external` for programs.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub provider: String,
    /// Whether any one host answers for all.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub service: bool,
}

/// What an agent does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Action {
    /// Name.
    pub action: String,
    /// One sentence.
    pub description: String,
    /// Which replies are shown to people by default.
    #[serde(default)]
    pub display: Display,
    /// Inputs by name.
    #[serde(default)]
    pub input: BTreeMap<String, Input>,
    /// Outputs by name.
    #[serde(default)]
    pub output: BTreeMap<String, Output>,
    /// Summaries over all replies.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aggregate: Vec<Aggregate>,
}

/// Which replies are shown by default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Display {
    /// Those that went well.
    Ok,
    /// Those that did not.
    #[default]
    Failed,
    /// All.
    Always,
}

/// One input of an action.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Input {
    /// A few words to ask for it.
    pub prompt: String,
    /// One sentence.
    pub description: String,
    /// Type of its values.
    #[serde(rename = "type")]
    pub kind: InputKind,
    /// Value when none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
    /// Whether it may be left out.
    #[serde(default)]
    pub optional: bool,
    /// Rule for texts: the name of a validator, or a regular expression.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub validation: String,
    /// Longest text in bytes; 0 sets no limit.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub maxlength: usize,
    /// Texts that are allowed, for [`InputKind::List`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub list: Vec<String>,
}

/// Type of an input's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InputKind {
    /// Text.
    String,
    /// Whole number.
    #[serde(alias = "int")]
    Integer,
    /// Any number.
    Number,
    /// Number with a fraction.
    Float,
    /// True or false.
    Boolean,
    /// One text of a list.
    List,
    /// Object.
    #[serde(alias = "Hash")]
    Hash,
    /// List of values.
    #[serde(alias = "Array")]
    Array,
}

/// One output of an action.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Output {
    /// One sentence.
    pub description: String,
    /// Heading that people see.
    pub display_as: String,
    /// Value when the action gives none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
    /// Type of its values; empty means any.
    #[serde(rename = "type", default, skip_serializing_if = "String::is_empty")]
    pub kind: String,
}

/// A summary over all replies: a function and its arguments, of which the first names an output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Aggregate {
    /// `summary`, `boolean_summary`, `average` or `chart`.
    pub function: String,
    /// Output, and perhaps an object with `format` and replacements of values.
    pub args: Vec<Value>,
}

/// Decodes a description.
///
/// # Errors
///
/// [`DecodeError`] says which limit or rule was broken.
pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Ddl, DecodeError> {
    limits.check(Layer::Ddl, bytes)?;
    let ddl: Ddl = serde_json::from_slice(bytes).map_err(|source| DecodeError::Json {
        layer: Layer::Ddl,
        source,
    })?;
    ddl.check()?;
    Ok(ddl)
}

impl Ddl {
    /// Returns an action by name.
    #[must_use]
    pub fn action(&self, name: &str) -> Option<&Action> {
        self.actions.iter().find(|action| action.action == name)
    }

    /// Returns the names of all actions, sorted.
    #[must_use]
    pub fn action_names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self
            .actions
            .iter()
            .map(|action| action.action.as_str())
            .collect();
        names.sort_unstable();
        names
    }

    fn check(&self) -> Result<(), DecodeError> {
        let bad = |member, reason: String| DecodeError::Member {
            layer: Layer::Ddl,
            member,
            reason,
        };
        if !is_plain(&self.metadata.name) || self.metadata.name.is_empty() {
            return Err(bad(
                "metadata",
                format!(
                    "agent name {:?} is not made of a-z, 0-9 and _",
                    self.metadata.name
                ),
            ));
        }
        let mut seen = std::collections::BTreeSet::new();
        for action in &self.actions {
            if !is_plain(&action.action) || action.action.is_empty() {
                return Err(bad(
                    "actions",
                    format!("name {:?} is not made of a-z, 0-9 and _", action.action),
                ));
            }
            let mut names = action.input.keys().chain(action.output.keys());
            if let Some(name) = names.find(|name| !is_field(name)) {
                return Err(bad(
                    "actions",
                    format!("name {name:?} is not made of letters, digits, _ and -"),
                ));
            }
            if !seen.insert(&action.action) {
                return Err(bad(
                    "actions",
                    format!("action {} is described twice", action.action),
                ));
            }
        }
        Ok(())
    }
}

impl Action {
    /// Adds the defaults of outputs that an agent left out.
    pub fn set_output_defaults(&self, data: &mut Map<String, Value>) {
        for (name, output) in &self.output {
            if let Some(default) = &output.default
                && !data.contains_key(name)
            {
                data.insert(name.clone(), default.clone());
            }
        }
    }

    /// Returns the inputs with the defaults of those that are missing.
    #[must_use]
    pub fn with_defaults(&self, mut data: Map<String, Value>) -> Map<String, Value> {
        for (name, input) in &self.input {
            if let Some(default) = &input.default
                && !data.contains_key(name)
            {
                data.insert(name.clone(), default.clone());
            }
        }
        data
    }
}

/// Some agents have inputs in capitals, the parts of a certificate's subject for one.
fn is_field(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    !name.is_empty() && name.bytes().all(allowed)
}

fn is_plain(name: &str) -> bool {
    name.bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests;
