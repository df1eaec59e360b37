//! Finds a field in the raw text of a JSON document without parsing the rest, broken or not.
//!
//! The first document counts, and the first of members of one name; what stands behind the field is not looked at. That
//! is how the original reads, so a field is found by both or by none.

use std::borrow::Cow;

use memchr::memchr2;

use super::path::Part;

/// What stands at the end of a path.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Found<'a> {
    /// A text without its quotes, and whether it has escapes.
    Text(&'a [u8], bool),
    /// A number as written.
    Number(&'a [u8]),
    True,
    False,
    Null,
    /// An object or a list as written.
    Nested(&'a [u8]),
    /// How many elements a list has.
    Count(usize),
}

/// Where a search ended, and what was found.
type End<'a> = (usize, Option<Found<'a>>);

/// Follows the parts of a path.
pub(super) fn find<'a>(json: &'a [u8], parts: &[Part]) -> Option<Found<'a>> {
    let start = memchr2(b'{', b'[', json)?;
    match json.get(start) {
        Some(b'{') => object(json, start + 1, parts).1,
        Some(_) | None => list(json, start + 1, parts).1,
    }
}

/// Searches an object from behind its brace.
fn object<'a>(json: &'a [u8], mut at: usize, parts: &[Part]) -> End<'a> {
    let Some((part, rest)) = parts.split_first() else {
        return (at, None);
    };
    loop {
        match json.get(at) {
            None => return (at, None),
            Some(b'}') => return (at + 1, None),
            Some(b'"') => {}
            Some(_) => {
                at += 1;
                continue;
            }
        }
        let Some((name, escaped, next)) = string(json, at) else {
            return (json.len(), None);
        };
        let fits = part.fits(name, escaped);
        match value(json, next, fits, rest) {
            (next, Value::Skipped) => at = next,
            (next, Value::Found(found)) => return (next, Some(found)),
            (next, Value::Broken) => return (next, None),
        }
    }
}

/// Searches a list from behind its bracket.
fn list<'a>(json: &'a [u8], mut at: usize, parts: &[Part]) -> End<'a> {
    let Some((part, rest)) = parts.split_first() else {
        return (at, None);
    };
    let mut index = 0;
    loop {
        // Up to an element or the end.
        match json.get(at) {
            None => return (at, None),
            Some(b']') => {
                let found = (part.counts() && rest.is_empty()).then_some(Found::Count(index));
                return (at + 1, found);
            }
            Some(byte) if !begins_value(*byte) => {
                at += 1;
                continue;
            }
            Some(_) => {}
        }
        let fits = part.is_index(index);
        match value(json, at, fits, rest) {
            (next, Value::Skipped) => at = next,
            (next, Value::Found(found)) => return (next, Some(found)),
            (next, Value::Broken) => return (next, None),
        }
        index += 1;
    }
}

enum Value<'a> {
    /// It is another, or has nothing at the rest of the path.
    Skipped,
    Found(Found<'a>),
    /// The document ends within it.
    Broken,
}

fn begins_value(byte: u8) -> bool {
    matches!(
        byte,
        b'"' | b'{' | b'[' | b't' | b'f' | b'n' | b'+' | b'-' | b'0'..=b'9' | b'i' | b'I' | b'N'
    )
}

/// Reads or skips the value that begins at or behind `at`.
fn value<'a>(json: &'a [u8], mut at: usize, fits: bool, rest: &[Part]) -> (usize, Value<'a>) {
    let byte = loop {
        match json.get(at) {
            None => return (at, Value::Broken),
            Some(byte) if begins_value(*byte) => break *byte,
            Some(_) => at += 1,
        }
    };
    let hit = fits && rest.is_empty();
    let (next, found) = match byte {
        b'"' => match string(json, at) {
            Some((text, escaped, next)) => (next, Found::Text(text, escaped)),
            None => return (json.len(), Value::Broken),
        },
        b'{' | b'[' if fits && !hit => {
            let (next, found) = if byte == b'{' {
                object(json, at + 1, rest)
            } else {
                list(json, at + 1, rest)
            };
            return (next, found.map_or(Value::Skipped, Value::Found));
        }
        b'{' | b'[' => {
            let next = nested(json, at);
            (next, Found::Nested(json.get(at..next).unwrap_or_default()))
        }
        b't' | b'f' => {
            let found = if byte == b't' {
                Found::True
            } else {
                Found::False
            };
            (word(json, at), found)
        }
        b'n' if json.get(at + 1).is_none_or(|next| *next == b'u') => (word(json, at), Found::Null),
        _ => {
            let next = number(json, at);
            (next, Found::Number(json.get(at..next).unwrap_or_default()))
        }
    };
    (
        next,
        if hit {
            Value::Found(found)
        } else {
            Value::Skipped
        },
    )
}

/// Reads a text from its quote: what is inside, whether it has escapes, where it ends.
fn string(json: &[u8], at: usize) -> Option<(&[u8], bool, usize)> {
    let start = at + 1;
    let mut from = start;
    let mut escaped = false;
    loop {
        let place = from + memchr2(b'"', b'\\', json.get(from..)?)?;
        if json.get(place) == Some(&b'"') {
            return Some((json.get(start..place)?, escaped, place + 1));
        }
        escaped = true;
        from = place + 2;
    }
}

/// Where the object or list that begins here ends: at the end of the document if it doesn't.
fn nested(json: &[u8], at: usize) -> usize {
    let mut depth = 0_usize;
    let mut place = at;
    while let Some(byte) = json.get(place) {
        match byte {
            b'"' => match string(json, place) {
                Some((_, _, next)) => {
                    place = next;
                    continue;
                }
                None => return json.len(),
            },
            b'{' | b'[' | b'(' => depth += 1,
            b'}' | b']' | b')' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return place + 1;
                }
            }
            _ => {}
        }
        place += 1;
    }
    json.len()
}

fn word(json: &[u8], at: usize) -> usize {
    let rest = json.get(at + 1..).unwrap_or_default();
    let length = rest.iter().take_while(|byte| byte.is_ascii_lowercase());
    at + 1 + length.count()
}

fn number(json: &[u8], at: usize) -> usize {
    let rest = json.get(at + 1..).unwrap_or_default();
    let length = rest
        .iter()
        .take_while(|byte| **byte > b' ' && !matches!(byte, b',' | b']' | b'}'));
    at + 1 + length.count()
}

impl<'a> Found<'a> {
    /// The value as text; `null` is the empty one.
    pub(super) fn text(self) -> Cow<'a, str> {
        match self {
            Self::Text(raw, false) | Self::Nested(raw) => String::from_utf8_lossy(raw),
            Self::Text(raw, true) => Cow::Owned(unescaped_text(raw)),
            Self::Number(raw) => number_text(raw),
            Self::True => Cow::Borrowed("true"),
            Self::False => Cow::Borrowed("false"),
            Self::Null => Cow::Borrowed(""),
            Self::Count(count) => Cow::Owned(count.to_string()),
        }
    }

    /// Whether the value says yes, as Go's library understands it: true, a number but 0, a word for true.
    pub(super) fn is_true(self) -> bool {
        match self {
            Self::True => true,
            Self::Text(..) => says_yes(&self.text()),
            Self::Number(raw) => number_of(raw) != 0.0,
            Self::Count(count) => count != 0,
            Self::False | Self::Null | Self::Nested(_) => false,
        }
    }
}

/// Whether a text is a word for true.
pub(super) fn says_yes(text: &str) -> bool {
    matches!(&*text.to_lowercase(), "1" | "t" | "true")
}

/// Whole numbers stay as written, others are written in their shortest form without an exponent.
fn number_text(raw: &[u8]) -> Cow<'_, str> {
    let digits = raw.strip_prefix(b"-").unwrap_or(raw);
    if digits.iter().all(u8::is_ascii_digit) {
        return String::from_utf8_lossy(raw);
    }
    Cow::Owned(float_text(number_of(raw)))
}

pub(super) fn float_text(number: f64) -> String {
    if number.is_nan() {
        "NaN".to_owned()
    } else if number.is_infinite() {
        if number > 0.0 { "+Inf" } else { "-Inf" }.to_owned()
    } else {
        number.to_string()
    }
}

fn number_of(raw: &[u8]) -> f64 {
    str::from_utf8(raw)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0.0)
}

fn unescaped_text(raw: &[u8]) -> String {
    match String::from_utf8(unescaped(raw)) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    }
}

/// Resolves escapes; ends at the first one that is none, and at a control character.
pub(super) fn unescaped(raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            0..b' ' => break,
            b'\\' => {}
            _ => {
                out.push(*byte);
                continue;
            }
        }
        let Some((escape, after)) = rest.split_first() else {
            break;
        };
        rest = after;
        out.push(match escape {
            b'"' | b'\\' | b'/' => *escape,
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let Some((char, after)) = code_point(rest) else {
                    break;
                };
                rest = after;
                out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
            _ => break,
        });
    }
    out
}

/// Reads what follows `\u`, with a second half where there is one.
fn code_point(raw: &[u8]) -> Option<(char, &[u8])> {
    let (digits, rest) = raw.split_first_chunk::<4>()?;
    let high = hex(digits);
    if !(0xd800..0xe000).contains(&high) {
        return Some((
            char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER),
            rest,
        ));
    }
    let pair = rest
        .strip_prefix(b"\\u")
        .and_then(|rest| rest.split_first_chunk::<4>());
    let Some((digits, after)) = pair else {
        return Some((char::REPLACEMENT_CHARACTER, rest));
    };
    let low = hex(digits);
    let char = if high < 0xdc00 && (0xdc00..0xe000).contains(&low) {
        char::from_u32(0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00))
    } else {
        None
    };
    Some((char.unwrap_or(char::REPLACEMENT_CHARACTER), after))
}

fn hex(digits: &[u8; 4]) -> u32 {
    str::from_utf8(digits)
        .ok()
        .and_then(|digits| u32::from_str_radix(digits, 16).ok())
        .unwrap_or(0)
}
