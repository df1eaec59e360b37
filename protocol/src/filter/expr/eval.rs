//! Evaluation of a checked expression on one node.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "an operation names the kinds that it is defined for, every other one is a fault"
)]

use std::collections::BTreeMap;
use std::rc::Rc;

use serde_json::Value as Json;

use super::ast::{Binary, Function, Node, Pointer, Predicate};
use super::builtin::{fetch, like};
use super::value::{Number, Value};
use super::version;
use super::with::With;
use crate::filter::NodeView;
use crate::filter::path;
use crate::filter::pattern::{Case, Pattern};

/// Steps that one evaluation may take; a step is a node, an element, or 64 bytes of text.
const MAX_STEPS: usize = 200_000;

/// Steps that a regular expression costs if it is not known beforehand.
const PATTERN_STEPS: usize = 2_000;

/// What an evaluation may still cost.
#[derive(Debug)]
pub(super) struct Budget {
    steps: usize,
}

/// Why a value is missing: a fault, or a chain that ended at something missing.
enum Stop {
    Fault(String),
    ChainEnd,
}

/// What `#` stands for in the innermost predicate.
struct Scope {
    element: Value,
    index: usize,
    accumulator: Value,
}

struct Evaluation<'n> {
    node: &'n NodeView<'n>,
    budget: Budget,
    variables: Vec<(String, Value)>,
    scopes: Vec<Scope>,
}

type Evaluated = Result<Value, Stop>;

/// Evaluates an expression, which is true only if it is the boolean.
pub(super) fn is_true(root: &Node, node: &NodeView<'_>) -> Result<bool, String> {
    let budget = Budget { steps: MAX_STEPS };
    let mut evaluation = Evaluation {
        node,
        budget,
        variables: Vec::new(),
        scopes: Vec::new(),
    };
    match evaluation.value(root) {
        Ok(Value::Bool(value)) => Ok(value),
        // What is missing is not true, and no fault.
        Ok(Value::Nil) | Err(Stop::ChainEnd) => Ok(false),
        Ok(other) => Err(format!(
            "the expression gives {}, not a boolean",
            other.type_name()
        )),
        Err(Stop::Fault(reason)) => Err(reason),
    }
}

impl Budget {
    pub(super) fn pay(&mut self, steps: usize) -> Result<(), String> {
        self.steps = self
            .steps
            .checked_sub(steps)
            .ok_or("the expression needs too much work")?;
        Ok(())
    }

    /// Takes over a JSON value: every number becomes a float.
    pub(super) fn import(&mut self, json: &Json) -> Result<Value, String> {
        self.pay(1)?;
        Ok(match json {
            Json::Null => Value::Nil,
            Json::Bool(value) => Value::Bool(*value),
            Json::Number(number) => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
            Json::String(text) => {
                self.pay(text.len() / 64)?;
                Value::text(text)
            }
            Json::Array(elements) => Value::list(
                elements
                    .iter()
                    .map(|element| self.import(element))
                    .collect::<Result<_, _>>()?,
            ),
            Json::Object(object) => {
                let mut map = BTreeMap::new();
                for (name, member) in object {
                    map.insert(name.clone(), self.import(member)?);
                }
                Value::Map(Rc::new(map))
            }
        })
    }
}

impl From<String> for Stop {
    fn from(reason: String) -> Self {
        Self::Fault(reason)
    }
}

impl Evaluation<'_> {
    fn value(&mut self, node: &Node) -> Evaluated {
        self.budget.pay(1)?;
        match node {
            Node::Nil => Ok(Value::Nil),
            Node::Bool(value) => Ok(Value::Bool(*value)),
            Node::Int(number) => Ok(Value::Int(*number)),
            Node::Float(number) => Ok(Value::Float(*number)),
            Node::Text(text) => {
                self.budget.pay(text.len() / 64)?;
                Ok(Value::text(text))
            }
            Node::List(elements) => self.list(elements),
            Node::Map(pairs) => self.map(pairs),
            Node::Name(name) => self.name(name),
            Node::Pointer(pointer) => self.pointer(*pointer),
            Node::Not(of) => Ok(Value::Bool(!self.value(of)?.as_bool()?)),
            Node::Sign { negative, of } => sign(*negative, self.value(of)?),
            Node::All(operands) => self.logical(operands, false),
            Node::Any(operands) => self.logical(operands, true),
            Node::Binary(operator, left, right) => self.binary(*operator, left, right),
            Node::Ordering(first, steps) => self.ordering(first, steps),
            Node::Search(left, pattern) => match self.value(left)? {
                // As in the original nothing is found in what is missing.
                Value::Nil => Ok(Value::Bool(false)),
                left => {
                    let text = left.as_text()?;
                    self.budget.pay(text.len() / 64)?;
                    Ok(Value::Bool(pattern.is_match(text)))
                }
            },
            Node::Conditional(condition, then, otherwise) => {
                let branch = if self.value(condition)?.as_bool()? {
                    then
                } else {
                    otherwise
                };
                self.value(branch)
            }
            Node::Let(name, value, body) => {
                let value = self.value(value)?;
                self.variables.push((name.clone(), value));
                let body = self.value(body);
                self.variables.pop();
                body
            }
            Node::Sequence(steps) => steps
                .iter()
                .try_fold(Value::Nil, |_, step| self.value(step)),
            Node::Member {
                base,
                key,
                optional,
            } => {
                let base = self.value(base)?;
                if *optional && matches!(base, Value::Nil) {
                    return Err(Stop::ChainEnd);
                }
                let key = self.value(key)?;
                Ok(fetch(&base, &key)?)
            }
            Node::Chain(inner) => match self.value(inner) {
                Err(Stop::ChainEnd) => Ok(Value::Nil),
                other => other,
            },
            Node::Slice { base, from, to } => self.slice(base, from.as_deref(), to.as_deref()),
            Node::Call(function, arguments) => self.call(*function, arguments),
            Node::With(with) => Ok(Value::Bool(self.with(with)?)),
            Node::Uncallable(_) => Err(Stop::Fault(
                "something that is no function is called".to_owned(),
            )),
            Node::Builtin(builtin, arguments) => {
                let arguments = self.values(arguments)?;
                Ok(builtin.call(&arguments, &mut self.budget)?)
            }
            Node::Predicate {
                kind,
                over,
                test,
                start,
            } => self.predicate(*kind, over, test.as_deref(), start.as_deref()),
        }
    }

    fn values(&mut self, nodes: &[Node]) -> Result<Vec<Value>, Stop> {
        nodes.iter().map(|node| self.value(node)).collect()
    }

    fn list(&mut self, nodes: &[Node]) -> Evaluated {
        let elements = self.values(nodes)?;
        // The original makes typed lists of literals that are all integers or all texts.
        let is_typed = !nodes.is_empty()
            && (nodes.iter().all(|node| matches!(node, Node::Int(_)))
                || nodes.iter().all(|node| matches!(node, Node::Text(_))));
        Ok(if is_typed {
            Value::typed_list(elements)
        } else {
            Value::list(elements)
        })
    }

    fn map(&mut self, pairs: &[(Node, Node)]) -> Evaluated {
        let mut map = BTreeMap::new();
        for (key, value) in pairs {
            let key = self.value(key)?.as_text()?.to_string();
            map.insert(key, self.value(value)?);
        }
        Ok(Value::Map(Rc::new(map)))
    }

    fn name(&mut self, name: &str) -> Evaluated {
        if let Some((_, value)) = self
            .variables
            .iter()
            .rev()
            .find(|(variable, _)| variable == name)
        {
            return Ok(value.clone());
        }
        let names = match name {
            "agents" => self.node.agents,
            "classes" => self.node.classes,
            "facts" => {
                // About what it costs to write them all.
                self.budget.pay(PATTERN_STEPS)?;
                return Ok(Value::Facts(path::text_length(self.node.facts)));
            }
            _ if Function::by_name(name).is_some() => {
                return Err(Stop::Fault(format!("function {name} is not called")));
            }
            _ => return Ok(Value::Nil),
        };
        self.budget.pay(names.len())?;
        Ok(Value::typed_list(
            names.iter().map(|name| Value::text(name)).collect(),
        ))
    }

    fn pointer(&self, pointer: Pointer) -> Evaluated {
        let scope = self
            .scopes
            .last()
            .ok_or_else(|| "# outside of a predicate".to_owned())?;
        Ok(match pointer {
            Pointer::Element => scope.element.clone(),
            Pointer::Index => Value::Int(i64::try_from(scope.index).unwrap_or(i64::MAX)),
            Pointer::Accumulator => scope.accumulator.clone(),
        })
    }

    /// Evaluates a chain of `and`, or of `or`, which `decisive` ends.
    fn logical(&mut self, operands: &[Node], decisive: bool) -> Evaluated {
        // The original drops the rest of a chain that a literal decides, faults and all.
        if operands
            .iter()
            .any(|operand| matches!(operand, Node::Bool(value) if *value == decisive))
        {
            return Ok(Value::Bool(decisive));
        }
        let meaningful = |operand: &&Node| !matches!(operand, Node::Bool(_));
        let mut last = Value::Bool(!decisive);
        let mut operands = operands.iter().filter(meaningful).peekable();
        while let Some(operand) = operands.next() {
            last = self.value(operand)?;
            if operands.peek().is_some() && last.as_bool()? == decisive {
                return Ok(Value::Bool(decisive));
            }
        }
        Ok(last)
    }

    fn ordering(&mut self, first: &Node, steps: &[(Binary, Node)]) -> Evaluated {
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

    fn binary(&mut self, operator: Binary, left: &Node, right_node: &Node) -> Evaluated {
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

    fn arithmetic(
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

    fn slice(&mut self, base: &Node, from: Option<&Node>, to: Option<&Node>) -> Evaluated {
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

    fn call(&mut self, function: Function, arguments: &[Node]) -> Evaluated {
        let arguments = self.values(arguments)?;
        let at = |at: usize| {
            arguments
                .get(at)
                .ok_or_else(|| "an argument is missing".to_owned())
        };
        Ok(match function {
            Function::With => {
                self.budget.pay(PATTERN_STEPS)?;
                let with = With::new(at(0)?.as_text()?);
                Value::Bool(self.with(&with)?)
            }
            Function::Fact => {
                let found = path::find(self.node.facts, at(0)?.as_text()?)
                    .map_err(|error| error.to_string())?;
                found.map_or(Ok(Value::Nil), |found| self.budget.import(&found))?
            }
            Function::Include => {
                let list = match at(0)? {
                    Value::Nil => return Ok(Value::Bool(false)),
                    Value::List(list) if !list.is_typed => &list.elements,
                    other => {
                        return Err(Stop::Fault(format!(
                            "include does not take this {}",
                            other.type_name()
                        )));
                    }
                };
                self.budget.pay(list.len())?;
                // Facts hold no integers.
                let needle = match at(1)? {
                    Value::Int(number) => Value::Float(Number::Int(*number).to_float()),
                    other => other.clone(),
                };
                Value::Bool(list.iter().any(|element| element.is_same(&needle)))
            }
            Function::Semver => {
                Value::Bool(version::satisfies(at(0)?.as_text()?, at(1)?.as_text()?)?)
            }
        })
    }

    fn with(&mut self, with: &With) -> Result<bool, String> {
        self.budget
            .pay(self.node.classes.len() + self.node.agents.len())?;
        Ok(with.matches(self.node))
    }

    fn predicate(
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
            self.scopes.push(Scope {
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
        self.scopes.push(Scope {
            element: element.clone(),
            index,
            accumulator: Value::Nil,
        });
        let value = self.value(test);
        self.scopes.pop();
        value
    }
}

fn sign(negative: bool, value: Value) -> Evaluated {
    match value {
        Value::Int(number) if negative => Ok(Value::Int(number.wrapping_neg())),
        Value::Float(number) if negative => Ok(Value::Float(-number)),
        // As in the original a plus does nothing, to whatever it stands before.
        other if !negative => Ok(other),
        other => Err(Stop::Fault(format!("a sign before {}", other.type_name()))),
    }
}

/// An index, or nil if nothing was found.
fn index(at: Option<usize>) -> Value {
    at.map_or(Value::Nil, |at| {
        Value::Int(i64::try_from(at).unwrap_or(i64::MAX))
    })
}
