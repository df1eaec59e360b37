//! Reads a JSON object into a set of claims: exact names, no name twice, bounded depth.
//!
//! Go's parser takes a claim name in any case and keeps the last of several. Two programs that disagree about which claim
//! counts are a way in, so a name that is a known claim but for its case, or that comes twice, refuses the token.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};

/// Furthest second from 1970 that a time claim may name: what a JSON number carries without loss.
const MAX_SECONDS: i64 = 1 << 53;

/// A set of known claims, each found by its index.
pub(crate) trait ClaimSet: Default {
    /// Names of the claims; the index of a name is its place here. At most 64.
    const NAMES: &'static [&'static str];

    /// Reads the value of the claim at `index`.
    fn read<'de, A: MapAccess<'de>>(&mut self, index: usize, map: &mut A) -> Result<(), A::Error>;
}

/// Declares which field takes which claim, and by which reader; `and standard` adds the claims of all tokens.
macro_rules! claim_set {
    ($set:ty { $($name:literal => $field:ident by $reader:path,)* }) => {
        impl $crate::claims::read::ClaimSet for $set {
            const NAMES: &'static [&'static str] = &[$($name),*];

            fn read<'de, A: serde::de::MapAccess<'de>>(&mut self, index: usize, map: &mut A) -> Result<(), A::Error> {
                match Self::NAMES.get(index).copied() {
                    $(Some($name) => $reader(&mut self.$field, map),)*
                    _ => Err(serde::de::Error::custom("no claim has this index")),
                }
            }
        }
    };
    ($set:ty { $($name:literal => $field:ident by $reader:path,)* and standard }) => {
        impl $crate::claims::read::ClaimSet for $set {
            const NAMES: &'static [&'static str] = &[
                $($name,)*
                "purpose", "tcs", "public_key", "issexp", "iss", "sub", "aud", "exp", "nbf", "iat", "jti",
            ];

            fn read<'de, A: serde::de::MapAccess<'de>>(&mut self, index: usize, map: &mut A) -> Result<(), A::Error> {
                const OWN: usize = [$($name),*].len();
                match Self::NAMES.get(index).copied() {
                    $(Some($name) => $reader(&mut self.$field, map),)*
                    _ => $crate::claims::read::ClaimSet::read(&mut self.standard, index.saturating_sub(OWN), map),
                }
            }
        }
    };
}
pub(crate) use claim_set;

/// Parses `json` as one object of claims; `null` counts as an empty one, as it does for Go.
pub(crate) fn parse<C: ClaimSet>(json: &[u8]) -> Result<C, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let claims = deserializer.deserialize_any(ClaimsVisitor::<C>(PhantomData))?;
    deserializer.end()?;
    Ok(claims)
}

/// Reader of any value that has a default: JSON `null` leaves the default, as with Go.
pub(crate) fn value<'de, T, A>(slot: &mut T, map: &mut A) -> Result<(), A::Error>
where
    T: Deserialize<'de> + Default,
    A: MapAccess<'de>,
{
    *slot = map.next_value::<Option<T>>()?.unwrap_or_default();
    Ok(())
}

/// Reader of a text that counts as absent when empty.
pub(crate) fn optional_text<'de, A: MapAccess<'de>>(
    slot: &mut Option<String>,
    map: &mut A,
) -> Result<(), A::Error> {
    *slot = map
        .next_value::<Option<String>>()?
        .filter(|text| !text.is_empty());
    Ok(())
}

/// Reader of a list of texts; a `null` among them is an empty text, as with Go.
pub(crate) fn texts<'de, A: MapAccess<'de>>(
    slot: &mut Vec<String>,
    map: &mut A,
) -> Result<(), A::Error> {
    let list = map
        .next_value::<Option<Vec<Option<String>>>>()?
        .unwrap_or_default();
    *slot = list.into_iter().map(Option::unwrap_or_default).collect();
    Ok(())
}

/// Reader of a time: a JSON number of seconds, rounded down.
pub(crate) fn time<'de, A: MapAccess<'de>>(
    slot: &mut Option<i64>,
    map: &mut A,
) -> Result<(), A::Error> {
    *slot = map
        .next_value::<Option<Seconds>>()?
        .map(|seconds| seconds.0);
    Ok(())
}

/// Reader of a map of texts in which no key comes twice.
pub(crate) fn properties<'de, A>(
    slot: &mut BTreeMap<String, String>,
    map: &mut A,
) -> Result<(), A::Error>
where
    A: MapAccess<'de>,
{
    *slot = map
        .next_value::<Option<Properties>>()?
        .unwrap_or_default()
        .0;
    Ok(())
}

/// Reader of `aud`, a text or a list of texts.
pub(crate) fn audience<'de, A: MapAccess<'de>>(
    slot: &mut Vec<String>,
    map: &mut A,
) -> Result<(), A::Error> {
    *slot = map.next_value::<Option<Audience>>()?.unwrap_or_default().0;
    Ok(())
}

/// Reader of an object with claims of its own.
pub(crate) fn object<'de, T, A>(slot: &mut Option<T>, map: &mut A) -> Result<(), A::Error>
where
    T: ClaimSet,
    A: MapAccess<'de>,
{
    *slot = map
        .next_value::<Option<Nested<T>>>()?
        .map(|nested| nested.0);
    Ok(())
}

struct ClaimsVisitor<C>(PhantomData<C>);

impl<'de, C: ClaimSet> Visitor<'de> for ClaimsVisitor<C> {
    type Value = C;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of claims")
    }

    fn visit_unit<E>(self) -> Result<C, E> {
        Ok(C::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<C, A::Error> {
        let mut claims = C::default();
        let mut seen = 0_u64;
        while let Some(name) = map.next_key_seed(NameOf::<C>(PhantomData))? {
            match name {
                Name::Known(index) => {
                    let bit = 1_u64 << index;
                    if seen & bit != 0 {
                        return Err(A::Error::custom(format_args!(
                            "claim `{}` comes twice",
                            C::NAMES[index]
                        )));
                    }
                    seen |= bit;
                    claims.read(index, &mut map)?;
                }
                Name::WrongCase(index) => {
                    return Err(A::Error::custom(format_args!(
                        "claim `{}` in the wrong case",
                        C::NAMES[index]
                    )));
                }
                Name::Unknown => {
                    map.next_value::<Skipped>()?;
                }
            }
        }
        Ok(claims)
    }
}

enum Name {
    Known(usize),
    WrongCase(usize),
    Unknown,
}

struct NameOf<C>(PhantomData<C>);

impl<'de, C: ClaimSet> DeserializeSeed<'de> for NameOf<C> {
    type Value = Name;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Name, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<C: ClaimSet> Visitor<'_> for NameOf<C> {
    type Value = Name;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a claim")
    }

    fn visit_str<E>(self, text: &str) -> Result<Name, E> {
        Ok(
            if let Some(index) = C::NAMES.iter().position(|name| *name == text) {
                Name::Known(index)
            } else if let Some(index) = C::NAMES.iter().position(|name| folds_to(text, name)) {
                Name::WrongCase(index)
            } else {
                Name::Unknown
            },
        )
    }
}

/// Tells whether Go would take `text` for `name`: equal under Unicode's simple case folding, `name` being lower-case ASCII.
pub(crate) fn folds_to(text: &str, name: &str) -> bool {
    let mut folded = text.chars().map(|letter| match letter {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    });
    let mut expected = name.chars();
    loop {
        match (folded.next(), expected.next()) {
            (None, None) => return true,
            (one, other) if one == other => {}
            _ => return false,
        }
    }
}

struct Nested<T>(T);

impl<'de, T: ClaimSet> Deserialize<'de> for Nested<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_map(ClaimsVisitor(PhantomData))
            .map(Nested)
    }
}

struct Seconds(i64);

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SecondsVisitor;

        impl Visitor<'_> for SecondsVisitor {
            type Value = Seconds;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of seconds since 1970")
            }

            fn visit_i64<E: serde::de::Error>(self, seconds: i64) -> Result<Seconds, E> {
                if (-MAX_SECONDS..=MAX_SECONDS).contains(&seconds) {
                    Ok(Seconds(seconds))
                } else {
                    Err(E::custom("time out of range"))
                }
            }

            fn visit_u64<E: serde::de::Error>(self, seconds: u64) -> Result<Seconds, E> {
                self.visit_i64(
                    i64::try_from(seconds).map_err(|_large| E::custom("time out of range"))?,
                )
            }

            fn visit_f64<E: serde::de::Error>(self, seconds: f64) -> Result<Seconds, E> {
                let floor = seconds.floor();
                // 2^53 is exact as a double, so the comparison is too.
                if floor.abs() > 9_007_199_254_740_992.0 {
                    return Err(E::custom("time out of range"));
                }
                #[expect(
                    clippy::cast_possible_truncation,
                    reason = "whole and within 2^53, as just checked"
                )]
                self.visit_i64(floor as i64)
            }
        }

        deserializer.deserialize_any(SecondsVisitor)
    }
}

#[derive(Default)]
struct Audience(Vec<String>);

impl<'de> Deserialize<'de> for Audience {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AudienceVisitor;

        impl<'de> Visitor<'de> for AudienceVisitor {
            type Value = Audience;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a list of texts")
            }

            fn visit_str<E>(self, text: &str) -> Result<Audience, E> {
                Ok(Audience(vec![text.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Audience, A::Error> {
                let mut audience = Vec::new();
                while let Some(text) = list.next_element()? {
                    audience.push(text);
                }
                Ok(Audience(audience))
            }
        }

        deserializer.deserialize_any(AudienceVisitor)
    }
}

#[derive(Default)]
struct Properties(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for Properties {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PropertiesVisitor;

        impl<'de> Visitor<'de> for PropertiesVisitor {
            type Value = Properties;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of texts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Properties, A::Error> {
                let mut properties = BTreeMap::new();
                while let Some((key, value)) = map.next_entry::<String, Option<String>>()? {
                    if properties.insert(key, value.unwrap_or_default()).is_some() {
                        return Err(A::Error::custom("a property comes twice"));
                    }
                }
                Ok(Properties(properties))
            }
        }

        deserializer.deserialize_map(PropertiesVisitor)
    }
}

/// Any JSON value, checked and dropped. Unlike `IgnoredAny` it is bound by the parser's limit on depth (128).
struct Skipped;

impl<'de> Deserialize<'de> for Skipped {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SkippedVisitor;

        impl<'de> Visitor<'de> for SkippedVisitor {
            type Value = Skipped;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value")
            }

            fn visit_bool<E>(self, _: bool) -> Result<Skipped, E> {
                Ok(Skipped)
            }

            fn visit_i64<E>(self, _: i64) -> Result<Skipped, E> {
                Ok(Skipped)
            }

            fn visit_u64<E>(self, _: u64) -> Result<Skipped, E> {
                Ok(Skipped)
            }

            fn visit_f64<E>(self, _: f64) -> Result<Skipped, E> {
                Ok(Skipped)
            }

            fn visit_str<E>(self, _: &str) -> Result<Skipped, E> {
                Ok(Skipped)
            }

            fn visit_unit<E>(self) -> Result<Skipped, E> {
                Ok(Skipped)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Skipped, A::Error> {
                while list.next_element::<Skipped>()?.is_some() {}
                Ok(Skipped)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Skipped, A::Error> {
                while map.next_entry::<IgnoredAny, Skipped>()?.is_some() {}
                Ok(Skipped)
            }
        }

        deserializer.deserialize_any(SkippedVisitor)
    }
}
