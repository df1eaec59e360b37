//! The order of copies.

use async_nats::header::HeaderName;
use overlay_runtime::Fault;

use super::super::raw::{RawOrder, RawStream};
use super::super::{Inspect, Order};
use super::stream::token_of;

/// The order that a stream asks for.
pub(super) fn order(
    at: &impl Fn(&str) -> String,
    raw: &RawStream,
    faults: &mut Vec<Fault>,
) -> Order {
    let order = match raw.order {
        RawOrder::Strict => {
            if raw.key.is_some() {
                let fault = Fault::new(at("key"), "has no meaning in the strict order");
                faults.push(
                    fault.remedy(format!("write {} = \"key\", or leave it out", at("order"))),
                );
            }
            return Order::Strict;
        }
        RawOrder::Key => Order::Key(key(at, raw, faults)),
    };
    let position = |faults: &mut Vec<Fault>, is_set: bool, name: &str, why: &str| {
        if is_set {
            let fault = Fault::new(at("order"), format!("cannot be \"key\" with {name}: {why}"));
            faults.push(fault.remedy("write \"strict\", or leave one of them out"));
        }
    };
    let bookmark = "what was copied ahead is known by the bookmark at the source";
    position(faults, raw.target_initiated, "target_initiated", bookmark);
    position(faults, raw.ephemeral, "ephemeral", "it has no bookmark");
    order
}

fn key(at: &impl Fn(&str) -> String, raw: &RawStream, faults: &mut Vec<Fault>) -> Inspect {
    let whole = Inspect::Token(None);
    let Some(raw) = &raw.key else {
        return whole;
    };
    let some = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    match (some(&raw.field), some(&raw.header), raw.token) {
        (None, None, None) => whole,
        (Some(field), None, None) => Inspect::Field(field),
        (None, Some(header), None) => {
            if header.parse::<HeaderName>().is_err() {
                let fault = Fault::new(at("key.header"), "is no name of a header");
                faults.push(fault.value(format!("{header:?}")));
            }
            Inspect::Header(header)
        }
        (None, None, Some(token)) => token_of(&at("key.token"), token, faults).unwrap_or(whole),
        (_, _, _) => {
            let fault = Fault::new(at("key"), "says more than one thing");
            faults.push(
                fault.remedy(
                    "keep one of field, header and token; none of them is the whole subject",
                ),
            );
            whole
        }
    }
}
