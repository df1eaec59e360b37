//! The four functions that look at the filter of the request.

use std::sync::Arc;

use overlay_protocol::filter::{Filter, parse_fact};
use regorus::{Engine, Value};

use super::add_one;

/// Their names.
pub(in crate::rego) const FILTER_FUNCTIONS: &[&str] = &[
    "requires_class_filter",
    "requires_fact_filter",
    "requires_filter",
    "requires_identity_filter",
];

/// Makes them known for one request.
pub(in crate::rego) fn add(engine: &mut Engine, filter: Arc<Filter>) -> Result<(), String> {
    let any = any(&filter);
    add_one(engine, "requires_filter", 0, move |_| Ok(Value::Bool(any)))?;
    add_text(
        engine,
        "requires_identity_filter",
        &filter,
        |filter, wanted| Some(filter.identity.iter().any(|entry| entry == wanted)),
    )?;
    add_text(
        engine,
        "requires_class_filter",
        &filter,
        |filter, wanted| Some(filter.cf_class.iter().any(|entry| entry == wanted)),
    )?;
    add_text(engine, "requires_fact_filter", &filter, |filter, wanted| {
        parse_fact(wanted)
            .ok()
            .map(|wanted| filter.fact.contains(&wanted))
    })
}

/// Whether the filter names anything but agents.
fn any(filter: &Filter) -> bool {
    !(filter.identity.is_empty()
        && filter.cf_class.is_empty()
        && filter.fact.is_empty()
        && filter.compound.is_empty())
}

/// One that takes a text; anything else, or a text without meaning, is undefined and so fails its body only.
fn add_text(
    engine: &mut Engine,
    name: &str,
    filter: &Arc<Filter>,
    holds: fn(&Filter, &str) -> Option<bool>,
) -> Result<(), String> {
    let filter = Arc::clone(filter);
    add_one(engine, name, 1, move |arguments| {
        Ok(match arguments {
            [Value::String(wanted)] => holds(&filter, wanted).map_or(Value::Undefined, Value::Bool),
            _ => Value::Undefined,
        })
    })
}
