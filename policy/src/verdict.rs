//! What a policy says, and which part of it said so.

use serde::Serialize;

/// The answer to a question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", tag = "verdict", content = "why")]
pub enum Verdict {
    /// The request may be made.
    Allow(Why),
    /// It may not, be it by a rule or because the policy could not be evaluated.
    Deny(Why),
}

impl Verdict {
    /// Whether the request may be made.
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allow(_))
    }

    /// The reason.
    pub fn why(&self) -> &Why {
        match self {
            Self::Allow(why) | Self::Deny(why) => why,
        }
    }

    /// The same of a policy in Rego with this hash.
    #[must_use]
    pub(crate) fn of_policy(mut self, hash: &str) -> Self {
        let (Self::Allow(why) | Self::Deny(why)) = &mut self;
        why.policy = Some(hash.to_owned());
        self
    }

    /// Whether the policy itself is at fault: it cannot be read or evaluated.
    pub fn is_error(&self) -> bool {
        self.why().error
    }
}

/// Why a request may or may not be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Why {
    /// The part of the policy that decided: `agents[2] rpcutil.*`, `rego 0f3a9c2b71de line 14`.
    pub rule: String,
    /// The reason for a person.
    pub message: String,
    /// SHA-256 of the policy in Rego, 64 hex digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// Whether the policy could not be read or evaluated.
    pub error: bool,
}

impl Why {
    /// A decision of the rules.
    pub fn decided(rule: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            rule: rule.into(),
            message: message.into(),
            policy: None,
            error: false,
        }
    }

    /// A policy that could not be used.
    pub fn failed(rule: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            error: true,
            ..Self::decided(rule, message)
        }
    }
}
