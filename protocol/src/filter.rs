//! Which nodes a request is meant for: identity, agent, class, fact and compound filters.
//!
//! The form on the wire and every verdict are those of Choria, whose faults in compound counting, in `>` with a decimal
//! value and in `!=` on a false fact are corrected. Evaluation never fails: an entry that cannot be read or evaluated
//! matches nothing, and [`Filter::explain`] says why.

mod compiled;
mod expr;
mod fact;
mod fold;
mod name;
mod number;
mod path;
mod pattern;
mod text;
mod verdict;
mod wire;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

pub use compiled::CompiledFilter;
pub use expr::{ExprError, Expression, Scope};
pub use path::{PathError, lookup};
pub use pattern::{Pattern, PatternError};
pub use text::{FilterBuilder, from_cli, parse_fact};
pub use verdict::{FilterKind, Mismatch, Verdict};

/// Most entries that one filter may hold in all its lists together, identities not counted.
pub const MAX_ENTRIES: usize = 1_000;

/// Most regular expressions that one filter may hold, those in its expressions counted; each costs a compilation on
/// every node.
pub const MAX_PATTERNS: usize = 200;

/// Most expressions that one filter may hold.
pub const MAX_EXPRESSIONS: usize = 50;

/// The filter of a request: all kinds that are present must match, an empty one matches every node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    /// Facts, all of which the node must have.
    pub fact: Vec<FactFilter>,
    /// Configuration management classes, all of which the node must have; `/…/` is a regular expression.
    pub cf_class: Vec<String>,
    /// Agents, all of which the node must have; `/…/` is a regular expression.
    #[serde(default)]
    pub agent: Vec<String>,
    /// Identities, one of which the node must have; `/…/` is a regular expression.
    pub identity: Vec<String>,
    /// Expressions, all of which must be true; each is a list of exactly one entry.
    pub compound: Vec<Vec<CompoundEntry>>,
}

/// One comparison of a fact with a text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FactFilter {
    /// Path of the fact, as [`lookup`] reads it.
    pub fact: String,
    /// The comparison.
    pub operator: Operator,
    /// The right side: text, number or boolean as the fact at the left demands.
    pub value: String,
}

/// A comparison of a fact filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Operator {
    /// `==`
    #[serde(rename = "==")]
    Equal,
    /// `!=`
    #[serde(rename = "!=")]
    NotEqual,
    /// `=~`, a search for a regular expression
    #[serde(rename = "=~")]
    Matches,
    /// `<`
    #[serde(rename = "<")]
    Less,
    /// `<=`
    #[serde(rename = "<=")]
    LessOrEqual,
    /// `>`
    #[serde(rename = ">")]
    Greater,
    /// `>=`
    #[serde(rename = ">=")]
    GreaterOrEqual,
}

/// One object of a compound filter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct CompoundEntry {
    /// The expression; without one the entry matches nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expr: Option<String>,
    /// Keys of older forms, carried along and never evaluated.
    #[serde(flatten)]
    pub other: BTreeMap<String, String>,
}

/// What a node shows to a filter.
#[derive(Debug, Clone, Copy)]
pub struct NodeView<'a> {
    /// Identity of the node.
    pub identity: &'a str,
    /// Names of the agents that the node runs.
    pub agents: &'a [String],
    /// Configuration management classes of the node.
    pub classes: &'a [String],
    /// Facts of the node, an object.
    pub facts: &'a serde_json::Value,
}

/// A filter, or the text of one, that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// A fact filter text without a name, an operator or a value.
    #[error(
        "fact filter {text:?} is not of the form NAME OPERATOR VALUE, such as os.family=Debian"
    )]
    NotAFact {
        /// The text as given.
        text: String,
    },
    /// A fact filter whose name is empty.
    #[error("fact filter without a fact name")]
    EmptyFact,
    /// A fact filter whose value is empty.
    #[error("fact filter on {fact:?} without a value")]
    EmptyValue {
        /// The fact's path.
        fact: String,
    },
    /// A value that a numeric fact cannot be compared with.
    #[error("{value:?} is not a number, but fact {fact:?} is")]
    NotANumber {
        /// The fact's path.
        fact: String,
        /// The value of the filter.
        value: String,
    },
    /// An ordering asked of a boolean, null, list or object.
    #[error("fact {fact:?} has no order")]
    NotOrdered {
        /// The fact's path.
        fact: String,
    },
    /// A compound filter that is not a list of one object with an expression.
    #[error("compound filter is not a list of one expression")]
    NotAnExpression,
    /// More entries or regular expressions than one filter may have.
    #[error("filter has {count} {what}, the limit is {limit}")]
    TooMany {
        /// What there are too many of.
        what: &'static str,
        /// How many the filter has.
        count: usize,
        /// How many it may have.
        limit: usize,
    },
    /// The path of a fact cannot be followed.
    #[error(transparent)]
    Path(#[from] PathError),
    /// A regular expression is not one, or is too large.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// A compound expression cannot be read or evaluated.
    #[error(transparent)]
    Expr(#[from] ExprError),
}

impl Filter {
    /// Tells whether the filter is without any entry, and so matches every node.
    pub fn is_empty(&self) -> bool {
        self.fact.is_empty()
            && self.cf_class.is_empty()
            && self.agent.is_empty()
            && self.identity.is_empty()
            && self.compound.is_empty()
    }

    /// Checks what Choria's request schema demands of a filter beyond its types: no empty fact names and values.
    ///
    /// Cheap enough for every request received.
    ///
    /// # Errors
    /// The first entry at fault.
    pub fn check_wire(&self) -> Result<(), FilterError> {
        for entry in &self.fact {
            if entry.fact.is_empty() {
                return Err(FilterError::EmptyFact);
            }
            if entry.value.is_empty() {
                return Err(FilterError::EmptyValue {
                    fact: entry.fact.clone(),
                });
            }
        }
        self.check_size()
    }

    /// Checks everything that can be known without a node: the wire's rules, regular expressions, paths and expressions.
    ///
    /// Meant for those who send a filter; a node evaluates what it gets, and whatever is faulty matches nothing.
    ///
    /// # Errors
    /// The first entry at fault.
    pub fn check(&self) -> Result<(), FilterError> {
        self.check_wire()?;
        self.compile().first_fault().map_or(Ok(()), Err)
    }

    /// Checks the counts, as far as they show without reading expressions, of [`MAX_ENTRIES`], [`MAX_EXPRESSIONS`] and [`MAX_PATTERNS`].
    fn check_size(&self) -> Result<(), FilterError> {
        let count = self.fact.len() + self.cf_class.len() + self.agent.len() + self.compound.len();
        if count > MAX_ENTRIES {
            return Err(FilterError::TooMany {
                what: "entries",
                count,
                limit: MAX_ENTRIES,
            });
        }
        let count = self.compound.len();
        if count > MAX_EXPRESSIONS {
            return Err(FilterError::TooMany {
                what: "expressions",
                count,
                limit: MAX_EXPRESSIONS,
            });
        }
        let count = self.patterns();
        if count > MAX_PATTERNS {
            return Err(FilterError::TooMany {
                what: "regular expressions",
                count,
                limit: MAX_PATTERNS,
            });
        }
        Ok(())
    }

    /// Counts the regular expressions of names and facts; those of expressions are counted when they are read.
    fn patterns(&self) -> usize {
        let names = self
            .cf_class
            .iter()
            .chain(&self.agent)
            .chain(&self.identity);
        names
            .filter(|name| pattern::between_slashes(name).is_some())
            .count()
            + self
                .fact
                .iter()
                .filter(|entry| entry.operator == Operator::Matches)
                .count()
    }

    /// Prepares the filter for many nodes: regular expressions and compound expressions are read once.
    pub fn compile(&self) -> CompiledFilter<'_> {
        CompiledFilter::new(self)
    }

    /// Tells whether the filter matches `node`.
    pub fn matches(&self, node: &NodeView<'_>) -> bool {
        self.explain(node).is_match()
    }

    /// Tells whether the filter matches `node`, or else which entry refused and why.
    pub fn explain(&self, node: &NodeView<'_>) -> Verdict {
        compiled::judge_once(self, node)
    }
}

impl Operator {
    /// The operator as written in filters.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Matches => "=~",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        }
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for FactFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{}", self.fact, self.operator, self.value)
    }
}

impl CompoundEntry {
    /// Makes the entry of one expression.
    pub fn new(expr: impl Into<String>) -> Self {
        Self {
            expr: Some(expr.into()),
            other: BTreeMap::new(),
        }
    }
}

#[cfg(test)]
mod tests;
