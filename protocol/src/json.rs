//! JSON with limits on the way in and in Go's spelling on the way out.

use std::io;

use serde::Serialize;
use serde_json::ser::Formatter;

use crate::b64;
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
    encode_about(value, 256)
}

/// Encodes as [`encode`] what is about so many bytes long: memory is asked for once.
///
/// # Panics
///
/// As [`encode`].
pub(crate) fn encode_about<T: Serialize + ?Sized>(value: &T, bytes: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes);
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
    let short = encode_about(value, 64);
    String::from_utf8(short).expect("a JSON writer fed with text writes text")
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
        let bytes = fragment.as_bytes();
        let mut written = 0;
        let (mut mark, mut separator) = (find_mark(bytes, 0), find_separator(bytes, 0));
        // each is looked for from where it was found last, so the whole is read twice at most
        while let Some(at) = [mark, separator].into_iter().flatten().min() {
            writer.write_all(bytes.get(written..at).unwrap_or_default())?;
            if mark == Some(at) {
                let found = bytes.get(at).copied().unwrap_or_default();
                write!(writer, "\\u{found:04x}")?;
                written = at + 1;
                mark = find_mark(bytes, written);
            } else {
                let last = bytes.get(at + 2).copied().unwrap_or_default();
                writer.write_all(if last == 0xa8 { b"\\u2028" } else { b"\\u2029" })?;
                written = at + 3;
                separator = find_separator(bytes, written);
            }
        }
        writer.write_all(bytes.get(written..).unwrap_or_default())
    }

    /// Writes bytes as Go does: base64, in which nothing needs an escape.
    fn write_byte_array<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        value: &[u8],
    ) -> io::Result<()> {
        writer.write_all(b"\"")?;
        b64::write(writer, value)?;
        writer.write_all(b"\"")
    }
}

/// Finds the next of the three characters that HTML gives a meaning.
fn find_mark(bytes: &[u8], from: usize) -> Option<usize> {
    let rest = bytes.get(from..)?;
    memchr::memchr3(b'<', b'>', b'&', rest).map(|at| from + at)
}

/// Finds the next of the two separators of lines that JavaScript takes for line ends, U+2028 and U+2029.
fn find_separator(bytes: &[u8], from: usize) -> Option<usize> {
    let rest = bytes.get(from..)?;
    memchr::memchr_iter(0xe2, rest)
        .find(|at| matches!(rest.get(at + 1..at + 3), Some([0x80, 0xa8 | 0xa9])))
        .map(|at| from + at)
}

#[cfg(test)]
mod tests;
