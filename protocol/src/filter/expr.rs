//! Expressions of compound filters: the part of the expr-lang language that a filter can use.
//!
//! ```text
//! with('apache') and fact('os.release.major') in ['8', '9']
//! semver(fact('version'), '>= 1.2') and not any(classes, # startsWith 'role::old')
//! ```
//!
//! As in the original an expression is checked for types before it is evaluated, and must give a boolean. Functions of
//! this fleet: `with(text)` matches a fact, class or agent, `fact(path)` is a fact's value, `include(list, value)`,
//! `semver(version, constraint)`. Variables: `agents`, `classes`, and `facts`, of which nothing can be asked.
//!
//! Expressions come from afar, so length, nesting, regular expressions and work are bounded. What looks at the clock,
//! and a few functions that no filter needs, are refused by name.

mod ast;
mod builtin;
mod check;
mod eval;
mod lexer;
mod parser;
mod value;
mod version;
mod with;

use super::NodeView;

/// Longest expression, in bytes.
const MAX_LENGTH: usize = 8_192;

/// An expression that cannot be read or evaluated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expression {expression:?}: {reason}")]
pub struct ExprError {
    /// The expression, cut to a line.
    pub expression: String,
    /// What is wrong with it.
    pub reason: String,
}

/// An expression, read and checked once.
#[derive(Debug)]
pub(super) struct Program<'e> {
    text: &'e str,
    root: ast::Node,
}

impl<'e> Program<'e> {
    pub(super) fn new(text: &'e str) -> Result<Self, ExprError> {
        let refused = |reason: String| ExprError {
            expression: summary(text),
            reason,
        };
        if text.len() > MAX_LENGTH {
            return Err(refused(format!("it is longer than {MAX_LENGTH} bytes")));
        }
        let root = parser::parse(text).map_err(refused)?;
        check::check(&root).map_err(refused)?;
        Ok(Self { text, root })
    }

    /// Evaluates the expression on a node.
    pub(super) fn is_true(&self, node: &NodeView<'_>) -> Result<bool, ExprError> {
        eval::is_true(&self.root, node).map_err(|reason| ExprError {
            expression: summary(self.text),
            reason,
        })
    }
}

fn summary(text: &str) -> String {
    text.chars().take(120).collect()
}

#[cfg(test)]
mod tests;
