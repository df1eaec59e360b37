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
use ast::Language;
pub(super) use eval::Budget;
use eval::Ground;

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

/// What the names of an expression stand for, where it is not about a node.
///
/// `include` and `semver` are there without it, as are the language's own functions.
pub trait Scope {
    /// Gives the value of a variable; what is not known is nil.
    fn variable(&self, name: &str) -> Option<serde_json::Value>;

    /// Calls a function; `None` if there is none of that name.
    fn call(
        &self,
        name: &str,
        arguments: &[serde_json::Value],
    ) -> Option<Result<serde_json::Value, String>>;
}

/// An expression about a [`Scope`], read and checked once.
#[derive(Debug)]
pub struct Expression {
    text: String,
    root: ast::Node,
}

/// An expression about a node, read and checked once.
#[derive(Debug)]
pub(super) struct Program<'e> {
    text: &'e str,
    root: ast::Node,
}

impl Expression {
    /// Reads an expression.
    ///
    /// # Errors
    /// What is wrong with its form or its types.
    pub fn new(text: &str) -> Result<Self, ExprError> {
        let mut patterns = usize::MAX;
        let root = read(text, Language::Scope, &mut patterns)?;
        Ok(Self {
            text: text.to_owned(),
            root,
        })
    }

    /// Evaluates the expression.
    ///
    /// # Errors
    /// What cannot be evaluated, or is too much work.
    pub fn is_true(&self, scope: &dyn Scope) -> Result<bool, ExprError> {
        judge(
            &self.text,
            &self.root,
            Ground::Scope(scope),
            &mut Budget::default(),
        )
    }
}

impl<'e> Program<'e> {
    /// Reads an expression, which takes its regular expressions out of `patterns`.
    pub(super) fn new(text: &'e str, patterns: &mut usize) -> Result<Self, ExprError> {
        Ok(Self {
            text,
            root: read(text, Language::Filter, patterns)?,
        })
    }

    /// Evaluates the expression on a node at the cost of `budget`.
    pub(super) fn is_true(
        &self,
        node: &NodeView<'_>,
        budget: &mut Budget,
    ) -> Result<bool, ExprError> {
        judge(self.text, &self.root, Ground::Node(node), budget)
    }
}

fn read(text: &str, language: Language, patterns: &mut usize) -> Result<ast::Node, ExprError> {
    let refused = |reason: String| ExprError {
        expression: summary(text),
        reason,
    };
    if text.len() > MAX_LENGTH {
        return Err(refused(format!("it is longer than {MAX_LENGTH} bytes")));
    }
    let root = parser::parse(text, language, patterns).map_err(refused)?;
    check::check(&root, language).map_err(refused)?;
    Ok(root)
}

fn judge(
    text: &str,
    root: &ast::Node,
    ground: Ground<'_>,
    budget: &mut Budget,
) -> Result<bool, ExprError> {
    eval::is_true(root, ground, budget).map_err(|reason| ExprError {
        expression: summary(text),
        reason,
    })
}

fn summary(text: &str) -> String {
    text.chars().take(120).collect()
}

#[cfg(test)]
mod tests;
