//! Types of an expression, as far as they are known before it meets a node.
//!
//! The original refuses an expression whose types cannot fit even where evaluation would never get to the misfit, so
//! that `true or 'x'` matches nothing. The same rules are kept here.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "an operation names the kinds that it is defined for, every other one is a fault"
)]

use super::ast::{Binary, Function, Language, Node, Pointer, Predicate};

/// What is known of a value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Type {
    /// Known at evaluation only.
    Unknown,
    Nil,
    Bool,
    Int,
    Float,
    Text,
    /// A list of texts and nothing else.
    Names,
    List(Box<Self>),
    Map,
    Facts,
    Function,
}

/// What a function takes for an argument.
#[derive(Clone, Copy)]
enum Takes {
    Text,
    AnyList,
    Anything,
}

struct Checker {
    language: Language,
    variables: Vec<(String, Type)>,
    scopes: Vec<(Type, Option<Type>, bool)>,
}

type Checked = Result<Type, String>;

/// Checks that the expression gives a boolean, or may.
pub(super) fn check(root: &Node, language: Language) -> Result<(), String> {
    let mut checker = Checker {
        language,
        variables: Vec::new(),
        scopes: Vec::new(),
    };
    match checker.visit(root)? {
        Type::Bool | Type::Unknown => Ok(()),
        other => Err(format!(
            "the expression gives {}, not a boolean",
            other.name()
        )),
    }
}

impl Type {
    pub(super) fn any_list() -> Self {
        Self::List(Box::new(Self::Unknown))
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Unknown => "anything",
            Self::Nil => "nil",
            Self::Bool => "a boolean",
            Self::Int => "an integer",
            Self::Float => "a float",
            Self::Text => "a string",
            Self::Names | Self::List(_) => "an array",
            Self::Map => "a map",
            Self::Facts => "all facts",
            Self::Function => "a function",
        }
    }

    pub(super) fn is_number(&self) -> bool {
        matches!(self, Self::Int | Self::Float)
    }

    pub(super) fn is_list(&self) -> bool {
        matches!(self, Self::Names | Self::List(_) | Self::Facts)
    }

    pub(super) fn is_unknown(&self) -> bool {
        matches!(self, Self::Unknown)
    }

    pub(super) fn may_be_int(&self) -> bool {
        matches!(self, Self::Int | Self::Unknown)
    }

    pub(super) fn element(&self) -> Self {
        match self {
            Self::Names => Self::Text,
            Self::List(element) => (**element).clone(),
            Self::Facts => Self::Int,
            Self::Unknown
            | Self::Nil
            | Self::Bool
            | Self::Int
            | Self::Float
            | Self::Text
            | Self::Map
            | Self::Function => Self::Unknown,
        }
    }

    fn is_comparable(&self, other: &Self) -> bool {
        let either = |wanted: fn(&Self) -> bool| wanted(self) || wanted(other);
        either(Self::is_unknown)
            || either(|side| *side == Self::Nil)
            || self.is_number() && other.is_number()
            || self.is_list() && other.is_list()
            || self == other
    }

    /// Tells whether both sides are, or may be, of one of the kinds wanted.
    fn may_both(&self, other: &Self, wanted: fn(&Self) -> bool) -> bool {
        (self.is_unknown() || wanted(self)) && (other.is_unknown() || wanted(other))
    }
}

impl Checker {
    fn visit(&mut self, node: &Node) -> Checked {
        match node {
            Node::Nil => Ok(Type::Nil),
            Node::Bool(_) => Ok(Type::Bool),
            Node::Int(_) => Ok(Type::Int),
            Node::Float(_) => Ok(Type::Float),
            Node::Text(_) => Ok(Type::Text),
            Node::List(elements) => self.list(elements),
            Node::Map(pairs) => {
                for (key, value) in pairs {
                    self.visit(key)?;
                    self.visit(value)?;
                }
                Ok(Type::Map)
            }
            Node::Name(name) => Ok(self.name(name)),
            Node::Pointer(pointer) => self.pointer(*pointer),
            Node::Not(of) => match self.visit(of)? {
                Type::Bool | Type::Unknown => Ok(Type::Bool),
                other => Err(format!("not before {}", other.name())),
            },
            Node::Sign { of, .. } => match self.visit(of)? {
                number @ (Type::Int | Type::Float | Type::Unknown) => Ok(number),
                other => Err(format!("a sign before {}", other.name())),
            },
            Node::All(operands) | Node::Any(operands) => {
                for operand in operands {
                    match self.visit(operand)? {
                        Type::Bool | Type::Unknown => {}
                        other => return Err(format!("{} between and/or", other.name())),
                    }
                }
                Ok(Type::Bool)
            }
            Node::Ordering(first, steps) => {
                let mut left = self.visit(first)?;
                for (operator, right) in steps {
                    let right = self.visit(right)?;
                    if !left.may_both(&right, Type::is_number)
                        && !left.may_both(&right, |side| *side == Type::Text)
                    {
                        return Err(mismatch(*operator, &left, &right));
                    }
                    left = right;
                }
                Ok(Type::Bool)
            }
            Node::Search(left, _) => match self.visit(left)? {
                Type::Text | Type::Unknown | Type::Facts => Ok(Type::Bool),
                other => Err(mismatch(Binary::Matches, &other, &Type::Text)),
            },
            Node::Binary(operator, left, right) => {
                let left = self.visit(left)?;
                let right = self.visit(right)?;
                binary(*operator, &left, &right).ok_or_else(|| mismatch(*operator, &left, &right))
            }
            Node::Conditional(condition, then, otherwise) => {
                self.conditional(condition, then, otherwise)
            }
            Node::Let(name, value, body) => self.declaration(name, value, body),
            Node::Sequence(steps) => {
                let mut last = Type::Unknown;
                for step in steps {
                    last = self.visit(step)?;
                }
                Ok(last)
            }
            Node::Member { base, key, .. } => self.member(base, key),
            Node::Chain(inner) => self.visit(inner),
            Node::Slice { base, from, to } => self.slice(base, from.as_deref(), to.as_deref()),
            Node::Call(function, arguments) => self.call(*function, arguments),
            Node::With(_) => Ok(Type::Bool),
            // As in the original the arguments of unknown functions are not looked at.
            Node::External(name, _) => match self.name(name) {
                Type::Unknown => Ok(Type::Unknown),
                other => Err(format!("{} cannot be called", other.name())),
            },
            Node::Uncallable(callee) => match self.visit(callee)? {
                Type::Unknown => Ok(Type::Unknown),
                other => Err(format!("{} cannot be called", other.name())),
            },
            Node::Builtin(builtin, arguments) => {
                let mut types = Vec::with_capacity(arguments.len());
                for argument in arguments {
                    types.push(self.visit(argument)?);
                }
                builtin.check(&types)
            }
            Node::Predicate {
                kind,
                over,
                test,
                start,
            } => self.predicate(*kind, over, test.as_deref(), start.as_deref()),
        }
    }

    fn name(&self, name: &str) -> Type {
        if let Some((_, known)) = self
            .variables
            .iter()
            .rev()
            .find(|(variable, _)| variable == name)
        {
            return known.clone();
        }
        match name {
            "agents" | "classes" if self.language == Language::Filter => Type::Names,
            "facts" if self.language == Language::Filter => Type::Facts,
            _ if Function::by_name(name, self.language).is_some() => Type::Function,
            _ => Type::Unknown,
        }
    }

    fn list(&mut self, elements: &[Node]) -> Checked {
        let mut element = None;
        let mut is_uniform = true;
        for node in elements {
            let found = self.visit(node)?;
            is_uniform &= element.as_ref().is_none_or(|known| {
                std::mem::discriminant(known) == std::mem::discriminant(&found)
            });
            element = Some(found);
        }
        match element {
            Some(element) if is_uniform => Ok(Type::List(Box::new(element))),
            Some(_) | None => Ok(Type::any_list()),
        }
    }

    fn pointer(&self, pointer: Pointer) -> Checked {
        let Some((over, accumulator, has_index)) = self.scopes.last() else {
            return Err("# outside of a predicate".to_owned());
        };
        match pointer {
            Pointer::Element => Ok(over.element()),
            Pointer::Index if *has_index => Ok(Type::Int),
            Pointer::Accumulator => accumulator
                .clone()
                .ok_or_else(|| "#acc outside of reduce".to_owned()),
            Pointer::Index => Err("#index outside of map and reduce".to_owned()),
        }
    }

    fn conditional(&mut self, condition: &Node, then: &Node, otherwise: &Node) -> Checked {
        match self.visit(condition)? {
            Type::Bool | Type::Unknown => {}
            other => return Err(format!("{} as a condition", other.name())),
        }
        let then = self.visit(then)?;
        let otherwise = self.visit(otherwise)?;
        Ok(match (then, otherwise) {
            (Type::Nil, other) | (other, Type::Nil) => other,
            (Type::List(left), Type::List(right)) if left != right => Type::any_list(),
            (left, right) if left == right => left,
            _ => Type::Unknown,
        })
    }

    fn declaration(&mut self, name: &str, value: &Node, body: &Node) -> Checked {
        let is_known = !self.name(name).is_unknown()
            || Predicate::by_name(name).is_some()
            || super::builtin::Builtin::by_name(name).is_some()
            || self.variables.iter().any(|(variable, _)| variable == name);
        if is_known {
            return Err(format!("{name:?} is declared already"));
        }
        let value = self.visit(value)?;
        self.variables.push((name.to_owned(), value));
        let body = self.visit(body);
        self.variables.pop();
        body
    }

    fn member(&mut self, base: &Node, key: &Node) -> Checked {
        let base = self.visit(base)?;
        let key = self.visit(key)?;
        match base {
            Type::Unknown => Ok(Type::Unknown),
            Type::Map if matches!(key, Type::Text | Type::Unknown) => Ok(Type::Unknown),
            Type::Names | Type::List(_) | Type::Facts if key.may_be_int() => Ok(base.element()),
            Type::Nil
            | Type::Bool
            | Type::Int
            | Type::Float
            | Type::Text
            | Type::Names
            | Type::List(_)
            | Type::Map
            | Type::Facts
            | Type::Function => Err(format!("{} has no member by {}", base.name(), key.name())),
        }
    }

    fn slice(&mut self, base: &Node, from: Option<&Node>, to: Option<&Node>) -> Checked {
        let base = self.visit(base)?;
        if base.is_unknown() {
            return Ok(base);
        }
        if !base.is_list() && base != Type::Text {
            return Err(format!("{} has no slices", base.name()));
        }
        for bound in [from, to].into_iter().flatten() {
            let bound = self.visit(bound)?;
            if !bound.may_be_int() {
                return Err(format!("slice up to {}", bound.name()));
            }
        }
        Ok(base)
    }

    fn call(&mut self, function: Function, arguments: &[Node]) -> Checked {
        let (takes, gives): (&[Takes], Type) = match function {
            Function::With => (&[Takes::Text], Type::Bool),
            Function::Fact => (&[Takes::Text], Type::Unknown),
            Function::Include => (&[Takes::AnyList, Takes::Anything], Type::Bool),
            Function::Semver => (&[Takes::Text, Takes::Text], Type::Bool),
        };
        if arguments.len() != takes.len() {
            return Err(format!(
                "a function takes {} arguments, not {}",
                takes.len(),
                arguments.len()
            ));
        }
        for (argument, takes) in arguments.iter().zip(takes) {
            let found = self.visit(argument)?;
            let fits = match takes {
                Takes::Anything => true,
                Takes::Text => matches!(found, Type::Text | Type::Unknown),
                Takes::AnyList => matches!(found, Type::List(_) | Type::Unknown),
            };
            if !fits {
                return Err(format!("a function does not take {}", found.name()));
            }
        }
        Ok(gives)
    }

    fn predicate(
        &mut self,
        kind: Predicate,
        over: &Node,
        test: Option<&Node>,
        start: Option<&Node>,
    ) -> Checked {
        let over = self.visit(over)?;
        if !over.is_list() && !over.is_unknown() {
            return Err(format!("a predicate over {}", over.name()));
        }
        let test = match test {
            Some(test) => {
                let accumulator = (kind == Predicate::Reduce).then_some(Type::Unknown);
                let has_index = matches!(kind, Predicate::Map | Predicate::Reduce);
                self.scopes.push((over.clone(), accumulator, has_index));
                let test = self.visit(test);
                self.scopes.pop();
                Some(test?)
            }
            None => None,
        };
        if let Some(start) = start {
            self.visit(start)?;
        }
        let is_test = test
            .as_ref()
            .is_none_or(|test| matches!(test, Type::Bool | Type::Unknown));
        let gives = match kind {
            Predicate::Map => return Ok(Type::List(Box::new(test.unwrap_or(Type::Unknown)))),
            Predicate::Sum => return Ok(test.unwrap_or_else(|| over.element())),
            Predicate::Reduce => return Ok(test.unwrap_or(Type::Unknown)),
            Predicate::All | Predicate::None | Predicate::Any | Predicate::One => Type::Bool,
            Predicate::Filter => Type::List(Box::new(over.element())),
            Predicate::Count | Predicate::FindIndex | Predicate::FindLastIndex => Type::Int,
            Predicate::Find | Predicate::FindLast => over.element(),
        };
        if is_test {
            Ok(gives)
        } else {
            Err("a predicate gives no boolean".to_owned())
        }
    }
}

fn mismatch(operator: Binary, left: &Type, right: &Type) -> String {
    format!(
        "{:?} between {} and {}",
        operator.sign(),
        left.name(),
        right.name()
    )
}

/// Gives the type of an operation, or nothing if its sides do not fit.
fn binary(operator: Binary, left: &Type, right: &Type) -> Option<Type> {
    let both = |wanted: fn(&Type) -> bool| left.may_both(right, wanted);
    let is_text: fn(&Type) -> bool = |side| *side == Type::Text;
    let is_int: fn(&Type) -> bool = |side| *side == Type::Int;
    let number = || match (left, right) {
        (Type::Unknown, _) | (_, Type::Unknown) => Type::Unknown,
        (Type::Int, Type::Int) => Type::Int,
        _ => Type::Float,
    };
    match operator {
        Binary::Equal | Binary::NotEqual => left.is_comparable(right).then_some(Type::Bool),
        Binary::Less | Binary::LessOrEqual | Binary::Greater | Binary::GreaterOrEqual => {
            (both(Type::is_number) || both(is_text)).then_some(Type::Bool)
        }
        Binary::In => {
            let fits = match right {
                Type::Map => matches!(left, Type::Text | Type::Unknown),
                Type::Names | Type::List(_) | Type::Facts => left.is_comparable(&right.element()),
                Type::Unknown => true,
                Type::Text => left.is_unknown(),
                Type::Nil | Type::Bool | Type::Int | Type::Float | Type::Function => false,
            };
            fits.then_some(Type::Bool)
        }
        Binary::Matches | Binary::Contains | Binary::StartsWith | Binary::EndsWith => {
            both(is_text).then_some(Type::Bool)
        }
        Binary::Range => both(is_int).then(|| Type::List(Box::new(Type::Int))),
        Binary::Add if both(is_text) && (is_text(left) || is_text(right)) => {
            Some(if left == right {
                Type::Text
            } else {
                Type::Unknown
            })
        }
        Binary::Add | Binary::Subtract | Binary::Multiply => both(Type::is_number).then(number),
        Binary::Divide | Binary::Power => both(Type::is_number).then_some(Type::Float),
        Binary::Remainder => both(is_int).then_some(Type::Int),
        Binary::Coalesce => Some(match (left, right) {
            (Type::Nil, other) | (other, Type::Nil) => other.clone(),
            (left, right) if left == right => left.clone(),
            _ => Type::Unknown,
        }),
    }
}
