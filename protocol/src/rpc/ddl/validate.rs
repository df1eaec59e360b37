//! What values inputs may have.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use regex::RegexBuilder;
use serde_json::{Map, Value};

use super::{Action, Input, InputKind};

/// Largest compiled regular expression of a description, in bytes.
const MAX_REGEX_BYTES: usize = 1 << 20;

/// Why an action does not take its inputs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    /// The description has no such input.
    #[error("input '{0}' has not been declared")]
    Undeclared(String),
    /// A value is not allowed; the text names the reason, as people know it from the original.
    #[error("invalid value for '{name}': {reason}")]
    Invalid {
        /// Name of the input.
        name: String,
        /// What is wrong with its value.
        reason: ValueError,
    },
    /// An input is missing.
    #[error("input '{0}' is required")]
    Required(String),
}

/// Why a value is not allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// A text that does not convert.
    #[error("'{text}' is not a valid {kind}")]
    NotA {
        /// The text.
        text: String,
        /// Type it should have.
        kind: &'static str,
    },
    /// A text that is not the JSON it should be.
    #[error("'{text}' is not a valid JSON string with {kind} inside")]
    NotJson {
        /// The text.
        text: String,
        /// Type it should have, with its article.
        kind: &'static str,
    },
    /// A value of another type.
    #[error("is not {0}")]
    Type(&'static str),
    /// A text above the length that is allowed.
    #[error("is longer than {0} characters")]
    TooLong(usize),
    /// A text with something that a shell would act on.
    #[error("may not contain '{0}'")]
    Unsafe(&'static str),
    /// A text that is no address.
    #[error("{text} is not an {kind} address")]
    Address {
        /// The text.
        text: String,
        /// Kind of address.
        kind: &'static str,
    },
    /// A text that the expression does not find anything in.
    #[error("input does not match '{0}'")]
    Mismatch(String),
    /// The description's expression is none.
    #[error("invalid regex '{0}'")]
    Regex(String),
    /// A text that is not on the list.
    #[error("should be one of {0}")]
    NotListed(String),
}

impl Action {
    /// Checks typed inputs: all that are required are there, all that are there are declared and allowed.
    ///
    /// # Errors
    ///
    /// [`InputError`] for the first fault, by name of input.
    pub fn validate(&self, data: &Map<String, Value>) -> Result<(), InputError> {
        for (name, input) in &self.input {
            match data.get(name) {
                None if !input.optional => return Err(InputError::Required(name.clone())),
                None => {}
                Some(value) => input
                    .validate(value)
                    .map_err(|reason| InputError::Invalid {
                        name: name.clone(),
                        reason,
                    })?,
            }
        }
        let undeclared = data
            .keys()
            .find(|name| !self.input.contains_key(*name) && *name != "process_results");
        undeclared.map_or(Ok(()), |name| Err(InputError::Undeclared(name.clone())))
    }
}

impl Input {
    /// Checks one value.
    ///
    /// # Errors
    ///
    /// [`ValueError`] says what is wrong with it.
    pub fn validate(&self, value: &Value) -> Result<(), ValueError> {
        let right = match self.kind {
            InputKind::String => return self.validate_text(value),
            InputKind::List => return self.validate_listed(value),
            InputKind::Integer => {
                value.is_i64()
                    || value.is_u64()
                    || value.as_f64().is_some_and(|number| number.fract() == 0.0)
            }
            // Go writes 5.0 as 5, so a float without a fraction looks like an integer
            InputKind::Number | InputKind::Float => value.is_number(),
            InputKind::Boolean => value.is_boolean(),
            InputKind::Hash => value.is_object(),
            InputKind::Array => value.is_array(),
        };
        if right {
            Ok(())
        } else {
            Err(ValueError::Type(self.kind.with_article()))
        }
    }

    fn validate_text(&self, value: &Value) -> Result<(), ValueError> {
        let Some(text) = value.as_str() else {
            return Err(ValueError::Type(self.kind.with_article()));
        };
        if self.maxlength > 0 && text.len() > self.maxlength {
            return Err(ValueError::TooLong(self.maxlength));
        }
        let address = |kind| ValueError::Address {
            text: text.to_owned(),
            kind,
        };
        match self.validation.as_str() {
            "" => Ok(()),
            "shellsafe" => {
                let unsafe_ = ["`", "$", ";", "|", "&&", ">", "<"]
                    .into_iter()
                    .find(|mark| text.contains(mark));
                unsafe_.map_or(Ok(()), |mark| Err(ValueError::Unsafe(mark)))
            }
            "ipv4address" => text
                .parse::<Ipv4Addr>()
                .map(drop)
                .map_err(|_error| address("IPv4")),
            "ipv6address" => text
                .parse::<Ipv6Addr>()
                .map(drop)
                .map_err(|_error| address("IPv6")),
            "ipaddress" => text
                .parse::<IpAddr>()
                .map(drop)
                .map_err(|_error| address("IP")),
            // a validator that other software has and we do not: nothing to check with
            named
                if named.starts_with(|first: char| first.is_ascii_lowercase())
                    && super::is_plain(named) =>
            {
                Ok(())
            }
            pattern => {
                let regex = RegexBuilder::new(pattern)
                    .size_limit(MAX_REGEX_BYTES)
                    .build();
                match regex {
                    Ok(regex) if regex.is_match(text) => Ok(()),
                    Ok(_) => Err(ValueError::Mismatch(pattern.to_owned())),
                    Err(_) => Err(ValueError::Regex(pattern.to_owned())),
                }
            }
        }
    }

    fn validate_listed(&self, value: &Value) -> Result<(), ValueError> {
        let text = value.as_str().ok_or(ValueError::Type("a string"))?;
        if self.list.iter().any(|allowed| allowed == text) {
            Ok(())
        } else {
            Err(ValueError::NotListed(self.list.join(", ")))
        }
    }
}

impl InputKind {
    fn with_article(self) -> &'static str {
        match self {
            Self::String | Self::List => "a string",
            Self::Integer => "an integer",
            Self::Number => "a number",
            Self::Float => "a float",
            Self::Boolean => "a boolean",
            Self::Hash => "a hash map",
            Self::Array => "an array",
        }
    }
}
