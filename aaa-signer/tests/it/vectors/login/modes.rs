//! `login-modes.json`: who signs tokens and how, and how the users file is followed.

use std::collections::BTreeSet;
use std::time::Duration;

use overlay_runtime::Period;
use overlay_testkit::vectors::{Loader, Outcome, for_cases};
use overlay_tokens::claims::ClientClaims;
use overlay_tokens::{Key, Unverified};
use serde_json::{Map, Value, json};

use super::super::keys::text;
use super::desk::{Answer, Desk, Login, Setup, THEIRS};
use super::{now, rules};

/// A service is not started to issue tokens that are good for less.
const SHORTEST: Duration = Duration::from_secs(60);
/// What the original makes of a validity of nothing.
const DEFAULT: &str = "1h";

/// Authenticator configurations, each a service of its own whose steps are run in order.
pub(in crate::vectors) fn configurations(file: &Value, loader: &Loader) -> Outcome {
    let prepared = Setup::load(file, loader).and_then(|mut setup| {
        let rsa = loader
            .load("tokens/keys.json")
            .map_err(|error| error.to_string())?;
        let pem = rsa["common"]["rsa"]["private_pkcs1_pem"]
            .as_str()
            .ok_or("no RSA key")?;
        setup.file("pki/rsa-auth.key", pem);
        Ok(setup)
    });
    for_cases(file, |case| Case::new(case, &prepared.clone()?)?.run())
}

struct Case<'a> {
    case: &'a Value,
    setup: Setup,
    /// The users file that is followed, below the service's directory.
    users_file: Option<String>,
    /// What is in it.
    users: Option<Vec<Value>>,
    validity: Duration,
}

impl<'a> Case<'a> {
    fn new(case: &'a Value, prepared: &Setup) -> Result<Self, String> {
        let config = &case["config"];
        let mut setup = prepared.clone();
        let below = |path: &str| path.replace(THEIRS, "").trim_start_matches('/').to_owned();
        let validity = go_duration(text(config, "validity")?)?;
        let users_file = config["users_file"].as_str().map(below);
        let key = below(text(config, "signing_key")?);
        let issuer = match config["signing_token"].as_str().map(below) {
            Some(token) => format!("token_file = \"DIR/{token}\"\nseed_file = \"DIR/{key}\""),
            None => format!("key_file = \"DIR/{key}\""),
        };
        let users = match (&users_file, config["users"].as_array()) {
            (Some(file), _) => format!("file = \"DIR/{file}\""),
            (None, Some(users)) => {
                format!(
                    "choria_users = {:?}",
                    Value::from(users.clone()).to_string()
                )
            }
            (None, None) => return Err("no users".to_owned()),
        };
        setup.login = format!(
            "[login]\n{issuer}\nvalidity = \"{}\"\n[login.userlist]\nchoria = true\n{users}\n",
            Period(validity)
        );
        let mut new = Self {
            case,
            users: config["users"].as_array().cloned(),
            validity,
            users_file,
            setup,
        };
        new.first_users(prepared);
        Ok(new)
    }

    /// Rule: what a file holds at the start is not told by every case; then it has those who log in before it changes.
    fn first_users(&mut self, prepared: &Setup) {
        let Some(file) = self.users_file.clone() else {
            return;
        };
        if let Some(content) = self.setup.files.get(&file) {
            self.users = serde_json::from_str(content).ok();
            return;
        }
        let steps = self.case["steps"].as_array().into_iter().flatten();
        let mut names = BTreeSet::new();
        for step in steps {
            if let Some(action) = step["action"].as_str() {
                // A file that is written before anybody logs in.
                if names.is_empty() {
                    let (_, content) = change(action, prepared);
                    if let Some(content) = content {
                        self.setup.file(&file, &content);
                    }
                }
                break;
            }
            if step["expect"]["token_claims"].is_object() {
                names.extend(step["login"]["username"].as_str());
            }
        }
        if !names.is_empty() {
            let users: Vec<_> = names
                .iter()
                .filter_map(|name| prepared.record(name).cloned())
                .collect();
            self.setup
                .file(&file, &Value::from(users.clone()).to_string());
            self.users = Some(users);
        }
    }

    fn run(mut self) -> Result<(), String> {
        let steps = self.case["steps"].as_array().ok_or("no steps")?;
        let first = steps
            .iter()
            .find(|step| step.get("now").is_some())
            .ok_or("no step has a time")?;
        let started = Desk::start(&self.setup, now(first)?);
        let desk = match (started, self.is_fit(now(first)?)) {
            (Ok(desk), Ok(())) => desk,
            (Err(_), Err(_)) => return Ok(()),
            (Err(error), Ok(())) => return Err(error),
            (Ok(_), Err(why)) => return Err(format!("it starts, although {why}")),
        };
        let mut used = BTreeSet::new();
        let mut changed = false;
        for (index, step) in steps.iter().enumerate() {
            let outcome = match step["action"].as_str() {
                Some(action) => {
                    changed = true;
                    self.act(&desk, action)
                }
                None => self.log_in(&desk, step, changed, &mut used),
            };
            outcome.map_err(|error| format!("step {}: {error}", index + 1))?;
        }
        Ok(())
    }

    /// Rule: what could issue no token, or none that is good, does not start; the original starts, and fails at each login.
    fn is_fit(&self, now: i64) -> Result<(), String> {
        let files = &self.setup.files;
        let below = |path: &str| path.replace(THEIRS, "").trim_start_matches('/').to_owned();
        let config = &self.case["config"];
        let key = files
            .get(&below(text(config, "signing_key")?))
            .ok_or("the key is missing")?;
        if let Some(token) = config["signing_token"].as_str() {
            let token = files.get(&below(token)).ok_or("the token is missing")?;
            let token = Unverified::<ClientClaims>::decode(token)
                .map_err(|_| "the token is none".to_owned())?;
            let standard = &token.claims_unverified().standard;
            if standard.tcs.is_empty() {
                return Err("the token is no chain issuer's".to_owned());
            }
            if standard.exp.is_some_and(|exp| exp <= now) {
                return Err("the issuer has expired".to_owned());
            }
            let key = Key::from_seed_text(key.as_bytes()).map_err(|_| "the key is no seed")?;
            if key.public().to_string() != standard.public_key {
                return Err("the key is not the token's".to_owned());
            }
        }
        if self.validity < SHORTEST {
            return Err("tokens would be good for no time".to_owned());
        }
        match &self.users_file {
            Some(file) => match files.get(file).map(|content| is_list(content)) {
                Some(true) => Ok(()),
                Some(false) => Err("the users file is no list".to_owned()),
                None => Err("the users file is missing".to_owned()),
            },
            None => Ok(()),
        }
    }

    /// Changes the users file. Rule: one that is missing or no list leaves the users before.
    fn act(&mut self, desk: &Desk, action: &str) -> Result<(), String> {
        let file = self.users_file.clone().ok_or("no users file")?;
        match change(action, &self.setup) {
            (true, _) => std::fs::remove_file(desk.path(&file)).map_err(|error| error.to_string()),
            (false, Some(content)) => {
                if is_list(&content) {
                    self.users = serde_json::from_str(&content).ok();
                }
                desk.write(&file, &content)
            }
            (false, None) => Err(format!("unknown action {action}")),
        }
    }

    fn log_in(
        &self,
        desk: &Desk,
        step: &Value,
        changed: bool,
        used: &mut BTreeSet<String>,
    ) -> Result<(), String> {
        let now = now(step)?;
        let body = &step["login"]["body"];
        let mut login = Login { body: body.clone() };
        if !used.insert(text(body, "signature")?.to_owned()) {
            // Rule: one signed request is one login; the same again is refused, and another one takes its place.
            let again = desk.log_in(&login)?;
            if again.token().is_some() {
                return Err("one signed request gives two tokens".to_owned());
            }
            login = Login::new(text(body, "username")?, text(body, "password")?, now);
        }
        let answer = desk.log_in(&login)?;
        let name = text(body, "username")?;
        let users = self.users.as_deref().unwrap_or_default();
        let record = users.iter().find(|user| user["username"] == name);
        let expected = &step["expect"]["token_claims"];
        // The original mixes records by their place, when a file changes and when it lies over others.
        let mixed =
            changed || (self.case["config"]["users"].is_array() && self.users_file.is_some());
        match (record, mixed) {
            (None, _) => answer.is(200, &rules::login_failed()),
            (Some(record), true) => of_record(record, &answer),
            (Some(_), false) if expected.is_object() => {
                let token = answer.token().ok_or_else(|| format!("{answer:?}"))?;
                rules::same_claims(expected, token, &self.setup, now)
            }
            (Some(_), false) => answer.is(200, &step["expect"]["body_json"]),
        }
    }
}

/// Claims are what the user's own record says, and nothing of another's.
fn of_record(record: &Value, answer: &Answer) -> Result<(), String> {
    let token = answer.token().ok_or_else(|| format!("{answer:?}"))?;
    let claims = rules::claims(token)?;
    for (claim, key) in [
        ("agents", "acls"),
        ("opa_policy", "opa_policy"),
        ("user_properties", "properties"),
        ("permissions", "broker_permissions"),
    ] {
        if claims.get(claim) != record.get(key) {
            return Err(format!(
                "{claim} is {:?}, not the record's",
                claims.get(claim)
            ));
        }
    }
    Ok(())
}

/// Whether an action removes the file, or what it writes: passwords, which the vectors leave out, are put in again.
fn change(action: &str, setup: &Setup) -> (bool, Option<String>) {
    let Some(start) = action.find(['[', '{']) else {
        return (action.ends_with("removed"), None);
    };
    let content = &action[start..];
    let Ok(Value::Array(users)) = serde_json::from_str::<Value>(content) else {
        return (false, Some(content.to_owned()));
    };
    let users = users.into_iter().map(|user| match user {
        Value::Object(user) => Value::Object(with_password(user, setup)),
        other @ (Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)) => other,
    });
    (false, Some(users.collect::<Value>().to_string()))
}

fn with_password(mut user: Map<String, Value>, setup: &Setup) -> Map<String, Value> {
    let known = user
        .get("username")
        .and_then(Value::as_str)
        .and_then(|name| setup.record(name))
        .map(|record| record["password"].clone());
    user.entry("password").or_insert(known.unwrap_or(json!("")));
    user
}

fn is_list(content: &str) -> bool {
    serde_json::from_str::<Vec<Map<String, Value>>>(content).is_ok()
}

/// A span as Go writes it; nothing means an hour.
fn go_duration(text: &str) -> Result<Duration, String> {
    let mut rest = text;
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest
            .find(|letter: char| !letter.is_ascii_digit())
            .ok_or("no unit")?;
        let unit = rest[digits..]
            .find(|letter: char| letter.is_ascii_digit())
            .map_or(rest.len(), |next| digits + next);
        let period: Period = rest[..unit]
            .parse()
            .map_err(|_| format!("{text} is no span"))?;
        sum += period.0;
        rest = &rest[unit..];
    }
    if sum.is_zero() {
        return go_duration(DEFAULT);
    }
    Ok(sum)
}
