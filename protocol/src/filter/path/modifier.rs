//! Modifiers (`@reverse`), constants (`!"text"`) and the parts of `{…}` and `[…]`.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::PathError;
use super::get::{Walk, members};
use super::scan;
use crate::filter::number;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Modifier {
    /// Formatting, or a check of what is known to be valid: the value itself.
    This,
    Reverse,
    Flatten,
    Join,
    Keys,
    Values,
    ToText,
    FromText,
    Group,
    Dig,
}

/// One path of `{…}` or `[…]`.
#[derive(Debug)]
pub(super) struct Selector<'p> {
    name: Option<&'p str>,
    pub(super) path: &'p str,
}

fn by_name(name: &str) -> Option<Modifier> {
    Some(match name {
        "this" | "pretty" | "ugly" | "valid" => Modifier::This,
        "reverse" => Modifier::Reverse,
        "flatten" => Modifier::Flatten,
        "join" => Modifier::Join,
        "keys" => Modifier::Keys,
        "values" => Modifier::Values,
        "tostr" => Modifier::ToText,
        "fromstr" => Modifier::FromText,
        "group" => Modifier::Group,
        "dig" => Modifier::Dig,
        _ => return None,
    })
}

/// Tells whether there is a modifier of that name.
pub(super) fn exists(name: &str) -> bool {
    by_name(name).is_some()
}

/// What a modifier made, and the path behind it.
pub(super) type Made<'p> = Option<(Option<Cow<'static, Value>>, &'p str)>;

/// Applies the modifier that `path` begins with; `None` if there is none of that name.
pub(super) fn apply<'p>(
    walk: &mut Walk,
    value: Option<&Value>,
    path: &'p str,
) -> Result<Made<'p>, PathError> {
    let end = path.find([':', '.', '|']).unwrap_or(path.len());
    let (head, rest) = path.split_at(end);
    let Some(modifier) = head.strip_prefix('@').and_then(by_name) else {
        return Ok(None);
    };
    let (argument, rest) = match rest.strip_prefix(':') {
        Some(rest) => split_argument(rest),
        None => ("", rest),
    };
    let made = modify(walk, modifier, value, argument)?;
    Ok(Some((made.map(Cow::Owned), rest)))
}

/// Splits off an argument: a JSON value, or all up to the next pipe.
fn split_argument(text: &str) -> (&str, &str) {
    let bytes = text.as_bytes();
    if matches!(bytes.first(), Some(b'{' | b'[' | b'"')) {
        return text.split_at(scan::balanced(text).len());
    }
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'|' => break,
            b'{' | b'[' | b'"' | b'(' => at += scan::balanced(&text[at..]).len(),
            _ => at += 1,
        }
    }
    text.split_at(at.min(text.len()))
}

fn modify(
    walk: &mut Walk,
    modifier: Modifier,
    value: Option<&Value>,
    argument: &str,
) -> Result<Option<Value>, PathError> {
    let Some(value) = value else {
        return Ok(match modifier {
            Modifier::Keys | Modifier::Values | Modifier::Dig => Some(Value::Array(Vec::new())),
            Modifier::ToText => Some(Value::String(String::new())),
            Modifier::This
            | Modifier::Reverse
            | Modifier::Flatten
            | Modifier::Join
            | Modifier::FromText
            | Modifier::Group => None,
        });
    };
    let mut value = walk.copy(value)?;
    let made = match modifier {
        Modifier::This => value,
        Modifier::Reverse => {
            if let Value::Array(elements) = &mut value {
                elements.reverse();
            }
            value
        }
        Modifier::Flatten => flatten(value, option(argument, "deep")),
        Modifier::Join => join(value, option(argument, "preserve")),
        Modifier::Keys => Value::Array(match &value {
            Value::Object(object) => members(object)
                .into_iter()
                .map(|(name, _)| Value::from(name.as_str()))
                .collect(),
            Value::Array(elements) => vec![Value::Null; elements.len()],
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => vec![Value::Null],
        }),
        Modifier::Values => match value {
            Value::Array(_) => value,
            Value::Object(object) => Value::Array(
                members(&object)
                    .into_iter()
                    .map(|(_, member)| member.clone())
                    .collect(),
            ),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                Value::Array(vec![value])
            }
        },
        Modifier::ToText => {
            let text = to_text(&value);
            walk.pay(text.len() / 64)?;
            Value::String(text)
        }
        Modifier::FromText => match value {
            Value::Null => return Ok(None),
            Value::String(text) => return Ok(serde_json::from_str(&text).ok()),
            Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value,
        },
        Modifier::Group => match value {
            Value::Object(object) => group(walk, &object)?,
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => return Ok(None),
        },
        Modifier::Dig => {
            let mut found = Vec::new();
            dig(walk, &value, argument, &mut found)?;
            Value::Array(found)
        }
    };
    Ok(Some(made))
}

/// Reads a flag of a JSON argument.
fn option(argument: &str, name: &str) -> bool {
    serde_json::from_str::<Value>(argument)
        .is_ok_and(|argument| argument.get(name) == Some(&Value::Bool(true)))
}

fn flatten(value: Value, deep: bool) -> Value {
    let Value::Array(elements) = value else {
        return value;
    };
    let mut flat = Vec::with_capacity(elements.len());
    for element in elements {
        let element = if deep {
            flatten(element, deep)
        } else {
            element
        };
        if let Value::Array(inner) = element {
            flat.extend(inner);
        } else {
            flat.push(element);
        }
    }
    Value::Array(flat)
}

/// Makes one object of a list of objects; of members of one name the last remains, or the first.
fn join(value: Value, first: bool) -> Value {
    let Value::Array(elements) = value else {
        return value;
    };
    let mut joined = Map::new();
    for element in elements {
        let Value::Object(object) = element else {
            continue;
        };
        for (name, member) in object {
            if !first || !joined.contains_key(&name) {
                joined.insert(name, member);
            }
        }
    }
    Value::Object(joined)
}

/// Makes a list of objects of an object of lists.
fn group(walk: &mut Walk, object: &Map<String, Value>) -> Result<Value, PathError> {
    let mut groups: Vec<Map<String, Value>> = Vec::new();
    for (name, value) in members(object) {
        let Value::Array(elements) = value else {
            continue;
        };
        for (at, element) in elements.iter().enumerate() {
            if at == groups.len() {
                groups.push(Map::new());
            }
            let element = walk.copy(element)?;
            if let Some(group) = groups.get_mut(at) {
                group.insert(name.clone(), element);
            }
        }
    }
    Ok(Value::Array(
        groups.into_iter().map(Value::Object).collect(),
    ))
}

/// Follows `path` from every value inside `value`.
fn dig(
    walk: &mut Walk,
    value: &Value,
    path: &str,
    found: &mut Vec<Value>,
) -> Result<(), PathError> {
    walk.nested(|walk| {
        if let Some(here) = walk.get(Some(Cow::Borrowed(value)), path)? {
            found.push(here.into_owned());
        }
        match value {
            Value::Array(elements) => elements
                .iter()
                .try_for_each(|element| dig(walk, element, path, found)),
            Value::Object(object) => members(object)
                .into_iter()
                .try_for_each(|(_, member)| dig(walk, member, path, found)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
        }
    })
}

/// Writes a value as compact JSON with numbers as doubles.
pub(super) fn to_text(value: &Value) -> String {
    match value {
        Value::Number(number) => number
            .as_f64()
            .map_or_else(|| number.to_string(), number::format_float),
        Value::Array(elements) => {
            let elements: Vec<_> = elements.iter().map(to_text).collect();
            format!("[{}]", elements.join(","))
        }
        Value::Object(object) => {
            let members: Vec<_> = members(object)
                .into_iter()
                .map(|(name, member)| format!("{}:{}", Value::from(name.as_str()), to_text(member)))
                .collect();
            format!("{{{}}}", members.join(","))
        }
        Value::Null | Value::Bool(_) | Value::String(_) => value.to_string(),
    }
}

/// Reads a constant: `!` and a JSON value; gives it and the path behind it.
///
/// As in the original nothing can follow a text or a number.
pub(super) fn constant(path: &str) -> Option<(Value, &str)> {
    let text = path.strip_prefix('!')?;
    match text.as_bytes().first()? {
        b'{' | b'[' => {
            let (constant, rest) = text.split_at(scan::balanced(text).len());
            Some((serde_json::from_str(constant).ok()?, rest))
        }
        b'"' => Some((serde_json::from_str(scan::balanced(text)).ok()?, "")),
        b'+' | b'-' | b'0'..=b'9' => {
            let end = text.find([',', ']', '}']).unwrap_or(text.len());
            let number = number::parse_float(text[..end].trim_end()).unwrap_or_default();
            Some((Value::from(number), ""))
        }
        _ => {
            let (constant, rest) = text.split_at(text.find(['.', '|']).unwrap_or(text.len()));
            let value = match constant.to_lowercase().as_str() {
                "true" => Value::Bool(true),
                "false" => Value::Bool(false),
                "null" => Value::Null,
                _ => return None,
            };
            Some((value, rest))
        }
    }
}

/// Splits `{…}` or `[…]` into its paths; gives them and the path behind.
pub(super) fn selectors(path: &str) -> Option<(Vec<Selector<'_>>, &str)> {
    let bytes = path.as_bytes();
    let mut selectors = Vec::new();
    let mut depth = 1;
    let mut start = 1;
    let mut colon = None;
    let mut has_modifier = false;
    let mut at = 1;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 1,
            b'@' if matches!(bytes.get(at - 1), Some(b'.' | b'|')) => has_modifier = true,
            b':' if !has_modifier && colon.is_none() && depth == 1 => colon = Some(at),
            b',' if depth == 1 => {
                selectors.push(selector(path, start, colon, at)?);
                start = at + 1;
                colon = None;
                has_modifier = false;
            }
            b'"' => {
                at += 1;
                while let Some(&byte) = bytes.get(at) {
                    match byte {
                        b'\\' => at += 1,
                        b'"' => break,
                        _ => {}
                    }
                    at += 1;
                }
            }
            b'[' | b'(' | b'{' => depth += 1,
            b']' | b')' | b'}' => {
                depth -= 1;
                if depth == 0 {
                    selectors.push(selector(path, start, colon, at)?);
                    return Some((selectors, path.get(at + 1..)?));
                }
            }
            _ => {}
        }
        at += 1;
    }
    None
}

fn selector(path: &str, start: usize, colon: Option<usize>, end: usize) -> Option<Selector<'_>> {
    Some(match colon {
        Some(colon) => Selector {
            name: path.get(start..colon),
            path: path.get(colon + 1..end)?,
        },
        None => Selector {
            name: None,
            path: path.get(start..end)?,
        },
    })
}

impl Selector<'_> {
    /// The member's name: as given, or the last part of the path if that is plain.
    pub(super) fn name(&self) -> String {
        if let Some(name) = self.name.filter(|name| !name.is_empty()) {
            return serde_json::from_str(name).unwrap_or_else(|_| name.to_owned());
        }
        let last = last_part(self.path);
        let is_plain = !last.contains(['[', ']', '{', '}', '(', ')', '#', '|', '!'])
            && last.chars().all(|c| c >= ' ');
        if is_plain {
            last.to_owned()
        } else {
            "_".to_owned()
        }
    }
}

fn last_part(path: &str) -> &str {
    let bytes = path.as_bytes();
    let separator = (0..bytes.len())
        .rev()
        .find(|&at| matches!(bytes[at], b'.' | b'|') && (at == 0 || bytes[at - 1] != b'\\'));
    separator.map_or(path, |at| &path[at + 1..])
}
