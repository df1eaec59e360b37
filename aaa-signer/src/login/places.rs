//! What wrong passwords are counted by: a name, in a form that no spelling escapes, at a place that nobody outside can find.

use std::fmt;

use icu_normalizer::DecomposingNormalizerBorrowed;
use ring::hmac;

/// Sets this use of the issuer's secret apart from every other.
const PURPOSE: &[u8] = b"overlay-login-places-v1";

/// Finds the places of names. All who hold the same secret find the same ones; who does not could not say whose failures share
/// a place with their own.
#[derive(Clone)]
pub(super) struct Places(hmac::Key);

impl Places {
    /// The places of those who hold `secret`.
    pub(super) fn of(secret: &str) -> Self {
        let root = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let derived = hmac::sign(&root, PURPOSE);
        Self(hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref()))
    }

    /// Where the failures of a name are counted; those from a source apart, where one is given.
    pub(super) fn place(&self, name: &str, source: &str) -> String {
        let mut place = hmac::Context::with_key(&self.0);
        // Where the name ends is not for its sender to say.
        place.update(&u64::try_from(name.len()).unwrap_or(u64::MAX).to_be_bytes());
        place.update(name.as_bytes());
        place.update(source.as_bytes());
        hex::encode(place.sign())
    }
}

impl fmt::Debug for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Places(****)")
    }
}

/// The form of a name by which is counted: what directories do not tell apart is one here. They pass over letter case, the
/// number of spaces, forms of a letter and what cannot be seen (RFC 4518), some of them accents, too.
///
/// That it also makes one of names that a directory tells apart does no more than that they are counted together.
pub(super) fn folded(name: &str) -> String {
    let letters = DecomposingNormalizerBorrowed::new_nfkd().normalize(name);
    let letters: String = letters
        .chars()
        .flat_map(char::to_uppercase)
        .flat_map(char::to_lowercase)
        .filter(|letter| letter.is_ascii() || letter.is_alphanumeric())
        .collect();
    let words: Vec<_> = letters.split_whitespace().collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::{Places, folded};

    #[test]
    fn spellings_of_a_name_are_one() {
        for name in [
            "alice b",
            "Alice B",
            "ALICE  b",
            "alice\u{a0}B",
            "\u{ff41}lice b",
            "al\u{ad}ice\u{200b} b",
            "\u{e1}lice b",
            "a\u{301}lice b",
            "al\u{130}ce b",
        ] {
            assert_eq!(folded(name), "alice b", "{name:?}");
        }
        assert_eq!(folded("stra\u{df}e"), folded("STRASSE"));
        for other in ["aliceb", "alice.b", "alice-b", "alice_b", "alice b@x"] {
            assert_ne!(folded(other), folded("alice b"));
        }
    }

    #[test]
    fn places_are_the_secrets_and_tell_a_name_from_its_source() {
        let places = Places::of("seed");
        assert_eq!(places.place("bob", ""), Places::of("seed").place("bob", ""));
        assert_ne!(
            places.place("bob", ""),
            Places::of("other").place("bob", "")
        );
        assert_ne!(places.place("bob", "1"), places.place("bob1", ""));
        assert_eq!(format!("{places:?}"), "Places(****)");
    }
}
