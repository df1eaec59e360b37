//! Small changes to the text before it is compiled, which leave its lines and its meaning as they are.
//!
//! - The value of each rule `allow` passes through a function that notes which of them it was, so that every decision
//!   names its line. The order in which the engine evaluates statements does not matter to that, as it would to a note
//!   among them.
//! - A call that binds its result, `f(a, x)`, of a function that the engine knows only from us becomes `x = f(a)`.
//! - What is built passes through a function that measures it.
//! - `print(…)` becomes `true`: nobody reads what it prints. `import input` goes, as it says nothing; the engine would
//!   remark on it on standard error.

mod measure;

use std::ops::Range;

use regorus::unstable::{
    Expr, Literal, LiteralStmt, Module, Query, Rule, RuleBody, RuleHead, Span,
};

use super::ENTRY;
use super::functions::function;
use super::syntax::{self, Item, cut, range};

/// The function that notes; no policy can call it, as the check of calls does not know it.
pub(super) const MARK: &str = "overlay_decided_by";

/// Most rules that are told apart.
const MAX_CANDIDATES: usize = 4_096;

/// A rule `allow` or one of its `else` branches: what may have decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    /// The line of its head.
    pub(super) line: u32,
    /// Its value as written; `None` is true.
    pub(super) value: Option<String>,
    /// Whether it counts only when what is above it does not hold.
    pub(super) is_else: bool,
    /// Its bodies; a rule without one always holds.
    pub(super) bodies: Vec<Vec<Step>>,
}

/// One statement of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) line: u32,
    pub(super) text: String,
}

/// The text to be compiled, and what its notes mean.
#[derive(Debug)]
pub(super) struct Rewritten {
    pub(super) text: String,
    pub(super) candidates: Vec<Candidate>,
    /// The line of `default allow`.
    pub(super) default: Option<u32>,
    /// Whether the text notes at all: one candidate alone needs no note.
    pub(super) is_marked: bool,
    /// Whether the text measures anything.
    pub(super) is_measured: bool,
}

/// Makes the changes; the module is what the text was parsed to.
pub(super) fn rewrite(text: &str, module: &Module) -> Rewritten {
    let measures = measure::measures(text, module);
    let is_measured = !measures.is_empty();
    let mut edits = measures.opens;
    let mut marks = Vec::new();
    let mut candidates = Vec::new();
    let mut default = None;

    for import in &module.imports {
        let says_nothing = import.r#as.is_none()
            && syntax::path(&import.refr).is_some_and(|path| path.parts == ["input"]);
        if says_nothing {
            edits.push(Edit {
                range: range(text, &import.span),
                new: "\n".repeat(lines(text, &import.span)),
            });
        }
    }
    for rule in &module.policy {
        for item in syntax::items(rule) {
            if let Item::Statement(statement, _) = item {
                edits.extend(statement_edit(text, statement));
            }
        }
        if syntax::name(rule).is_none_or(|path| path.parts != [ENTRY] || path.is_open) {
            continue;
        }
        match rule.as_ref() {
            Rule::Default { span, .. } => default = Some(span.line),
            Rule::Spec {
                head: RuleHead::Compr { refr, assign, .. },
                bodies,
                span,
            } => {
                let value = assign.as_ref().map(|assign| assign.value.span());
                let behind = range(text, refr.span()).end;
                marks.extend(mark(text, candidates.len(), value, behind));
                candidates.push(Candidate {
                    line: span.line,
                    value: value.map(|value| cut(text, value).to_owned()),
                    is_else: false,
                    bodies: bodies
                        .iter()
                        .filter(|body| !body.is_else)
                        .map(|body| steps(text, &body.query))
                        .collect(),
                });
                for body in bodies.iter().filter(|body| body.is_else) {
                    marks.extend(else_mark(text, candidates.len(), body));
                    candidates.push(Candidate {
                        line: body.span.line,
                        value: body
                            .assign
                            .as_ref()
                            .map(|assign| cut(text, assign.value.span()).to_owned()),
                        is_else: true,
                        bodies: vec![steps(text, &body.query)],
                    });
                }
            }
            Rule::Spec {
                head: RuleHead::Set { .. } | RuleHead::Func { .. },
                ..
            } => {}
        }
    }

    edits.extend(measures.around);
    edits.extend(measures.behind);
    let is_marked = candidates.len() > 1 && candidates.len() <= MAX_CANDIDATES;
    if is_marked {
        edits.extend(marks);
    }
    Rewritten {
        text: apply(text, edits),
        candidates,
        default,
        is_marked,
        is_measured,
    }
}

struct Edit {
    range: Range<usize>,
    new: String,
}

fn insert(at: usize, new: String) -> Edit {
    Edit { range: at..at, new }
}

/// Wraps a value, or writes one behind the name or the `else` that has none.
fn mark(text: &str, number: usize, value: Option<&Span>, behind: usize) -> Vec<Edit> {
    match value.map(|value| range(text, value)) {
        Some(value) => vec![
            insert(value.start, format!("{MARK}({number}, ")),
            insert(value.end, ")".to_owned()),
        ],
        None => vec![insert(behind, format!(" := {MARK}({number}, true)"))],
    }
}

fn else_mark(text: &str, number: usize, body: &RuleBody) -> Vec<Edit> {
    let value = body.assign.as_ref().map(|assign| assign.value.span());
    mark(
        text,
        number,
        value,
        range(text, &body.span).start + "else".len(),
    )
}

fn lines(text: &str, span: &Span) -> usize {
    cut(text, span).matches('\n').count()
}

fn steps(text: &str, query: &Query) -> Vec<Step> {
    query
        .stmts
        .iter()
        .map(|statement| Step {
            line: statement.span.line,
            text: cut(text, &statement.span).to_owned(),
        })
        .collect()
}

fn statement_edit(text: &str, statement: &LiteralStmt) -> Option<Edit> {
    let (Literal::Expr { expr, .. } | Literal::NotExpr { expr, .. }) = &statement.literal else {
        return None;
    };
    let Expr::Call {
        span, fcn, params, ..
    } = expr.as_ref()
    else {
        return None;
    };
    let name = syntax::path(fcn)?.parts.join(".");
    if name == super::check::PRINT {
        return Some(Edit {
            range: range(text, span),
            new: format!("true{}", "\n".repeat(lines(text, span))),
        });
    }
    let function = function(&name).filter(|function| function.ours)?;
    let (result, arguments) = params.split_last()?;
    if arguments.len() != function.arity() {
        return None;
    }
    let arguments: Vec<&str> = arguments
        .iter()
        .map(|argument| cut(text, argument.span()))
        .collect();
    let call = format!(
        "{} = {name}({})",
        cut(text, result.span()),
        arguments.join(", ")
    );
    Some(Edit {
        range: range(text, span),
        new: call,
    })
}

/// Applies edits; of two that overlap, the one that begins later gives way to the one around it, and of two at one place
/// the first stands first.
fn apply(text: &str, mut edits: Vec<Edit>) -> String {
    edits.sort_by_key(|edit| edit.range.start);
    let mut out = String::with_capacity(text.len() + edits.len() * 32);
    let mut at = 0;
    for edit in &edits {
        if edit.range.start < at {
            continue;
        }
        let Some(between) = text.get(at..edit.range.start) else {
            continue;
        };
        out.push_str(between);
        out.push_str(&edit.new);
        at = edit.range.end;
    }
    out.push_str(text.get(at..).unwrap_or_default());
    out
}
