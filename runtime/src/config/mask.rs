//! Showing configuration without its secrets.
//!
//! Our files hold no secrets, but people make mistakes, and the mistake must not end up in a log.

use figment::value::{Dict, Value};

const MASK: &str = "***";

/// The values as TOML, masked.
pub(super) fn to_toml(values: &Dict) -> String {
    let masked: Dict = values
        .iter()
        .map(|(key, value)| (key.clone(), masked(key, value)))
        .collect();
    // Values came from TOML or from text: what TOML cannot hold does not occur.
    toml::to_string_pretty(&masked).unwrap_or_else(|error| format!("# cannot be shown: {error}\n"))
}

/// A value as text, masked by its key and by its look.
pub(super) fn text(key: &str, value: &str) -> String {
    let last = key.rsplit('.').next().unwrap_or(key);
    if is_secret(last) {
        MASK.to_owned()
    } else {
        url_passwords(value)
    }
}

/// One value as it would stand in the file, masked.
pub(super) fn shown(key: &str, value: &Value) -> Option<String> {
    let last = key.rsplit('.').next().unwrap_or(key);
    match masked(last, value) {
        Value::String(_, text) => Some(format!("{text:?}")),
        Value::Char(_, letter) => Some(format!("{letter:?}")),
        Value::Dict(..) | Value::Empty(..) => None,
        other @ (Value::Bool(..) | Value::Num(..) | Value::Array(..)) => {
            serde_json::to_string(&other).ok()
        }
    }
}

fn masked(key: &str, value: &Value) -> Value {
    match value {
        Value::Dict(tag, dict) => Value::Dict(
            *tag,
            dict.iter()
                .map(|(key, value)| (key.clone(), masked(key, value)))
                .collect(),
        ),
        Value::Array(tag, array) => {
            Value::Array(*tag, array.iter().map(|value| masked(key, value)).collect())
        }
        _ if is_secret(key) => Value::from(MASK),
        Value::String(tag, text) => Value::String(*tag, url_passwords(text)),
        Value::Char(..) | Value::Bool(..) | Value::Num(..) | Value::Empty(..) => value.clone(),
    }
}

/// Whether a key of this name would hold a secret itself; a path to one is none.
fn is_secret(key: &str) -> bool {
    let key = key.to_lowercase();
    let names_a_file = ["_file", "_path", "_dir"]
        .iter()
        .any(|end| key.ends_with(end));
    let names_a_secret = ["password", "secret", "seed", "token", "private"]
        .iter()
        .any(|part| key.contains(part));
    names_a_secret && !names_a_file
}

/// Masks what stands between `scheme://` and `@` after a colon, or alone (a token).
pub(crate) fn url_passwords(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let Some((user, _host)) = authority.rsplit_once('@') else {
        return text.to_owned();
    };
    let shown = match user.split_once(':') {
        Some((name, _password)) => format!("{name}:{MASK}"),
        None => MASK.to_owned(),
    };
    let after = rest.get(user.len()..).unwrap_or_default();
    format!("{scheme}://{shown}{after}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_and_tokens_of_urls_are_masked() {
        for (text, shown) in [
            ("nats://a.example:4222", "nats://a.example:4222"),
            (
                "nats://rip:secret@a.example:4222",
                "nats://rip:***@a.example:4222",
            ),
            ("nats://s3cret@a.example", "nats://***@a.example"),
            ("wss://u:p@ss@a.example/x@y", "wss://u:***@a.example/x@y"),
            ("no url", "no url"),
        ] {
            assert_eq!(url_passwords(text), shown);
        }
    }

    #[test]
    fn values_of_secret_keys_are_masked_but_paths_are_not() {
        assert_eq!(text("system.password", "hunter2"), "***");
        assert_eq!(text("system.password_file", "/etc/p"), "/etc/p");
        assert_eq!(text("callout_seed", "SUA"), "***");
    }
}
