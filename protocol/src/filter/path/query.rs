//! Queries: `#(size>5)`.

use std::borrow::Cow;

use serde_json::Value;

use super::glob;
use crate::filter::number;

/// A condition on the elements of an array.
#[derive(Debug, Clone, Default)]
pub(super) struct Query<'p> {
    /// What is looked at within the element; empty means the element itself.
    pub(super) path: &'p str,
    /// Whether all elements that fit are meant, or the first.
    pub(super) all: bool,
    comparison: Option<(Comparison, Cow<'p, str>)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Like,
    NotLike,
    /// A sign that is no comparison: fits nothing.
    Unknown,
}

/// Comparisons as written, longer ones before those that they begin with.
const COMPARISONS: [(&str, Comparison); 10] = [
    ("!=", Comparison::NotEqual),
    ("!%", Comparison::NotLike),
    ("<=", Comparison::LessOrEqual),
    (">=", Comparison::GreaterOrEqual),
    ("==", Comparison::Equal),
    ("<", Comparison::Less),
    (">", Comparison::Greater),
    ("=", Comparison::Equal),
    ("%", Comparison::Like),
    ("!", Comparison::Unknown),
];

/// Reads a query from its `#`; gives it and where it ends.
pub(super) fn parse(text: &str) -> Option<(Query<'_>, usize)> {
    let bytes = text.as_bytes();
    let mut at = 2;
    let mut sign = None;
    let mut depth = 1_usize;
    let mut escaped = false;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'!' | b'=' | b'<' | b'>' | b'%' if depth == 1 && sign.is_none() => sign = Some(at),
            b'\\' => at += 1,
            b'(' | b'[' => depth += 1,
            b')' | b']' => {
                depth -= 1;
                if depth == 0 {
                    break;
                }
            }
            b'"' => {
                at += 1;
                while let Some(&byte) = bytes.get(at) {
                    match byte {
                        b'\\' => {
                            escaped = true;
                            at += 1;
                        }
                        b'"' => break,
                        _ => {}
                    }
                    at += 1;
                }
            }
            _ => {}
        }
        at += 1;
    }
    if depth > 0 {
        return None;
    }
    let (path, comparison) = match sign {
        Some(sign) => {
            let right = trim(text.get(sign..at)?);
            let &(typed, comparison) = COMPARISONS
                .iter()
                .find(|(typed, _)| right.starts_with(typed))?;
            (
                text.get(2..sign)?,
                Some((comparison, unquote(trim(&right[typed.len()..]), escaped))),
            )
        }
        None => (text.get(2..at)?, None),
    };
    Some((
        Query {
            path: trim(path),
            all: false,
            comparison,
        },
        at + 1,
    ))
}

/// Cuts spaces and control characters.
fn trim(text: &str) -> &str {
    text.trim_matches(|character| character <= ' ')
}

fn unquote(text: &str, escaped: bool) -> Cow<'_, str> {
    match text
        .strip_prefix('"')
        .and_then(|inner| inner.strip_suffix('"'))
    {
        Some(inner) if escaped => {
            serde_json::from_str(text).map_or(Cow::Borrowed(inner), Cow::Owned)
        }
        Some(inner) => Cow::Borrowed(inner),
        None => Cow::Borrowed(text),
    }
}

impl Query<'_> {
    /// Tells whether the value found at the query's path fits.
    pub(super) fn fits(&self, value: Option<&Value>) -> bool {
        let Some((comparison, right)) = &self.comparison else {
            return value.is_some();
        };
        if let Some(kind) = right.strip_prefix('~') {
            let is = match kind {
                "*" => value.is_some(),
                "null" => value.is_none_or(Value::is_null),
                "true" => value.is_some_and(is_trueish),
                "false" => value.is_none_or(is_falseish),
                _ => return false,
            };
            return compare_bool(*comparison, is, "true");
        }
        match value {
            Some(Value::String(value)) => compare_text(*comparison, value, right),
            Some(Value::Number(value)) => {
                let right = number::parse_float(right).unwrap_or_default();
                compare_number(*comparison, value.as_f64().unwrap_or(f64::NAN), right)
            }
            Some(Value::Bool(value)) => compare_bool(*comparison, *value, right),
            Some(Value::Null | Value::Array(_) | Value::Object(_)) | None => false,
        }
    }
}

fn is_trueish(value: &Value) -> bool {
    match value {
        Value::Bool(value) => *value,
        Value::String(value) => matches!(value.to_lowercase().as_str(), "1" | "t" | "true"),
        Value::Number(value) => value.as_f64() != Some(0.0),
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    }
}

fn is_falseish(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !*value,
        Value::String(value) => matches!(value.to_lowercase().as_str(), "0" | "f" | "false"),
        Value::Number(value) => value.as_f64() == Some(0.0),
        Value::Array(_) | Value::Object(_) => false,
    }
}

fn compare_text(comparison: Comparison, left: &str, right: &str) -> bool {
    match comparison {
        Comparison::Equal => left == right,
        Comparison::NotEqual => left != right,
        Comparison::Less => left < right,
        Comparison::LessOrEqual => left <= right,
        Comparison::Greater => left > right,
        Comparison::GreaterOrEqual => left >= right,
        Comparison::Like => glob::fits(left, right),
        Comparison::NotLike => !glob::fits(left, right),
        Comparison::Unknown => false,
    }
}

#[expect(clippy::float_cmp, reason = "a query asks for the very number")]
fn compare_number(comparison: Comparison, left: f64, right: f64) -> bool {
    match comparison {
        Comparison::Equal => left == right,
        Comparison::NotEqual => left != right,
        Comparison::Less => left < right,
        Comparison::LessOrEqual => left <= right,
        Comparison::Greater => left > right,
        Comparison::GreaterOrEqual => left >= right,
        Comparison::Like | Comparison::NotLike | Comparison::Unknown => false,
    }
}

/// Compares with the words `true` and `false`: false is less than true, and other words are only unequal.
fn compare_bool(comparison: Comparison, left: bool, right: &str) -> bool {
    let same = right == if left { "true" } else { "false" };
    let opposite = right == if left { "false" } else { "true" };
    match comparison {
        Comparison::Equal => same,
        Comparison::NotEqual => !same,
        Comparison::Less => !left && opposite,
        Comparison::LessOrEqual => !left,
        Comparison::Greater => left && opposite,
        Comparison::GreaterOrEqual => left,
        Comparison::Like | Comparison::NotLike | Comparison::Unknown => false,
    }
}
