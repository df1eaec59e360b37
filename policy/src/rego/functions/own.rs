//! Functions of OPA that the engine lacks: hashes, the reading of a JWT, and three that Rego v1 dropped.

use std::collections::BTreeSet;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use md5::Md5;
use regorus::{Engine, Value};
use ring::{digest, hmac};
use sha2::Digest;

use super::add_one;
use super::bounded::builtin;

pub(super) fn add(engine: &mut Engine, called: &BTreeSet<String>) -> Result<(), String> {
    let mut add = |name: &str, arguments: u8, call: Call| match called.contains(name) {
        true => add_one(engine, name, arguments, move |arguments| {
            Ok(call(arguments))
        }),
        false => Ok(()),
    };
    add("any", 1, Box::new(any))?;
    add("all", 1, Box::new(all))?;
    let regex_match = builtin("regex.match")?;
    add(
        "re_match",
        2,
        Box::new(move |arguments| regex_match.call(arguments)),
    )?;
    add(
        "crypto.md5",
        1,
        Box::new(|arguments| hashed(arguments, |bytes| hex::encode(Md5::digest(bytes)))),
    )?;
    for (name, algorithm) in [
        ("crypto.sha1", &digest::SHA1_FOR_LEGACY_USE_ONLY),
        ("crypto.sha256", &digest::SHA256),
    ] {
        let hash = |bytes: &[u8]| hex::encode(digest::digest(algorithm, bytes));
        add(name, 1, Box::new(move |arguments| hashed(arguments, hash)))?;
    }
    for (name, algorithm) in [
        ("crypto.hmac.sha1", hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY),
        ("crypto.hmac.sha256", hmac::HMAC_SHA256),
        ("crypto.hmac.sha512", hmac::HMAC_SHA512),
    ] {
        add(
            name,
            2,
            Box::new(move |arguments| mac(arguments, algorithm)),
        )?;
    }
    add("crypto.hmac.equal", 2, Box::new(equal))?;
    add("io.jwt.decode", 1, Box::new(jwt))
}

type Call = Box<dyn Fn(&[Value]) -> Value + Send + Sync>;

fn any(arguments: &[Value]) -> Value {
    match arguments {
        [Value::Array(items)] => Value::Bool(items.iter().any(is_true)),
        [Value::Set(items)] => Value::Bool(items.iter().any(is_true)),
        _ => Value::Undefined,
    }
}

fn all(arguments: &[Value]) -> Value {
    match arguments {
        [Value::Array(items)] => Value::Bool(items.iter().all(is_true)),
        [Value::Set(items)] => Value::Bool(items.iter().all(is_true)),
        _ => Value::Undefined,
    }
}

fn is_true(value: &Value) -> bool {
    matches!(value, Value::Bool(true))
}

fn text(text: &str) -> Value {
    Value::String(Arc::from(text))
}

fn hashed(arguments: &[Value], hash: impl Fn(&[u8]) -> String) -> Value {
    match arguments {
        [Value::String(content)] => text(&hash(content.as_bytes())),
        _ => Value::Undefined,
    }
}

fn mac(arguments: &[Value], algorithm: hmac::Algorithm) -> Value {
    match arguments {
        [Value::String(content), Value::String(key)] => {
            let key = hmac::Key::new(algorithm, key.as_bytes());
            text(&hex::encode(hmac::sign(&key, content.as_bytes())))
        }
        _ => Value::Undefined,
    }
}

fn equal(arguments: &[Value]) -> Value {
    match arguments {
        [Value::String(left), Value::String(right)] => Value::Bool(left == right),
        _ => Value::Undefined,
    }
}

fn jwt(arguments: &[Value]) -> Value {
    match arguments {
        [Value::String(token)] => decode(token).unwrap_or(Value::Undefined),
        _ => Value::Undefined,
    }
}

/// Header, claims and signature in hex, nothing verified; `None` for what is no JWT.
fn decode(token: &str) -> Option<Value> {
    let mut parts = token.split('.');
    let (header, claims, signature) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    Some(Value::from(vec![
        json(header)?,
        json(claims)?,
        text(&hex::encode(bytes(signature)?)),
    ]))
}

fn bytes(part: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(part.trim_end_matches('=')).ok()
}

fn json(part: &str) -> Option<Value> {
    let content = String::from_utf8(bytes(part)?).ok()?;
    Value::from_json_str(&content).ok()
}
