//! The functions that a policy may call: which, with what arguments, and those that the engine lacks or bounds too late.

mod bounded;
mod catalogue;
mod filter;
mod measure;
mod own;

use std::collections::BTreeSet;
use std::sync::Arc;

use regorus::{Engine, Value};

pub(super) use catalogue::{Function, Kind, function, withheld};
pub(super) use filter::{FILTER_FUNCTIONS, add as add_filter_functions};
pub(super) use measure::{MEASURE, add as add_measure, begin, was_too_much};

/// Makes those functions known to an engine that need nothing of the request and that the policy calls: an engine
/// carries a list of them through every evaluation.
pub(super) fn add(engine: &mut Engine, called: &BTreeSet<String>) -> Result<(), String> {
    bounded::add(engine, called)?;
    own::add(engine, called)
}

/// Makes one function known, instead of the engine's own of that name.
fn add_one(
    engine: &mut Engine,
    name: &str,
    arguments: u8,
    call: impl Fn(&[Value]) -> Result<Value, TooMuch> + Send + Sync + 'static,
) -> Result<(), String> {
    let call = Arc::new(call);
    engine
        .add_extension(
            name.to_owned(),
            arguments,
            Box::new(move |arguments: Vec<Value>| Ok(call(&arguments)?)),
        )
        .map_err(|error| error.to_string())
}

/// A function was asked for more than what one evaluation may use; ends the evaluation.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("{0} would make a value that is too large")]
struct TooMuch(&'static str);
