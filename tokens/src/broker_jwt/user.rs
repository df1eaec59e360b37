//! The answer to an authorization request: a user with permissions, or a refusal.

use std::time::Duration;

use serde::Serialize;

use super::HEADER;
use super::nkey::AccountKey;
use crate::UnixTime;
use crate::encoding;
use crate::key::KeyError;

/// What a user may publish and subscribe to.
///
/// To nats-server an absent allow list means "everything". Here a side without an allow list means nothing at all: it is
/// written as a denial of `>`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Permissions {
    /// Subjects to publish to.
    pub pub_allow: Vec<String>,
    /// Subjects not to publish to, whatever is allowed.
    pub pub_deny: Vec<String>,
    /// Subjects to subscribe to.
    pub sub_allow: Vec<String>,
    /// Subjects not to subscribe to, whatever is allowed.
    pub sub_deny: Vec<String>,
}

/// A user of the broker for the length of one connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserJwt {
    /// Name of the account to be placed in.
    pub account: String,
    /// Name that the server shows for the user.
    pub name: String,
    /// When the server closes the connection, in Unix seconds.
    pub expires: Option<i64>,
    /// What the user may do.
    pub permissions: Permissions,
    /// Whether the user may answer what it was sent, beside what it may publish anyway.
    pub resp: Option<Responses>,
}

/// How a user may answer: on the reply subject of each message that it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Responses {
    /// Most answers to one message.
    pub max: u32,
    /// For how long after it.
    pub ttl: Duration,
}

#[derive(Serialize)]
struct Claims<'a, N> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    iat: i64,
    jti: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    exp: Option<i64>,
    nats: N,
}

#[derive(Serialize)]
struct User<'a> {
    #[serde(rename = "type")]
    type_: &'static str,
    version: u8,
    subs: i8,
    data: i8,
    payload: i8,
    #[serde(rename = "pub")]
    publish: Side<'a>,
    #[serde(rename = "sub")]
    subscribe: Side<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resp: Option<Resp>,
}

/// Nanoseconds, as Go writes a duration.
#[derive(Serialize)]
struct Resp {
    max: u32,
    ttl: u64,
}

#[derive(Serialize)]
struct Side<'a> {
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    allow: &'a [String],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    deny: &'a [String],
}

#[derive(Serialize)]
struct Response<'a> {
    #[serde(rename = "type")]
    type_: &'static str,
    version: u8,
    #[serde(skip_serializing_if = "str::is_empty")]
    jwt: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    error: &'a str,
}

/// Encodes and signs a user JWT about the user key of the request, `subject`.
///
/// The permission subjects must be ones that nats-server accepts, or it refuses the whole login.
pub fn encode_user(
    user: &UserJwt,
    subject: &str,
    issuer: &AccountKey,
    now: UnixTime,
) -> Result<String, KeyError> {
    let nothing = [">".to_owned()];
    let permissions = &user.permissions;
    let nats = User {
        type_: "user",
        version: 2,
        subs: -1,
        data: -1,
        payload: -1,
        publish: side(&permissions.pub_allow, &permissions.pub_deny, &nothing),
        subscribe: side(&permissions.sub_allow, &permissions.sub_deny, &nothing),
        resp: user.resp.map(|responses| Resp {
            max: responses.max,
            // three hundred years are enough for a Go duration
            ttl: u64::try_from(responses.ttl.as_nanos())
                .unwrap_or(u64::MAX)
                .min(i64::MAX.unsigned_abs()),
        }),
    };
    let claims = Claims {
        iss: issuer.public(),
        sub: subject,
        aud: &user.account,
        name: &user.name,
        iat: now.secs,
        jti: &new_id()?,
        exp: user.expires,
        nats,
    };
    Ok(encode(&claims, issuer))
}

/// Encodes and signs the answer to a request: the user JWT, or the reason of the refusal for the server's log.
///
/// `subject` is the request's user key and `server` the id of the server that asked.
pub fn encode_response(
    answer: Result<&str, &str>,
    subject: &str,
    server: &str,
    issuer: &AccountKey,
    now: UnixTime,
) -> Result<String, KeyError> {
    let (jwt, error) = match answer {
        Ok(jwt) => (jwt, ""),
        // The server takes an answer with neither for an invalid one.
        Err("") => ("", "refused"),
        Err(reason) => ("", reason),
    };
    let nats = Response {
        type_: "authorization_response",
        version: 2,
        jwt,
        error,
    };
    let claims = Claims {
        iss: issuer.public(),
        sub: subject,
        aud: server,
        name: "",
        iat: now.secs,
        jti: &new_id()?,
        exp: None,
        nats,
    };
    Ok(encode(&claims, issuer))
}

fn side<'a>(allow: &'a [String], deny: &'a [String], nothing: &'a [String]) -> Side<'a> {
    if allow.is_empty() {
        Side {
            allow,
            deny: nothing,
        }
    } else {
        Side { allow, deny }
    }
}

/// A token id; the server does not check what it is made of.
fn new_id() -> Result<String, KeyError> {
    let mut id = [0_u8; 16];
    crate::key::random(&mut id)?;
    Ok(encoding::encode(&id))
}

fn encode<N: Serialize>(claims: &Claims<'_, N>, issuer: &AccountKey) -> String {
    // These structs hold texts, numbers and lists only, which serde_json always writes.
    let json = serde_json::to_vec(claims).unwrap_or_default();
    let mut token = String::with_capacity(HEADER.len() + json.len() * 4 / 3 + 96);
    token.push_str(HEADER);
    token.push('.');
    encoding::encode_onto(&json, &mut token);
    let signature = issuer.sign(token.as_bytes());
    token.push('.');
    encoding::encode_onto(&signature, &mut token);
    token
}

#[cfg(test)]
mod tests;
