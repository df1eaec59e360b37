//! The configuration that `configure` delivers: settings as JSON in, the text of a file out. No disk.

use std::collections::BTreeMap;

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::FormatItem;
use time::macros::format_description;

/// Begins the first line of every file that was delivered.
const MARK: &str = "# configuration file written in request ";

const TIME: &[FormatItem<'static>] =
    format_description!("[year]-[month]-[day] [hour]:[minute]:[second] +0000 UTC");

/// Why settings are not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// The text is no JSON object of texts.
    #[error("Could not decode configuration data: {0}")]
    Decode(String),
    /// A setting could not be written, or would be read as something else.
    #[error("Could not write config: {0}")]
    Setting(String),
}

/// Settings as they were delivered; values may be secrets.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Settings(BTreeMap<String, String>);

/// In whose name a file is written.
#[derive(Debug, Clone, Copy)]
pub struct Author<'a> {
    /// Id of the request.
    pub request: &'a str,
    /// Who asked.
    pub caller: &'a str,
    /// From where.
    pub sender: &'a str,
    /// When, in Unix seconds.
    pub now: i64,
}

impl Settings {
    /// Reads the input `config`.
    ///
    /// A `null` in place of a text is the empty text, and `null` in place of all is no setting, as Choria has it. What
    /// could not be read back as it was meant is refused: a line break in a value would be one more setting.
    ///
    /// # Errors
    ///
    /// [`SettingsError`], whose text goes to the caller; no value is in it.
    pub fn decode(text: &str) -> Result<Self, SettingsError> {
        let value = serde_json::from_str::<Value>(text)
            .map_err(|error| SettingsError::Decode(format!("no JSON: {error}")))?;
        let members = match value {
            Value::Null => return Ok(Self::default()),
            Value::Object(members) => members,
            other @ (Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
                let found = json_type(&other);
                return Err(SettingsError::Decode(format!(
                    "{found} is no object of texts"
                )));
            }
        };
        let mut settings = BTreeMap::new();
        for (key, value) in members {
            let value = match value {
                Value::Null => String::new(),
                Value::String(text) => text,
                other
                @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                    let found = json_type(&other);
                    return Err(SettingsError::Decode(format!(
                        "{key:?} is {found}, not a text"
                    )));
                }
            };
            check(&key, &value)?;
            settings.insert(key, value);
        }
        let settings = Self(settings);
        if settings.is_on("plugin.security.client_anon_tls") && !settings.has_remote_signer() {
            return Err(SettingsError::Setting(
                "generated configuration could not be parsed: anonymous TLS can only be enabled \
                 when a remote signer is configured"
                    .to_owned(),
            ));
        }
        Ok(settings)
    }

    /// Settings made here.
    pub fn of<const N: usize>(settings: [(&str, &str); N]) -> Self {
        let owned = settings.map(|(key, value)| (key.to_owned(), value.to_owned()));
        Self(owned.into_iter().collect())
    }

    /// One setting.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// The names of all settings.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Lines of the file.
    pub fn lines(&self) -> usize {
        self.0.len() + 1
    }

    /// The file.
    pub fn render(&self, author: Author<'_>) -> String {
        let at = OffsetDateTime::from_unix_timestamp(author.now)
            .ok()
            .and_then(|at| at.format(TIME).ok())
            .unwrap_or_default();
        let mut text = format!(
            "{MARK}{} from {} ({}) at {at}\n",
            one_line(author.request),
            one_line(author.caller),
            one_line(author.sender)
        );
        for (key, value) in &self.0 {
            text.push_str(key);
            text.push('=');
            text.push_str(value);
            text.push('\n');
        }
        text
    }

    fn is_on(&self, key: &str) -> bool {
        self.get(key).is_some_and(|value| {
            matches!(
                value.to_lowercase().as_str(),
                "1" | "yes" | "true" | "y" | "t"
            )
        })
    }

    fn has_remote_signer(&self) -> bool {
        self.get("plugin.choria.security.request_signer.url")
            .is_some_and(|url| !url.is_empty())
            || self.is_on("plugin.choria.security.request_signer.service")
    }
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Whether the text of a file says that it was delivered.
pub fn is_delivered(text: &str) -> bool {
    text.starts_with(MARK)
}

fn check(key: &str, value: &str) -> Result<(), SettingsError> {
    let refused = |what: &str| {
        let key: String = key.chars().take(80).collect();
        Err(SettingsError::Setting(format!("{key:?}: {what}")))
    };
    let breaks = |text: &str| {
        text.chars().any(|found| {
            matches!(
                found,
                '\n' | '\r' | '\0' | '\u{85}' | '\u{2028}' | '\u{2029}'
            )
        })
    };
    if breaks(key) || breaks(value) {
        return refused("a setting is one line");
    }
    if key.is_empty() || key.trim() != key || key.starts_with('#') || key.contains('=') {
        return refused("this is no name of a setting");
    }
    Ok(())
}

fn one_line(text: &str) -> String {
    text.chars()
        .filter(|found| !found.is_control())
        .take(128)
        .collect()
}

fn json_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::compat::{Pairs, add_lines};

    const AUTHOR: Author<'_> = Author {
        request: "3MOB5MMnonXZyvFyVm7IJFSHm74",
        caller: "up=ops",
        sender: "ops.example.net",
        now: 1_795_211_549,
    };

    #[test]
    fn a_file_says_who_wrote_it_and_holds_one_setting_a_line() {
        let settings =
            Settings::decode(r#"{"loglevel":"debug","identity":"n1.example.net","a":null}"#)
                .unwrap();
        assert_eq!(settings.lines(), 4);
        let text = settings.render(AUTHOR);
        assert_eq!(
            text,
            "# configuration file written in request 3MOB5MMnonXZyvFyVm7IJFSHm74 from up=ops (ops.example.net) at \
             2026-11-20 21:52:29 +0000 UTC\na=\nidentity=n1.example.net\nloglevel=debug\n"
        );
        assert!(is_delivered(&text));
        assert!(!is_delivered("identity = n1\n"));
    }

    #[test]
    fn nothing_at_all_is_one_line() {
        for text in ["{}", "null", " {} "] {
            assert_eq!(Settings::decode(text).unwrap().lines(), 1, "{text}");
        }
    }

    #[test]
    fn provision_case_21_values_that_are_no_texts_are_refused() {
        for text in [
            r#"{"a":1}"#,
            r#"{"a":false}"#,
            r#"{"a":{}}"#,
            r#"{"a":["x"]}"#,
            "[]",
            "\"x\"",
            "1",
            "identity=x",
            "",
        ] {
            let error = Settings::decode(text).unwrap_err().to_string();
            assert!(
                error.starts_with("Could not decode configuration data: "),
                "{error}"
            );
        }
    }

    #[test]
    fn line_breaks_and_names_that_are_none_are_refused_without_showing_the_value() {
        for (key, value) in [
            ("a", "s3cret\nb=c"),
            ("a", "s3cret\rb=c"),
            ("a\nb", "x"),
            ("", "x"),
            ("#a", "x"),
            ("a=b", "x"),
            (" a", "x"),
        ] {
            let text = serde_json::json!({ key: value }).to_string();
            let error = Settings::decode(&text).unwrap_err().to_string();
            assert!(error.starts_with("Could not write config: "), "{error}");
            assert!(!error.contains("s3cret"));
        }
    }

    #[test]
    fn the_author_cannot_add_lines() {
        let author = Author {
            caller: "up=x\nidentity=evil",
            ..AUTHOR
        };
        assert_eq!(Settings::default().render(author).lines().count(), 1);
    }

    #[test]
    fn values_are_not_shown() {
        let settings = Settings::decode(r#"{"plugin.nats.pass":"s3cret"}"#).unwrap();
        assert!(!format!("{settings:?}").contains("s3cret"));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            settings in proptest::collection::btree_map("[a-z][a-z._0-9]{0,20}", "[^\\p{C}\\p{Z}]{1,20}", 0..8),
        ) {
            let text = serde_json::to_string(&settings).unwrap();
            let decoded = Settings::decode(&text);
            prop_assume!(decoded.is_ok());
            let mut read = Pairs::new();
            add_lines(&decoded.unwrap().render(AUTHOR), "", &mut read);
            prop_assert_eq!(read, settings);
        }
    }
}
