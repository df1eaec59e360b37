//! Expressions of compound filters (placeholder until the language is in place).

use super::NodeView;

/// An expression that cannot be read or evaluated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expression {expression:?}: {reason}")]
pub struct ExprError {
    /// The expression.
    pub expression: String,
    /// What is wrong with it.
    pub reason: String,
}

/// An expression, read once.
#[derive(Debug)]
pub(super) struct Program<'e>(&'e str);

impl<'e> Program<'e> {
    pub(super) fn new(text: &'e str) -> Result<Self, ExprError> {
        Ok(Self(text))
    }

    pub(super) fn is_true(&self, _node: &NodeView<'_>) -> Result<bool, ExprError> {
        Err(ExprError {
            expression: self.0.to_owned(),
            reason: "not yet evaluated".to_owned(),
        })
    }
}
