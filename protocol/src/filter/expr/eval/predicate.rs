//! Functions that look at each element of a list.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "an operation names the kinds that it is defined for, every other one is a fault"
)]

use super::{Evaluated, Evaluation, Focus, Stop};
use crate::filter::expr::ast::{Binary, Node, Predicate};
use crate::filter::expr::value::Value;

impl Evaluation<'_> {
    pub(super) fn predicate(
        &mut self,
        kind: Predicate,
        over: &Node,
        test: Option<&Node>,
        start: Option<&Node>,
    ) -> Evaluated {
        let mut over = self.value(over)?;
        if let Value::Text(text) = &over {
            // As in the original the elements of a text are its bytes.
            self.budget.pay(text.len())?;
            over = Value::typed_list(
                text.bytes()
                    .map(|byte| Value::Int(i64::from(byte)))
                    .collect(),
            );
        }
        let elements = over.as_list()?;
        match kind {
            Predicate::All => self
                .find_result(elements, test, false)
                .map(|found| Value::Bool(found.is_none())),
            Predicate::None => self
                .find_result(elements, test, true)
                .map(|found| Value::Bool(found.is_none())),
            Predicate::Any => self
                .find_result(elements, test, true)
                .map(|found| Value::Bool(found.is_some())),
            Predicate::Find => {
                let found = self.find_result(elements, test, true)?;
                Ok(found
                    .and_then(|at| elements.get(at).cloned())
                    .unwrap_or(Value::Nil))
            }
            Predicate::FindIndex => self.find_result(elements, test, true).map(index),
            Predicate::One
            | Predicate::Count
            | Predicate::Filter
            | Predicate::FindLast
            | Predicate::FindLastIndex => {
                let mut kept = Vec::new();
                for (at, element) in elements.iter().enumerate() {
                    if self.test(element, at, test)?.as_bool()? {
                        kept.push(at);
                    }
                }
                let last = kept.last().copied();
                Ok(match kind {
                    Predicate::One => Value::Bool(kept.len() == 1),
                    Predicate::Count => index(Some(kept.len())),
                    Predicate::FindLastIndex => index(last),
                    Predicate::FindLast => last
                        .and_then(|at| elements.get(at).cloned())
                        .unwrap_or(Value::Nil),
                    _ => Value::list(
                        kept.iter()
                            .filter_map(|at| elements.get(*at).cloned())
                            .collect(),
                    ),
                })
            }
            Predicate::Map => {
                let mut mapped = Vec::with_capacity(elements.len());
                for (at, element) in elements.iter().enumerate() {
                    mapped.push(self.test(element, at, test)?);
                }
                Ok(Value::list(mapped))
            }
            Predicate::Sum => {
                let mut sum = Value::Int(0);
                for (at, element) in elements.iter().enumerate() {
                    let value = self.test(element, at, test)?;
                    sum = self.arithmetic(Binary::Add, &sum, &value)?;
                }
                Ok(sum)
            }
            Predicate::Reduce => self.reduce(elements, test, start),
        }
    }

    /// Finds the first element for which the test gives `wanted`.
    fn find_result(
        &mut self,
        elements: &[Value],
        test: Option<&Node>,
        wanted: bool,
    ) -> Result<Option<usize>, Stop> {
        for (at, element) in elements.iter().enumerate() {
            if self.test(element, at, test)?.as_bool()? == wanted {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    fn reduce(
        &mut self,
        elements: &[Value],
        test: Option<&Node>,
        start: Option<&Node>,
    ) -> Evaluated {
        let mut rest = elements.iter().enumerate();
        let mut accumulator = match start {
            Some(start) => self.value(start)?,
            None => match rest.next() {
                Some((_, first)) => first.clone(),
                None => return Err(Stop::Fault("reduce of an empty array".to_owned())),
            },
        };
        for (at, element) in rest {
            let Some(test) = test else {
                return Ok(accumulator);
            };
            self.scopes.push(Focus {
                element: element.clone(),
                index: at,
                accumulator,
            });
            let value = self.value(test);
            self.scopes.pop();
            accumulator = value?;
        }
        Ok(accumulator)
    }

    /// Evaluates a predicate's body on one element; without a body it is the element.
    fn test(&mut self, element: &Value, index: usize, test: Option<&Node>) -> Evaluated {
        let Some(test) = test else {
            return Ok(element.clone());
        };
        self.scopes.push(Focus {
            element: element.clone(),
            index,
            accumulator: Value::Nil,
        });
        let value = self.value(test);
        self.scopes.pop();
        value
    }
}

/// An index, or nil if nothing was found.
fn index(at: Option<usize>) -> Value {
    at.map_or(Value::Nil, |at| {
        Value::Int(i64::try_from(at).unwrap_or(i64::MAX))
    })
}
