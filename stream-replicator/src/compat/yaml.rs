//! YAML as the original's library sees it: plain `yes` is a truth value, `010` is eight, the last of equal keys wins.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{DuplicateKeyPolicy, Options};

/// A document, or a part of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    /// Sorted by key, as the original's way over JSON leaves it.
    Map(Vec<(String, Node)>),
}

impl Node {
    /// What it is, for people.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "a truth value",
            Self::Int(_) | Self::Float(_) => "a number",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }

    pub(super) fn bool(&self) -> Option<bool> {
        let Self::Bool(value) = self else {
            return None;
        };
        Some(*value)
    }

    /// A whole number; 1e3 is 1000 after the original's way over JSON.
    pub(super) fn int(&self) -> Option<i128> {
        if let Self::Int(value) = self {
            return Some(*value);
        }
        let Self::Float(value) = self else {
            return None;
        };
        let is_whole = value.is_finite() && value.fract() == 0.0;
        is_whole.then(|| format!("{value:.0}").parse().ok())?
    }

    pub(super) fn float(&self) -> Option<f64> {
        if let Self::Int(value) = self {
            return value.to_string().parse().ok();
        }
        let Self::Float(value) = self else {
            return None;
        };
        Some(*value)
    }

    pub(super) fn text(&self) -> Option<&str> {
        let Self::Text(text) = self else {
            return None;
        };
        Some(text)
    }

    /// What it is as a key.
    fn into_key(self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text),
            Self::Bool(value) => Some(value.to_string()),
            Self::Int(value) => Some(value.to_string()),
            Self::Float(value) => Some(value.to_string()),
            Self::Null => Some("null".to_owned()),
            Self::List(_) | Self::Map(_) => None,
        }
    }
}

/// Reads the first document; nothing is an empty one.
///
/// # Errors
///
/// What the parser says, in one line.
pub(super) fn read(text: &str) -> Result<Node, String> {
    let mut options = Options::default();
    options.duplicate_keys = DuplicateKeyPolicy::LastWins;
    options.legacy_octal_numbers = true;
    options.with_snippet = false;
    let mut bytes = text.as_bytes();
    let first = serde_saphyr::read_with_options::<_, Node>(&mut bytes, options).next();
    match first {
        None => Ok(Node::Null),
        Some(Ok(node)) => Ok(node),
        Some(Err(error)) => Err(error.to_string().lines().take(1).collect()),
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Int(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Int(value.into()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Node, E> {
        Ok(Node::Int(value))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Node, E> {
        Ok(Node::Int(i128::try_from(value).unwrap_or(i128::MAX)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Node, E> {
        Ok(Node::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = access.next_element()? {
            nodes.push(node);
        }
        Ok(Node::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut members = std::collections::BTreeMap::new();
        while let Some((key, value)) = access.next_entry::<Node, Node>()? {
            let kind = key.kind();
            let key = key
                .into_key()
                .ok_or_else(|| A::Error::custom(format!("a key is {kind}")))?;
            members.insert(key, value);
        }
        Ok(Node::Map(members.into_iter().collect()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn plain_words_are_what_yaml_1_1_says() {
        for (text, node) in [
            ("yes", Node::Bool(true)),
            ("off", Node::Bool(false)),
            ("Y", Node::Bool(true)),
            ("\"yes\"", Node::Text("yes".to_owned())),
            ("010", Node::Int(8)),
            ("1_000", Node::Int(1000)),
            ("0x10", Node::Int(16)),
            ("80.5", Node::Float(80.5)),
            ("~", Node::Null),
            ("", Node::Null),
            ("1:30", Node::Text("1:30".to_owned())),
            ("2026-01-02", Node::Text("2026-01-02".to_owned())),
            ("18446744073709551615", Node::Int(u64::MAX.into())),
        ] {
            assert_eq!(read(text), Ok(node), "{text}");
        }
    }

    #[test]
    fn the_first_document_counts_and_the_last_of_equal_keys() {
        let map = |value: &str| Node::Map(vec![("a".to_owned(), Node::Text(value.to_owned()))]);
        assert_eq!(read("a: x\n---\na: z\n"), Ok(map("x")));
        assert_eq!(read("a: x\na: z\n"), Ok(map("z")));
        assert_eq!(
            read("d: &d {a: z}\ne:\n  <<: *d\n"),
            Ok(Node::Map(vec![
                ("d".to_owned(), map("z")),
                ("e".to_owned(), map("z")),
            ]))
        );
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[ -~\n\t]{0,200}") {
            drop(read(&text));
        }
    }
}
