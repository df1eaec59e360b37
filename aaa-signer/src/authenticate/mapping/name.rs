//! Names that come from elsewhere, as caller ids.

use std::fmt;

/// The longest name; more would be somebody's mistake.
const MAX_NAME: usize = 128;

/// Why a name can be nobody's caller id.
///
/// A name is refused, never rewritten: what is rewritten could become another person's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NameError {
    /// There is none.
    #[error("the name is empty")]
    Empty,
    /// It is longer than a name.
    #[error("the name has {0} bytes, more than {MAX_NAME}")]
    TooLong(usize),
    /// It has a character that Choria's programs do not take in a caller id.
    #[error("the name has {0:?}, which is none of A-Z a-z 0-9 _ . @ -")]
    Character(char),
}

/// The caller id `kind=name`; one name gives one caller id, and no two names give the same.
pub(crate) fn callerid(kind: impl fmt::Display, name: &str) -> Result<String, NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name.len() > MAX_NAME {
        return Err(NameError::TooLong(name.len()));
    }
    let foreign = |c: &char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '@' | '-'));
    match name.chars().find(foreign) {
        Some(character) => Err(NameError::Character(character)),
        None => Ok(format!("{kind}={name}")),
    }
}
