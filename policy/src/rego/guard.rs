//! A look at the text before it is parsed: what would cost too much to read is refused here.

use std::collections::BTreeSet;

use super::error::{PolicyError, PolicyErrorKind};

/// Deepest nesting of brackets; the parser ends at 32 expressions.
const MAX_NESTING: usize = 64;

/// Most tokens that the parser reads, one within `[` or `{` counted twice for each of them: that is how often it may
/// try to read it, first as a comprehension and then as something else. A reading takes about a microsecond.
const MAX_READINGS: u64 = 1 << 18;

/// Largest exponent of a number: those of a 64-bit float.
pub(super) const MAX_EXPONENT: u32 = 308;

/// Most digits of a number.
pub(super) const MAX_DIGITS: usize = 400;

/// What the words of a text say of its language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Words {
    /// A word that Rego v0 knows only where it is imported, and it is not.
    pub(super) are_of_v1: bool,
}

/// Refuses a text that is too long, nested too deep, or holds numbers that do not fit into memory.
pub(super) fn scan(text: &str, max_bytes: usize) -> Result<Words, PolicyError> {
    if text.len() > max_bytes {
        let message = format!("the policy has {} bytes, more than {max_bytes}", text.len());
        return Err(PolicyError::new(PolicyErrorKind::TooLarge, message)
            .help("shorten it, or raise the limit of whoever evaluates it"));
    }
    Scan {
        bytes: text.as_bytes(),
        at: 0,
        line: 1,
        open: Vec::new(),
        readings: 0,
        recent: [b"", b"", b""],
        used: BTreeSet::new(),
        imported: BTreeSet::new(),
    }
    .run()
}

/// Whether a number in text form stays within the bounds of a float.
pub(super) fn is_small_number(text: &str) -> bool {
    let (mantissa, exponent) = text
        .split_once(['e', 'E'])
        .map_or((text, None), |(mantissa, exponent)| {
            (mantissa, Some(exponent))
        });
    mantissa.len() <= MAX_DIGITS
        && exponent.is_none_or(|exponent| {
            let digits = exponent.trim_start_matches(['+', '-']);
            digits.is_empty() || digits.parse::<u32>().is_ok_and(|size| size <= MAX_EXPONENT)
        })
}

/// Words of Rego v1 that v0 has to import.
const KEYWORDS: &[&[u8]] = &[b"every", b"if", b"in"];

struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
    line: u32,
    open: Vec<u8>,
    readings: u64,
    /// The last words and dots.
    recent: [&'a [u8]; 3],
    used: BTreeSet<&'a [u8]>,
    imported: BTreeSet<&'a [u8]>,
}

impl Scan<'_> {
    fn run(mut self) -> Result<Words, PolicyError> {
        while let Some(byte) = self.next() {
            if byte.is_ascii_whitespace() {
                continue;
            }
            let start = self.at - 1;
            match byte {
                b'#' => {
                    self.skip_to(b'\n', false);
                    continue;
                }
                b'"' => self.skip_to(b'"', true),
                b'`' => self.skip_to(b'`', false),
                b'(' | b'[' | b'{' => {
                    self.open.push(byte);
                    if self.open.len() > MAX_NESTING {
                        return Err(self.too_large("brackets are nested too deep"));
                    }
                }
                b')' | b']' | b'}' => {
                    self.open.pop();
                }
                b'0'..=b'9' => self.number()?,
                b'a'..=b'z' | b'A'..=b'Z' | b'_' => self.word(start),
                _ => {}
            }
            if !byte.is_ascii_alphabetic() {
                self.recall(start);
            }
            self.count()?;
        }
        Ok(Words {
            are_of_v1: !self.imported.contains(&b"*"[..])
                && self.used.iter().any(|word| !self.imported.contains(word)),
        })
    }

    /// Adds one token as often as the parser may read it.
    fn count(&mut self) -> Result<(), PolicyError> {
        let twice = self.open.iter().filter(|bracket| **bracket != b'(').count();
        let times = u32::try_from(twice).map_or(u64::MAX, |twice| 1 << twice.min(32));
        self.readings = self.readings.saturating_add(times);
        if self.readings > MAX_READINGS {
            return Err(self
                .too_large("lists, objects and comprehensions are nested too deep")
                .help("give the inner ones names of their own"));
        }
        Ok(())
    }

    fn next(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        if byte == b'\n' {
            self.line = self.line.saturating_add(1);
        }
        Some(byte)
    }

    /// Goes behind the next `end`; an open text goes to the end and is the parser's to refuse.
    fn skip_to(&mut self, end: u8, escapes: bool) {
        while let Some(byte) = self.next() {
            if byte == end {
                return;
            }
            if escapes && byte == b'\\' {
                self.next();
            }
        }
    }

    /// A word may hold digits and an `e`, and is no number.
    fn word(&mut self, start: usize) {
        while self
            .bytes
            .get(self.at)
            .is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
        {
            self.at += 1;
        }
        self.recall(start);
    }

    /// Looks at a token with those before it: `future.keywords.if` imports, `if` alone uses, `input.if` is neither.
    fn recall(&mut self, start: usize) {
        let token = self.bytes.get(start..self.at).unwrap_or_default();
        let [_, earlier, last] = self.recent;
        if last == b"." && earlier == b"keywords" {
            self.imported.remove(&b"*"[..]);
            self.imported.insert(token);
        } else if token == b"keywords" && last == b"." && earlier == b"future" {
            if self.imported.is_empty() {
                self.imported.insert(b"*");
            }
        } else if last != b"." && KEYWORDS.contains(&token) {
            self.used.insert(token);
        }
        self.recent = [earlier, last, token];
    }

    fn number(&mut self) -> Result<(), PolicyError> {
        let start = self.at - 1;
        while let Some(byte) = self.bytes.get(self.at) {
            let is_sign = matches!(byte, b'+' | b'-')
                && matches!(self.bytes.get(self.at - 1), Some(b'e' | b'E'));
            if !(byte.is_ascii_alphanumeric() || *byte == b'.' || is_sign) {
                break;
            }
            self.at += 1;
        }
        let text = self.bytes.get(start..self.at).unwrap_or_default();
        if std::str::from_utf8(text).is_ok_and(is_small_number) {
            Ok(())
        } else {
            Err(self.too_large("a number is too large"))
        }
    }

    fn too_large(&self, message: &str) -> PolicyError {
        PolicyError::new(PolicyErrorKind::TooLarge, message).at(self.line)
    }
}

#[cfg(test)]
mod tests;
