//! JSON with limits on the way in and in Go's spelling on the way out.

use std::io;

use serde::Serialize;
use serde_json::ser::Formatter;

use crate::error::{DecodeError, Layer};

mod object;

pub(crate) use object::{Member, Object, json, text};

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

/// Looks at brackets only, and jumps over texts: most of a message is one long text.
fn depth_exceeds(bytes: &[u8], max_depth: usize) -> bool {
    let mut depth = 0_usize;
    let mut rest = bytes.iter();
    while let Some(byte) = rest.next() {
        match byte {
            b'"' => rest = after_text(rest.as_slice()).iter(),
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

/// Returns what follows a text whose opening quote has been read.
fn after_text(mut rest: &[u8]) -> &[u8] {
    while let Some(at) = memchr::memchr2(b'"', b'\\', rest) {
        let closed = rest.get(at) == Some(&b'"');
        rest = rest
            .get(at + if closed { 1 } else { 2 }..)
            .unwrap_or_default();
        if closed {
            return rest;
        }
    }
    &[]
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
