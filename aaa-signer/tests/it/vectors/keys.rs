//! The keys and tokens that the vectors name.

use std::collections::BTreeMap;
use std::time::Duration;

use overlay_aaa_signer::{Authorizer, Delegator, Denied, Judge, Rules, Tenants};
use overlay_policy::Rego;
use overlay_testkit::vectors::Loader;
use overlay_tokens::{Issuers, Key};
use serde_json::Value;

/// The keys and tokens that the vectors name.
pub(super) struct Keys {
    seeds: BTreeMap<String, Key>,
    tokens: BTreeMap<String, String>,
    /// Tokens of users.
    users: BTreeMap<String, String>,
}

impl Keys {
    /// Loads what `file` names in its members `keys` and `tokens`.
    pub(super) fn load(file: &Value, loader: &Loader) -> Result<Self, String> {
        let load = |member: &str| match file.get(member).and_then(Value::as_str) {
            Some(name) => loader.load(name).map_err(|error| error.to_string()),
            None => Ok(Value::Null),
        };
        let users = load("tokens")?;
        let keys = match (file.get("keys"), users.get("keys")) {
            (Some(_), _) => load("keys")?,
            (None, Some(name)) => loader
                .load(name.as_str().unwrap_or_default())
                .map_err(|error| error.to_string())?,
            (None, None) => return Err("the file names no keys".to_owned()),
        };
        let mut seeds = BTreeMap::new();
        for case in cases(&keys) {
            let seed = text(case, "seed_hex")?;
            let key = Key::from_seed_text(seed.as_bytes()).map_err(|error| error.to_string())?;
            seeds.insert(text(case, "name")?.to_owned(), key);
        }
        let mut tokens = BTreeMap::new();
        for (name, token) in keys
            .get("tokens")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            tokens.insert(name.clone(), text(token, "token")?.to_owned());
        }
        let mut named = BTreeMap::new();
        for case in cases(&users) {
            named.insert(
                text(case, "name")?.to_owned(),
                text(case, "token")?.to_owned(),
            );
        }
        Ok(Self {
            seeds,
            tokens,
            users: named,
        })
    }

    pub(super) fn key(&self, name: &str) -> Result<&Key, String> {
        self.seeds.get(name).ok_or_else(|| format!("no key {name}"))
    }

    /// The content of a token file.
    pub(super) fn token(&self, file: &str) -> Result<&str, String> {
        let token = self.tokens.get(file).map(String::as_str);
        token.ok_or_else(|| format!("no token {file}"))
    }

    /// All token files.
    pub(super) fn token_files(&self) -> impl Iterator<Item = (&str, &str)> {
        let files = self.tokens.iter();
        files.map(|(name, token)| (name.as_str(), token.as_str()))
    }

    /// All keys.
    pub(super) fn keys(&self) -> impl Iterator<Item = (&str, &Key)> {
        self.seeds.iter().map(|(name, key)| (name.as_str(), key))
    }

    /// A user's token, by its name in the list of tokens.
    pub(super) fn user(&self, name: &str) -> Result<&str, String> {
        let token = self.users.get(name).map(String::as_str);
        token.ok_or_else(|| format!("no user token {name}"))
    }

    /// The delegator of the recorded service.
    pub(super) fn delegator(&self) -> Result<Delegator, String> {
        Ok(Delegator {
            token: self.token("signer.jwt")?.into(),
            key: self.key("signer")?.clone(),
            expires_at: None,
        })
    }

    /// The rules of the recorded service. Requests may live for as long as those of the recorded requests do.
    pub(super) fn rules(&self) -> Result<Rules, String> {
        let org = self.key("org")?.public();
        Ok(Rules {
            // The recorded service has one key, whatever organisation a token names.
            issuers: Issuers::trusted_signers([org]).map_err(|error| error.to_string())?,
            max_validity: Duration::from_secs(200_000 * 3600),
            max_ttl: Duration::from_secs(11 * 366 * 86_400),
            clock_skew: Duration::from_secs(5),
            allow_bearer_tokens: false,
            max_request_bytes: overlay_aaa_signer::MAX_REQUEST_BYTES,
            tenants: Tenants::default(),
            denied: Denied::default(),
            authorizer: Authorizer::ActionList,
            site: "alpha".to_owned(),
        })
    }

    /// A judge with these rules.
    pub(super) fn judge(&self, change: impl FnOnce(&mut Rules)) -> Result<Judge, String> {
        let mut rules = self.rules()?;
        change(&mut rules);
        Ok(Judge::new(rules, Rego::default(), 100))
    }
}

fn cases(file: &Value) -> impl Iterator<Item = &Value> {
    file.get("cases")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

/// A member that is text.
pub(super) fn text<'a>(value: &'a Value, member: &str) -> Result<&'a str, String> {
    value
        .get(member)
        .and_then(Value::as_str)
        .ok_or_else(|| format!("no text `{member}`"))
}
