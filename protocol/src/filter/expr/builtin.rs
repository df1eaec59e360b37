//! Functions of the language itself.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "an operation names the kinds that it is defined for, every other one is a fault"
)]

mod check;
mod list;
mod text;

use std::rc::Rc;

use super::eval::Budget;
use super::value::{Number, Value};
use crate::filter::number;

/// A function that is evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Builtin {
    Len,
    Type,
    Abs,
    Ceil,
    Floor,
    Round,
    Int,
    Float,
    String,
    Trim,
    TrimPrefix,
    TrimSuffix,
    Upper,
    Lower,
    Split,
    Replace,
    Repeat,
    Join,
    IndexOf,
    LastIndexOf,
    HasPrefix,
    HasSuffix,
    Max,
    Min,
    Mean,
    Median,
    FromJson,
    First,
    Last,
    Get,
    Take,
    Keys,
    Values,
    Reverse,
    Uniq,
    Concat,
    Flatten,
    Sort,
}

/// Functions of the language that no filter needs, or whose answer is not a matter of the node.
const REFUSED: [&str; 20] = [
    "now",
    "duration",
    "date",
    "timezone",
    "toJSON",
    "toBase64",
    "fromBase64",
    "toPairs",
    "fromPairs",
    "groupBy",
    "sortBy",
    "splitAfter",
    "bitand",
    "bitor",
    "bitxor",
    "bitnand",
    "bitshl",
    "bitshr",
    "bitushr",
    "bitnot",
];

type Evaluated = Result<Value, String>;

impl Builtin {
    /// Finds a function; the error is for those that exist and are refused.
    pub(super) fn by_name(name: &str) -> Option<Result<Self, String>> {
        Some(Ok(match name {
            "len" => Self::Len,
            "type" => Self::Type,
            "abs" => Self::Abs,
            "ceil" => Self::Ceil,
            "floor" => Self::Floor,
            "round" => Self::Round,
            "int" => Self::Int,
            "float" => Self::Float,
            "string" => Self::String,
            "trim" => Self::Trim,
            "trimPrefix" => Self::TrimPrefix,
            "trimSuffix" => Self::TrimSuffix,
            "upper" => Self::Upper,
            "lower" => Self::Lower,
            "split" => Self::Split,
            "replace" => Self::Replace,
            "repeat" => Self::Repeat,
            "join" => Self::Join,
            "indexOf" => Self::IndexOf,
            "lastIndexOf" => Self::LastIndexOf,
            "hasPrefix" => Self::HasPrefix,
            "hasSuffix" => Self::HasSuffix,
            "max" => Self::Max,
            "min" => Self::Min,
            "mean" => Self::Mean,
            "median" => Self::Median,
            "fromJSON" => Self::FromJson,
            "first" => Self::First,
            "last" => Self::Last,
            "get" => Self::Get,
            "take" => Self::Take,
            "keys" => Self::Keys,
            "values" => Self::Values,
            "reverse" => Self::Reverse,
            "uniq" => Self::Uniq,
            "concat" => Self::Concat,
            "flatten" => Self::Flatten,
            "sort" => Self::Sort,
            _ if REFUSED.contains(&name) => {
                return Some(Err(format!("function {name} is not supported in filters")));
            }
            _ => return None,
        }))
    }

    pub(super) fn call(self, arguments: &[Value], budget: &mut Budget) -> Evaluated {
        let Some(first) = arguments.first() else {
            return Err(format!("{self:?} without arguments"));
        };
        let second = arguments.get(1);
        let text_at = |at: usize| {
            arguments
                .get(at)
                .map_or_else(|| Err("an argument is missing".to_owned()), Value::as_text)
        };
        let cost = arguments.iter().map(size).sum();
        budget.pay(cost)?;
        match self {
            Self::Len => match first {
                Value::Text(text) => int(text.chars().count()),
                Value::List(list) => int(list.elements.len()),
                Value::Map(map) => int(map.len()),
                Value::Facts(length) => int(*length),
                other => Err(format!("{} has no length", other.type_name())),
            },
            Self::Type => Ok(Value::text(first.type_name())),
            Self::Abs => match first {
                Value::Int(number) => Ok(Value::Int(number.wrapping_abs())),
                Value::Float(number) => Ok(Value::Float(number.abs())),
                other => Err(format!("{} is not a number", other.type_name())),
            },
            Self::Ceil => float(first).map(f64::ceil).map(Value::Float),
            Self::Floor => float(first).map(f64::floor).map(Value::Float),
            Self::Round => float(first).map(f64::round).map(Value::Float),
            Self::Int => match first {
                Value::Text(text) => text
                    .parse()
                    .map(Value::Int)
                    .map_err(|_| format!("{text:?} is not an integer")),
                other => other.as_int().map(Value::Int),
            },
            Self::Float => match first {
                Value::Text(text) => number::parse_float(text)
                    .map(Value::Float)
                    .ok_or_else(|| format!("{text:?} is not a number")),
                other => float(other).map(Value::Float),
            },
            Self::String => Ok(Value::text(&text::print(first)?)),
            Self::Trim => {
                let text = first.as_text()?;
                Ok(Value::text(match second {
                    Some(cut) => {
                        let cut = cut.as_text()?;
                        text.trim_matches(|character| cut.contains(character))
                    }
                    None => text.trim(),
                }))
            }
            Self::TrimPrefix => {
                let cut = second.map_or(Ok(" "), |cut| cut.as_text().map(Rc::as_ref))?;
                let text = first.as_text()?;
                Ok(Value::text(text.strip_prefix(cut).unwrap_or(text)))
            }
            Self::TrimSuffix => {
                let cut = second.map_or(Ok(" "), |cut| cut.as_text().map(Rc::as_ref))?;
                let text = first.as_text()?;
                Ok(Value::text(text.strip_suffix(cut).unwrap_or(text)))
            }
            Self::Upper => Ok(Value::text(&first.as_text()?.to_uppercase())),
            Self::Lower => Ok(Value::text(&crate::filter::fold::lower(first.as_text()?))),
            Self::Split => text::split(first.as_text()?, text_at(1)?, arguments.get(2)),
            Self::Replace => {
                let limit = arguments.get(3).map(Value::as_int).transpose()?;
                text::replace(first.as_text()?, text_at(1)?, text_at(2)?, limit, budget)
            }
            Self::Repeat => {
                let count = arguments.get(1).map_or(Ok(0), Value::as_int)?;
                let count = usize::try_from(count)
                    .map_err(|_| "repeat takes a positive number".to_owned())?;
                let text = first.as_text()?;
                budget.pay(text.len().saturating_mul(count))?;
                Ok(Value::text(&text.repeat(count)))
            }
            Self::Join => {
                let glue = second.map_or(Ok(""), |glue| glue.as_text().map(Rc::as_ref))?;
                let mut joined = String::new();
                for (at, part) in first.as_list()?.iter().enumerate() {
                    budget.pay(1 + glue.len() / 64)?;
                    if at > 0 {
                        joined.push_str(glue);
                    }
                    joined.push_str(part.as_text()?);
                }
                Ok(Value::text(&joined))
            }
            Self::IndexOf => position(first.as_text()?.find(text_at(1)?.as_ref())),
            Self::LastIndexOf => position(first.as_text()?.rfind(text_at(1)?.as_ref())),
            Self::HasPrefix => Ok(Value::Bool(
                first.as_text()?.starts_with(text_at(1)?.as_ref()),
            )),
            Self::HasSuffix => Ok(Value::Bool(
                first.as_text()?.ends_with(text_at(1)?.as_ref()),
            )),
            Self::Max | Self::Min | Self::Mean | Self::Median => self.aggregate(arguments),
            Self::FromJson => {
                let parsed = serde_json::from_str(first.as_text()?)
                    .map_err(|error| format!("not JSON: {error}"))?;
                budget.import(&parsed)
            }
            // As in the original these give nil where they find nothing, whatever they look at.
            Self::First => Ok(fetch(first, &Value::Int(0)).unwrap_or(Value::Nil)),
            Self::Last => Ok(fetch(first, &Value::Int(-1)).unwrap_or(Value::Nil)),
            Self::Get => {
                let key = second.unwrap_or(&Value::Nil);
                match first {
                    Value::List(_) => key
                        .as_int()
                        .map(|_| fetch(first, key).unwrap_or(Value::Nil)),
                    Value::Map(_) => fetch(first, key),
                    _ => Ok(Value::Nil),
                }
            }
            Self::Take => {
                let Some(Value::Int(count)) = second else {
                    return Err("take without an integer".to_owned());
                };
                let elements = first.as_list()?;
                let count = usize::try_from(*count)
                    .map_err(|_| "take takes a positive number".to_owned())?;
                Ok(like(first, elements.iter().take(count).cloned().collect()))
            }
            Self::Keys | Self::Values => match first {
                Value::Map(map) if self == Self::Keys => Ok(Value::list(
                    map.keys().map(|key| Value::text(key)).collect(),
                )),
                Value::Map(map) => Ok(Value::list(map.values().cloned().collect())),
                other => Err(format!("{} is not a map", other.type_name())),
            },
            Self::Reverse => Ok(Value::list(
                first.as_list()?.iter().rev().cloned().collect(),
            )),
            Self::Uniq => {
                let mut unique: Vec<Value> = Vec::new();
                for element in first.as_list()? {
                    budget.pay(1 + unique.len())?;
                    if !unique.iter().any(|known| element.equals(known)) {
                        unique.push(element.clone());
                    }
                }
                Ok(Value::list(unique))
            }
            Self::Concat => {
                let mut all = Vec::new();
                for list in arguments {
                    all.extend_from_slice(list.as_list()?);
                }
                Ok(Value::list(all))
            }
            Self::Flatten => {
                let mut flat = Vec::new();
                list::flatten(first.as_list()?, &mut flat, budget)?;
                Ok(Value::list(flat))
            }
            Self::Sort => list::sort(first.as_list()?, second),
        }
    }

    fn aggregate(self, arguments: &[Value]) -> Evaluated {
        let mut numbers = Vec::new();
        list::collect_numbers(arguments, &mut numbers)?;
        let floats = || numbers.iter().map(|number| number.to_float());
        #[expect(
            clippy::cast_precision_loss,
            reason = "a count of numbers that were paid for"
        )]
        let count = numbers.len() as f64;
        let extreme = |is_better: fn(f64, f64) -> bool| {
            let mut best: Option<Number> = None;
            for number in &numbers {
                if best.is_none_or(|best| is_better(number.to_float(), best.to_float())) {
                    best = Some(*number);
                }
            }
            best.map_or(Value::Nil, |best| match best {
                Number::Int(number) => Value::Int(number),
                Number::Float(number) => Value::Float(number),
            })
        };
        Ok(match self {
            Self::Max => extreme(|number, best| number > best),
            Self::Min => extreme(|number, best| number < best),
            Self::Mean => Value::Float(if numbers.is_empty() {
                0.0
            } else {
                floats().sum::<f64>() / count
            }),
            _ => {
                let mut sorted: Vec<f64> = floats().collect();
                sorted.sort_by(f64::total_cmp);
                let middle = sorted.len() / 2;
                let upper = sorted.get(middle).copied().unwrap_or_default();
                let lower = if sorted.len().is_multiple_of(2) {
                    sorted.get(middle.wrapping_sub(1)).copied()
                } else {
                    None
                };
                Value::Float(lower.map_or(upper, |lower| f64::midpoint(lower, upper)))
            }
        })
    }
}

/// What it costs to look at all of a value once.
fn size(value: &Value) -> usize {
    match value {
        Value::Text(text) => 1 + text.len() / 64,
        Value::List(list) => 1 + list.elements.len(),
        Value::Map(map) => 1 + map.len(),
        Value::Nil | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Facts(_) => 1,
    }
}

fn int(count: usize) -> Evaluated {
    i64::try_from(count)
        .map(Value::Int)
        .map_err(|error| error.to_string())
}

fn position(found: Option<usize>) -> Evaluated {
    found.map_or(Ok(Value::Int(-1)), int)
}

fn float(value: &Value) -> Result<f64, String> {
    value
        .number()
        .map(Number::to_float)
        .ok_or_else(|| format!("{} is not a number", value.type_name()))
}

/// Makes a list of the same kind as `list`.
pub(super) fn like(list: &Value, elements: Vec<Value>) -> Value {
    match list {
        Value::List(list) if list.is_typed => Value::typed_list(elements),
        _ => Value::list(elements),
    }
}

/// Gets a member or an element.
pub(super) fn fetch(base: &Value, key: &Value) -> Evaluated {
    match base {
        Value::List(list) => {
            let at = key.as_int()?;
            element(&list.elements, at)
                .cloned()
                .ok_or_else(|| format!("no element {at}"))
        }
        Value::Text(text) => {
            let at = key.as_int()?;
            let byte = element(text.as_bytes(), at).ok_or_else(|| format!("no byte {at}"))?;
            Ok(Value::Int(i64::from(*byte)))
        }
        Value::Map(map) => match key {
            Value::Text(key) => Ok(map.get(key.as_ref()).cloned().unwrap_or(Value::Nil)),
            Value::Nil => Ok(map.get("").cloned().unwrap_or(Value::Nil)),
            other => Err(format!("no member by {}", other.type_name())),
        },
        Value::Nil | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Facts(_) => {
            Err(format!("{} has no members", base.type_name()))
        }
    }
}

/// Gets an element, counted from the end if the index is negative.
fn element<T>(elements: &[T], at: i64) -> Option<&T> {
    let at = if at < 0 {
        i64::try_from(elements.len()).ok()?.checked_add(at)?
    } else {
        at
    };
    elements.get(usize::try_from(at).ok()?)
}
