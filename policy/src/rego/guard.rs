//! A look at the text before it is parsed: what would cost too much to read is refused here.

use super::error::{PolicyError, PolicyErrorKind};

/// Deepest nesting of brackets; the parser ends at 32 expressions.
const MAX_NESTING: usize = 64;

/// Largest exponent of a number: those of a 64-bit float.
pub(super) const MAX_EXPONENT: u32 = 308;

/// Most digits of a number.
pub(super) const MAX_DIGITS: usize = 400;

/// Refuses a text that is too long, nested too deep, or holds numbers that do not fit into memory.
pub(super) fn scan(text: &str, max_bytes: usize) -> Result<(), PolicyError> {
    if text.len() > max_bytes {
        let message = format!(
            "the policy has {} bytes, more than {max_bytes}",
            text.len()
        );
        return Err(PolicyError::new(PolicyErrorKind::TooLarge, message)
            .help("shorten it, or raise the limit of whoever evaluates it"));
    }
    Scan {
        bytes: text.as_bytes(),
        at: 0,
        line: 1,
        nesting: 0,
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

struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
    line: u32,
    nesting: usize,
}

impl Scan<'_> {
    fn run(mut self) -> Result<(), PolicyError> {
        while let Some(byte) = self.next() {
            match byte {
                b'#' => self.skip_to(b'\n', false),
                b'"' => self.skip_to(b'"', true),
                b'`' => self.skip_to(b'`', false),
                b'(' | b'[' | b'{' => {
                    self.nesting += 1;
                    if self.nesting > MAX_NESTING {
                        return Err(self.too_large("brackets are nested too deep"));
                    }
                }
                b')' | b']' | b'}' => self.nesting = self.nesting.saturating_sub(1),
                b'0'..=b'9' => self.number()?,
                b'a'..=b'z' | b'A'..=b'Z' | b'_' => self.skip_word(),
                _ => {}
            }
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
    fn skip_word(&mut self) {
        while self
            .bytes
            .get(self.at)
            .is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
        {
            self.at += 1;
        }
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
