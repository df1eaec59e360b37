//! Paths to facts, in the syntax of Go's `gjson` library.
//!
//! ```text
//! os.release.major     a member of a member            list.0       an element, from 0
//! os.fam*  os.f?mily   the first member that fits      list.#       how many elements
//! with\.dot            a dot in a name                 list.#.name  that member of each element
//! list.#(size>5).name  of the first element that fits; #(…)# of each that does
//! list|@reverse|0      a modifier; {a,b} and [a,b] collect several paths; !"text" is a constant
//! ```
//!
//! Facts are what the fleet's other programs see: numbers are doubles, and members are in the order of their names.
//! Following a path is bounded in length, in nesting and in work.

mod get;
mod glob;
mod modifier;
mod query;
mod scan;

use std::borrow::Cow;

use serde_json::Value;

/// Longest path, in bytes.
const MAX_LENGTH: usize = 1_024;

/// A path that is not followed to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// The path is longer than anything a fact could need.
    #[error("fact path is longer than {MAX_LENGTH} bytes")]
    TooLong,
    /// The path has more steps inside steps than are followed.
    #[error("fact path is nested too deeply")]
    TooDeep,
    /// The path would look at, or copy, too many values.
    #[error("fact path needs too much work")]
    TooMuchWork,
}

/// Looks up a fact by its path, as filters do; `None` if it is missing or the path can't be followed.
///
/// A fact that is `null` is found.
pub fn lookup(facts: &Value, path: &str) -> Option<Value> {
    find(facts, path).ok().flatten().map(Cow::into_owned)
}

/// Looks up a fact by its path.
pub(super) fn find<'v>(facts: &'v Value, path: &str) -> Result<Option<Cow<'v, Value>>, PathError> {
    check(path)?;
    get::Walk::new().get(Some(Cow::Borrowed(facts)), path)
}

/// Gives the length of the facts as the text that the original keeps of them.
pub(super) fn text_length(facts: &Value) -> usize {
    modifier::to_text(facts).len()
}

/// Checks what can be known of a path without facts.
pub(super) fn check(path: &str) -> Result<(), PathError> {
    if path.len() > MAX_LENGTH {
        Err(PathError::TooLong)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
