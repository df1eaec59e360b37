//! Values of expressions.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "an operation names the kinds that it is defined for, every other one is a fault"
)]

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::rc::Rc;

use serde_json::Value as Json;

/// A value while an expression is evaluated.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Rc<str>),
    List(Rc<List>),
    Map(Rc<BTreeMap<String, Self>>),
    /// All facts, of which nothing can be asked but the length of their text.
    Facts(usize),
}

/// A list, and whether its elements may be of any type.
#[derive(Debug)]
pub(super) struct List {
    pub(super) elements: Vec<Value>,
    /// Lists of one fixed type are not what functions of "any" lists take.
    pub(super) is_typed: bool,
}

impl Value {
    pub(super) fn text(text: &str) -> Self {
        Self::Text(Rc::from(text))
    }

    pub(super) fn list(elements: Vec<Self>) -> Self {
        Self::List(Rc::new(List {
            elements,
            is_typed: false,
        }))
    }

    pub(super) fn typed_list(elements: Vec<Self>) -> Self {
        Self::List(Rc::new(List {
            elements,
            is_typed: true,
        }))
    }

    /// Writes the value as JSON, for functions that are not ours.
    pub(super) fn to_json(&self) -> Json {
        match self {
            Self::Nil | Self::Facts(_) => Json::Null,
            Self::Bool(value) => Json::from(*value),
            Self::Int(number) => Json::from(*number),
            Self::Float(number) => Json::from(*number),
            Self::Text(text) => Json::from(text.as_ref()),
            Self::List(list) => Json::Array(list.elements.iter().map(Self::to_json).collect()),
            Self::Map(map) => Json::Object(
                map.iter()
                    .map(|(name, member)| (name.clone(), member.to_json()))
                    .collect(),
            ),
        }
    }

    /// What the original's `type()` calls it.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Nil => "nil",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float",
            Self::Text(_) => "string",
            Self::List(_) => "array",
            Self::Map(_) => "map",
            Self::Facts(_) => "array",
        }
    }

    /// Compares as `==` does: numbers by value whatever their type.
    pub(super) fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::List(left), Self::List(right)) => {
                left.elements.len() == right.elements.len()
                    && left
                        .elements
                        .iter()
                        .zip(&right.elements)
                        .all(|(left, right)| left.equals(right))
            }
            _ => match (self.number(), other.number()) {
                (Some(left), Some(right)) => left.compare(right) == Some(Ordering::Equal),
                _ => self.is_same(other),
            },
        }
    }

    /// Compares type and value.
    #[expect(clippy::float_cmp, reason = "an expression asks for the very number")]
    pub(super) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Nil, Self::Nil) | (Self::Facts(_), Self::Facts(_)) => true,
            (Self::Bool(left), Self::Bool(right)) => left == right,
            (Self::Int(left), Self::Int(right)) => left == right,
            (Self::Float(left), Self::Float(right)) => left == right,
            (Self::Text(left), Self::Text(right)) => left == right,
            (Self::List(left), Self::List(right)) => {
                left.is_typed == right.is_typed
                    && left.elements.len() == right.elements.len()
                    && left
                        .elements
                        .iter()
                        .zip(&right.elements)
                        .all(|(left, right)| left.is_same(right))
            }
            (Self::Map(left), Self::Map(right)) => {
                left.len() == right.len()
                    && left
                        .iter()
                        .zip(right.iter())
                        .all(|(left, right)| left.0 == right.0 && left.1.is_same(right.1))
            }
            _ => false,
        }
    }

    /// Orders two numbers or two texts.
    pub(super) fn compare(&self, other: &Self) -> Result<Option<Ordering>, String> {
        if let (Self::Text(left), Self::Text(right)) = (self, other) {
            return Ok(Some(left.cmp(right)));
        }
        match (self.number(), other.number()) {
            (Some(left), Some(right)) => Ok(left.compare(right)),
            _ => Err(format!(
                "{} and {} have no order",
                self.type_name(),
                other.type_name()
            )),
        }
    }

    pub(super) fn number(&self) -> Option<Number> {
        match self {
            Self::Int(number) => Some(Number::Int(*number)),
            Self::Float(number) => Some(Number::Float(*number)),
            Self::Nil
            | Self::Bool(_)
            | Self::Text(_)
            | Self::List(_)
            | Self::Map(_)
            | Self::Facts(_) => None,
        }
    }

    pub(super) fn as_bool(&self) -> Result<bool, String> {
        match self {
            Self::Bool(value) => Ok(*value),
            other => Err(format!("{} is not a boolean", other.type_name())),
        }
    }

    pub(super) fn as_text(&self) -> Result<&Rc<str>, String> {
        match self {
            Self::Text(text) => Ok(text),
            other => Err(format!("{} is not a string", other.type_name())),
        }
    }

    pub(super) fn as_list(&self) -> Result<&[Self], String> {
        match self {
            Self::List(list) => Ok(&list.elements),
            other => Err(format!("{} is not an array", other.type_name())),
        }
    }

    /// Reads an index or a count; a fraction is cut.
    pub(super) fn as_int(&self) -> Result<i64, String> {
        match self.number() {
            Some(number) => Ok(number.to_int()),
            None => Err(format!("{} is not a number", self.type_name())),
        }
    }
}

/// A number of either type.
#[derive(Debug, Clone, Copy)]
pub(super) enum Number {
    Int(i64),
    Float(f64),
}

impl Number {
    #[expect(
        clippy::cast_precision_loss,
        reason = "integers beyond 2^53 are rounded, as in the original"
    )]
    pub(super) fn to_float(self) -> f64 {
        match self {
            Self::Int(number) => number as f64,
            Self::Float(number) => number,
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "the whole part is what is asked for; the cast saturates"
    )]
    pub(super) fn to_int(self) -> i64 {
        match self {
            Self::Int(number) => number,
            Self::Float(number) => number as i64,
        }
    }

    fn compare(self, other: Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Int(left), Self::Int(right)) => Some(left.cmp(&right)),
            (left, right) => left.to_float().partial_cmp(&right.to_float()),
        }
    }
}
