//! What one evaluation may build, all in all.
//!
//! An evaluation stays on one thread, so what is left of its allowance is kept with the thread: functions are shared by all
//! evaluations of a policy.

use std::cell::Cell;

use regorus::{Engine, Value};

use super::bounded::walk;
use super::{TooMuch, add_one};

/// The function that measures; no policy can call it, and one that has a rule of this name is refused.
pub(in crate::rego) const MEASURE: &str = "overlay_measure";

/// Most values that one evaluation builds, shared ones counted as often as they occur.
const MAX_VALUES: usize = 4_000_000;

/// Most bytes of text in them.
const MAX_TEXT: usize = 32 * 1024 * 1024;

/// Results of fewer elements are not counted: they are gone with the next step, or measured where they are kept.
const MANY: usize = 1_000;

/// Results of fewer bytes are not counted.
const LONG: usize = 4 * 1024;

thread_local! {
    static LEFT: Cell<(usize, usize)> = const { Cell::new((MAX_VALUES, MAX_TEXT)) };
}

/// An evaluation begins on this thread.
pub(in crate::rego) fn begin() {
    LEFT.set((MAX_VALUES, MAX_TEXT));
}

/// Makes the function known that measures.
pub(in crate::rego) fn add(engine: &mut Engine) -> Result<(), String> {
    add_one(engine, MEASURE, 1, |values| {
        let (mut left, mut text) = LEFT.get();
        let is_small = values
            .iter()
            .all(|value| walk(value, &mut left, &mut text, 0));
        LEFT.set((left, text));
        match values {
            [value] if is_small => Ok(value.clone()),
            _ => Err(too_much("the policy")),
        }
    })
}

/// Counts the result of a function if it is a large one; says whether there was that much left.
pub(super) fn takes(result: &Value) -> bool {
    let (values, bytes) = match result {
        Value::Array(items) => (items.len(), 0),
        Value::Set(items) => (items.len(), 0),
        Value::Object(members) => (members.len(), 0),
        Value::String(content) => (0, content.len()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Undefined => (0, 0),
    };
    if values < MANY && bytes < LONG {
        return true;
    }
    let (left, text) = LEFT.get();
    let after = left.checked_sub(values).zip(text.checked_sub(bytes));
    if let Some(after) = after {
        LEFT.set(after);
    }
    after.is_some()
}

/// Ends the evaluation: the engine forgets errors within functions of which another definition holds.
pub(super) fn too_much(name: &'static str) -> TooMuch {
    LEFT.set((0, 0));
    TooMuch(name)
}

/// Whether the evaluation on this thread wanted more than it may have.
pub(in crate::rego) fn was_too_much() -> bool {
    LEFT.get() == (0, 0)
}
