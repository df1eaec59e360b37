//! JSON objects whose member names match in any case, the last of equal ones counting.

use std::collections::BTreeMap;
use std::fmt;

use overlay_tokens::claims::ServerPermissions;
use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Number, Value};

use super::{Answer, AnswerError, WantedClaims};

/// The members of an object in the order in which they stand.
struct Members<T>(Vec<(String, T)>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Members<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder<T>(std::marker::PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for InOrder<T> {
            type Value = Members<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Members(Vec::new()))
            }
        }

        deserializer.deserialize_any(InOrder(std::marker::PhantomData))
    }
}

type RawMembers = Members<Box<RawValue>>;

pub(super) fn answer(output: &[u8]) -> Result<Answer, AnswerError> {
    let text = str::from_utf8(output).map_err(|error| AnswerError::Json(error.to_string()))?;
    if text.trim().is_empty() {
        return Err(AnswerError::Empty);
    }
    let Members(members): RawMembers =
        serde_json::from_str(text).map_err(|error| AnswerError::Json(error.to_string()))?;
    let mut answer = Answer::default();
    for (name, value) in members {
        let name = name.to_ascii_lowercase();
        let value = &*value;
        match name.as_str() {
            "defer" => set(&mut answer.defer, &name, value)?,
            "shutdown" => set(&mut answer.shutdown, &name, value)?,
            "msg" => set(&mut answer.msg, &name, value)?,
            "configuration" => texts(&mut answer.configuration, &name, value)?,
            "server_claims" => {
                answer.server_claims = match optional::<RawMembers>(&name, value)? {
                    Some(members) => Some(claims(members)?),
                    None => answer.server_claims,
                };
            }
            "action_policies" => texts(&mut answer.action_policies, &name, value)?,
            "opa_policies" => texts(&mut answer.opa_policies, &name, value)?,
            "key" => set(&mut answer.key, &name, value)?,
            "certificate" => set(&mut answer.certificate, &name, value)?,
            "ca" => set(&mut answer.ca, &name, value)?,
            "ssldir" => set(&mut answer.ssldir, &name, value)?,
            "upgrade" => set(&mut answer.upgrade, &name, value)?,
            "confirm" => set(&mut answer.confirm, &name, value)?,
            "placement" => set(&mut answer.placement, &name, value)?,
            _ => {}
        }
    }
    Ok(answer)
}

fn claims(Members(members): RawMembers) -> Result<WantedClaims, AnswerError> {
    let mut claims = WantedClaims::default();
    for (name, value) in members {
        let name = name.to_ascii_lowercase();
        let at = format!("server_claims.{name}");
        let value = &*value;
        match name.as_str() {
            "ou" => claims.ou = optional(&at, value)?.or(claims.ou),
            "exp" => claims.exp = time(&at, value)?.or(claims.exp),
            "collectives" => set(&mut claims.collectives, &at, value)?,
            "pub_subjects" => set(&mut claims.pub_subjects, &at, value)?,
            "permissions" => {
                if let Some(members) = optional::<RawMembers>(&at, value)? {
                    claims.permissions = Some(permissions(members, &at)?);
                }
            }
            // Not for the helper to choose, but of the wrong type it is a fault nevertheless.
            "identity" | "purpose" | "tcs" | "public_key" | "iss" | "sub" | "jti" => {
                drop(optional::<String>(&at, value)?);
            }
            "issexp" | "nbf" | "iat" => drop(time(&at, value)?),
            _ => {}
        }
    }
    Ok(claims)
}

fn permissions(Members(members): RawMembers, at: &str) -> Result<ServerPermissions, AnswerError> {
    let mut granted = ServerPermissions::default();
    for (name, value) in members {
        let name = name.to_ascii_lowercase();
        let place = match name.as_str() {
            "submission" => &mut granted.submission,
            "streams" => &mut granted.streams,
            "governor" => &mut granted.governor,
            "service_host" => &mut granted.service_host,
            _ => continue,
        };
        set(place, &format!("{at}.{name}"), &value)?;
    }
    Ok(granted)
}

fn optional<T: DeserializeOwned>(member: &str, value: &RawValue) -> Result<Option<T>, AnswerError> {
    serde_json::from_str(value.get()).map_err(|error| AnswerError::Member {
        member: member.to_owned(),
        problem: error.to_string(),
    })
}

/// Sets a member; `null` leaves it as it is.
fn set<T: DeserializeOwned>(
    place: &mut T,
    member: &str,
    value: &RawValue,
) -> Result<(), AnswerError> {
    if let Some(value) = optional(member, value)? {
        *place = value;
    }
    Ok(())
}

/// Sets a map of texts; a `null` among them is an empty text.
fn texts(
    place: &mut BTreeMap<String, String>,
    member: &str,
    value: &RawValue,
) -> Result<(), AnswerError> {
    if let Some(values) = optional::<BTreeMap<String, Option<String>>>(member, value)? {
        *place = values
            .into_iter()
            .map(|(key, value)| (key, value.unwrap_or_default()))
            .collect();
    }
    Ok(())
}

/// A time in Unix seconds: a number, or a number in a text; fractions are cut off.
fn time(member: &str, value: &RawValue) -> Result<Option<i64>, AnswerError> {
    let problem = || AnswerError::Member {
        member: member.to_owned(),
        problem: "is no time in Unix seconds".to_owned(),
    };
    let number: Number = match optional::<Value>(member, value)? {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Number(number)) => number,
        Some(Value::String(text)) => text.parse().map_err(|_no_number| problem())?,
        Some(Value::Bool(_) | Value::Array(_) | Value::Object(_)) => return Err(problem()),
    };
    whole(&number).map(Some).ok_or_else(problem)
}

/// The whole part of a number of seconds that a calendar can hold.
fn whole(number: &Number) -> Option<i64> {
    if let Some(whole) = number.as_i64() {
        return Some(whole);
    }
    let text = format!("{:.0}", number.as_f64()?.floor());
    text.parse().ok()
}
