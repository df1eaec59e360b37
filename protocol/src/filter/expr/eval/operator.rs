//! Operators between values.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "an operation names the kinds that it is defined for, every other one is a fault"
)]

use super::{Evaluated, Evaluation, PATTERN_STEPS, Stop};
use crate::filter::expr::ast::{Binary, Node};
use crate::filter::expr::builtin::like;
use crate::filter::expr::value::{Number, Value};
use crate::filter::pattern::{Case, Pattern};

impl Evaluation<'_> {
    pub(super) fn ordering(&mut self, first: &Node, steps: &[(Binary, Node)]) -> Evaluated {
        let mut left = self.value(first)?;
        for (operator, right) in steps {
            let right = self.value(right)?;
            let order = left.compare(&right)?;
            let holds = order.is_some_and(|order| match operator {
                Binary::Less => order.is_lt(),
                Binary::LessOrEqual => order.is_le(),
                Binary::Greater => order.is_gt(),
                _ => order.is_ge(),
            });
            if !holds {
                return Ok(Value::Bool(false));
            }
            left = right;
        }
        Ok(Value::Bool(true))
    }

    pub(super) fn binary(&mut self, operator: Binary, left: &Node, right_node: &Node) -> Evaluated {
        let left = self.value(left)?;
        if operator == Binary::Coalesce {
            return if matches!(left, Value::Nil) {
                self.value(right_node)
            } else {
                Ok(left)
            };
        }
        let right = self.value(right_node)?;
        Ok(match operator {
            Binary::Equal => Value::Bool(left.equals(&right)),
            Binary::NotEqual => Value::Bool(!left.equals(&right)),
            Binary::In => Value::Bool(self.is_in(&left, &right, right_node)?),
            Binary::Matches | Binary::Contains | Binary::StartsWith | Binary::EndsWith => {
                // As in the original nothing is found in what is missing, nor what is missing in anything.
                if matches!(left, Value::Nil) || matches!(right, Value::Nil) {
                    return Ok(Value::Bool(false));
                }
                let text = left.as_text()?;
                let part = right.as_text()?;
                self.budget.pay((text.len() + part.len()) / 64)?;
                Value::Bool(match operator {
                    Binary::Contains => text.contains(part.as_ref()),
                    Binary::StartsWith => text.starts_with(part.as_ref()),
                    Binary::EndsWith => text.ends_with(part.as_ref()),
                    _ => {
                        self.budget.pay(PATTERN_STEPS)?;
                        Pattern::new(part, Case::Sensitive)
                            .map_err(|error| error.to_string())?
                            .is_match(text)
                    }
                })
            }
            Binary::Range => self.range(&left, &right)?,
            _ => self.arithmetic(operator, &left, &right)?,
        })
    }

    fn is_in(&mut self, needle: &Value, hay: &Value, hay_node: &Node) -> Result<bool, String> {
        match hay {
            Value::Nil => Ok(false),
            Value::List(list) => {
                let is_literal = |node: &Node| matches!(node, Node::Text(_));
                if let Node::List(nodes) = hay_node
                    && !nodes.is_empty()
                    && nodes.iter().all(is_literal)
                {
                    // The original looks literal texts up by key, and a key must be a text.
                    let key = if matches!(needle, Value::Nil) {
                        Value::text("")
                    } else {
                        needle.clone()
                    };
                    key.as_text()?;
                    return Ok(list.elements.iter().any(|element| element.is_same(&key)));
                }
                self.budget.pay(list.elements.len())?;
                Ok(list.elements.iter().any(|element| element.equals(needle)))
            }
            Value::Map(map) => match needle {
                Value::Nil => Ok(map.contains_key("")),
                other => Ok(map.contains_key(other.as_text()?.as_ref())),
            },
            other => Err(format!("in before {}", other.type_name())),
        }
    }

    fn range(&mut self, from: &Value, to: &Value) -> Result<Value, String> {
        let (from, to) = (from.as_int()?, to.as_int()?);
        if from > to {
            return Ok(Value::typed_list(Vec::new()));
        }
        self.budget
            .pay(usize::try_from(to.saturating_sub(from)).unwrap_or(usize::MAX))?;
        Ok(Value::typed_list((from..=to).map(Value::Int).collect()))
    }

    pub(super) fn arithmetic(
        &mut self,
        operator: Binary,
        left: &Value,
        right: &Value,
    ) -> Result<Value, String> {
        if let (Binary::Add, Value::Text(left), Value::Text(right)) = (operator, left, right) {
            self.budget.pay((left.len() + right.len()) / 64)?;
            return Ok(Value::text(&format!("{left}{right}")));
        }
        let (Some(a), Some(b)) = (left.number(), right.number()) else {
            return Err(format!(
                "{:?} between {} and {}",
                operator.sign(),
                left.type_name(),
                right.type_name()
            ));
        };
        Ok(match (operator, a, b) {
            (Binary::Add, Number::Int(a), Number::Int(b)) => Value::Int(a.wrapping_add(b)),
            (Binary::Subtract, Number::Int(a), Number::Int(b)) => Value::Int(a.wrapping_sub(b)),
            (Binary::Multiply, Number::Int(a), Number::Int(b)) => Value::Int(a.wrapping_mul(b)),
            (Binary::Remainder, Number::Int(a), Number::Int(b)) => match b {
                0 => return Err("division by zero".to_owned()),
                b => Value::Int(a.wrapping_rem(b)),
            },
            (Binary::Remainder, _, _) => return Err("% between floats".to_owned()),
            (Binary::Add, a, b) => Value::Float(a.to_float() + b.to_float()),
            (Binary::Subtract, a, b) => Value::Float(a.to_float() - b.to_float()),
            (Binary::Multiply, a, b) => Value::Float(a.to_float() * b.to_float()),
            (Binary::Divide, a, b) => Value::Float(a.to_float() / b.to_float()),
            (_, a, b) => Value::Float(a.to_float().powf(b.to_float())),
        })
    }

    pub(super) fn slice(
        &mut self,
        base: &Node,
        from: Option<&Node>,
        to: Option<&Node>,
    ) -> Evaluated {
        let base = self.value(base)?;
        let length = match &base {
            Value::List(list) => list.elements.len(),
            Value::Text(text) => text.len(),
            other => return Err(Stop::Fault(format!("{} has no slices", other.type_name()))),
        };
        self.budget.pay(length)?;
        let mut bound = |node: Option<&Node>, default: usize| -> Result<usize, Stop> {
            let Some(node) = node else { return Ok(default) };
            let at = self.value(node)?.as_int()?;
            let length = i64::try_from(length).unwrap_or(i64::MAX);
            let at = if at < 0 {
                length.saturating_add(at)
            } else {
                at
            };
            Ok(usize::try_from(at.clamp(0, length)).unwrap_or_default())
        };
        let to = bound(to, length)?;
        let from = bound(from, 0)?.min(to);
        Ok(match &base {
            Value::Text(text) => Value::text(&String::from_utf8_lossy(&text.as_bytes()[from..to])),
            _ => like(&base, base.as_list()?[from..to].to_vec()),
        })
    }
}

pub(super) fn sign(negative: bool, value: Value) -> Evaluated {
    match value {
        Value::Int(number) if negative => Ok(Value::Int(number.wrapping_neg())),
        Value::Float(number) if negative => Ok(Value::Float(-number)),
        // As in the original a plus does nothing, to whatever it stands before.
        other if !negative => Ok(other),
        other => Err(Stop::Fault(format!("a sign before {}", other.type_name()))),
    }
}
