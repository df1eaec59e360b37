//! Functions of OPA that the engine lacks: hashes, the reading of a JWT, and three that Rego v1 dropped.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use md5::Md5;
use regorus::{Engine, Value};
use ring::{digest, hmac};
use sha2::Digest;

use super::add_one;
use super::bounded::builtin;

pub(super) fn add(engine: &mut Engine) -> Result<(), String> {
    add_one(engine, "any", 1, |arguments| Ok(any(arguments)))?;
    add_one(engine, "all", 1, |arguments| Ok(all(arguments)))?;
    let regex_match = builtin("regex.match")?;
    add_one(engine, "re_match", 2, move |arguments| {
        Ok(regex_match.call(arguments))
    })?;

    add_hash(engine, "crypto.md5", |bytes| {
        hex::encode(Md5::digest(bytes))
    })?;
    add_hash(engine, "crypto.sha1", |bytes| {
        hex::encode(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, bytes))
    })?;
    add_hash(engine, "crypto.sha256", |bytes| {
        hex::encode(digest::digest(&digest::SHA256, bytes))
    })?;
    add_hmac(
        engine,
        "crypto.hmac.sha1",
        hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
    )?;
    add_hmac(engine, "crypto.hmac.sha256", hmac::HMAC_SHA256)?;
    add_hmac(engine, "crypto.hmac.sha512", hmac::HMAC_SHA512)?;
    add_one(engine, "crypto.hmac.equal", 2, |arguments| {
        Ok(match arguments {
            [Value::String(left), Value::String(right)] => Value::Bool(left == right),
            _ => Value::Undefined,
        })
    })?;
    add_one(engine, "io.jwt.decode", 1, |arguments| {
        Ok(match arguments {
            [Value::String(token)] => decode(token).unwrap_or(Value::Undefined),
            _ => Value::Undefined,
        })
    })
}

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

fn add_hash(
    engine: &mut Engine,
    name: &str,
    hash: impl Fn(&[u8]) -> String + Send + Sync + 'static,
) -> Result<(), String> {
    add_one(engine, name, 1, move |arguments| {
        Ok(match arguments {
            [Value::String(content)] => text(&hash(content.as_bytes())),
            _ => Value::Undefined,
        })
    })
}

fn add_hmac(engine: &mut Engine, name: &str, algorithm: hmac::Algorithm) -> Result<(), String> {
    add_one(engine, name, 2, move |arguments| {
        Ok(match arguments {
            [Value::String(content), Value::String(key)] => {
                let key = hmac::Key::new(algorithm, key.as_bytes());
                text(&hex::encode(hmac::sign(&key, content.as_bytes())))
            }
            _ => Value::Undefined,
        })
    })
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
