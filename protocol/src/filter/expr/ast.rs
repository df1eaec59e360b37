//! The tree of an expression.

use super::builtin::Builtin;
use super::with::With;
use crate::filter::pattern::Pattern;

/// One node of the tree.
#[derive(Debug)]
pub(super) enum Node {
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Self>),
    Map(Vec<(Self, Self)>),
    /// A variable of `let` or of the environment.
    Name(String),
    /// `#`, the element that a predicate looks at, or one of its fellows.
    Pointer(Pointer),
    Not(Box<Self>),
    Sign {
        negative: bool,
        of: Box<Self>,
    },
    /// `and` between all of them; a chain does not nest.
    All(Vec<Self>),
    /// `or` between all of them.
    Any(Vec<Self>),
    Binary(Binary, Box<Self>, Box<Self>),
    /// `a < b <= c`: each is compared with the next.
    Ordering(Box<Self>, Vec<(Binary, Self)>),
    /// `matches` with a text, compiled beforehand.
    Search(Box<Self>, Box<Pattern>),
    Conditional(Box<Self>, Box<Self>, Box<Self>),
    Let(String, Box<Self>, Box<Self>),
    Sequence(Vec<Self>),
    /// `base[key]` and `base.key`; with `optional` a missing base ends the chain.
    Member {
        base: Box<Self>,
        key: Box<Self>,
        optional: bool,
    },
    /// The end of a chain with `?.`: what is missing inside makes all of it nil.
    Chain(Box<Self>),
    Slice {
        base: Box<Self>,
        from: Option<Box<Self>>,
        to: Option<Box<Self>>,
    },
    Call(Function, Vec<Self>),
    /// `with` of a text, read beforehand.
    With(Box<With>),
    /// A call of a function that only the surroundings can know.
    External(String, Vec<Self>),
    /// A call of something that is no function.
    Uncallable(Box<Self>),
    Builtin(Builtin, Vec<Self>),
    Predicate {
        kind: Predicate,
        over: Box<Self>,
        test: Option<Box<Self>>,
        start: Option<Box<Self>>,
    },
}

/// What `#` means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pointer {
    /// `#`
    Element,
    /// `#index`
    Index,
    /// `#acc`
    Accumulator,
}

/// What an expression is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Language {
    /// A node, with its agents, classes and facts.
    Filter,
    /// Whatever a [`super::Scope`] knows.
    Scope,
}

/// Functions of the fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    With,
    Fact,
    Include,
    Semver,
}

/// Operators between two values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Binary {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    Matches,
    Contains,
    StartsWith,
    EndsWith,
    Range,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    Power,
    /// `??`
    Coalesce,
}

/// Functions that look at each element of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Predicate {
    All,
    None,
    Any,
    One,
    Filter,
    Map,
    Count,
    Sum,
    Find,
    FindIndex,
    FindLast,
    FindLastIndex,
    Reduce,
}

impl Function {
    pub(super) fn by_name(name: &str, language: Language) -> Option<Self> {
        Some(match name {
            "with" if language == Language::Filter => Self::With,
            "fact" if language == Language::Filter => Self::Fact,
            "include" => Self::Include,
            "semver" => Self::Semver,
            _ => return None,
        })
    }
}

impl Predicate {
    pub(super) fn by_name(name: &str) -> Option<Self> {
        Some(match name {
            "all" => Self::All,
            "none" => Self::None,
            "any" => Self::Any,
            "one" => Self::One,
            "filter" => Self::Filter,
            "map" => Self::Map,
            "count" => Self::Count,
            "sum" => Self::Sum,
            "find" => Self::Find,
            "findIndex" => Self::FindIndex,
            "findLast" => Self::FindLast,
            "findLastIndex" => Self::FindLastIndex,
            "reduce" => Self::Reduce,
            _ => return None,
        })
    }
}

impl Binary {
    /// The operator of a sign, and how strongly it binds.
    pub(super) fn by_sign(sign: &str) -> Option<(Self, u16)> {
        Some(match sign {
            "==" => (Self::Equal, 20),
            "!=" => (Self::NotEqual, 20),
            "<" => (Self::Less, 20),
            ">" => (Self::Greater, 20),
            ">=" => (Self::GreaterOrEqual, 20),
            "<=" => (Self::LessOrEqual, 20),
            "in" => (Self::In, 20),
            "matches" => (Self::Matches, 20),
            "contains" => (Self::Contains, 20),
            "startsWith" => (Self::StartsWith, 20),
            "endsWith" => (Self::EndsWith, 20),
            ".." => (Self::Range, 25),
            "+" => (Self::Add, 30),
            "-" => (Self::Subtract, 30),
            "*" => (Self::Multiply, 60),
            "/" => (Self::Divide, 60),
            "%" => (Self::Remainder, 60),
            "**" | "^" => (Self::Power, 100),
            "??" => (Self::Coalesce, 500),
            _ => return None,
        })
    }

    /// Tells whether several of it in a row are compared pair by pair: `1 < x < 3`.
    pub(super) fn is_ordering(self) -> bool {
        matches!(
            self,
            Self::Less | Self::LessOrEqual | Self::Greater | Self::GreaterOrEqual
        )
    }

    /// Tells whether `not` may stand in front of it.
    pub(super) fn takes_not(self) -> bool {
        matches!(
            self,
            Self::In | Self::Matches | Self::Contains | Self::StartsWith | Self::EndsWith
        )
    }

    pub(super) fn sign(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::In => "in",
            Self::Matches => "matches",
            Self::Contains => "contains",
            Self::StartsWith => "startsWith",
            Self::EndsWith => "endsWith",
            Self::Range => "..",
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Remainder => "%",
            Self::Power => "**",
            Self::Coalesce => "??",
        }
    }
}
