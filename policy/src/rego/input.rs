//! The input document of a policy.

use std::collections::BTreeMap;
use std::sync::Arc;

use regorus::Value;
use serde_json::Value as Json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::question::Question;

/// Deepest nesting of data and claims; their readers end earlier.
const MAX_DEPTH: usize = 64;

/// Why there is no input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum InputError {
    #[error("the inputs of the action are no JSON object")]
    Data,
    #[error("the inputs of the action or the claims are nested too deep")]
    Depth,
    #[error("the time of the request is not a time")]
    Time,
}

/// Makes the document: `agent`, `action`, `data`, `sender`, `collective`, `ttl`, `time`, `site`, `claims`, and `tenant`
/// if there is one.
pub(super) fn document(question: &Question<'_>) -> Result<Value, InputError> {
    let data = match question.data {
        Json::Object(_) | Json::Null => value(question.data, 0)?,
        Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Array(_) => {
            return Err(InputError::Data);
        }
    };
    let mut members = BTreeMap::from([
        (key("agent"), text(question.agent)),
        (key("action"), text(question.action)),
        (key("data"), data),
        (key("sender"), text(question.sender)),
        (key("collective"), text(question.collective)),
        (key("ttl"), Value::from(question.ttl)),
        (key("time"), text(&rfc3339(question.time_ns)?)),
        (key("site"), text(question.site)),
        (key("claims"), value(question.claims, 0)?),
    ]);
    if let Some(tenant) = question.tenant {
        members.insert(key("tenant"), text(tenant));
    }
    Ok(Value::from(members))
}

/// The time as Go writes it: UTC, no trailing zeros in the fraction.
fn rfc3339(time_ns: i64) -> Result<String, InputError> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(time_ns))
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .ok_or(InputError::Time)
}

fn key(name: &str) -> Value {
    text(name)
}

fn text(text: &str) -> Value {
    Value::String(Arc::from(text))
}

fn value(json: &Json, depth: usize) -> Result<Value, InputError> {
    if depth > MAX_DEPTH {
        return Err(InputError::Depth);
    }
    Ok(match json {
        Json::Null => Value::Null,
        Json::Bool(flag) => Value::Bool(*flag),
        Json::Number(number) => self::number(number),
        Json::String(content) => text(content),
        Json::Array(items) => Value::from(
            items
                .iter()
                .map(|item| value(item, depth + 1))
                .collect::<Result<Vec<_>, _>>()?,
        ),
        Json::Object(members) => Value::from(
            members
                .iter()
                .map(|(name, member)| Ok((key(name), value(member, depth + 1)?)))
                .collect::<Result<BTreeMap<_, _>, _>>()?,
        ),
    })
}

fn number(number: &serde_json::Number) -> Value {
    if let Some(number) = number.as_u64() {
        Value::from(number)
    } else if let Some(number) = number.as_i64() {
        Value::from(number)
    } else {
        number.as_f64().map_or(Value::Null, Value::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_as_go_writes_it() {
        for (time_ns, written) in [
            (1_795_000_000_000_000_000, "2026-11-18T11:06:40Z"),
            (1_795_000_000_500_000_000, "2026-11-18T11:06:40.5Z"),
            (1_795_000_000_000_000_001, "2026-11-18T11:06:40.000000001Z"),
            (0, "1970-01-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(time_ns).as_deref(), Ok(written));
        }
    }

    #[test]
    fn numbers_keep_their_digits() {
        let json: Json =
            serde_json::from_str("[12345678901234567890,-9007199254740993,0.5]").unwrap();
        assert_eq!(
            value(&json, 0)
                .unwrap()
                .to_json_str()
                .unwrap()
                .replace(['\n', ' '], ""),
            "[12345678901234567890,-9007199254740993,0.5]"
        );
    }

    #[test]
    fn deep_data_is_refused() {
        let mut json = Json::Null;
        for _ in 0..100 {
            json = Json::Array(vec![json]);
        }
        assert_eq!(value(&json, 0), Err(InputError::Depth));
    }
}
