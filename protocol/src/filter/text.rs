//! Filters as typed on a command line: `-F`, `-C`, `-A`, `-I`, `-W` and `-S`.

use super::{CompoundEntry, FactFilter, Filter, FilterError, Operator};

/// Operators as typed, longer ones before those that they begin with.
const OPERATORS: [(&str, Operator); 10] = [
    ("<=", Operator::LessOrEqual),
    (">=", Operator::GreaterOrEqual),
    ("=>", Operator::GreaterOrEqual),
    ("=<", Operator::LessOrEqual),
    ("<", Operator::Less),
    (">", Operator::Greater),
    ("!=", Operator::NotEqual),
    ("=~", Operator::Matches),
    ("==", Operator::Equal),
    ("=", Operator::Equal),
];

/// Collects a filter from texts; empty texts are skipped, and repeated names kept once.
#[derive(Debug, Clone, Default)]
pub struct FilterBuilder {
    filter: Filter,
}

/// Reads a fact filter (`-F`): the right-most operator splits name and value.
///
/// `=` means `==`, `=>` and `=<` mean `>=` and `<=`, and a value between slashes makes any operator a `=~`.
///
/// # Errors
/// [`FilterError::NotAFact`] without an operator, a name or a value, or when an operator's character is at either end.
pub fn parse_fact(text: &str) -> Result<FactFilter, FilterError> {
    let refused = || FilterError::NotAFact {
        text: text.to_owned(),
    };
    let (at, typed, mut operator) = last_operator(text).ok_or_else(refused)?;
    let fact = text[..at].trim();
    let value = text[at + typed.len()..].trim();
    let is_sign = |byte: &u8| b"<>=".contains(byte);
    let (Some(first), Some(last)) = (fact.as_bytes().first(), value.as_bytes().last()) else {
        return Err(refused());
    };
    if is_sign(first) || is_sign(last) {
        return Err(refused());
    }
    if value.starts_with('/') && value.ends_with('/') {
        operator = Operator::Matches;
    }
    Ok(FactFilter {
        fact: fact.to_owned(),
        operator,
        value: value.to_owned(),
    })
}

/// Makes the filter of a command line's options.
///
/// `combined` (`-W`) holds facts and classes separated by spaces.
///
/// # Errors
/// The first fact that is none, or a fault that [`Filter::check`] finds.
pub fn from_cli(
    facts: &[String],
    classes: &[String],
    agents: &[String],
    identities: &[String],
    combined: &[String],
    compound: Option<&str>,
) -> Result<Filter, FilterError> {
    let mut builder = FilterBuilder::new();
    for text in facts {
        builder = builder.fact(text)?;
    }
    builder = agents
        .iter()
        .fold(builder, |builder, text| builder.agent(text));
    builder = classes
        .iter()
        .fold(builder, |builder, text| builder.class(text));
    builder = identities
        .iter()
        .fold(builder, |builder, text| builder.identity(text));
    builder = combined
        .iter()
        .fold(builder, |builder, text| builder.combined(text));
    let filter = builder.compound(compound.unwrap_or_default()).build();
    filter.check()?;
    Ok(filter)
}

/// Finds the last operator, reading from the left as a tokenizer does: in `a===b` it is the third `=`.
fn last_operator(text: &str) -> Option<(usize, &'static str, Operator)> {
    let mut last = None;
    let mut at = 0;
    while let Some(rest) = text.as_bytes().get(at..).filter(|rest| !rest.is_empty()) {
        match OPERATORS
            .iter()
            .find(|(typed, _)| rest.starts_with(typed.as_bytes()))
        {
            Some(&(typed, operator)) => {
                last = Some((at, typed, operator));
                at += typed.len();
            }
            None => at += 1,
        }
    }
    last
}

impl FilterBuilder {
    /// Starts with an empty filter.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a fact filter (`-F`).
    ///
    /// # Errors
    /// As [`parse_fact`].
    pub fn fact(mut self, text: &str) -> Result<Self, FilterError> {
        if !text.is_empty() {
            self.filter.fact.push(parse_fact(text)?);
        }
        Ok(self)
    }

    /// Adds an agent (`-A`).
    #[must_use]
    pub fn agent(mut self, text: &str) -> Self {
        push_once(&mut self.filter.agent, text);
        self
    }

    /// Adds a class (`-C`).
    #[must_use]
    pub fn class(mut self, text: &str) -> Self {
        push_once(&mut self.filter.cf_class, text);
        self
    }

    /// Adds an identity (`-I`).
    #[must_use]
    pub fn identity(mut self, text: &str) -> Self {
        push_once(&mut self.filter.identity, text);
        self
    }

    /// Adds facts and classes separated by spaces (`-W`): what is no fact is a class.
    #[must_use]
    pub fn combined(mut self, text: &str) -> Self {
        for part in text.split(' ').filter(|part| !part.is_empty()) {
            match parse_fact(part) {
                Ok(fact) => self.filter.fact.push(fact),
                Err(_) => push_once(&mut self.filter.cf_class, part),
            }
        }
        self
    }

    /// Adds an expression (`-S`).
    #[must_use]
    pub fn compound(mut self, text: &str) -> Self {
        if !text.is_empty() {
            self.filter.compound.push(vec![CompoundEntry::new(text)]);
        }
        self
    }

    /// Gives the filter, unchecked.
    pub fn build(self) -> Filter {
        self.filter
    }
}

fn push_once(names: &mut Vec<String>, name: &str) {
    if !name.is_empty() && !names.iter().any(|known| known == name) {
        names.push(name.to_owned());
    }
}
