//! Regular expressions of filters: Go's syntax and meaning, bounded in size.

mod translate;

use regex::{Regex, RegexBuilder};

/// Longest regular expression, in bytes.
const MAX_LENGTH: usize = 4_096;

/// Most memory of one compiled expression, and again of its search cache, in bytes.
const MAX_COMPILED: usize = 256 << 10;

/// Deepest nesting of groups.
const MAX_NESTING: u32 = 100;

/// A regular expression that is none, or that is too large.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("regular expression {pattern:?} is refused: {reason}")]
pub struct PatternError {
    /// The expression, cut to a line.
    pub pattern: String,
    /// What is wrong with it.
    pub reason: String,
}

/// Whether a search looks at case, where the expression itself says nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Case {
    Sensitive,
    Insensitive,
}

/// A search for a regular expression anywhere in a text.
#[derive(Debug)]
pub struct Pattern(Regex);

/// Gives what stands between the slashes of `/…/`; a lone slash stands for the empty expression, which matches all.
pub(super) fn between_slashes(entry: &str) -> Option<&str> {
    let inner = entry.strip_prefix('/')?;
    match inner.strip_suffix('/') {
        Some(inner) => Some(inner),
        None if inner.is_empty() => Some(inner),
        None => None,
    }
}

impl Pattern {
    /// Compiles an expression of Go's `regexp` package that looks at case unless it says otherwise.
    ///
    /// # Errors
    ///
    /// [`PatternError`] when it is none, or too large.
    pub fn compile(pattern: &str) -> Result<Self, PatternError> {
        Self::new(pattern, Case::Sensitive)
    }

    /// Compiles an expression of Go's `regexp` package.
    pub(super) fn new(pattern: &str, case: Case) -> Result<Self, PatternError> {
        let refused = |reason: String| PatternError {
            pattern: pattern.chars().take(80).collect(),
            reason,
        };
        if pattern.len() > MAX_LENGTH {
            return Err(refused(format!("it is longer than {MAX_LENGTH} bytes")));
        }
        let translated = translate::from_go(pattern).map_err(|error| refused(error.to_string()))?;
        RegexBuilder::new(&translated)
            .case_insensitive(case == Case::Insensitive)
            .size_limit(MAX_COMPILED)
            .dfa_size_limit(MAX_COMPILED)
            .nest_limit(MAX_NESTING)
            .build()
            .map(Self)
            .map_err(|error| refused(last_line(&error)))
    }

    /// Tells whether the expression is found in `text`.
    #[must_use]
    pub fn is_match(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

/// Takes the verdict out of the crate's drawing of a syntax error.
fn last_line(error: &regex::Error) -> String {
    let text = error.to_string();
    let line = text.lines().last().unwrap_or_default().trim();
    line.strip_prefix("error: ").unwrap_or(line).to_lowercase()
}

#[cfg(test)]
mod tests;
