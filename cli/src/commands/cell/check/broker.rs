//! That broker and login service hold the two halves of the same keys.

use nkeys::KeyPairType;

use super::Check;
use crate::commands::cell::keys;
use crate::commands::cell::layout::{
    AAA_KEY, ACCOUNT_KEY, BROKER_CONF, CALLOUT_KEY, CURVE_KEY, STREAMS_KEY,
};

impl Check<'_> {
    pub(super) fn broker_keys(&mut self) {
        let Some(conf) = self.read(BROKER_CONF) else {
            return;
        };
        let conf = String::from_utf8_lossy(&conf).into_owned();
        let conf = Conf::new(&conf);
        let before = self.findings.len();
        if let Some(account) = self.nkey(ACCOUNT_KEY, &KeyPairType::Account) {
            self.same(ACCOUNT_KEY, &account, "issuer", &conf.values("issuer"));
        }
        if let Some(curve) = self.curve() {
            self.same(CURVE_KEY, &curve, "xkey", &conf.values("xkey"));
        }
        for path in [CALLOUT_KEY, STREAMS_KEY, AAA_KEY] {
            if let Some(user) = self.nkey(path, &KeyPairType::User) {
                self.same(path, &user, "auth_users", &conf.list("auth_users"));
                self.same(path, &user, "users", &conf.values("nkey"));
            }
        }
        if self.findings.len() == before {
            self.ok("keys of login service and signer and what the broker knows of them");
        }
    }

    fn nkey(&mut self, path: &str, kind: &KeyPairType) -> Option<String> {
        let seed = self.read(path)?;
        keys::nkey_public(&seed, kind)
            .map_err(|error| self.unusable(path, &error))
            .ok()
    }

    fn curve(&mut self) -> Option<String> {
        let seed = self.read(CURVE_KEY)?;
        keys::curve_public(&seed)
            .map_err(|error| self.unusable(CURVE_KEY, &error))
            .ok()
    }

    fn unusable(&mut self, path: &str, error: &anyhow::Error) {
        let root = self.layout.root().display().to_string();
        self.fault(
            path,
            format!("{error:#}"),
            format!(
                "put it back; or remove it, run `overlay cell init {root} --update` and restart broker \
                 and login service"
            ),
        );
    }

    fn same(&mut self, path: &str, public: &str, setting: &str, found: &[&str]) {
        if found.contains(&public) {
            return;
        }
        let root = self.layout.root().display().to_string();
        let detail = if found.is_empty() {
            format!("{BROKER_CONF} has no `{setting}`")
        } else {
            format!("its public half {public} is not in `{setting}` of {BROKER_CONF}")
        };
        self.fault(
            path,
            detail,
            format!("`overlay cell init {root} --update` puts it there; then restart the broker"),
        );
    }
}

/// The words of a nats-server configuration, without comments and punctuation.
struct Conf<'a> {
    words: Vec<&'a str>,
}

impl<'a> Conf<'a> {
    fn new(text: &'a str) -> Self {
        let words = text
            .lines()
            .map(|line| line.split_once('#').map_or(line, |(before, _)| before))
            .map(|line| line.split_once("//").map_or(line, |(before, _)| before))
            .flat_map(|line| {
                line.split(|found: char| found.is_whitespace() || ":=,\"'[]{}".contains(found))
            })
            .filter(|word| !word.is_empty())
            .collect();
        Self { words }
    }

    /// The word after each `key`.
    fn values(&self, key: &str) -> Vec<&'a str> {
        self.words
            .windows(2)
            .filter_map(|pair| match pair {
                [found, value] if *found == key => Some(*value),
                _ => None,
            })
            .collect()
    }

    /// The user keys after `key`.
    fn list(&self, key: &str) -> Vec<&'a str> {
        let Some(place) = self.words.iter().position(|word| *word == key) else {
            return Vec::new();
        };
        self.words
            .iter()
            .skip(place + 1)
            .take_while(|word| word.len() == 56 && word.starts_with('U'))
            .copied()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_in_any_notation() {
        let user = "U".repeat(56);
        let text = format!(
            "# issuer: no\nauth_callout {{ issuer = \"AX\", auth_users: [\"{user}\" {user}] // x\n xkey X1 }}\n"
        );
        let conf = Conf::new(&text);
        assert_eq!(conf.values("issuer"), ["AX"]);
        assert_eq!(conf.values("xkey"), ["X1"]);
        assert_eq!(conf.list("auth_users"), [user.as_str(), user.as_str()]);
    }
}
