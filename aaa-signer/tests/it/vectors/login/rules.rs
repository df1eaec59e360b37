//! Where we differ from the original on purpose, told from the data; listed in `docs/conformance/aaa-signer.md`.

use std::time::Duration;

use overlay_protocol::id::Ksuid;
use overlay_tokens::claims::ClientClaims;
use overlay_tokens::{Algorithm, UnixTime, Unverified, algorithm};
use serde_json::{Value, json};

use super::desk::{Answer, Setup};

/// Bcrypt looks at no more.
pub(super) const BCRYPT_BYTES: usize = 72;
/// No body is longer.
pub(super) const MOST_BYTES: usize = 512 * 1024;
/// By how much clocks may differ.
const SKEW: i64 = 5;
/// No lock lasts longer.
pub(super) const LONGEST_LOCK: Duration = Duration::from_secs(300);
/// What the original's message about a malformed body begins with.
const MALFORMED: &str = "parsing request body from \"\" failed, because";

/// What a raw request asks for.
#[derive(Debug, Default)]
pub(super) struct Asked {
    username: String,
    password: String,
    timestamp: Option<i64>,
}

impl Asked {
    pub(super) fn read(raw: &[u8]) -> Self {
        let text = String::from_utf8_lossy(raw);
        let body = text
            .split_once("\r\n\r\n")
            .map(|(_, body)| body)
            .unwrap_or_default();
        let first = serde_json::Deserializer::from_str(body)
            .into_iter::<Value>()
            .next();
        let Some(Ok(body)) = first else {
            return Self::default();
        };
        Self::of(&body)
    }

    pub(super) fn of(body: &Value) -> Self {
        let member = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
        Self {
            username: member("username"),
            password: member("password"),
            timestamp: member("timestamp").parse().ok(),
        }
    }
}

pub(super) fn login_failed() -> Value {
    json!({"error": "Login failed"})
}

/// The original's handler panicked and cut the connection; ours refuses.
pub(super) fn original_broke_down(expect: &Value) -> bool {
    expect["status"].is_null() && expect.get("connection").is_some()
}

/// A password of which bcrypt would ignore the end is refused.
pub(super) fn is_cut_by_bcrypt(asked: &Asked, setup: &Setup) -> bool {
    asked.password.len() > BCRYPT_BYTES
        && setup.record(&asked.username).is_some_and(|user| {
            user["password"]
                .as_str()
                .is_some_and(|hash| hash.starts_with("$2"))
        })
}

/// A few seconds into the future are taken.
pub(super) fn is_slightly_ahead(asked: &Asked, now: i64) -> bool {
    asked
        .timestamp
        .is_some_and(|timestamp| timestamp > now && timestamp <= now + SKEW)
}

/// A user whose policy file is not there cannot log in, as with the original.
pub(super) fn names_an_absent_file(case: &Value, name: &str) -> bool {
    let users = case["file_json"].as_array().into_iter().flatten();
    users
        .filter(|user| user["username"] == name)
        .filter_map(|user| user["opa_policy_file"].as_str())
        .any(|file| case["files"].get(file).is_none_or(Value::is_null))
}

/// Problems of HTTP: status and code are the original's, the words about JSON are ours behind the same beginning.
pub(super) fn same_problem(status: u64, body: &Value, answer: &Answer) -> Result<(), String> {
    if u64::from(answer.status) != status {
        return Err(format!("{answer:?}, not {status}"));
    }
    let message = body["message"].as_str().unwrap_or_default();
    let ours = answer.body["message"].as_str().unwrap_or_default();
    let same = if message.starts_with(MALFORMED) {
        ours.starts_with(MALFORMED) && body["code"] == answer.body["code"]
    } else {
        *body == answer.body
    };
    if same {
        Ok(())
    } else {
        Err(format!("{answer:?}, not {body}"))
    }
}

/// Claims as the original's; what is new in each token is checked by its rule: a fresh id of the time of issue, and a trust
/// chain under which the token verifies.
pub(super) fn same_claims(
    expected: &Value,
    token: &str,
    setup: &Setup,
    now: i64,
) -> Result<(), String> {
    let claims = claims(token)?;
    for (name, value) in expected.as_object().ok_or("no claims")? {
        let same = match name.as_str() {
            "jti" | "tcs" => claims.get(name).is_some_and(Value::is_string),
            "iat" | "nbf" => claims[name] == json!(now),
            // The original took its time a moment later than the vector notes.
            "exp" => near(&claims[name], value),
            _ => claims.get(name) == Some(value),
        };
        if !same {
            return Err(format!("{name} is {} and not {value}", claims[name]));
        }
    }
    if claims.len() != expected.as_object().map_or(0, serde_json::Map::len) {
        return Err(format!("further claims: {claims:?}"));
    }
    let jti: Ksuid = claims["jti"]
        .as_str()
        .unwrap_or_default()
        .parse()
        .map_err(|error| format!("jti: {error}"))?;
    if i64::try_from(jti.unix_seconds()).ok() != Some(now) {
        return Err("the id is of another time".to_owned());
    }
    verifies(token, setup, now)
}

fn near(one: &Value, other: &Value) -> bool {
    match (one.as_i64(), other.as_i64()) {
        (Some(one), Some(other)) => (one - other).abs() <= 1,
        (None, None) => true,
        _ => false,
    }
}

fn verifies(token: &str, setup: &Setup, now: i64) -> Result<(), String> {
    let ours = algorithm(token).map_err(|error| error.to_string())?;
    // Tokens of RSA keys are for protocol version 1, whose verification is not ours; that they are made is all.
    if ours != Algorithm::EdDsa {
        return Ok(());
    }
    Unverified::<ClientClaims>::decode(token)
        .map_err(|error| error.to_string())?
        .verify_with_key(&setup.organisation.into(), UnixTime::from_secs(now))
        .map(drop)
        .map_err(|error| error.to_string())
}

/// The claims of a token, as they stand in it.
pub(super) fn claims(token: &str) -> Result<serde_json::Map<String, Value>, String> {
    use base64::Engine as _;
    let payload = token.split('.').nth(1).ok_or("no token")?;
    let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(payload)
        .map_err(|error| error.to_string())?;
    serde_json::from_slice(&payload).map_err(|error| error.to_string())
}
