//! Functions of the engine whose cost is not bounded by the size of what they are given.
//!
//! The engine looks at the clock between expressions. What one call may make of a small argument must therefore be
//! bounded by itself: a range, a shift, a repeated replacement, a text of a value that shares its parts.

use std::collections::BTreeSet;
use std::sync::Arc;

use regorus::unstable::{BUILTINS, BuiltinFcn, Expr, Ref, Source, Span};
use regorus::{Engine, Value};

use super::add_one;
use super::measure::{takes, too_much};
use crate::rego::guard::{MAX_DIGITS, is_small_number};

/// Most elements that one call may make.
const MAX_ELEMENTS: u64 = 1_000_000;

/// Most bytes of text that one call may make.
const MAX_TEXT: usize = 4 * 1024 * 1024;

/// Most values that one call may look at, shared ones counted as often as they occur.
const MAX_VALUES: usize = 1_000_000;

/// Widest shift to the left.
const MAX_SHIFT: u64 = 1_024;

/// Most factors of a product.
const MAX_FACTORS: usize = 1_000;

/// Says whether a call stays within bounds.
type Check = fn(&[Value]) -> bool;

pub(super) fn add(engine: &mut Engine, called: &BTreeSet<String>) -> Result<(), String> {
    let checks: &[(&'static str, Check)] = &[
        ("array.concat", few_values),
        ("base64.encode", any),
        ("base64url.encode", any),
        ("bits.lsh", small_shift),
        ("concat", concat),
        ("hex.encode", any),
        ("indexof_n", any),
        ("json.filter", few_values),
        ("json.marshal", few_values),
        ("json.marshal_with_options", few_values),
        ("json.patch", patch),
        ("json.remove", few_values),
        ("json.unmarshal", any),
        ("lower", any),
        ("net.cidr_expand", small_network),
        ("numbers.range", range),
        ("numbers.range_step", range),
        ("object.subset", few_values),
        ("object.union", few_values),
        ("object.union_n", few_values),
        ("product", few_factors),
        ("regex.find_all_string_submatch_n", any),
        ("regex.find_n", any),
        ("regex.replace", replace),
        ("regex.split", any),
        ("replace", replace_first),
        ("sort", few_values),
        ("split", any),
        ("sprintf", sprintf),
        ("strings.replace_n", replace_n),
        ("strings.reverse", any),
        ("to_number", small_numbers),
        ("units.parse", small_numbers),
        ("units.parse_bytes", small_numbers),
        ("upper", any),
        ("urlquery.encode", any),
        ("walk", few_values),
    ];
    for (name, check) in checks.iter().filter(|(name, _)| called.contains(*name)) {
        let builtin = builtin(name)?;
        let arguments = builtin.arguments;
        // The parts of a value, each with its own, are more than the value.
        let is_walk = *name == "walk";
        add_one(engine, name, arguments, move |values| {
            if !check(values) {
                return Err(too_much(name));
            }
            let result = builtin.call(values);
            if takes(&result) && (!is_walk || few_values(std::slice::from_ref(&result))) {
                Ok(result)
            } else {
                Err(too_much(name))
            }
        })?;
    }
    Ok(())
}

/// A function of the engine, to be called from outside of it.
#[derive(Clone)]
pub(super) struct Builtin {
    function: BuiltinFcn,
    arguments: u8,
    span: Span,
    parameters: Arc<[Ref<Expr>]>,
}

/// The engine's function of this name.
pub(super) fn builtin(name: &str) -> Result<Builtin, String> {
    let function = *BUILTINS
        .get(name)
        .ok_or_else(|| format!("the engine has no function {name}"))?;
    let source =
        Source::from_contents(name.to_owned(), String::new()).map_err(|error| error.to_string())?;
    let span = Span {
        source,
        line: 1,
        col: 1,
        start: 0,
        end: 0,
    };
    let parameters = (0..function.1)
        .map(|_| {
            Ref::new(Expr::Null {
                span: span.clone(),
                value: Value::Null,
                eidx: 0,
            })
        })
        .collect();
    Ok(Builtin {
        function,
        arguments: function.1,
        span,
        parameters,
    })
}

impl Builtin {
    /// What it makes of these arguments; an error of it is undefined, as in OPA.
    pub(super) fn call(&self, values: &[Value]) -> Value {
        (self.function.0)(&self.span, &self.parameters, values, false).unwrap_or(Value::Undefined)
    }
}

/// Of functions that make no more than a few times what they are given: their results count.
fn any(_values: &[Value]) -> bool {
    true
}

fn length(value: Option<&Value>) -> usize {
    match value {
        Some(Value::String(text)) => text.len(),
        _ => 0,
    }
}

/// Both ends of a range are near to each other; a step can only make it shorter.
#[expect(clippy::cast_precision_loss, reason = "a bound, not a count")]
fn range(values: &[Value]) -> bool {
    match values {
        [from @ Value::Number(_), to @ Value::Number(_), ..] => {
            match (from.as_f64(), to.as_f64()) {
                (Ok(from), Ok(to)) => (to - from).abs() <= MAX_ELEMENTS as f64,
                _ => false,
            }
        }
        _ => true,
    }
}

fn small_shift(values: &[Value]) -> bool {
    match values.get(1) {
        Some(by @ Value::Number(_)) => by.as_u64().map_or(true, |by| by <= MAX_SHIFT),
        _ => true,
    }
}

fn small_numbers(values: &[Value]) -> bool {
    values.iter().all(|value| {
        let Value::String(text) = value else {
            return true;
        };
        text.len() <= MAX_DIGITS && is_small_number(text.trim_end_matches(char::is_alphabetic))
    })
}

/// No more than 2^16 addresses.
fn small_network(values: &[Value]) -> bool {
    let [Value::String(network)] = values else {
        return true;
    };
    let Some((address, bits)) = network.split_once('/') else {
        return true;
    };
    let width = if address.contains(':') { 128 } else { 32 };
    bits.parse::<u32>()
        .map_or(true, |bits| width <= bits.saturating_add(16))
}

fn few_factors(values: &[Value]) -> bool {
    let count = match values {
        [Value::Array(items)] => items.len(),
        [Value::Set(items)] => items.len(),
        _ => 0,
    };
    count <= MAX_FACTORS
}

fn few_values(values: &[Value]) -> bool {
    let mut left = MAX_VALUES;
    let mut text = MAX_TEXT;
    values
        .iter()
        .all(|value| walk(value, &mut left, &mut text, 0))
}

/// Counts down by everything below a value; stops at the first bound.
pub(super) fn walk(value: &Value, left: &mut usize, text: &mut usize, depth: usize) -> bool {
    let Some(next) = left.checked_sub(1) else {
        return false;
    };
    *left = next;
    if depth > 256 {
        return false;
    }
    match value {
        Value::String(content) => match text.checked_sub(content.len()) {
            Some(next) => {
                *text = next;
                true
            }
            None => false,
        },
        Value::Array(items) => items.iter().all(|item| walk(item, left, text, depth + 1)),
        Value::Set(items) => items.iter().all(|item| walk(item, left, text, depth + 1)),
        Value::Object(members) => members.iter().all(|(key, member)| {
            walk(key, left, text, depth + 1) && walk(member, left, text, depth + 1)
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Undefined => true,
    }
}

/// Each step may look at all there is, and each copy double it.
fn patch(values: &[Value]) -> bool {
    let mut left = MAX_VALUES;
    let mut text = MAX_TEXT;
    let is_small = values
        .iter()
        .all(|value| walk(value, &mut left, &mut text, 0));
    let Some(Value::Array(steps)) = values.get(1) else {
        return is_small;
    };
    let is_copy = |step: &Value| matches!(&step["op"], Value::String(op) if op.as_ref() == "copy");
    let copies = u32::try_from(steps.iter().filter(|step| is_copy(step)).count());
    let size = u64::try_from(MAX_VALUES - left).unwrap_or(u64::MAX);
    let grown = copies.map_or(u64::MAX, |copies| size.saturating_mul(1 << copies.min(32)));
    let work = u64::try_from(steps.len())
        .unwrap_or(u64::MAX)
        .saturating_mul(grown);
    is_small && grown <= MAX_ELEMENTS && work <= 4 * MAX_ELEMENTS
}

fn concat(values: &[Value]) -> bool {
    let count = match values.get(1) {
        Some(Value::Array(items)) => items.len(),
        Some(Value::Set(items)) => items.len(),
        _ => 0,
    };
    length(values.first()).saturating_mul(count) <= MAX_TEXT && few_values(values)
}

/// `replace(text, old, new)`: every byte could become a new text.
fn replace_first(values: &[Value]) -> bool {
    grows(
        length(values.first()),
        length(values.get(1)),
        length(values.get(2)),
    )
}

/// `regex.replace(text, pattern, new)`, where a pattern may fit nothing at all everywhere.
fn replace(values: &[Value]) -> bool {
    grows(length(values.first()), 1, length(values.get(2)))
}

fn replace_n(values: &[Value]) -> bool {
    let longest = match values.first() {
        Some(Value::Object(pairs)) => pairs
            .iter()
            .map(|(_, new)| length(Some(new)))
            .max()
            .unwrap_or(0),
        _ => 0,
    };
    grows(length(values.get(1)), 1, longest)
}

fn grows(text: usize, old: usize, new: usize) -> bool {
    let places = text / old.max(1) + 1;
    text.saturating_add(places.saturating_mul(new)) <= MAX_TEXT
}

/// No width or precision of more than three digits, none taken from the arguments.
fn sprintf(values: &[Value]) -> bool {
    let Some(Value::String(format)) = values.first() else {
        return true;
    };
    let narrow = format.split('%').skip(1).all(|verb| {
        let end = verb
            .find(|letter: char| letter.is_ascii_alphabetic())
            .unwrap_or(verb.len());
        let flags = verb.get(..end).unwrap_or_default();
        !flags.contains('*')
            && flags
                .split(|letter: char| !letter.is_ascii_digit())
                .all(|digits| digits.len() <= 3)
    });
    narrow && few_values(values)
}
