//! The words of an expression.

/// One word.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    Name(String),
    Text(String),
    Int(i64),
    Float(f64),
    /// An operator, a keyword or a bracket.
    Sign(&'static str),
    End,
}

/// Signs, longer ones before those that they begin with.
const SIGNS: [&str; 37] = [
    "&&", "||", "==", "!=", "<=", ">=", "**", "??", "?.", "..", "::", "(", ")", "[", "]", "{", "}",
    ",", ";", ":", "?", "+", "-", "*", "/", "%", "^", "|", "<", ">", "!", "=", "#", ".", "&", "@",
    "~",
];

/// Names that are operators.
const WORDS: [&str; 11] = [
    "not",
    "in",
    "or",
    "and",
    "matches",
    "contains",
    "startsWith",
    "endsWith",
    "let",
    "if",
    "else",
];

/// Splits an expression into words, the last of which is [`Token::End`].
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut lexer = Lexer { text, at: 0 };
    let mut tokens = Vec::new();
    loop {
        let token = lexer.next()?;
        let is_end = token == Token::End;
        tokens.push(token);
        if is_end {
            return Ok(tokens);
        }
    }
}

/// Tells whether a character can begin a name.
fn is_letter(character: char) -> bool {
    character == '_' || character == '$' || character.is_alphabetic()
}

fn is_letter_or_digit(character: char) -> bool {
    is_letter(character) || character.is_numeric()
}

struct Lexer<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Lexer<'t> {
    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'t str {
        let rest = self.rest();
        let end = rest
            .find(|character| !wanted(character))
            .unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    fn take(&mut self, prefix: &str) -> bool {
        let found = self.rest().starts_with(prefix);
        if found {
            self.at += prefix.len();
        }
        found
    }

    fn skip_blanks(&mut self) -> Result<(), String> {
        loop {
            self.take_while(char::is_whitespace);
            if self.take("//") {
                self.take_while(|character| character != '\n');
            } else if self.take("/*") {
                let end = self.rest().find("*/").ok_or("unclosed comment")?;
                self.at += end + 2;
            } else {
                return Ok(());
            }
        }
    }

    fn next(&mut self) -> Result<Token, String> {
        self.skip_blanks()?;
        let rest = self.rest();
        let Some(first) = rest.chars().next() else {
            return Ok(Token::End);
        };
        match first {
            '\'' | '"' => {
                self.at += 1;
                self.text(first).map(Token::Text)
            }
            '`' => {
                self.at += 1;
                self.raw_text().map(Token::Text)
            }
            'b' | 'B' if matches!(rest.as_bytes().get(1), Some(b'\'' | b'"')) => {
                Err("byte texts are not supported".into())
            }
            '0'..='9' => self.number(),
            '.' if rest.as_bytes().get(1).is_some_and(u8::is_ascii_digit) => self.number(),
            letter if is_letter(letter) => {
                let name = self.take_while(is_letter_or_digit);
                let word = WORDS.iter().find(|word| **word == name);
                Ok(word.map_or_else(|| Token::Name(name.to_owned()), |word| Token::Sign(word)))
            }
            other => match SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
                Some(sign) => {
                    self.at += sign.len();
                    Ok(Token::Sign(sign))
                }
                None => Err(format!("unknown character {other:?}")),
            },
        }
    }

    fn number(&mut self) -> Result<Token, String> {
        let rest = self.rest();
        for (prefix, radix) in [
            ("0x", 16),
            ("0X", 16),
            ("0o", 8),
            ("0O", 8),
            ("0b", 2),
            ("0B", 2),
        ] {
            if rest.starts_with(prefix) {
                let digits = self.take_while(is_letter_or_digit).replace('_', "");
                return i64::from_str_radix(&digits[2..], radix)
                    .map(Token::Int)
                    .map_err(|_| bad_number(&digits));
            }
        }
        let is_digit = |character: char| character.is_ascii_digit() || character == '_';
        let start = self.at;
        self.take_while(is_digit);
        // Two dots are a range.
        if !self.rest().starts_with("..") && self.take(".") {
            self.take_while(is_digit);
        }
        if self.take("e") || self.take("E") {
            let _signed = self.take("+") || self.take("-");
            self.take_while(is_digit);
        }
        let digits = self.text[start..self.at].replace('_', "");
        if self.rest().starts_with(is_letter_or_digit) {
            return Err(bad_number(&digits));
        }
        if digits.contains(['.', 'e', 'E']) {
            let value: f64 = digits.parse().map_err(|_| bad_number(&digits))?;
            return if value.is_finite() {
                Ok(Token::Float(value))
            } else {
                Err(bad_number(&digits))
            };
        }
        digits
            .parse()
            .map(Token::Int)
            .map_err(|_| bad_number(&digits))
    }

    /// Reads up to the closing backtick; a doubled one stands for itself.
    fn raw_text(&mut self) -> Result<String, String> {
        let mut text = String::new();
        loop {
            text.push_str(self.take_while(|character| character != '`'));
            if !self.take("`") {
                return Err("text is not closed".into());
            }
            if !self.take("`") {
                return Ok(text);
            }
            text.push('`');
        }
    }

    fn text(&mut self, quote: char) -> Result<String, String> {
        let mut text = String::new();
        loop {
            text.push_str(
                self.take_while(|character| {
                    !matches!(character, '\\' | '\n') && character != quote
                }),
            );
            let next = self.rest().chars().next().ok_or("text is not closed")?;
            self.at += next.len_utf8();
            match next {
                '\\' => text.push(self.escape(quote)?),
                '\n' => return Err("text is not closed".into()),
                _ => return Ok(text),
            }
        }
    }

    fn escape(&mut self, quote: char) -> Result<char, String> {
        let letter = self.rest().chars().next().ok_or("text is not closed")?;
        self.at += letter.len_utf8();
        let (digits, radix) = match letter {
            'a' => return Ok('\x07'),
            'b' => return Ok('\x08'),
            'f' => return Ok('\x0c'),
            'n' => return Ok('\n'),
            'r' => return Ok('\r'),
            't' => return Ok('\t'),
            'v' => return Ok('\x0b'),
            '\\' => return Ok('\\'),
            other if other == quote => return Ok(quote),
            '0'..='7' => {
                self.at -= 1;
                (3, 8)
            }
            'x' => (2, 16),
            'u' if self.take("{") => {
                let digits = self.take_while(|character| character.is_ascii_hexdigit());
                if digits.len() > 6 || !self.take("}") {
                    return Err("invalid escape".into());
                }
                return code_point(digits, 16);
            }
            'u' => (4, 16),
            'U' => (8, 16),
            _ => return Err("invalid escape".into()),
        };
        let digits = self.rest().get(..digits).ok_or("invalid escape")?;
        self.at += digits.len();
        code_point(digits, radix)
    }
}

fn code_point(digits: &str, radix: u32) -> Result<char, String> {
    u32::from_str_radix(digits, radix)
        .ok()
        .and_then(char::from_u32)
        .ok_or_else(|| "invalid escape".into())
}

fn bad_number(digits: &str) -> String {
    format!("{digits:?} is not a number")
}
