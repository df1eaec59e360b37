//! Functions of lists.

use std::rc::Rc;

use super::Evaluated;
use crate::filter::expr::eval::Budget;
use crate::filter::expr::value::{Number, Value};

pub(super) fn collect_numbers(values: &[Value], numbers: &mut Vec<Number>) -> Result<(), String> {
    for value in values {
        match value {
            Value::List(list) => collect_numbers(&list.elements, numbers)?,
            other => numbers.push(
                other
                    .number()
                    .ok_or_else(|| format!("{} is not a number", other.type_name()))?,
            ),
        }
    }
    Ok(())
}

pub(super) fn flatten(
    elements: &[Value],
    flat: &mut Vec<Value>,
    budget: &mut Budget,
) -> Result<(), String> {
    for element in elements {
        budget.pay(1)?;
        match element {
            Value::List(list) => flatten(&list.elements, flat, budget)?,
            other => flat.push(other.clone()),
        }
    }
    Ok(())
}

pub(super) fn sort(elements: &[Value], order: Option<&Value>) -> Evaluated {
    let descending = match order
        .map(|order| order.as_text().map(Rc::as_ref))
        .transpose()?
    {
        None | Some("asc") => false,
        Some("desc") => true,
        Some(other) => return Err(format!("{other:?} is neither asc nor desc")),
    };
    let mut sorted = elements.to_vec();
    let mut fault = None;
    sorted.sort_by(|left, right| {
        let order = left.compare(right).unwrap_or_else(|error| {
            fault = Some(error);
            None
        });
        order.unwrap_or(std::cmp::Ordering::Equal)
    });
    if let Some(fault) = fault {
        return Err(fault);
    }
    if descending {
        sorted.reverse();
    }
    Ok(Value::list(sorted))
}
