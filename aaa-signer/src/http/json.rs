//! JSON bodies as the original's decoder reads them: only the first value, names in any letter case, the last of a
//! member that stands there twice, `null` as nothing at all.
//!
//! All members of its requests are text. The first one of another kind is told by its name, as the original does.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// The names of a request: in Go's texts it is called `name`.
pub(super) struct Shape<const N: usize> {
    pub(super) name: &'static str,
    pub(super) members: [&'static str; N],
}

/// The members of a body, in the order of the shape; one that is absent is empty.
pub(super) type Members<'b, const N: usize> = [Cow<'b, str>; N];

/// Why a body is none.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BodyFault {
    /// There is nothing but white space.
    Nothing,
    /// It is no JSON, or not of that shape; the text follows the original's.
    Unreadable(String),
}

impl<const N: usize> Shape<N> {
    /// Reads the first value of the body.
    pub(super) fn read<'b>(&self, body: &'b [u8]) -> Result<Members<'b, N>, BodyFault> {
        if body.trim_ascii().is_empty() {
            return Err(BodyFault::Nothing);
        }
        let mut reader = serde_json::Deserializer::from_slice(body);
        let read = Object(self)
            .deserialize(&mut reader)
            .map_err(|error| BodyFault::Unreadable(syntax(&error)))?;
        match read {
            Read::Members(members, None) => Ok(members),
            Read::Members(_, Some((member, kind))) => Err(BodyFault::Unreadable(format!(
                "json: cannot unmarshal {kind} into Go struct field {}.{} of type string",
                self.name,
                self.members.get(member).copied().unwrap_or_default(),
            ))),
            Read::Other(kind) => Err(BodyFault::Unreadable(format!(
                "json: cannot unmarshal {kind} into Go value of type models.{}",
                self.name
            ))),
        }
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.members
            .iter()
            .position(|member| same_name(member, name))
    }
}

/// Why a text is no JSON; the original's words where the text ends too early.
fn syntax(error: &serde_json::Error) -> String {
    if error.is_eof() {
        return "unexpected EOF".to_owned();
    }
    error.to_string()
}

/// Whether two names are one, letter case aside, as Go folds it: two letters outside ASCII fold into it.
fn same_name(member: &str, name: &str) -> bool {
    if member.eq_ignore_ascii_case(name) {
        return true;
    }
    if name.is_ascii() {
        return false;
    }
    let fold = |letter: char| match letter {
        'ſ' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    };
    name.chars().map(fold).eq(member.chars())
}

/// What the first value is.
enum Read<'b, const N: usize> {
    /// An object, or null, with the first member that is no text.
    Members(Members<'b, N>, Option<(usize, &'static str)>),
    /// Something else, by Go's name.
    Other(&'static str),
}

struct Object<'s, const N: usize>(&'s Shape<N>);

impl<'b, const N: usize> DeserializeSeed<'b> for Object<'_, N> {
    type Value = Read<'b, N>;

    fn deserialize<D: Deserializer<'b>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'b, const N: usize> Visitor<'b> for Object<'_, N> {
    type Value = Read<'b, N>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Read::Members(nothing(), None))
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Read::Other("bool"))
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Read::Other("number"))
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Read::Other("number"))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Read::Other("number"))
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Self::Value, E> {
        Ok(Read::Other("string"))
    }

    fn visit_seq<A: SeqAccess<'b>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Read::Other("array"))
    }

    fn visit_map<A: MapAccess<'b>>(self, mut object: A) -> Result<Self::Value, A::Error> {
        let mut members = nothing();
        let mut fault = None;
        while let Some(name) = object.next_key_seed(Text)? {
            let position = match &name {
                Kind::Text(name) => self.0.position(name),
                Kind::Nothing | Kind::Other(_) => None,
            };
            let Some((position, member)) =
                position.and_then(|at| members.get_mut(at).map(|member| (at, member)))
            else {
                object.next_value::<IgnoredAny>()?;
                continue;
            };
            match object.next_value_seed(Text)? {
                Kind::Text(text) => *member = text,
                // As in Go, null leaves what an earlier member of that name set.
                Kind::Nothing => {}
                Kind::Other(kind) => {
                    fault.get_or_insert((position, kind));
                }
            }
        }
        Ok(Read::Members(members, fault))
    }
}

fn nothing<'b, const N: usize>() -> Members<'b, N> {
    std::array::from_fn(|_| Cow::Borrowed(""))
}

/// A text, or the kind of what stands in its place.
enum Kind<'b> {
    Text(Cow<'b, str>),
    Nothing,
    Other(&'static str),
}

struct Text;

impl<'b> DeserializeSeed<'b> for Text {
    type Value = Kind<'b>;

    fn deserialize<D: Deserializer<'b>>(self, deserializer: D) -> Result<Kind<'b>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'b> Visitor<'b> for Text {
    type Value = Kind<'b>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'b str) -> Result<Kind<'b>, E> {
        Ok(Kind::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Kind<'b>, E> {
        Ok(Kind::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_unit<E: Error>(self) -> Result<Kind<'b>, E> {
        Ok(Kind::Nothing)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Kind<'b>, E> {
        Ok(Kind::Other("bool"))
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Kind<'b>, E> {
        Ok(Kind::Other("number"))
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Kind<'b>, E> {
        Ok(Kind::Other("number"))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Kind<'b>, E> {
        Ok(Kind::Other("number"))
    }

    fn visit_seq<A: SeqAccess<'b>>(self, mut list: A) -> Result<Kind<'b>, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Kind::Other("array"))
    }

    fn visit_map<A: MapAccess<'b>>(self, mut object: A) -> Result<Kind<'b>, A::Error> {
        while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Kind::Other("object"))
    }
}

/// Bytes as text: padded standard base64, line ends inside skipped.
///
/// # Errors
///
/// The offset of the first byte that does not belong there.
pub(super) fn bytes(text: &str) -> Result<Vec<u8>, usize> {
    match base64_simd::STANDARD.decode_to_vec(text) {
        Ok(bytes) => Ok(bytes),
        // With line ends, with bits left over, or broken: one byte after the other tells.
        Err(_) => slow_bytes(text.as_bytes()),
    }
}

fn slow_bytes(text: &[u8]) -> Result<Vec<u8>, usize> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let mut letters = text
        .iter()
        .copied()
        .enumerate()
        .filter(|(_, byte)| !matches!(byte, b'\r' | b'\n'));
    loop {
        let (mut quantum, mut got) = (0_u32, 0_usize);
        while got < 4 {
            let Some((at, letter)) = letters.next() else {
                // The original names where the letters that are too few begin.
                return if got == 0 {
                    Ok(bytes)
                } else {
                    Err(text.len() - got)
                };
            };
            if letter == b'=' {
                return pad(at, got, quantum, &mut letters, text.len(), bytes);
            }
            quantum = quantum << 6 | u32::from(sextet(letter).ok_or(at)?);
            got += 1;
        }
        let [_, a, b, c] = quantum.to_be_bytes();
        bytes.extend([a, b, c]);
    }
}

/// The end of the text from its first `=` on, which stands at `at` after `got` letters of the last four.
fn pad(
    at: usize,
    got: usize,
    quantum: u32,
    rest: &mut impl Iterator<Item = (usize, u8)>,
    length: usize,
    mut bytes: Vec<u8>,
) -> Result<Vec<u8>, usize> {
    match got {
        2 => {
            match rest.next() {
                Some((_, b'=')) => {}
                Some((next, _)) => return Err(next - 1),
                None => return Err(length),
            }
            let [_, a, ..] = (quantum << 12).to_be_bytes();
            bytes.push(a);
        }
        3 => {
            let [_, a, b, _] = (quantum << 6).to_be_bytes();
            bytes.extend([a, b]);
        }
        _ => return Err(at),
    }
    match rest.next() {
        Some((garbage, _)) => Err(garbage),
        None => Ok(bytes),
    }
}

fn sextet(letter: u8) -> Option<u8> {
    match letter {
        b'A'..=b'Z' => Some(letter - b'A'),
        b'a'..=b'z' => Some(letter - b'a' + 26),
        b'0'..=b'9' => Some(letter - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape<3> = Shape {
        name: "SignRequest",
        members: ["token", "request", "signature"],
    };

    fn read(body: &str) -> Result<[String; 3], BodyFault> {
        let members = SHAPE.read(body.as_bytes())?;
        Ok(members.map(Cow::into_owned))
    }

    fn members(body: &str) -> [String; 3] {
        read(body).unwrap()
    }

    fn fault(body: &str) -> String {
        match read(body).unwrap_err() {
            BodyFault::Unreadable(text) => text,
            BodyFault::Nothing => "nothing".to_owned(),
        }
    }

    #[test]
    fn names_fold_the_last_wins_and_null_is_nothing() {
        assert_eq!(
            members(r#"{"TOKEN":"a","toKen":"b","x":[{"token":1}]}"#),
            ["b", "", ""]
        );
        assert_eq!(
            members("{\"to\u{212a}en\":\"a\",\"\u{17f}ignature\":\"b\"}"),
            ["a", "", "b"]
        );
        assert_eq!(
            members(r#"{"token":"a","token":null,"request":null}"#),
            ["a", "", ""]
        );
        assert_eq!(members("null"), ["", "", ""]);
        assert_eq!(members(r#"{"token":"\u00e9\n"}"#), ["é\n", "", ""]);
    }

    #[test]
    fn only_the_first_value_is_read() {
        assert_eq!(members(r#" {"token":"a"} {"token":5} ]"#), ["a", "", ""]);
    }

    #[test]
    fn the_first_member_of_another_kind_is_named_unless_the_text_is_broken() {
        let of = |kind| {
            format!(
                "json: cannot unmarshal {kind} into Go struct field SignRequest.token of type string"
            )
        };
        assert_eq!(fault(r#"{"token":5,"request":[]}"#), of("number"));
        assert_eq!(fault(r#"{"token":-1.5e3}"#), of("number"));
        assert_eq!(fault(r#"{"Token":[1,{"a":2}]}"#), of("array"));
        assert_eq!(fault(r#"{"token":{"a":[]}}"#), of("object"));
        assert_eq!(fault(r#"{"token":true}"#), of("bool"));
        let whole = |kind| {
            format!("json: cannot unmarshal {kind} into Go value of type models.SignRequest")
        };
        assert_eq!(fault("[]"), whole("array"));
        assert_eq!(fault("5"), whole("number"));
        assert_eq!(fault("\"x\""), whole("string"));
        assert_eq!(fault("false"), whole("bool"));
        assert_eq!(fault(r#"{"token":5,"#), "unexpected EOF");
        assert_eq!(fault("{"), "unexpected EOF");
        assert!(fault("{]").contains("column"));
    }

    #[test]
    fn nothing_is_not_a_value() {
        for body in ["", " \r\n\t"] {
            assert_eq!(read(body).unwrap_err(), BodyFault::Nothing);
        }
    }

    #[test]
    fn deep_nesting_is_a_fault_and_no_crash() {
        assert!(read(&"[".repeat(100_000)).is_err());
        let unknown = format!("{{\"x\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(members(&unknown), ["", "", ""]);
    }

    #[test]
    fn base64_is_padded_and_skips_line_ends() {
        assert_eq!(bytes("").unwrap(), b"");
        assert_eq!(bytes("aGVsbG8=").unwrap(), b"hello");
        assert_eq!(bytes("aGVs\r\nbG8=\n").unwrap(), b"hello");
        assert_eq!(bytes("aGVsbA=\n=").unwrap(), b"hell");
        // Bits left over are not looked at.
        assert_eq!(bytes("aGVsbG9=").unwrap(), b"hello");
    }

    #[test]
    fn base64_faults_are_where_the_original_sees_them() {
        for (text, at) in [
            ("!", 0),
            ("aGVsbG8", 4),
            ("aGVsbG8=x", 8),
            ("aGVs-G8=", 4),
            ("=", 0),
            ("a===", 1),
            ("aG=x", 2),
            ("aGVsbA=", 7),
            ("a", 0),
        ] {
            assert_eq!(bytes(text), Err(at), "{text}");
        }
    }
}
