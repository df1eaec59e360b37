//! From the syntax of Go's `regexp` package to that of the `regex` crate.
//!
//! Both are of the RE2 family. What differs is rewritten: the Perl classes and word boundaries are ASCII in Go, brackets
//! do not nest and know no set operations, `\Q…\E` and octal escapes exist, a `{` that counts nothing is a plain
//! character, a second repetition in a row is an error, and so are flags that Go does not have.

use std::fmt::Write as _;
use std::iter::Peekable;
use std::str::Chars;

/// Largest count of a repetition in Go.
const MAX_REPEAT: u32 = 1_000;

/// The named sets that brackets may hold.
const POSIX_CLASSES: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct",
    "space", "upper", "word", "xdigit",
];

/// A text that Go would not compile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum SyntaxError {
    #[error("invalid escape sequence")]
    Escape,
    #[error("missing closing bracket")]
    Bracket,
    #[error("invalid character class range")]
    Range,
    #[error("invalid or unsupported group syntax")]
    Group,
    #[error("invalid nested repetition operator")]
    Repeat,
    #[error("invalid repeat count")]
    RepeatCount,
}

struct Translator<'p> {
    rest: Peekable<Chars<'p>>,
    out: String,
    /// Set once no named set can follow any more.
    no_named_sets: bool,
    /// Where the flags begin that were just set for the rest of a group.
    flags_at: Option<usize>,
}

/// Where an escape stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Outside,
    Class,
}

/// What an escape stands for.
enum Escape {
    /// One character.
    Character(char),
    /// A set or an assertion, already written for the `regex` crate.
    Written(String),
}

/// Rewrites `pattern`.
pub(super) fn from_go(pattern: &str) -> Result<String, SyntaxError> {
    let mut translator = Translator {
        rest: pattern.chars().peekable(),
        out: String::with_capacity(pattern.len() + 16),
        no_named_sets: false,
        flags_at: None,
    };
    translator.run()?;
    Ok(translator.out)
}

impl Translator<'_> {
    fn run(&mut self) -> Result<(), SyntaxError> {
        let mut after_repeat = false;
        while let Some(character) = self.rest.next() {
            let repeats = match character {
                '*' | '+' | '?' => Some(character.to_string()),
                '{' => self.counted()?,
                _ => None,
            };
            if let Some(repeat) = repeats {
                if after_repeat {
                    return Err(SyntaxError::Repeat);
                }
                let lazy = if self.rest.next_if_eq(&'?').is_some() {
                    "?"
                } else {
                    ""
                };
                // Go repeats what stands before flags.
                let at = self.flags_at.unwrap_or(self.out.len());
                self.out.insert_str(at, &format!("{repeat}{lazy}"));
                after_repeat = true;
                continue;
            }
            after_repeat = false;
            self.flags_at = None;
            match character {
                '\\' if self.rest.next_if_eq(&'Q').is_some() => self.quoted(),
                '\\' => match self.escape(Place::Outside)? {
                    Escape::Character(character) => self.literal(character),
                    Escape::Written(text) => self.out.push_str(&text),
                },
                '[' => self.class()?,
                '(' => self.group()?,
                '.' | '^' | '$' | '|' | ')' => self.out.push(character),
                other => self.literal(other),
            }
        }
        Ok(())
    }

    fn literal(&mut self, character: char) {
        if character.is_alphanumeric() || !character.is_ascii() {
            self.out.push(character);
        } else {
            self.code_point(character);
        }
    }

    fn code_point(&mut self, character: char) {
        // Writing to a string can't fail.
        let _infallible = write!(self.out, "\\x{{{:x}}}", u32::from(character));
    }

    /// Copies the text up to `\E`, or to the end.
    fn quoted(&mut self) {
        while let Some(character) = self.rest.next() {
            if character == '\\' && self.rest.next_if_eq(&'E').is_some() {
                return;
            }
            self.literal(character);
        }
    }

    /// Reads `{n}`, `{n,}` or `{n,m}`; anything else leaves the brace a plain character.
    fn counted(&mut self) -> Result<Option<String>, SyntaxError> {
        let mut ahead = self.rest.clone();
        let Some(low) = number(&mut ahead) else {
            return Ok(None);
        };
        let mut high = Some(low);
        if ahead.next_if_eq(&',').is_some() {
            high = number(&mut ahead);
        }
        if ahead.next() != Some('}') {
            return Ok(None);
        }
        if low > MAX_REPEAT || high.is_some_and(|high| high > MAX_REPEAT || high < low) {
            return Err(SyntaxError::RepeatCount);
        }
        self.rest = ahead;
        Ok(Some(match high {
            Some(high) => format!("{{{low},{high}}}"),
            None => format!("{{{low},}}"),
        }))
    }

    /// Reads what follows a backslash.
    fn escape(&mut self, place: Place) -> Result<Escape, SyntaxError> {
        let character = self.rest.next().ok_or(SyntaxError::Escape)?;
        let written = match (character, place) {
            ('d', _) => "[0-9]",
            ('D', _) => "[^0-9]",
            ('w', _) => "[0-9A-Za-z_]",
            ('W', _) => "[^0-9A-Za-z_]",
            ('s', _) => "[\\t\\n\\x0c\\r\\x20]",
            ('S', _) => "[^\\t\\n\\x0c\\r\\x20]",
            ('b', Place::Outside) => "(?-u:\\b)",
            ('B', Place::Outside) => "(?-u:\\B)",
            ('A', Place::Outside) => "\\A",
            ('z', Place::Outside) => "\\z",
            ('p' | 'P', _) => return self.unicode_class(character).map(Escape::Written),
            (other, _) => return self.escaped_character(other).map(Escape::Character),
        };
        Ok(Escape::Written(written.to_owned()))
    }

    fn escaped_character(&mut self, character: char) -> Result<char, SyntaxError> {
        match character {
            'a' => Ok('\x07'),
            'f' => Ok('\x0c'),
            't' => Ok('\t'),
            'n' => Ok('\n'),
            'r' => Ok('\r'),
            'v' => Ok('\x0b'),
            'x' => self.hexadecimal(),
            '1'..='7' if !self.rest.peek().is_some_and(|next| next.is_digit(8)) => {
                Err(SyntaxError::Escape)
            }
            '0'..='7' => {
                let mut value = character.to_digit(8).unwrap_or_default();
                for _ in 0..2 {
                    let Some(digit) = self.rest.peek().and_then(|next| next.to_digit(8)) else {
                        break;
                    };
                    value = value * 8 + digit;
                    self.rest.next();
                }
                char::from_u32(value).ok_or(SyntaxError::Escape)
            }
            other if other.is_ascii() && !other.is_ascii_alphanumeric() => Ok(other),
            _ => Err(SyntaxError::Escape),
        }
    }

    fn hexadecimal(&mut self) -> Result<char, SyntaxError> {
        let mut value = 0_u32;
        if self.rest.next_if_eq(&'{').is_some() {
            let mut digits = 0;
            loop {
                match self.rest.next() {
                    Some('}') if digits > 0 => break,
                    Some(digit) if digits < 8 => {
                        value = value * 16 + digit.to_digit(16).ok_or(SyntaxError::Escape)?;
                        digits += 1;
                    }
                    Some(_) | None => return Err(SyntaxError::Escape),
                }
                if value > u32::from(char::MAX) {
                    return Err(SyntaxError::Escape);
                }
            }
        } else {
            for _ in 0..2 {
                let digit = self
                    .rest
                    .next()
                    .and_then(|digit| digit.to_digit(16))
                    .ok_or(SyntaxError::Escape)?;
                value = value * 16 + digit;
            }
        }
        char::from_u32(value).ok_or(SyntaxError::Escape)
    }

    /// Copies `\pL` and `\p{Greek}`; a caret inside the braces turns the set round.
    fn unicode_class(&mut self, letter: char) -> Result<String, SyntaxError> {
        let first = self.rest.next().ok_or(SyntaxError::Escape)?;
        if first != '{' {
            return if first.is_ascii_alphabetic() {
                Ok(format!("\\{letter}{first}"))
            } else {
                Err(SyntaxError::Escape)
            };
        }
        let turned = self.rest.next_if_eq(&'^').is_some();
        let mut name = String::new();
        loop {
            match self.rest.next() {
                Some('}') => break,
                Some(character) if character.is_ascii_alphanumeric() || character == '_' => {
                    name.push(character)
                }
                Some(_) | None => return Err(SyntaxError::Escape),
            }
        }
        let letter = if turned == (letter == 'p') { 'P' } else { 'p' };
        Ok(format!("\\{letter}{{{name}}}"))
    }

    /// Rewrites a bracket expression, every character of it as its number.
    fn class(&mut self) -> Result<(), SyntaxError> {
        self.out.push('[');
        if self.rest.next_if_eq(&'^').is_some() {
            self.out.push('^');
        }
        let mut first = true;
        loop {
            let character = self.rest.next().ok_or(SyntaxError::Bracket)?;
            if character == ']' && !first {
                break;
            }
            first = false;
            if character == '[' && self.posix_class()? {
                continue;
            }
            let low = match character {
                '\\' => match self.escape(Place::Class)? {
                    Escape::Written(set) => {
                        self.out.push_str(&set);
                        continue;
                    }
                    Escape::Character(character) => character,
                },
                other => other,
            };
            let high = self.range_end()?.unwrap_or(low);
            if high < low {
                return Err(SyntaxError::Range);
            }
            self.code_point(low);
            if high != low {
                self.out.push('-');
                self.code_point(high);
            }
        }
        self.out.push(']');
        Ok(())
    }

    /// Copies `[:alpha:]` if that is what follows the bracket just read.
    fn posix_class(&mut self) -> Result<bool, SyntaxError> {
        if self.no_named_sets || self.rest.peek() != Some(&':') {
            return Ok(false);
        }
        let mut ahead = self.rest.clone();
        ahead.next();
        let mut name = String::new();
        loop {
            match ahead.next() {
                Some(':') if ahead.next_if_eq(&']').is_some() => break,
                Some(character) => name.push(character),
                None => {
                    // Looking for the end again, from each further bracket, would take quadratic time.
                    self.no_named_sets = true;
                    return Ok(false);
                }
            }
        }
        if !POSIX_CLASSES.contains(&name.strip_prefix('^').unwrap_or(&name)) {
            return Err(SyntaxError::Range);
        }
        self.out.push_str("[:");
        self.out.push_str(&name);
        self.out.push_str(":]");
        self.rest = ahead;
        Ok(true)
    }

    /// Reads the end of a range; a dash before the closing bracket is a plain one.
    fn range_end(&mut self) -> Result<Option<char>, SyntaxError> {
        let mut ahead = self.rest.clone();
        if ahead.next() != Some('-') {
            return Ok(None);
        }
        match ahead.next() {
            Some(']') | None => return Ok(None),
            Some(_) => {}
        }
        self.rest.next();
        match self.rest.next() {
            Some('\\') => match self.escape(Place::Class)? {
                Escape::Character(character) => Ok(Some(character)),
                Escape::Written(_) => Err(SyntaxError::Range),
            },
            other => Ok(other),
        }
    }

    /// Copies the head of a group, with Go's flags only.
    fn group(&mut self) -> Result<(), SyntaxError> {
        let start = self.out.len();
        self.out.push('(');
        if self.rest.next_if_eq(&'?').is_none() {
            return Ok(());
        }
        self.out.push('?');
        let named = match self.rest.peek() {
            Some('P') => {
                self.rest.next();
                self.out.push('P');
                true
            }
            Some('<') => true,
            Some(_) | None => false,
        };
        if named {
            return self.group_name();
        }
        loop {
            let character = self.rest.next().ok_or(SyntaxError::Group)?;
            match character {
                'i' | 'm' | 's' | 'U' | '-' => self.out.push(character),
                ':' => {
                    self.out.push(character);
                    return Ok(());
                }
                ')' => {
                    self.out.push(character);
                    self.flags_at = Some(start);
                    return Ok(());
                }
                _ => return Err(SyntaxError::Group),
            }
        }
    }

    fn group_name(&mut self) -> Result<(), SyntaxError> {
        if self.rest.next() != Some('<') {
            return Err(SyntaxError::Group);
        }
        self.out.push('<');
        loop {
            let character = self.rest.next().ok_or(SyntaxError::Group)?;
            self.out.push(character);
            match character {
                '>' => return Ok(()),
                '_' => {}
                other if other.is_alphanumeric() => {}
                _ => return Err(SyntaxError::Group),
            }
        }
    }
}

/// Reads a decimal number without a needless zero in front.
fn number(text: &mut Peekable<Chars<'_>>) -> Option<u32> {
    let mut digits = String::new();
    while let Some(digit) = text.next_if(char::is_ascii_digit) {
        digits.push(digit);
    }
    if digits.len() > 1 && digits.starts_with('0') {
        return None;
    }
    // More digits than fit are too many in any case.
    if digits.is_empty() {
        None
    } else {
        Some(digits.parse().unwrap_or(u32::MAX))
    }
}
