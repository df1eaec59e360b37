//! One comparison of a fact.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::Value;

use super::pattern::{Case, Pattern};
use super::{FactFilter, FilterError, Operator, fold, number, path};

/// A fact filter, read once.
#[derive(Debug)]
pub(super) struct FactTest<'f> {
    filter: Cow<'f, FactFilter>,
    pattern: Option<Result<Pattern, FilterError>>,
}

impl<'f> FactTest<'f> {
    pub(super) fn new(filter: Cow<'f, FactFilter>) -> Self {
        let pattern = (filter.operator == Operator::Matches).then(|| {
            let inner = filter.value.trim_start_matches('/').trim_end_matches('/');
            Pattern::new(inner, Case::Insensitive).map_err(FilterError::from)
        });
        Self { filter, pattern }
    }

    pub(super) fn filter(&self) -> &FactFilter {
        &self.filter
    }

    /// Gives what is wrong with the filter whatever the node.
    pub(super) fn fault(&self) -> Option<FilterError> {
        if let Some(Err(error)) = &self.pattern {
            return Some(error.clone());
        }
        path::check(&self.filter.fact).err().map(FilterError::from)
    }

    /// Compares the fact; a fact that the node lacks never matches.
    pub(super) fn matches(&self, facts: &Value) -> Result<bool, FilterError> {
        match path::find(facts, &self.filter.fact)?.as_deref() {
            None => Ok(false),
            Some(Value::String(fact)) => self.text(fact),
            Some(Value::Number(fact)) => self.number(fact.as_f64().unwrap_or(f64::NAN)),
            Some(Value::Bool(fact)) => self.boolean(*fact),
            Some(Value::Null | Value::Array(_) | Value::Object(_)) => match self.filter.operator {
                Operator::Equal | Operator::NotEqual | Operator::Matches => Ok(false),
                Operator::Less
                | Operator::LessOrEqual
                | Operator::Greater
                | Operator::GreaterOrEqual => Err(self.not_ordered()),
            },
        }
    }

    fn text(&self, fact: &str) -> Result<bool, FilterError> {
        let value = &self.filter.value;
        match self.filter.operator {
            Operator::Equal => Ok(fold::equal(fact, value)),
            Operator::NotEqual => Ok(!fold::equal(fact, value)),
            Operator::Matches => self.search(fact),
            Operator::Less
            | Operator::LessOrEqual
            | Operator::Greater
            | Operator::GreaterOrEqual => {
                Ok(self.ordered(fold::lower(fact).cmp(&fold::lower(value))))
            }
        }
    }

    /// Compares as decimals if the value has a point; else the fact is cut to a whole number first.
    fn number(&self, fact: f64) -> Result<bool, FilterError> {
        let value = self.filter.value.as_str();
        let has_point = value.contains('.');
        if self.filter.operator == Operator::Matches {
            return if has_point {
                self.search(&format!("{fact:.4}"))
            } else {
                self.search(&number::truncate(fact).to_string())
            };
        }
        let not_a_number = || FilterError::NotANumber {
            fact: self.filter.fact.clone(),
            value: self.filter.value.clone(),
        };
        if has_point {
            let value = number::parse_float(value).ok_or_else(not_a_number)?;
            return Ok(fact
                .partial_cmp(&value)
                .is_some_and(|order| self.ordered(order)));
        }
        let whole = number::truncate(fact);
        match self.filter.operator {
            // Texts are compared, so 01, +1 and -0 are not 1, 1 and 0.
            Operator::Equal => Ok(whole.to_string() == value),
            Operator::NotEqual => Ok(whole.to_string() != value),
            Operator::Less
            | Operator::LessOrEqual
            | Operator::Greater
            | Operator::GreaterOrEqual
            | Operator::Matches => {
                let value: i64 = value.parse().map_err(|_| not_a_number())?;
                Ok(self.ordered(whole.cmp(&value)))
            }
        }
    }

    /// Compares with a text that is true for Go's `ParseBool`, or else is false.
    fn boolean(&self, fact: bool) -> Result<bool, FilterError> {
        let value = &self.filter.value;
        match self.filter.operator {
            Operator::Equal => Ok(fact == number::is_true(value)),
            Operator::Matches => Ok(fact == number::is_true(&fold::lower(value))),
            Operator::NotEqual => Ok(fact != number::is_true(&fold::lower(value))),
            Operator::Less
            | Operator::LessOrEqual
            | Operator::Greater
            | Operator::GreaterOrEqual => Err(self.not_ordered()),
        }
    }

    fn ordered(&self, order: Ordering) -> bool {
        match self.filter.operator {
            Operator::Equal | Operator::Matches => order.is_eq(),
            Operator::NotEqual => order.is_ne(),
            Operator::Less => order.is_lt(),
            Operator::LessOrEqual => order.is_le(),
            Operator::Greater => order.is_gt(),
            Operator::GreaterOrEqual => order.is_ge(),
        }
    }

    fn search(&self, text: &str) -> Result<bool, FilterError> {
        match &self.pattern {
            Some(Ok(pattern)) => Ok(pattern.is_match(text)),
            Some(Err(error)) => Err(error.clone()),
            None => Ok(false),
        }
    }

    fn not_ordered(&self) -> FilterError {
        FilterError::NotOrdered {
            fact: self.filter.fact.clone(),
        }
    }
}
