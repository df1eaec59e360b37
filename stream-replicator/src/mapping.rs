//! Source subject to target subject.

use std::borrow::Cow;

use overlay_protocol::subject::{is_valid, is_valid_permission};

/// Source subject to target subject.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mapping {
    /// Put before the subject.
    pub prefix: Option<String>,
    /// Every occurrence is taken out, after the prefix was put before.
    pub remove: Option<String>,
}

/// What is known of a mapping before any message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MappingError {
    /// The prefix alone spoils every subject.
    #[error("{0:?} cannot stand before a subject")]
    Prefix(String),
    /// What a filter lets through spoils.
    #[error("subjects {from:?} become {to:?}, which are none that messages can have")]
    Filter {
        /// The filter.
        from: String,
        /// What becomes of it.
        to: String,
    },
}

impl MappingError {
    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Prefix(_) => "write words with dots between them, without wildcards",
            Self::Filter { .. } => "take the dot out as well, or put a prefix before",
        }
    }
}

impl Mapping {
    /// The target subject of a message, or the subjects that a filter of the source becomes there.
    ///
    /// It may be none that a message can have: that is judged for each message, beside [`Self::check`].
    ///
    /// The texts are the original's, with its one pass over double dots: what it makes of odd prefixes stays the same.
    pub fn apply<'a>(&self, subject: &'a str) -> Cow<'a, str> {
        let prefixed = match &self.prefix {
            Some(prefix) => Cow::Owned(join(prefix, subject)),
            None => Cow::Borrowed(subject),
        };
        match &self.remove {
            Some(remove) if prefixed.contains(remove.as_str()) => {
                Cow::Owned(prefixed.replace(remove.as_str(), "").replace("..", "."))
            }
            Some(_) => collapsed(prefixed),
            None => prefixed,
        }
    }

    /// Whether subjects stay as they are.
    pub fn is_identity(&self) -> bool {
        self.prefix.is_none() && self.remove.is_none()
    }

    /// Looks for what would spoil every message, or every one of a filter.
    ///
    /// # Errors
    ///
    /// The first such thing.
    pub fn check(&self, filters: &[&str]) -> Result<(), MappingError> {
        if let Some(prefix) = &self.prefix
            && !is_valid(&join(prefix, "x"))
        {
            return Err(MappingError::Prefix(prefix.clone()));
        }
        for filter in filters {
            let to = self.apply(filter);
            if !is_valid_permission(&to) {
                return Err(MappingError::Filter {
                    from: (*filter).to_owned(),
                    to: to.into_owned(),
                });
            }
        }
        Ok(())
    }
}

fn join(prefix: &str, subject: &str) -> String {
    format!("{prefix}.{subject}").replace("..", ".")
}

fn collapsed(subject: Cow<'_, str>) -> Cow<'_, str> {
    if subject.contains("..") {
        Cow::Owned(subject.replace("..", "."))
    } else {
        subject
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mapping(prefix: &str, remove: &str) -> Mapping {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Mapping {
            prefix: some(prefix),
            remove: some(remove),
        }
    }

    #[test]
    fn sr_case_10_a_prefix_is_put_before_and_a_text_taken_out() {
        let fleet = mapping("FLEET", "NODE_DATA");
        assert_eq!(
            fleet.apply("NODE_DATA.h.example.net"),
            "FLEET.h.example.net"
        );
        assert_eq!(fleet.apply("NODE_DATA.>"), "FLEET.>");
    }

    #[test]
    fn a_subject_without_mapping_is_not_copied() {
        assert!(matches!(
            Mapping::default().apply("a.b"),
            Cow::Borrowed("a.b")
        ));
    }

    #[test]
    fn what_would_spoil_every_message_is_found_before_any() {
        for (prefix, remove, filters) in [
            ("a b", "", vec![]),
            ("*", "", vec![]),
            ("P.>", "", vec![]),
            (".P", "", vec![]),
            ("", "NODE_DATA", vec!["NODE_DATA.>"]),
            ("", "h1", vec!["NODE_DATA.h1"]),
            ("X", "X.a", vec!["a"]),
        ] {
            assert!(mapping(prefix, remove).check(&filters).is_err());
        }
        for (prefix, remove, filters) in [
            ("FLEET.", "", vec!["a.>"]),
            ("FLEET", "NODE_DATA", vec!["NODE_DATA.>"]),
            ("", "NODE_DATA.", vec!["NODE_DATA.>", "x.*"]),
            ("", "b", vec!["a.b.c"]),
        ] {
            assert_eq!(mapping(prefix, remove).check(&filters), Ok(()));
        }
    }

    proptest! {
        #[test]
        fn a_good_prefix_makes_subjects_of_subjects(prefix in "[a-z]{1,3}(\\.[a-z]{1,3}){0,2}\\.?", subject in "[a-z]{1,3}(\\.[a-z]{1,3}){0,3}") {
            let mapping = mapping(&prefix, "");
            prop_assert_eq!(mapping.check(&[&subject]), Ok(()));
            prop_assert!(is_valid(&mapping.apply(&subject)));
        }

        #[test]
        fn no_text_panics(prefix in ".*", remove in ".*", subject in ".*") {
            let mapping = mapping(&prefix, &remove);
            let _known = mapping.check(&[&subject]);
            drop(mapping.apply(&subject));
        }
    }
}
