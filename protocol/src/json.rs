//! JSON with limits on the way in and in Go's spelling on the way out.

use std::fmt;
use std::io;

use serde::Serialize;
use serde::de::{Deserializer as _, IgnoredAny, MapAccess, Visitor};
use serde_json::ser::Formatter;
use serde_json::value::RawValue;

use crate::error::{DecodeError, Layer};

/// Bounds of what a decoder takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest document in bytes.
    pub max_bytes: usize,
    /// Deepest nesting of arrays and objects; a bare object has depth 1.
    pub max_depth: usize,
}

impl Default for Limits {
    /// Returns 1 MiB, which is what nats-server lets through, and 32 levels.
    fn default() -> Self {
        Self {
            max_bytes: 1 << 20,
            max_depth: 32,
        }
    }
}

impl Limits {
    /// Checks size and nesting without parsing, in one pass and without recursion.
    ///
    /// # Errors
    ///
    /// [`DecodeError::TooLarge`] or [`DecodeError::TooDeep`].
    pub fn check(&self, layer: Layer, bytes: &[u8]) -> Result<(), DecodeError> {
        if bytes.len() > self.max_bytes {
            return Err(DecodeError::TooLarge {
                layer,
                size: bytes.len(),
                limit: self.max_bytes,
            });
        }
        if depth_exceeds(bytes, self.max_depth) {
            return Err(DecodeError::TooDeep {
                layer,
                limit: self.max_depth,
            });
        }
        Ok(())
    }
}

/// Encodes compactly, with `<`, `>`, `&` and the two line separators escaped as Go does.
///
/// # Panics
///
/// When the value cannot be JSON at all (a map with keys that are no strings), which no type of this crate is.
#[must_use]
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, GoFormatter);
    value
        .serialize(&mut serializer)
        .expect("messages consist of strings, numbers, lists and string maps");
    out
}

/// Encodes as [`encode`], as text.
///
/// # Panics
///
/// As [`encode`].
#[must_use]
pub fn encode_text<T: Serialize + ?Sized>(value: &T) -> String {
    String::from_utf8(encode(value)).expect("a JSON writer fed with text writes text")
}

/// The known members of one object, by their place in the list of known names.
pub(crate) struct Object<'a> {
    layer: Layer,
    known: &'static [&'static str],
    values: Vec<Option<&'a RawValue>>,
}

impl<'a> Object<'a> {
    /// Reads the top level of a bounded document; further members are skipped.
    pub(crate) fn decode(
        layer: Layer,
        known: &'static [&'static str],
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
        known: &'static [&'static str],
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
        known: &'static [&'static str],
        deserializer: &mut serde_json::Deserializer<R>,
    ) -> Result<Self, DecodeError> {
        let json = |source| DecodeError::Json { layer, source };
        let scan = deserializer
            .deserialize_map(MemberVisitor { known })
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

    /// Returns a member as it stands, `null` included.
    pub(crate) fn raw(&self, member: &'static str) -> Option<&'a RawValue> {
        let place = self.known.iter().position(|name| *name == member)?;
        self.values.get(place).copied().flatten()
    }

    /// Reads a member of a given type; absent and `null` are none.
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

    /// Reads a member that must be there and must not be `null`.
    pub(crate) fn required<T: serde::de::Deserialize<'a>>(
        &self,
        member: &'static str,
    ) -> Result<T, DecodeError> {
        let raw = self.raw(member).ok_or_else(|| self.missing(member))?;
        serde_json::from_str::<T>(raw.get()).map_err(|error| self.bad(member, error))
    }

    /// Reads a text that must be there and must not be empty.
    pub(crate) fn text(&self, member: &'static str) -> Result<String, DecodeError> {
        let text: String = self.required(member)?;
        if text.is_empty() {
            Err(self.missing(member))
        } else {
            Ok(text)
        }
    }

    /// Reads a text that may be absent; an empty one counts as absent.
    pub(crate) fn optional_text(
        &self,
        member: &'static str,
    ) -> Result<Option<String>, DecodeError> {
        Ok(self
            .optional::<String>(member)?
            .filter(|text| !text.is_empty()))
    }

    /// Reads base64 text that must be there and must not be empty.
    pub(crate) fn base64(&self, member: &'static str) -> Result<Vec<u8>, DecodeError> {
        let text = self.text(member)?;
        crate::b64::decode(text.as_bytes()).map_err(|error| self.bad(member, error))
    }

    /// Refuses another protocol than the one given.
    pub(crate) fn protocol(&self, expected: &str) -> Result<(), DecodeError> {
        let found: Option<String> = self.optional("protocol")?;
        match found {
            Some(found) if found == expected => Ok(()),
            found => {
                let found = found.unwrap_or_default().chars().take(64).collect();
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
    values: Vec<Option<&'a RawValue>>,
    fault: Option<Fault>,
}

struct MemberVisitor {
    known: &'static [&'static str],
}

impl<'de> Visitor<'de> for MemberVisitor {
    type Value = Scan<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Scan<'de>, A::Error> {
        let mut scan = Scan {
            values: vec![None; self.known.len()],
            fault: None,
        };
        while let Some(key) = map.next_key::<String>()? {
            let exact = self.known.iter().position(|name| *name == key);
            let slot = exact.and_then(|place| scan.values.get_mut(place));
            if let Some(slot) = slot {
                let value: &'de RawValue = map.next_value()?;
                if slot.replace(value).is_some()
                    && let Some(member) = exact.and_then(|place| self.known.get(place))
                {
                    scan.fault.get_or_insert(Fault::Duplicate(member));
                }
                continue;
            }
            map.next_value::<IgnoredAny>()?;
            let folded = fold(&key);
            if let Some(member) = self.known.iter().find(|name| **name == folded) {
                scan.fault
                    .get_or_insert_with(|| Fault::Misspelt(member, key.chars().take(64).collect()));
            }
        }
        Ok(scan)
    }
}

/// Folds letter case as Go's JSON reader does, where the Kelvin sign is a `k` and the long s an `s`.
fn fold(name: &str) -> String {
    name.chars()
        .flat_map(char::to_uppercase)
        .flat_map(char::to_lowercase)
        .collect()
}

fn depth_exceeds(bytes: &[u8], max_depth: usize) -> bool {
    let mut depth = 0_usize;
    let mut in_text = false;
    let mut escaped = false;
    for byte in bytes {
        if in_text {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_text = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_text = true,
            b'{' | b'[' => {
                depth += 1;
                if depth > max_depth {
                    return true;
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

struct GoFormatter;

impl Formatter for GoFormatter {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(['<', '>', '&', '\u{2028}', '\u{2029}']) {
            let (plain, special) = rest.split_at(at);
            writer.write_all(plain.as_bytes())?;
            let mut chars = special.chars();
            if let Some(found) = chars.next() {
                write!(writer, "\\u{:04x}", u32::from(found))?;
            }
            rest = chars.as_str();
        }
        writer.write_all(rest.as_bytes())
    }
}

#[cfg(test)]
mod tests;
