//! The key of a message: only messages of one key keep their order.

use std::hash::{BuildHasher as _, RandomState};

use async_nats::HeaderMap;
use async_nats::header::HeaderName;

use super::lanes::{Guard, Lane};
use crate::config::Inspect;
use crate::sample::Path;

/// Reads the keys of messages.
#[derive(Debug)]
pub(crate) struct Keys {
    about: About,
    numbers: RandomState,
}

#[derive(Debug)]
enum About {
    /// The subject in the target.
    Subject,
    /// From 1, of the subject at the source.
    Token(usize),
    Header(HeaderName),
    Field(Path),
}

impl Keys {
    /// # Errors
    ///
    /// When there can be no header of the name.
    pub(crate) fn new(key: &Inspect) -> Result<Self, String> {
        Ok(Self {
            about: match key {
                Inspect::Token(None) => About::Subject,
                Inspect::Token(Some(token)) => About::Token(token.get()),
                Inspect::Header(name) => {
                    let name = name.parse();
                    About::Header(name.map_err(|error| format!("header of keys: {error}"))?)
                }
                Inspect::Field(path) => About::Field(Path::new(path)),
            },
            numbers: RandomState::new(),
        })
    }

    /// Where a message belongs. All that have no key have the same one.
    ///
    /// Two keys that have one number by chance only wait for each other.
    pub(crate) fn lane(
        &self,
        (source, target): (&str, &str),
        headers: Option<&HeaderMap>,
        body: &[u8],
        time_ms: i64,
    ) -> Lane {
        let place = self.numbers.hash_one(target);
        let number = |value: Option<&str>| self.numbers.hash_one(value.unwrap_or_default());
        let key = match &self.about {
            About::Subject => place,
            About::Token(token) => number(source.split('.').nth(token - 1)),
            About::Header(name) => {
                let value = headers.and_then(|headers| headers.get(name.clone()));
                number(value.map(|value| value.as_str()))
            }
            About::Field(path) => number(path.text(body).as_deref()),
        };
        Lane {
            key,
            place,
            time_ms,
        }
    }
}

/// What guards messages of these keys, where subjects are taken over token by token or not.
pub(crate) fn guard(key: &Inspect, keeps_tokens: bool) -> Guard {
    match key {
        Inspect::Token(None) => Guard::Subjects,
        Inspect::Token(Some(_)) if keeps_tokens => Guard::Subjects,
        Inspect::Token(Some(_)) | Inspect::Header(_) | Inspect::Field(_) => Guard::Ids,
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;

    #[test]
    fn keys_are_read_where_the_configuration_says() {
        let mut headers = HeaderMap::new();
        headers.insert("Sender", "n1");
        let of = |key: Inspect, subject: &str, body: &str| {
            let keys = Keys::new(&key).unwrap();
            let lane = |subject: &str, body: &str, headers| {
                let target = format!("copy.{subject}");
                keys.lane((subject, &target), headers, body.as_bytes(), 0)
            };
            let one = lane("a.b.c", r#"{"sender":"n1"}"#, Some(&headers));
            (
                one.key == lane(subject, body, None).key,
                one.place == lane(subject, body, None).place,
            )
        };
        let token = NonZeroUsize::new(2);
        assert_eq!(of(Inspect::Token(None), "a.b.c", ""), (true, true));
        assert_eq!(of(Inspect::Token(None), "a.b.d", ""), (false, false));
        assert_eq!(of(Inspect::Token(token), "x.b.d", ""), (true, false));
        assert_eq!(of(Inspect::Token(token), "a.x.c", ""), (false, false));
        assert_eq!(of(Inspect::Token(token), "a", ""), (false, false));
        let field = Inspect::Field("sender".to_owned());
        assert_eq!(of(field.clone(), "a", r#"{"sender": "n1"}"#), (true, false));
        assert_eq!(of(field, "a.b.c", r#"{"sender": "n2"}"#), (false, true));
        let header = Inspect::Header("Sender".to_owned());
        assert_eq!(of(header.clone(), "a.b.c", ""), (false, true));
        let keys = Keys::new(&header).unwrap();
        let none = keys.lane(("a", "a"), None, b"", 0).key;
        assert_eq!(
            none,
            keys.lane(("b", "b"), Some(&HeaderMap::new()), b"x", 1).key
        );
        assert!(Keys::new(&Inspect::Header("no header".to_owned())).is_err());
    }

    #[test]
    fn only_subjects_that_say_the_key_guard_it() {
        let token = Inspect::Token(NonZeroUsize::new(1));
        assert_eq!(guard(&Inspect::Token(None), false), Guard::Subjects);
        assert_eq!(guard(&token, true), Guard::Subjects);
        assert_eq!(guard(&token, false), Guard::Ids);
        assert_eq!(guard(&Inspect::Field("x".to_owned()), true), Guard::Ids);
    }
}
