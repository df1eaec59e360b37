//! Verdicts of the original, replayed. Where we differ on purpose, [`rules`] tells it from the data.

mod issue;
mod keys;
mod nonce;
mod provisioner;
mod replies;
mod rules;
mod signing;
mod verdicts;

use std::collections::BTreeMap;

use overlay_testkit::vectors::{Handler, Loader, Outcome, for_cases};
use overlay_tokens::rsa::{RsaPrivate, RsaPublic};
use overlay_tokens::{Key, PublicKey, UnixTime, VerifyKey};
use serde_json::Value;

const HANDLERS: &[(&str, Handler)] = &[
    ("aaa/keys.json", signing::keys),
    ("aaa/sign-tokens.json", signing::tokens),
    ("provisioner/ecdh.json", provisioner::exchange),
    ("provisioner/keys.json", provisioner::keys),
    ("provisioner/nonce.json", provisioner::nonces),
    ("rpc/replies.json", replies::replies),
    ("tokens/accepted-by-original.json", verdicts::verdicts),
    ("tokens/connect.json", nonce::connect),
    ("tokens/huge.json", verdicts::huge),
    ("tokens/invalid.json", verdicts::verdicts),
    ("tokens/issue.json", issue::issue),
    ("tokens/keyfiles.json", keys::key_files),
    ("tokens/keys.json", keys::keys),
    (
        "tokens/library-differences.json",
        verdicts::library_differences,
    ),
    ("tokens/nonce.json", nonce::nonces),
    ("tokens/time.json", verdicts::verdicts),
    ("tokens/valid.json", verdicts::verdicts),
];

#[test]
fn every_verdict_of_the_original_is_kept_or_changed_by_a_rule() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors");
    overlay_testkit::vectors::replay(root, HANDLERS).assert_passed();
}

/// The keys that vector files name.
struct Keys {
    seeds: BTreeMap<String, Key>,
    common: Value,
}

/// Judges every case of `file` with the keys that it names; without them the file fails as a whole.
fn with_keys(
    file: &Value,
    loader: &Loader,
    mut judge: impl FnMut(&Value, &Keys) -> Result<(), String>,
) -> Outcome {
    match Keys::load(file, loader) {
        Ok(keys) => for_cases(file, |case| judge(case, &keys)),
        Err(error) => Outcome {
            passed: 0,
            failed: vec![error],
        },
    }
}

impl Keys {
    /// Loads the key file that `file` names.
    fn load(file: &Value, loader: &Loader) -> Result<Self, String> {
        let reference = file
            .pointer("/common/keys")
            .and_then(Value::as_str)
            .unwrap_or("keys.json");
        let keys = loader.load(reference).map_err(|error| error.to_string())?;
        Ok(Self::of(&keys))
    }

    fn of(keys: &Value) -> Self {
        let seeds = keys["cases"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|case| {
                let seed = Key::from_seed_text(case["seed_hex"].as_str()?.as_bytes()).ok()?;
                Some((case["name"].as_str()?.to_owned(), seed))
            });
        Self {
            seeds: seeds.collect(),
            common: keys["common"].clone(),
        }
    }

    fn key(&self, name: &str) -> Result<&Key, String> {
        self.seeds
            .get(name)
            .ok_or_else(|| format!("no key named {name}"))
    }

    fn pem(&self, name: &str, member: &str) -> Result<&str, String> {
        self.common
            .pointer(&format!("/{name}/{member}"))
            .and_then(Value::as_str)
            .ok_or_else(|| format!("no {member} of {name}"))
    }

    /// The key to verify with, or nothing when the case gives none that is usable.
    fn verify_key(&self, name: &str) -> Result<Option<VerifyKey>, String> {
        match name {
            "none" | "" => Ok(None),
            "short" => {
                let short = &self.key("org")?.public().to_string()[..62];
                short.parse::<PublicKey>().map_err(drop).unwrap_err();
                Ok(None)
            }
            _ => {
                if let Some(key) = self.seeds.get(name) {
                    return Ok(Some(key.public().into()));
                }
                // A key that is neither ed25519 nor RSA is none.
                let key = RsaPublic::from_pem(self.pem(name, "public_pem")?);
                Ok(key.ok().map(VerifyKey::from))
            }
        }
    }

    fn rsa(&self, name: &str) -> Result<RsaPrivate, String> {
        RsaPrivate::from_pem(self.pem(name, "private_pkcs8_pem")?)
            .map_err(|error| error.to_string())
    }
}

/// The moment of a case.
fn now(case: &Value) -> UnixTime {
    UnixTime {
        secs: case["now"].as_i64().unwrap_or_default(),
        nanos: case["now_ns"]
            .as_u64()
            .and_then(|ns| u32::try_from(ns).ok())
            .unwrap_or_default(),
    }
}

fn text<'a>(value: &'a Value, member: &str) -> Result<&'a str, String> {
    value[member]
        .as_str()
        .ok_or_else(|| format!("no text `{member}`"))
}

/// The same JSON, numbers compared by value: Go has no integers where it has no type.
fn same_json(what: &str, ours: &Value, theirs: &Value) -> Result<(), String> {
    fn eq(one: &Value, other: &Value) -> bool {
        match (one, other) {
            (Value::Number(one), Value::Number(other)) => {
                one == other || one.as_f64() == other.as_f64()
            }
            (Value::Array(one), Value::Array(other)) => {
                one.len() == other.len() && one.iter().zip(other).all(|(one, other)| eq(one, other))
            }
            (Value::Object(one), Value::Object(other)) => {
                one.len() == other.len()
                    && one
                        .iter()
                        .all(|(name, one)| other.get(name).is_some_and(|other| eq(one, other)))
            }
            (one, other) => one == other,
        }
    }
    if eq(ours, theirs) {
        Ok(())
    } else {
        Err(format!("{what} is {ours} and should be {theirs}"))
    }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, ours: &T, theirs: &T) -> Result<(), String> {
    if ours == theirs {
        Ok(())
    } else {
        Err(format!("{what} is {ours:?} and should be {theirs:?}"))
    }
}
