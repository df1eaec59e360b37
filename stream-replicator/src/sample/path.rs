//! Paths to fields, in the syntax of Go's `gjson` library.

use std::borrow::Cow;

use overlay_protocol::filter;
use serde_json::Value;

use super::raw::{self, Found};

/// A path that was taken apart once.
#[derive(Debug, Clone)]
pub(crate) enum Path {
    /// Members and elements: followed in the raw text.
    Plain(Vec<Part>),
    /// Queries, modifiers, pipes, several paths: followed in the parsed document.
    Full(String),
}

/// One step.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    name: Vec<u8>,
    /// `*` and `?` stand for others.
    wild: bool,
    /// The place in a list.
    index: Option<usize>,
}

impl Path {
    pub(crate) fn new(path: &str) -> Self {
        plain(path).map_or_else(|| Self::Full(path.to_owned()), Self::Plain)
    }

    /// The field as text, if it is there; `null` is the empty one.
    pub(crate) fn text<'a>(&self, body: &'a [u8]) -> Option<Cow<'a, str>> {
        match self {
            Self::Plain(parts) => raw::find(body, parts).map(Found::text),
            Self::Full(path) => in_document(body, path).map(|value| Cow::Owned(text(&value))),
        }
    }

    /// Whether the field is there, `null` or not.
    pub(super) fn exists(&self, body: &[u8]) -> bool {
        match self {
            Self::Plain(parts) => raw::find(body, parts).is_some(),
            Self::Full(path) => in_document(body, path).is_some(),
        }
    }

    /// Whether the field is there and says yes.
    pub(super) fn is_true(&self, body: &[u8]) -> bool {
        match self {
            Self::Plain(parts) => raw::find(body, parts).is_some_and(Found::is_true),
            Self::Full(path) => in_document(body, path).is_some_and(|value| match value {
                Value::Bool(flag) => flag,
                Value::Number(number) => number.as_f64() != Some(0.0),
                Value::String(text) => raw::says_yes(&text),
                Value::Null | Value::Array(_) | Value::Object(_) => false,
            }),
        }
    }
}

impl Part {
    /// Whether a member of this name, perhaps with escapes, is meant.
    pub(super) fn fits(&self, name: &[u8], escaped: bool) -> bool {
        let name = if escaped {
            Cow::Owned(raw::unescaped(name))
        } else {
            Cow::Borrowed(name)
        };
        if self.wild {
            fits(&name, &self.name)
        } else {
            *name == *self.name
        }
    }

    pub(super) fn is_index(&self, index: usize) -> bool {
        self.index == Some(index)
    }

    /// Whether the elements of a list are to be counted.
    pub(super) fn counts(&self) -> bool {
        self.name == b"#"
    }
}

/// Takes a path apart; nothing when it has more than members and elements.
fn plain(path: &str) -> Option<Vec<Part>> {
    if path.starts_with("..") || (path.len() > 1 && path.starts_with(['@', '!', '[', '{'])) {
        return None;
    }
    let mut parts = Vec::new();
    let mut name = Vec::new();
    let mut wild = false;
    let mut bytes = path.bytes().peekable();
    loop {
        match bytes.next() {
            Some(b'\\') => name.extend(bytes.next()),
            Some(b'|') => return None,
            Some(b'.') if bytes.peek().is_some() => {
                if matches!(bytes.peek(), Some(b'@' | b'[' | b'{')) || name.starts_with(b"#") {
                    return None;
                }
                parts.push(Part::new(std::mem::take(&mut name), wild));
                wild = false;
            }
            Some(byte) => {
                wild |= matches!(byte, b'*' | b'?');
                name.push(byte);
            }
            None => break,
        }
    }
    if name.len() > 1 && name.starts_with(b"#") {
        return None;
    }
    parts.push(Part::new(name, wild));
    Some(parts)
}

impl Part {
    fn new(name: Vec<u8>, wild: bool) -> Self {
        let index = str::from_utf8(&name)
            .ok()
            .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|name| name.parse().ok());
        Self { name, wild, index }
    }
}

/// Whether a name fits a pattern: `*` is any number of characters, `?` one.
fn fits(mut name: &[u8], mut pattern: &[u8]) -> bool {
    // Where to go on after a mismatch: behind the last star, with one more character taken by it.
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        match (pattern.split_first(), name.split_first()) {
            (Some((b'*', after)), _) => {
                retry = Some((name, after));
                pattern = after;
                continue;
            }
            (None, None) => return true,
            (Some((b'?', after)), Some((_, rest))) => {
                pattern = after;
                let part_of_char = rest.iter().take_while(|byte| (*byte & 0xc0) == 0x80);
                name = rest.get(part_of_char.count()..).unwrap_or_default();
                continue;
            }
            (Some((expected, after)), Some((found, rest))) if expected == found => {
                pattern = after;
                name = rest;
                continue;
            }
            (Some(_) | None, _) => {}
        }
        let Some(((_, rest), star)) =
            retry.and_then(|(from, star)| Some((from.split_first()?, star)))
        else {
            return false;
        };
        retry = Some((rest, star));
        name = rest;
        pattern = star;
    }
}

/// Follows a path in the parsed document; with `..`, in the list of all documents.
fn in_document(body: &[u8], path: &str) -> Option<Value> {
    if let Some(rest) = path.strip_prefix("..") {
        let documents = serde_json::Deserializer::from_slice(body).into_iter();
        let documents = documents.map_while(Result::ok).collect();
        return filter::lookup(&Value::Array(documents), rest);
    }
    let document = serde_json::Deserializer::from_slice(body)
        .into_iter()
        .next()?
        .ok()?;
    filter::lookup(&document, path)
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_f64() => {
            raw::float_text(number.as_f64().unwrap_or_default())
        }
        Value::Number(_) | Value::Bool(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}
