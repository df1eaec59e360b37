//! Passes what a policy builds through a function that measures it.
//!
//! The engine keeps values by reference: `x1 := [x0, x0]`, `x2 := [x1, x1]` and so on costs nothing, but to compare or to
//! write out the sixtieth takes for ever, and the clock is not looked at within either. So everything of which something
//! larger can be made is measured where it is made: literals, what comprehensions and partial rules collect, what `with`
//! puts into a document. What stands for a pattern is left alone; the names in it are measured behind the statement.

use std::collections::BTreeMap;
use std::ops::Range;

use regorus::unstable::{
    ArithOp, AssignOp, Expr, Literal, LiteralStmt, Module, Query, Rule, RuleHead,
};

use super::{Edit, insert};
use crate::rego::PACKAGE;
use crate::rego::check::PRINT;
use crate::rego::functions::{MEASURE, function};
use crate::rego::syntax::{self, range};

/// What is written into the text, in the order in which it goes to one and the same place.
#[derive(Default)]
pub(super) struct Measures {
    /// Before a statement that gets company.
    pub(super) opens: Vec<Edit>,
    /// Around values.
    pub(super) around: Vec<Edit>,
    /// Behind statements.
    pub(super) behind: Vec<Edit>,
}

impl Measures {
    pub(super) fn is_empty(&self) -> bool {
        self.around.is_empty() && self.behind.is_empty()
    }
}

/// Finds what is to be measured.
pub(super) fn measures(text: &str, module: &Module) -> Measures {
    let mut walk = Walk {
        text,
        functions: module
            .policy
            .iter()
            .filter_map(|rule| {
                let arity = syntax::arity(rule)?;
                Some((syntax::name(rule)?.parts.join("."), arity))
            })
            .collect(),
        found: Measures::default(),
    };
    for rule in &module.policy {
        walk.rule(rule);
    }
    walk.found
}

struct Walk<'t> {
    text: &'t str,
    /// The arguments of the policy's own functions.
    functions: BTreeMap<String, usize>,
    found: Measures,
}

impl Walk<'_> {
    fn rule(&mut self, rule: &Rule) {
        let (head, bodies) = match rule {
            Rule::Default { value, .. } => return self.default(value),
            Rule::Spec { head, bodies, .. } => (head, bodies),
        };
        let mut extra = Vec::new();
        let mut is_partial = false;
        match head {
            RuleHead::Compr { refr, assign, .. } => {
                is_partial = !matches!(refr.as_ref(), Expr::Var { .. });
                for key in keys(refr) {
                    if bodies.iter().all(|body| body.query.stmts.is_empty()) {
                        self.counted(key);
                    } else if !is_constant(key) {
                        let range = place(self.text, key);
                        extra.push(self.text.get(range).unwrap_or_default().to_owned());
                    }
                }
                if let Some(assign) = assign {
                    self.result(&assign.value, is_partial);
                }
            }
            RuleHead::Set { key, .. } => {
                if let Some(key) = key {
                    self.counted(key);
                }
            }
            RuleHead::Func { assign, .. } => {
                if let Some(assign) = assign {
                    self.value(&assign.value);
                }
            }
        }
        for body in bodies {
            if let Some(assign) = &body.assign {
                self.result(&assign.value, is_partial);
            }
            self.body(&body.query, &extra);
        }
    }

    /// The engine takes no calls in the value of a default, but in its comprehensions.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "a few of the engine's many forms matter here"
    )]
    fn default(&mut self, value: &Expr) {
        match value {
            Expr::Array { items, .. } | Expr::Set { items, .. } => {
                items.iter().for_each(|item| self.default(item));
            }
            Expr::Object { fields, .. } => {
                for (_, key, value) in fields {
                    self.default(key);
                    self.default(value);
                }
            }
            _ => self.value(value),
        }
    }

    fn result(&mut self, value: &Expr, is_partial: bool) {
        if is_partial {
            self.counted(value);
        } else {
            self.value(value);
        }
    }

    /// A body of a rule, which may be one statement without braces.
    fn body(&mut self, query: &Query, extra: &[String]) {
        let Some((last, before)) = query.stmts.split_last() else {
            return;
        };
        for statement in before {
            let names = self.statement(statement);
            self.behind(statement, &names);
        }
        let mut names = self.statement(last);
        names.extend(extra.iter().cloned());
        let start = range(self.text, &last.span).start;
        let is_bare = before.is_empty() && query.span.start == last.span.start;
        if names.is_empty() || !is_bare {
            return self.behind(last, &names);
        }
        self.found.opens.push(insert(start, "{ ".to_owned()));
        self.behind(last, &names);
        let end = range(self.text, &last.span).end;
        self.found.behind.push(insert(end, " }".to_owned()));
    }

    fn query(&mut self, query: &Query) {
        for statement in &query.stmts {
            let names = self.statement(statement);
            self.behind(statement, &names);
        }
    }

    /// Measures these as a statement behind another.
    fn behind(&mut self, statement: &LiteralStmt, names: &[String]) {
        if !names.is_empty() {
            let end = range(self.text, &statement.span).end;
            let new = format!("; {MEASURE}([{}])", names.join(", "));
            self.found.behind.push(insert(end, new));
        }
    }

    /// The names that are to be measured behind it.
    fn statement(&mut self, statement: &LiteralStmt) -> Vec<String> {
        for modifier in &statement.with_mods {
            let is_document = syntax::path(&modifier.refr)
                .and_then(|path| path.parts.into_iter().next())
                .is_some_and(|first| first == "input" || first == "data");
            let is_function =
                syntax::path(&modifier.r#as).is_some_and(|path| self.arity(&path.parts).is_some());
            if is_document && !is_function {
                self.counted(&modifier.r#as);
            } else {
                self.value(&modifier.r#as);
            }
        }
        match &statement.literal {
            Literal::SomeVars { .. } => {}
            Literal::SomeIn { collection, .. } => self.value(collection),
            Literal::Every { domain, query, .. } => {
                self.value(domain);
                self.query(query);
            }
            Literal::NotExpr { expr, .. } => {
                self.unify(expr);
            }
            Literal::Expr { expr, .. } => return self.unify(expr),
        }
        Vec::new()
    }

    /// A statement that may bind names: those that may now stand for something built by it.
    fn unify(&mut self, expr: &Expr) -> Vec<String> {
        let Expr::AssignExpr { op, lhs, rhs, .. } = expr else {
            self.value(expr);
            return Vec::new();
        };
        if matches!(op, AssignOp::ColEq) {
            self.value(rhs);
            return Vec::new();
        }
        let mut names = Vec::new();
        let is_built = is_pattern(lhs) || is_pattern(rhs);
        for side in [lhs, rhs] {
            self.pattern(side, &mut names);
        }
        if !is_built {
            names.clear();
        }
        names
    }

    /// Either side of `=`: what is built there is not measured as a whole, as names in it may be bound by it.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "a few of the engine's many forms matter here"
    )]
    fn pattern(&mut self, expr: &Expr, names: &mut Vec<String>) {
        match expr {
            Expr::Array { items, .. } => {
                items.iter().for_each(|item| self.pattern(item, names));
            }
            Expr::Object { fields, .. } => {
                for (_, key, value) in fields {
                    self.value(key);
                    self.pattern(value, names);
                }
            }
            Expr::Var { span, .. } => {
                let name = span.text();
                if name != "_" && !names.iter().any(|known| known == name) {
                    names.push(name.to_owned());
                }
            }
            _ => self.value(expr),
        }
    }

    /// An expression whose value may become a part of something larger only through something else that is measured.
    fn value(&mut self, expr: &Expr) {
        if is_literal(expr) && !is_constant(expr) {
            self.wrap(expr);
        }
        self.below(expr);
    }

    /// What is below an expression; literals in a literal are measured with it.
    fn below(&mut self, expr: &Expr) {
        match expr {
            Expr::String { .. }
            | Expr::RawString { .. }
            | Expr::Number { .. }
            | Expr::Bool { .. }
            | Expr::Null { .. }
            | Expr::Var { .. } => {}
            Expr::Array { items, .. } | Expr::Set { items, .. } => {
                items.iter().for_each(|item| self.within(item));
            }
            Expr::Object { fields, .. } => {
                for (_, key, value) in fields {
                    self.within(key);
                    self.within(value);
                }
            }
            Expr::ArrayCompr { term, query, .. } | Expr::SetCompr { term, query, .. } => {
                self.counted(term);
                self.query(query);
            }
            Expr::ObjectCompr {
                key, value, query, ..
            } => {
                self.counted(key);
                self.counted(value);
                self.query(query);
            }
            Expr::Call { fcn, params, .. } => {
                let parts = syntax::path(fcn).map(|path| path.parts).unwrap_or_default();
                // Nobody reads it. Behind the last argument stands what the result is bound to.
                let arity = match parts.join(".") == PRINT {
                    true => 0,
                    false => self.arity(&parts).unwrap_or(params.len()),
                };
                params
                    .iter()
                    .take(arity)
                    .for_each(|param| self.value(param));
            }
            Expr::UnaryExpr { expr, .. } => self.value(expr),
            Expr::RefDot { refr, .. } => self.within(refr),
            Expr::RefBrack { refr, index, .. } => {
                self.within(refr);
                // It may be a pattern.
                self.within(index);
            }
            Expr::BinExpr { lhs, rhs, .. }
            | Expr::BoolExpr { lhs, rhs, .. }
            | Expr::ArithExpr { lhs, rhs, .. }
            | Expr::AssignExpr { lhs, rhs, .. } => {
                self.value(lhs);
                self.value(rhs);
            }
            Expr::Membership {
                key,
                value,
                collection,
                ..
            } => {
                if let Some(key) = key {
                    self.value(key);
                }
                self.value(value);
                self.value(collection);
            }
        }
    }

    fn within(&mut self, expr: &Expr) {
        if is_literal(expr) {
            self.below(expr);
        } else {
            self.value(expr);
        }
    }

    /// A value of which many are collected.
    fn counted(&mut self, expr: &Expr) {
        match expr {
            Expr::String { .. }
            | Expr::RawString { .. }
            | Expr::Number { .. }
            | Expr::Bool { .. }
            | Expr::Null { .. } => return,
            Expr::Set { items, .. } if items.is_empty() => return,
            // A bracket around it would be within its span or not: its sides are measured instead.
            Expr::BinExpr { lhs, rhs, .. } => {
                self.counted(lhs);
                return self.counted(rhs);
            }
            Expr::ArithExpr {
                op: ArithOp::Sub,
                lhs,
                rhs,
                ..
            } => {
                self.counted(lhs);
                return self.value(rhs);
            }
            Expr::ArithExpr { .. }
            | Expr::BoolExpr { .. }
            | Expr::AssignExpr { .. }
            | Expr::Membership { .. }
            | Expr::UnaryExpr { .. } => {}
            Expr::Call { fcn, .. } => {
                let is_small = syntax::path(fcn).is_some_and(|path| {
                    !self.functions.contains_key(&local(&path.parts))
                        && function(&path.parts.join("."))
                            .is_some_and(|function| function.makes_scalars())
                });
                if !is_small {
                    self.wrap(expr);
                }
            }
            Expr::Var { .. }
            | Expr::Array { .. }
            | Expr::Set { .. }
            | Expr::Object { .. }
            | Expr::ArrayCompr { .. }
            | Expr::SetCompr { .. }
            | Expr::ObjectCompr { .. }
            | Expr::RefDot { .. }
            | Expr::RefBrack { .. } => self.wrap(expr),
        }
        self.below(expr);
    }

    fn wrap(&mut self, expr: &Expr) {
        let range = place(self.text, expr);
        let around = &mut self.found.around;
        around.push(insert(range.start, format!("{MEASURE}(")));
        around.push(insert(range.end, ")".to_owned()));
    }

    /// How many arguments the function of this name takes.
    fn arity(&self, parts: &[String]) -> Option<usize> {
        let own = self.functions.get(&local(parts)).copied();
        own.or_else(|| function(&parts.join(".")).map(|function| function.arity()))
    }
}

/// Where an expression lies in the text. The engine takes an object of several members to begin with the last of them.
fn place(text: &str, expr: &Expr) -> Range<usize> {
    let range = range(text, expr.span());
    let Expr::Object { fields, .. } = expr else {
        return range;
    };
    let Some((first, _, _)) = fields.first() else {
        return range;
    };
    let before = text.get(..syntax::range(text, first).start);
    let is_empty = |between: &str| {
        let mut lines = between.lines().map(str::trim_start);
        lines.all(|line| line.is_empty() || line.starts_with('#'))
    };
    let begins = before.and_then(|before| {
        let mut brackets = before.rmatch_indices('{');
        brackets.find(|(at, _)| is_empty(&before[at + 1..]))
    });
    begins.map_or(range.start, |(at, _)| at)..range.end
}

/// The name within the package.
fn local(parts: &[String]) -> String {
    let name = parts.join(".");
    let own = name
        .strip_prefix("data.")
        .and_then(|name| name.strip_prefix(PACKAGE))
        .and_then(|name| name.strip_prefix('.'));
    match own {
        Some(own) => own.to_owned(),
        None => name,
    }
}

/// What stands in brackets in the name of a rule.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "a few of the engine's many forms matter here"
)]
fn keys(name: &Expr) -> Vec<&Expr> {
    let mut found = Vec::new();
    let mut part = name;
    loop {
        match part {
            Expr::RefDot { refr, .. } => part = refr,
            Expr::RefBrack { refr, index, .. } => {
                found.push(index.as_ref());
                part = refr;
            }
            _ => return found,
        }
    }
}

fn is_literal(expr: &Expr) -> bool {
    matches!(
        expr,
        Expr::Array { .. } | Expr::Set { .. } | Expr::Object { .. }
    )
}

/// Whether names in it may be bound by `=`.
fn is_pattern(expr: &Expr) -> bool {
    matches!(expr, Expr::Array { .. } | Expr::Object { .. }) && !is_constant(expr)
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "a few of the engine's many forms matter here"
)]
fn is_constant(expr: &Expr) -> bool {
    match expr {
        Expr::String { .. }
        | Expr::RawString { .. }
        | Expr::Number { .. }
        | Expr::Bool { .. }
        | Expr::Null { .. } => true,
        Expr::Array { items, .. } | Expr::Set { items, .. } => {
            items.iter().all(|item| is_constant(item))
        }
        Expr::Object { fields, .. } => fields
            .iter()
            .all(|(_, key, value)| is_constant(key) && is_constant(value)),
        _ => false,
    }
}
