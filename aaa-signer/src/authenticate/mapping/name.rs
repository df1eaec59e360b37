//! Names that come from elsewhere, as caller ids that nodes can tell apart.
//!
//! A request names its caller with `@` and `.` written as `_` ([`delegated`]): that is what nodes, their policies and their logs
//! know of a person. So `a.b@x.org`, `a@b.x.org` and `a_b_x_org` would be one caller to them. Of all names that are written
//! alike exactly one is taken here: the one that [`Names::original`] makes of the written form.

use std::fmt;

use overlay_tokens::claims::delegated;
use serde::Deserialize;

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
    /// Nodes see the same as of another name.
    #[error(
        "nodes cannot tell the name {0:?} from {1:?}, which is the one taken of the two (`name_separator`, `name_domains`)"
    )]
    Shared(String, String),
}

/// What stands within names, apart from the domain of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) enum Separator {
    /// Names such as `ann.lee`: none has a `_`.
    #[serde(rename = ".")]
    Dot,
    /// Names such as `ann_lee`: none has a `.`.
    #[serde(rename = "_")]
    Underscore,
}

/// Which names are addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Domains {
    /// Those with any domain of two labels, such as `example.net`.
    OfTwoLabels,
    /// Those with one of these, the longest first.
    These(Vec<String>),
}

/// Which of the names that nodes cannot tell apart is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Names {
    separator: Separator,
    domains: Domains,
}

impl Names {
    /// Names within which `separator` stands, and addresses of `domains`.
    pub(crate) fn new(separator: Separator, mut domains: Domains) -> Self {
        if let Domains::These(domains) = &mut domains {
            domains.sort_by_key(|domain| std::cmp::Reverse(domain.len()));
        }
        Self { separator, domains }
    }

    /// The caller id `kind=name`; no two names give one that nodes would write alike.
    pub(crate) fn callerid(
        &self,
        kind: impl fmt::Display,
        name: &str,
    ) -> Result<String, NameError> {
        if name.is_empty() {
            return Err(NameError::Empty);
        }
        if name.len() > MAX_NAME {
            return Err(NameError::TooLong(name.len()));
        }
        let foreign = |c: &char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '@' | '-'));
        if let Some(character) = name.chars().find(foreign) {
            return Err(NameError::Character(character));
        }
        let taken = self.original(&delegated(name));
        if taken == name {
            Ok(format!("{kind}={name}"))
        } else {
            Err(NameError::Shared(name.to_owned(), taken))
        }
    }

    /// The one name that is taken of all that are written so.
    fn original(&self, written: &str) -> String {
        match self.split(written) {
            Some((local, domain)) => {
                format!("{}@{}", self.separated(local), domain.replace('_', "."))
            }
            None => self.separated(written),
        }
    }

    /// What stands before and behind the `@` that is written as `_`, if the name is an address.
    fn split<'a>(&self, written: &'a str) -> Option<(&'a str, &'a str)> {
        let at = match &self.domains {
            Domains::OfTwoLabels => {
                let (rest, top) = written.rsplit_once('_')?;
                let (local, label) = rest.rsplit_once('_')?;
                (!label.is_empty() && !top.is_empty()).then_some(local.len())
            }
            Domains::These(domains) => domains.iter().find_map(|domain| {
                let at = written.len().checked_sub(domain.len() + 1)?;
                let ending = written.get(at..)?.strip_prefix('_')?;
                ending
                    .eq_ignore_ascii_case(&delegated(domain))
                    .then_some(at)
            }),
        }?;
        let (local, domain) = written.split_at_checked(at)?;
        (!local.is_empty()).then_some((local, domain.strip_prefix('_')?))
    }

    fn separated(&self, written: &str) -> String {
        match self.separator {
            Separator::Dot => written.replace('_', "."),
            Separator::Underscore => written.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
