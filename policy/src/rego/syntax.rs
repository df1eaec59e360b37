//! The syntax tree of a policy as a flat list, rule by rule.
//!
//! The engine's tree may be as deep as a text is long (`1+1+1+…`), so it is walked with a stack of our own.

use std::ops::Range;

use regorus::unstable::{
    Expr, Literal, LiteralStmt, Module, Query, Rule, RuleBody, RuleHead, Span,
};

use super::functions::Kind;

/// One expression or statement with its distance from the rule.
#[derive(Debug, Clone, Copy)]
pub(super) enum Item<'a> {
    /// An expression.
    Expr(&'a Expr, usize),
    /// A statement of a body or comprehension.
    Statement(&'a LiteralStmt, usize),
}

/// Everything below one rule.
pub(super) fn items(rule: &Rule) -> Vec<Item<'_>> {
    let mut walk = Walk {
        pending: Vec::new(),
        found: Vec::new(),
    };
    match rule {
        Rule::Default { args, value, .. } => {
            args.iter().for_each(|arg| walk.expr(arg, 1));
            walk.expr(value, 1);
        }
        Rule::Spec { head, bodies, .. } => {
            walk.head(head);
            bodies.iter().for_each(|body| walk.body(body));
        }
    }
    walk.run()
}

struct Walk<'a> {
    pending: Vec<Item<'a>>,
    found: Vec<Item<'a>>,
}

impl<'a> Walk<'a> {
    fn expr(&mut self, expr: &'a Expr, depth: usize) {
        self.pending.push(Item::Expr(expr, depth));
    }

    fn query(&mut self, query: &'a Query, depth: usize) {
        for statement in &query.stmts {
            self.pending.push(Item::Statement(statement, depth));
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "a few of the engine's many forms matter here"
    )]
    fn head(&mut self, head: &'a RuleHead) {
        let (refr, assign) = match head {
            RuleHead::Compr { refr, assign, .. } => (refr, assign.as_ref()),
            RuleHead::Set { refr, key, .. } => {
                if let Some(key) = key {
                    self.expr(key, 1);
                }
                (refr, None)
            }
            RuleHead::Func {
                refr, args, assign, ..
            } => {
                args.iter().for_each(|arg| self.expr(arg, 1));
                (refr, assign.as_ref())
            }
        };
        // The name itself is no reference, its indices are.
        let mut part: &Expr = refr;
        loop {
            match part {
                Expr::RefDot { refr, .. } => part = refr,
                Expr::RefBrack { refr, index, .. } => {
                    self.expr(index, 1);
                    part = refr;
                }
                _ => break,
            }
        }
        if let Some(assign) = assign {
            self.expr(&assign.value, 1);
        }
    }

    fn body(&mut self, body: &'a RuleBody) {
        if let Some(assign) = &body.assign {
            self.expr(&assign.value, 1);
        }
        self.query(&body.query, 1);
    }

    fn run(mut self) -> Vec<Item<'a>> {
        while let Some(item) = self.pending.pop() {
            self.found.push(item);
            match item {
                Item::Expr(expr, depth) => self.below(expr, depth + 1),
                Item::Statement(statement, depth) => self.statement(statement, depth + 1),
            }
        }
        self.found
    }

    fn statement(&mut self, statement: &'a LiteralStmt, depth: usize) {
        for modifier in &statement.with_mods {
            self.expr(&modifier.refr, depth);
            self.expr(&modifier.r#as, depth);
        }
        match &statement.literal {
            Literal::SomeVars { .. } => {}
            Literal::SomeIn {
                key,
                value,
                collection,
                ..
            } => {
                if let Some(key) = key {
                    self.expr(key, depth);
                }
                self.expr(value, depth);
                self.expr(collection, depth);
            }
            Literal::Expr { expr, .. } | Literal::NotExpr { expr, .. } => self.expr(expr, depth),
            Literal::Every { domain, query, .. } => {
                self.expr(domain, depth);
                self.query(query, depth);
            }
        }
    }

    fn below(&mut self, expr: &'a Expr, depth: usize) {
        match expr {
            Expr::String { .. }
            | Expr::RawString { .. }
            | Expr::Number { .. }
            | Expr::Bool { .. }
            | Expr::Null { .. }
            | Expr::Var { .. } => {}
            Expr::Array { items, .. } | Expr::Set { items, .. } => {
                items.iter().for_each(|item| self.expr(item, depth));
            }
            Expr::Object { fields, .. } => {
                for (_, key, value) in fields {
                    self.expr(key, depth);
                    self.expr(value, depth);
                }
            }
            Expr::ArrayCompr { term, query, .. } | Expr::SetCompr { term, query, .. } => {
                self.expr(term, depth);
                self.query(query, depth);
            }
            Expr::ObjectCompr {
                key, value, query, ..
            } => {
                self.expr(key, depth);
                self.expr(value, depth);
                self.query(query, depth);
            }
            Expr::Call { fcn, params, .. } => {
                self.expr(fcn, depth);
                params.iter().for_each(|param| self.expr(param, depth));
            }
            Expr::UnaryExpr { expr, .. } => self.expr(expr, depth),
            Expr::RefDot { refr, .. } => self.expr(refr, depth),
            Expr::RefBrack { refr, index, .. } => {
                self.expr(refr, depth);
                self.expr(index, depth);
            }
            Expr::BinExpr { lhs, rhs, .. }
            | Expr::BoolExpr { lhs, rhs, .. }
            | Expr::ArithExpr { lhs, rhs, .. }
            | Expr::AssignExpr { lhs, rhs, .. } => {
                self.expr(lhs, depth);
                self.expr(rhs, depth);
            }
            Expr::Membership {
                key,
                value,
                collection,
                ..
            } => {
                if let Some(key) = key {
                    self.expr(key, depth);
                }
                self.expr(value, depth);
                self.expr(collection, depth);
            }
        }
    }
}

/// A reference: its parts as far as they are constant, and whether a part that is not follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Path {
    pub(super) parts: Vec<String>,
    pub(super) is_open: bool,
}

/// Reads `a.b["c"][x]`; `None` for what does not begin with a name.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "a few of the engine's many forms matter here"
)]
pub(super) fn path(expr: &Expr) -> Option<Path> {
    let mut parts = Vec::new();
    let mut is_open = false;
    let mut part = expr;
    loop {
        match part {
            Expr::Var { span, .. } => {
                parts.push(span.text().to_owned());
                parts.reverse();
                return Some(Path { parts, is_open });
            }
            Expr::RefDot { refr, field, .. } => {
                parts.push(field.0.text().to_owned());
                part = refr;
            }
            Expr::RefBrack { refr, index, .. } => {
                match index.as_ref() {
                    Expr::String { value, .. } | Expr::RawString { value, .. } => {
                        parts.push(value.as_string().ok()?.to_string());
                    }
                    _ => {
                        parts.clear();
                        is_open = true;
                    }
                }
                part = refr;
            }
            _ => return None,
        }
    }
}

/// The reference of a rule's head.
pub(super) fn name(rule: &Rule) -> Option<Path> {
    match rule {
        Rule::Default { refr, .. }
        | Rule::Spec {
            head:
                RuleHead::Compr { refr, .. } | RuleHead::Set { refr, .. } | RuleHead::Func { refr, .. },
            ..
        } => path(refr),
    }
}

/// How many arguments a function takes; `None` for other rules.
pub(super) fn arity(rule: &Rule) -> Option<usize> {
    match rule {
        Rule::Default { args, .. } => Some(args.len()).filter(|count| *count > 0),
        Rule::Spec {
            head: RuleHead::Func { args, .. },
            ..
        } => Some(args.len()),
        Rule::Spec {
            head: RuleHead::Compr { .. } | RuleHead::Set { .. },
            ..
        } => None,
    }
}

/// The type of a constant.
pub(super) fn kind(expr: &Expr) -> Option<Kind> {
    match expr {
        Expr::String { .. } | Expr::RawString { .. } => Some(Kind::Text),
        Expr::Number { .. } | Expr::ArithExpr { .. } => Some(Kind::Number),
        Expr::Bool { .. } => Some(Kind::Boolean),
        Expr::Null { .. } => Some(Kind::Null),
        Expr::Array { .. } | Expr::ArrayCompr { .. } => Some(Kind::Array),
        Expr::Set { .. } | Expr::SetCompr { .. } => Some(Kind::Set),
        Expr::Object { .. } | Expr::ObjectCompr { .. } => Some(Kind::Object),
        Expr::Var { .. }
        | Expr::Call { .. }
        | Expr::UnaryExpr { .. }
        | Expr::RefDot { .. }
        | Expr::RefBrack { .. }
        | Expr::BinExpr { .. }
        | Expr::BoolExpr { .. }
        | Expr::AssignExpr { .. }
        | Expr::Membership { .. } => None,
    }
}

/// Where a span lies in the text, with the quotes of a string at either end, which the engine leaves out.
pub(super) fn range(text: &str, span: &Span) -> Range<usize> {
    let is_quote = |at: Option<usize>| {
        at.and_then(|at| text.as_bytes().get(at))
            .is_some_and(|byte| matches!(byte, b'"' | b'`'))
    };
    let start = usize::try_from(span.start).unwrap_or(usize::MAX);
    let end = usize::try_from(span.end).unwrap_or(usize::MAX);
    let start = start - usize::from(is_quote(start.checked_sub(1)));
    let end = end.saturating_add(usize::from(is_quote(Some(end))));
    start..end
}

/// The text of a span.
pub(super) fn cut<'t>(text: &'t str, span: &Span) -> &'t str {
    text.get(range(text, span)).unwrap_or_default()
}

/// The name of the package.
pub(super) fn package(module: &Module) -> Option<String> {
    path(&module.package.refr)
        .filter(|path| !path.is_open)
        .map(|path| path.parts.join("."))
}

/// Whether the text asks for Rego v1 by itself.
pub(super) fn imports_v1(module: &Module) -> bool {
    module
        .imports
        .iter()
        .any(|import| path(&import.refr).is_some_and(|path| path.parts == ["rego", "v1"]))
}
