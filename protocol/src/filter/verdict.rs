//! The answer of a filter, with its reason.

use std::fmt;

use super::FilterError;

/// Whether a filter matches a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Every kind of filter that is present matches.
    Match,
    /// Something does not.
    NoMatch(Mismatch),
}

/// The first entry that does not match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// The list that the entry is of.
    pub kind: FilterKind,
    /// The entry as written; of identities, of which any may match, the first one.
    pub entry: String,
    /// Why the entry could not be evaluated; without a fault it was, and is untrue of the node.
    pub fault: Option<FilterError>,
}

/// A kind of filter, in the order of evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FilterKind {
    /// The filter as a whole.
    Filter,
    /// Identities, any of which matches.
    Identity,
    /// Agents, all of which must match.
    Agent,
    /// Classes, all of which must match.
    Class,
    /// Facts, all of which must match.
    Fact,
    /// Expressions, all of which must be true.
    Compound,
}

impl Verdict {
    /// Tells whether this is a match.
    pub fn is_match(&self) -> bool {
        matches!(self, Self::Match)
    }

    pub(super) fn no_match(
        kind: FilterKind,
        entry: impl Into<String>,
        fault: Option<FilterError>,
    ) -> Self {
        Self::NoMatch(Mismatch {
            kind,
            entry: entry.into(),
            fault,
        })
    }
}

impl FilterKind {
    /// The kind in one lower-case word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::Identity => "identity",
            Self::Agent => "agent",
            Self::Class => "class",
            Self::Fact => "fact",
            Self::Compound => "compound",
        }
    }
}

impl fmt::Display for FilterKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Match => f.write_str("matches"),
            Self::NoMatch(mismatch) => mismatch.fmt(f),
        }
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} does not match", self.kind, self.entry)?;
        match &self.fault {
            Some(fault) => write!(f, ": {fault}"),
            None => Ok(()),
        }
    }
}
