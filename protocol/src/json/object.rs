//! The top level of one object, read in one pass.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::Limits;
use crate::error::{DecodeError, Layer};

/// A known member: its name, and whether it is a text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Member {
    name: &'static str,
    is_text: bool,
}

/// Declares a member that is a text.
pub(crate) const fn text(name: &'static str) -> Member {
    Member {
        name,
        is_text: true,
    }
}

/// Declares a member that is anything else.
pub(crate) const fn json(name: &'static str) -> Member {
    Member {
        name,
        is_text: false,
    }
}

/// The known members of one object, by their place in the list of known ones.
pub(crate) struct Object<'a> {
    layer: Layer,
    known: &'static [Member],
    values: Vec<Value<'a>>,
}

#[derive(Clone)]
enum Value<'a> {
    Absent,
    Null,
    Text(Cow<'a, str>),
    Json(&'a RawValue),
    /// In place of a text.
    NoText,
}

impl<'a> Object<'a> {
    /// Reads the top level of a bounded document; further members are skipped.
    pub(crate) fn decode(
        layer: Layer,
        known: &'static [Member],
        bytes: &'a [u8],
        limits: &Limits,
    ) -> Result<Self, DecodeError> {
        limits.check(layer, bytes)?;
        let mut deserializer = serde_json::Deserializer::from_slice(bytes);
        Self::read(layer, known, &mut deserializer)
    }

    /// Reads a member that is an object itself.
    pub(crate) fn object(
        &self,
        member: &'static str,
        known: &'static [Member],
        raw: &'a RawValue,
    ) -> Result<Self, DecodeError> {
        if !raw.get().starts_with('{') {
            return Err(self.bad(member, "no object"));
        }
        let mut deserializer = serde_json::Deserializer::from_str(raw.get());
        Self::read(self.layer, known, &mut deserializer)
    }

    fn read<R: serde_json::de::Read<'a>>(
        layer: Layer,
        known: &'static [Member],
        deserializer: &mut serde_json::Deserializer<R>,
    ) -> Result<Self, DecodeError> {
        let json = |source| DecodeError::Json { layer, source };
        let scan = deserializer
            .deserialize_map(MembersVisitor { known })
            .map_err(json)?;
        deserializer.end().map_err(json)?;
        match scan.fault {
            None => Ok(Self {
                layer,
                known,
                values: scan.values,
            }),
            Some(Fault::Duplicate(member)) => Err(DecodeError::Duplicate { layer, member }),
            Some(Fault::Misspelt(member, found)) => Err(DecodeError::Misspelt {
                layer,
                member,
                found,
            }),
        }
    }

    fn value(&self, member: &str, is_text: bool) -> &Value<'a> {
        let place = self.known.iter().position(|known| known.name == member);
        debug_assert!(
            place
                .and_then(|place| self.known.get(place))
                .is_some_and(|known| known.is_text == is_text),
            "member {member} is declared, and as what it is read"
        );
        place
            .and_then(|place| self.values.get(place))
            .unwrap_or(&Value::Absent)
    }

    /// Returns a member that is no text as it stands, `null` included.
    pub(crate) fn raw(&self, member: &'static str) -> Option<&'a RawValue> {
        match self.value(member, false) {
            Value::Json(raw) => Some(raw),
            Value::Absent | Value::Null | Value::Text(_) | Value::NoText => None,
        }
    }

    /// Reads a member that is no text; absent and `null` are none.
    pub(crate) fn optional<T: serde::de::Deserialize<'a>>(
        &self,
        member: &'static str,
    ) -> Result<Option<T>, DecodeError> {
        match self.raw(member) {
            None => Ok(None),
            Some(raw) => serde_json::from_str::<Option<T>>(raw.get())
                .map_err(|error| self.bad(member, error)),
        }
    }

    /// Reads a member that is no text, must be there and must not be `null`.
    pub(crate) fn required<T: serde::de::Deserialize<'a>>(
        &self,
        member: &'static str,
    ) -> Result<T, DecodeError> {
        let raw = self.raw(member).ok_or_else(|| self.missing(member))?;
        serde_json::from_str::<T>(raw.get()).map_err(|error| self.bad(member, error))
    }

    /// Returns a text; absent and `null` are empty.
    pub(crate) fn str(&self, member: &'static str) -> Result<&str, DecodeError> {
        match self.value(member, true) {
            Value::Absent | Value::Null => Ok(""),
            Value::Text(text) => Ok(text),
            Value::NoText | Value::Json(_) => Err(self.bad(member, "no text")),
        }
    }

    /// Reads a text that must be there and must not be empty.
    pub(crate) fn text(&self, member: &'static str) -> Result<String, DecodeError> {
        self.some_str(member).map(str::to_owned)
    }

    /// Reads a text that may be absent; an empty one counts as absent.
    pub(crate) fn optional_text(
        &self,
        member: &'static str,
    ) -> Result<Option<String>, DecodeError> {
        let text = self.str(member)?;
        Ok(if text.is_empty() {
            None
        } else {
            Some(text.to_owned())
        })
    }

    /// Reads base64 text that must be there and must not be empty.
    pub(crate) fn base64(&self, member: &'static str) -> Result<Vec<u8>, DecodeError> {
        let text = self.some_str(member)?;
        crate::b64::decode(text.as_bytes()).map_err(|error| self.bad(member, error))
    }

    fn some_str(&self, member: &'static str) -> Result<&str, DecodeError> {
        match self.str(member)? {
            "" => Err(self.missing(member)),
            text => Ok(text),
        }
    }

    /// Refuses another protocol than the one given.
    pub(crate) fn protocol(&self, expected: &str) -> Result<(), DecodeError> {
        match self.str("protocol")? {
            found if found == expected => Ok(()),
            found => {
                let found = found.chars().take(64).collect();
                Err(DecodeError::Protocol {
                    layer: self.layer,
                    found,
                })
            }
        }
    }

    pub(crate) fn missing(&self, member: &'static str) -> DecodeError {
        DecodeError::Missing {
            layer: self.layer,
            member,
        }
    }

    pub(crate) fn bad(&self, member: &'static str, reason: impl fmt::Display) -> DecodeError {
        DecodeError::Member {
            layer: self.layer,
            member,
            reason: reason.to_string(),
        }
    }
}

enum Fault {
    Duplicate(&'static str),
    Misspelt(&'static str, String),
}

struct Scan<'a> {
    values: Vec<Value<'a>>,
    fault: Option<Fault>,
}

struct MembersVisitor {
    known: &'static [Member],
}

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Scan<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Scan<'de>, A::Error> {
        let mut scan = Scan {
            values: vec![Value::Absent; self.known.len()],
            fault: None,
        };
        while let Some(key) = map.next_key_seed(KeySeed { known: self.known })? {
            let fault = match key {
                Key::Known(place, member) => {
                    let value = if member.is_text {
                        map.next_value_seed(TextSeed)?
                    } else {
                        Value::Json(map.next_value()?)
                    };
                    match scan
                        .values
                        .get_mut(place)
                        .map(|slot| std::mem::replace(slot, value))
                    {
                        None | Some(Value::Absent) => None,
                        Some(Value::Null | Value::Text(_) | Value::Json(_) | Value::NoText) => {
                            Some(Fault::Duplicate(member.name))
                        }
                    }
                }
                Key::Misspelt(member, found) => {
                    map.next_value::<IgnoredAny>()?;
                    Some(Fault::Misspelt(member, found))
                }
                Key::Unknown => {
                    map.next_value::<IgnoredAny>()?;
                    None
                }
            };
            scan.fault = scan.fault.or(fault);
        }
        Ok(scan)
    }
}

enum Key {
    Known(usize, Member),
    Misspelt(&'static str, String),
    Unknown,
}

struct KeySeed {
    known: &'static [Member],
}

impl<'de> DeserializeSeed<'de> for KeySeed {
    type Value = Key;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Key, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeySeed {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Key, E> {
        let exact = self
            .known
            .iter()
            .enumerate()
            .find(|(_, member)| member.name == key);
        if let Some((place, member)) = exact {
            return Ok(Key::Known(place, *member));
        }
        let folded = fold(key);
        Ok(
            match self.known.iter().find(|member| member.name == folded) {
                Some(member) => Key::Misspelt(member.name, key.chars().take(64).collect()),
                None => Key::Unknown,
            },
        )
    }
}

/// Folds letter case as Go's JSON reader does, where the Kelvin sign is a `k` and the long s an `s`.
fn fold(name: &str) -> String {
    name.chars()
        .flat_map(char::to_uppercase)
        .flat_map(char::to_lowercase)
        .collect()
}

/// Reads a text without copying it where it has no escapes, and says so of what is no text.
struct TextSeed;

impl<'de> DeserializeSeed<'de> for TextSeed {
    type Value = Value<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for TextSeed {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_unit<E: Error>(self) -> Result<Value<'de>, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, _value: bool) -> Result<Value<'de>, E> {
        Ok(Value::NoText)
    }

    fn visit_i64<E: Error>(self, _value: i64) -> Result<Value<'de>, E> {
        Ok(Value::NoText)
    }

    fn visit_u64<E: Error>(self, _value: u64) -> Result<Value<'de>, E> {
        Ok(Value::NoText)
    }

    fn visit_f64<E: Error>(self, _value: f64) -> Result<Value<'de>, E> {
        Ok(Value::NoText)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value<'de>, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Value::NoText)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value<'de>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Value::NoText)
    }
}
