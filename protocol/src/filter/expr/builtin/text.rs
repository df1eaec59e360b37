//! Functions of texts.

use super::Evaluated;
use crate::filter::expr::eval::Budget;
use crate::filter::expr::value::Value;
use crate::filter::number;

/// Prints a value as Go's `%v` does.
pub(super) fn print(value: &Value) -> Result<String, String> {
    match value {
        Value::Nil => Ok("<nil>".to_owned()),
        Value::Bool(value) => Ok(value.to_string()),
        Value::Int(number) => Ok(number.to_string()),
        Value::Float(number) => Ok(number::print_float(*number)),
        Value::Text(text) => Ok(text.to_string()),
        Value::List(list) => {
            let elements: Vec<_> = list.elements.iter().map(print).collect::<Result<_, _>>()?;
            Ok(format!("[{}]", elements.join(" ")))
        }
        Value::Map(map) => {
            let member = |(name, member): (&String, &Value)| {
                print(member).map(|member| format!("{name}:{member}"))
            };
            let members: Vec<_> = map.iter().map(member).collect::<Result<_, _>>()?;
            Ok(format!("map[{}]", members.join(" ")))
        }
        Value::Facts(_) => Err("string of all facts".to_owned()),
    }
}

pub(super) fn split(text: &str, separator: &str, limit: Option<&Value>) -> Evaluated {
    let limit = limit.map(Value::as_int).transpose()?;
    // Without a separator each character is a part of its own.
    let parts: Vec<&str> = if separator.is_empty() {
        text.char_indices()
            .map(|(at, character)| &text[at..at + character.len_utf8()])
            .collect()
    } else {
        text.split(separator).collect()
    };
    let parts = match limit {
        Some(0) => Vec::new(),
        Some(limit) if limit > 0 && separator.is_empty() => {
            let limit = usize::try_from(limit).map_err(|error| error.to_string())?;
            let whole: usize = parts.iter().take(limit - 1).map(|part| part.len()).sum();
            let mut cut: Vec<&str> = parts.into_iter().take(limit - 1).collect();
            cut.extend(text.get(whole..).filter(|rest| !rest.is_empty()));
            cut
        }
        Some(limit) if limit > 0 => {
            let limit = usize::try_from(limit).map_err(|error| error.to_string())?;
            text.splitn(limit, separator).collect()
        }
        Some(_) | None => parts,
    };
    Ok(Value::typed_list(
        parts.into_iter().map(Value::text).collect(),
    ))
}

pub(super) fn replace(
    text: &str,
    from: &str,
    to: &str,
    limit: Option<i64>,
    budget: &mut Budget,
) -> Evaluated {
    let limit = limit.map_or(usize::MAX, |limit| {
        usize::try_from(limit).unwrap_or(usize::MAX)
    });
    let count = if from.is_empty() {
        text.chars().count() + 1
    } else {
        text.matches(from).count()
    };
    budget.pay(count.min(limit).saturating_mul(to.len()) / 64 + 1)?;
    Ok(Value::text(&text.replacen(from, to, limit)))
}
