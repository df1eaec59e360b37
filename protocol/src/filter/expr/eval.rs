//! Evaluation of a checked expression on one node.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "an operation names the kinds that it is defined for, every other one is a fault"
)]

mod operator;
mod predicate;

use std::collections::BTreeMap;
use std::rc::Rc;

use serde_json::Value as Json;

use super::Scope;
use super::ast::{Function, Language, Node, Pointer};
use super::builtin::fetch;
use super::value::{Number, Value};
use super::version;
use super::with::With;
use crate::filter::NodeView;
use crate::filter::path;

/// Steps that the evaluation of all expressions of a filter may take; a step is a node, an element, or 64 bytes of text.
const MAX_STEPS: usize = 200_000;

/// Steps that a regular expression costs if it is not known beforehand.
const PATTERN_STEPS: usize = 2_000;

/// What an evaluation may still cost.
#[derive(Debug, Clone, Copy)]
pub(in crate::filter) struct Budget {
    steps: usize,
}

/// Why a value is missing: a fault, or a chain that ended at something missing.
enum Stop {
    Fault(String),
    ChainEnd,
}

/// What `#` stands for in the innermost predicate.
struct Focus {
    element: Value,
    index: usize,
    accumulator: Value,
}

/// What the names of an expression are about.
#[derive(Clone, Copy)]
pub(super) enum Ground<'n> {
    Node(&'n NodeView<'n>),
    Scope(&'n dyn Scope),
}

struct Evaluation<'n> {
    ground: Ground<'n>,
    budget: Budget,
    variables: Vec<(String, Value)>,
    scopes: Vec<Focus>,
}

type Evaluated = Result<Value, Stop>;

/// Evaluates an expression at the cost of `budget`; it is true only if it is the boolean.
pub(super) fn is_true(
    root: &Node,
    ground: Ground<'_>,
    budget: &mut Budget,
) -> Result<bool, String> {
    let mut evaluation = Evaluation {
        ground,
        budget: *budget,
        variables: Vec::new(),
        scopes: Vec::new(),
    };
    let value = evaluation.value(root);
    *budget = evaluation.budget;
    match value {
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

impl Default for Budget {
    fn default() -> Self {
        Self { steps: MAX_STEPS }
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

impl Ground<'_> {
    fn language(self) -> Language {
        match self {
            Self::Node(_) => Language::Filter,
            Self::Scope(_) => Language::Scope,
        }
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
            Node::Sign { negative, of } => operator::sign(*negative, self.value(of)?),
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
            Node::External(name, arguments) => self.external(name, arguments),
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
        if Function::by_name(name, self.ground.language()).is_some() {
            return Err(Stop::Fault(format!("function {name} is not called")));
        }
        let names = match self.ground {
            Ground::Node(node) => match name {
                "agents" => node.agents,
                "classes" => node.classes,
                "facts" => {
                    // About what it costs to write them all.
                    self.budget.pay(PATTERN_STEPS)?;
                    return Ok(Value::Facts(path::text_length(node.facts)));
                }
                _ => return Ok(Value::Nil),
            },
            Ground::Scope(scope) => {
                let found = scope.variable(name);
                return Ok(found.map_or(Ok(Value::Nil), |found| self.budget.import(&found))?);
            }
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
                let Ground::Node(node) = self.ground else {
                    return Ok(Value::Nil);
                };
                let found =
                    path::find(node.facts, at(0)?.as_text()?).map_err(|error| error.to_string())?;
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
        let Ground::Node(node) = self.ground else {
            return Ok(false);
        };
        self.budget.pay(node.classes.len() + node.agents.len())?;
        Ok(with.matches(node))
    }

    fn external(&mut self, name: &str, arguments: &[Node]) -> Evaluated {
        let arguments = self.values(arguments)?;
        let answer = match self.ground {
            Ground::Node(_) => None,
            Ground::Scope(scope) => {
                let arguments: Vec<_> = arguments.iter().map(Value::to_json).collect();
                scope.call(name, &arguments)
            }
        };
        match answer {
            Some(answer) => Ok(self.budget.import(&answer?)?),
            None => Err(Stop::Fault(format!("there is no function {name}"))),
        }
    }
}
