//! Where the parts of a path end.

use std::borrow::Cow;

use super::modifier;
use super::query::{self, Query};

/// What follows a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest<'p> {
    /// Nothing: the part's value is the result.
    End,
    /// A path within the part's value.
    More(&'p str),
    /// A path that is applied to the result, whatever it is.
    Pipe(&'p str),
}

/// The next part of a path at an object.
#[derive(Debug)]
pub(super) struct Member<'p> {
    pub(super) name: Cow<'p, str>,
    pub(super) wild: bool,
    pub(super) rest: Rest<'p>,
}

/// The next part of a path at an array.
#[derive(Debug)]
pub(super) enum Element<'p> {
    /// One element.
    Index(usize, Rest<'p>),
    /// How many there are.
    Count(Rest<'p>),
    /// A path within each.
    Each(&'p str),
    /// Those that fit.
    Fitting(Query<'p>, Rest<'p>),
    /// A part that no array has.
    Nothing(Rest<'p>),
}

/// Splits at the byte `at`, which is an ASCII separator.
fn after(path: &str, at: usize) -> &str {
    path.get(at + 1..).unwrap_or_default()
}

/// Tells whether what follows a dot is applied to the result rather than looked up in it.
fn is_piped(rest: &str) -> bool {
    match rest.as_bytes().first() {
        Some(b'[' | b'{') => true,
        Some(b'@') => {
            let end = rest.find(['.', '|', ':']).unwrap_or(rest.len());
            rest.get(1..end).is_some_and(modifier::exists)
        }
        Some(_) | None => false,
    }
}

fn after_dot(path: &str, at: usize) -> Rest<'_> {
    let rest = after(path, at);
    if is_piped(rest) {
        Rest::Pipe(rest)
    } else {
        Rest::More(rest)
    }
}

/// Reads the next part of a path at an object.
pub(super) fn member(path: &str) -> Member<'_> {
    let bytes = path.as_bytes();
    let mut wild = false;
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'|' => {
                return Member {
                    name: Cow::Borrowed(&path[..at]),
                    wild,
                    rest: Rest::Pipe(after(path, at)),
                };
            }
            b'.' => {
                return Member {
                    name: Cow::Borrowed(&path[..at]),
                    wild,
                    rest: after_dot(path, at),
                };
            }
            b'*' | b'?' => wild = true,
            b'\\' => return escaped_member(path, at, wild),
            _ => {}
        }
    }
    Member {
        name: Cow::Borrowed(path),
        wild,
        rest: Rest::End,
    }
}

/// Reads a part from its first backslash at `start`; each backslash goes and the byte behind it stays.
fn escaped_member(path: &str, start: usize, mut wild: bool) -> Member<'_> {
    let bytes = path.as_bytes();
    let mut name = bytes[..start].to_vec();
    let mut rest = Rest::End;
    let mut at = start;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'\\' => {
                at += 1;
                name.extend(bytes.get(at));
            }
            b'.' => {
                rest = after_dot(path, at);
                break;
            }
            b'|' => {
                rest = Rest::Pipe(after(path, at));
                break;
            }
            other => {
                wild |= matches!(other, b'*' | b'?');
                name.push(other);
            }
        }
        at += 1;
    }
    Member {
        name: Cow::Owned(String::from_utf8_lossy(&name).into_owned()),
        wild,
        rest,
    }
}

/// Reads the next part of a path at an array.
pub(super) fn element(path: &str) -> Element<'_> {
    let bytes = path.as_bytes();
    let mut hash = false;
    let mut query = None;
    let mut each = false;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'|' => return part(&path[..at], Rest::Pipe(after(path, at)), hash, query),
            b'.' if each => return Element::Each(after(path, at)),
            b'.' => {
                let rest = if hash {
                    Rest::More(after(path, at))
                } else {
                    after_dot(path, at)
                };
                return part(&path[..at], rest, hash, query);
            }
            b'#' => {
                hash = true;
                if at == 0 {
                    match bytes.get(1) {
                        Some(b'.') => each = true,
                        Some(b'(' | b'[') => match query::parse(path) {
                            Some((mut parsed, end)) => {
                                parsed.all = bytes.get(end) == Some(&b'#');
                                query = Some(parsed);
                                at = end - 1;
                            }
                            // As in the original a query without its end is one without a condition.
                            None => return Element::Fitting(Query::default(), Rest::End),
                        },
                        Some(_) | None => {}
                    }
                }
            }
            _ => {}
        }
        at += 1;
    }
    part(path, Rest::End, hash, query)
}

fn part<'p>(text: &'p str, rest: Rest<'p>, hash: bool, query: Option<Query<'p>>) -> Element<'p> {
    match query {
        Some(query) => Element::Fitting(query, rest),
        None if text == "#" => Element::Count(rest),
        None if hash || text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) => {
            Element::Nothing(rest)
        }
        None => text
            .parse()
            .map_or(Element::Nothing(rest), |index| Element::Index(index, rest)),
    }
}

/// Splits a path at its first pipe outside of queries; `None` without one.
pub(super) fn split_pipe(path: &str) -> Option<(&str, &str)> {
    if !path.contains('|') {
        return None;
    }
    if let Some(inner) = path.strip_prefix('{') {
        // Where the braces end a pipe must follow at once.
        let end = 1 + balanced_from(inner, 1).len();
        return Some((path.get(..end)?, path.get(end..)?.strip_prefix('|')?));
    }
    let bytes = path.as_bytes();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 1,
            b'.' if bytes.get(at + 1) == Some(&b'#') => {
                at += 2;
                if matches!(bytes.get(at), Some(b'(' | b'[')) {
                    at = query::parse(&path[at - 1..]).map_or(bytes.len(), |(_, end)| at + end - 2);
                }
            }
            b'|' => return Some((&path[..at], after(path, at))),
            _ => {}
        }
        at += 1;
    }
    None
}

/// Takes the text from its first byte, an opening bracket or a quote, to the end of what that opens.
pub(super) fn balanced(text: &str) -> &str {
    balanced_from(text, 0)
}

fn balanced_from(text: &str, mut depth: usize) -> &str {
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'"' => {
                at += 1;
                while let Some(&byte) = bytes.get(at) {
                    match byte {
                        b'\\' => at += 1,
                        b'"' => break,
                        _ => {}
                    }
                    at += 1;
                }
                if depth == 0 {
                    return text.get(..=at).unwrap_or(text);
                }
            }
            b'{' | b'[' | b'(' => depth += 1,
            b'}' | b']' | b')' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return &text[..=at];
                }
            }
            _ => {}
        }
        at += 1;
    }
    text
}
