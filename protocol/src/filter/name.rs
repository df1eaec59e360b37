//! Names: identities, agents and classes.

use std::borrow::Cow;

use super::PatternError;
use super::fold;
use super::pattern::{Case, Pattern, between_slashes};

/// One name of a filter: exact, or a regular expression between slashes.
#[derive(Debug)]
pub(super) enum NameTest<'f> {
    /// The name itself.
    Exact(Cow<'f, str>),
    /// A search in the name.
    Search(Pattern),
    /// A regular expression that is not one.
    Faulty(PatternError),
}

impl<'f> NameTest<'f> {
    /// Reads an identity or agent, both of which are case sensitive.
    pub(super) fn name(entry: &'f str) -> Self {
        match between_slashes(entry) {
            Some(pattern) => Self::search(pattern, Case::Sensitive),
            None => Self::Exact(Cow::Borrowed(entry)),
        }
    }

    /// Reads a class: plain ones are looked for in lower case, and regular expressions ignore case.
    pub(super) fn class(entry: &'f str) -> Self {
        match between_slashes(entry) {
            Some(pattern) => Self::search(pattern, Case::Insensitive),
            None if entry
                .bytes()
                .all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase()) =>
            {
                Self::Exact(Cow::Borrowed(entry))
            }
            None => Self::Exact(Cow::Owned(fold::lower(entry))),
        }
    }

    fn search(pattern: &str, case: Case) -> Self {
        match Pattern::new(pattern, case) {
            Ok(pattern) => Self::Search(pattern),
            Err(error) => Self::Faulty(error),
        }
    }

    pub(super) fn into_owned(self) -> NameTest<'static> {
        match self {
            Self::Exact(name) => NameTest::Exact(Cow::Owned(name.into_owned())),
            Self::Search(pattern) => NameTest::Search(pattern),
            Self::Faulty(error) => NameTest::Faulty(error),
        }
    }

    /// Tells whether `name` is meant.
    pub(super) fn matches(&self, name: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == name,
            Self::Search(pattern) => pattern.is_match(name),
            Self::Faulty(_) => false,
        }
    }

    /// Tells whether any of `names` is meant.
    pub(super) fn matches_any(&self, names: &[String]) -> bool {
        names.iter().any(|name| self.matches(name))
    }

    pub(super) fn fault(&self) -> Option<&PatternError> {
        match self {
            Self::Faulty(error) => Some(error),
            Self::Exact(_) | Self::Search(_) => None,
        }
    }
}
