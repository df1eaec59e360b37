//! Faults of a policy.

use serde::Serialize;

/// What is wrong with a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PolicyErrorKind {
    /// Larger, deeper or more entangled than what is evaluated.
    TooLarge,
    /// Not Rego.
    Syntax,
    /// Another package than the one that is asked.
    Package,
    /// No rule of the name that is asked, or one that can't be true or false.
    Entry,
    /// A function that does not exist, or not here.
    Function,
    /// Wrong arguments of a function.
    Arguments,
    /// A rule that needs itself.
    Recursion,
    /// Rules that contradict each other.
    Conflict,
    /// A variable that nothing binds.
    Variable,
    /// A fault of the engine.
    Engine,
}

/// One fault of a policy, for its author.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize)]
#[error("{}{message}", at(*.line))]
pub struct PolicyError {
    /// The kind.
    pub kind: PolicyErrorKind,
    /// The line, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

impl PolicyError {
    pub(super) fn new(kind: PolicyErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            line: None,
            message: message.into(),
            help: None,
        }
    }

    #[must_use]
    pub(super) fn at(self, line: u32) -> Self {
        Self {
            line: Some(line),
            ..self
        }
    }

    #[must_use]
    pub(super) fn help(self, help: impl Into<String>) -> Self {
        Self {
            help: Some(help.into()),
            ..self
        }
    }

    /// Reads the engine's own text, which shows the place over several lines.
    pub(super) fn of_engine(kind: PolicyErrorKind, text: &str) -> Self {
        let line = text
            .split_once("--> ")
            .and_then(|(_, place)| place.split('\n').next())
            .and_then(|place| place.rsplit(':').nth(1))
            .and_then(|line| line.parse().ok());
        let message = text
            .rsplit_once("error: ")
            .map_or(text, |(_, message)| message)
            .trim();
        Self {
            line,
            ..Self::new(kind, message.chars().take(300).collect::<String>())
        }
    }
}

/// The line in front of a message.
fn at(line: Option<u32>) -> String {
    line.map_or_else(String::new, |line| format!("line {line}: "))
}
