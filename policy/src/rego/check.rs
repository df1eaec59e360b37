//! What OPA's compiler refuses and the engine would meet while evaluating, or not at all.

mod calls;
mod graph;

use std::collections::BTreeMap;

use regorus::unstable::{Expr, Import, Literal, Module, Rule, Span};

use super::error::{PolicyError, PolicyErrorKind};
use super::syntax::{self, Item, Path};
use super::{Dialect, ENTRY, PACKAGE};

pub(super) use calls::PRINT;

/// Most rules of one policy.
const MAX_RULES: usize = 1_024;

/// Deepest expression of one rule; also counts the parts of a reference.
const MAX_DEPTH: usize = 96;

/// One rule with what is below it.
#[derive(Debug)]
struct Definition<'a> {
    rule: &'a Rule,
    path: Path,
    items: Vec<Item<'a>>,
    depth: usize,
}

/// A module, prepared to be looked at.
#[derive(Debug)]
pub(super) struct Check<'a> {
    dialect: Dialect,
    package: Vec<String>,
    imports: BTreeMap<String, Vec<String>>,
    definitions: Vec<Definition<'a>>,
    functions: BTreeMap<String, usize>,
}

/// Lists the faults of a module, in the order of their lines.
pub(super) fn faults(module: &Module, dialect: Dialect) -> Vec<PolicyError> {
    let mut faults = match Check::new(module, dialect) {
        Ok(check) => check.run(module),
        Err(fault) => vec![fault],
    };
    faults.sort_by_key(|fault| fault.line);
    faults.dedup();
    faults
}

impl<'a> Check<'a> {
    fn new(module: &'a Module, dialect: Dialect) -> Result<Self, PolicyError> {
        if module.policy.len() > MAX_RULES {
            let message = format!("the policy has more than {MAX_RULES} rules");
            return Err(PolicyError::new(PolicyErrorKind::TooLarge, message));
        }
        let package = syntax::path(&module.package.refr)
            .map(|path| path.parts)
            .unwrap_or_default();

        let mut definitions = Vec::with_capacity(module.policy.len());
        let mut functions = BTreeMap::new();
        for rule in &module.policy {
            let definition = define(rule)?;
            if let Some(arity) = syntax::arity(rule) {
                functions.insert(definition.path.parts.join("."), arity);
            }
            definitions.push(definition);
        }
        Ok(Self {
            dialect,
            package,
            imports: module.imports.iter().filter_map(import).collect(),
            definitions,
            functions,
        })
    }

    fn run(&self, module: &Module) -> Vec<PolicyError> {
        let mut faults = Vec::new();
        self.entry(module, &mut faults);
        self.defaults(&mut faults);
        for definition in &self.definitions {
            self.calls(definition, &mut faults);
        }
        self.recursion(&mut faults);
        faults
    }

    /// The package and the rule that are asked for.
    fn entry(&self, module: &Module, faults: &mut Vec<PolicyError>) {
        let package = self.package.join(".");
        if package != PACKAGE {
            let message = format!("the package is {package}, and only {PACKAGE} is asked");
            faults.push(
                PolicyError::new(PolicyErrorKind::Package, message)
                    .at(module.package.span.line)
                    .help(format!("begin the policy with: package {PACKAGE}")),
            );
            return;
        }
        let mut entries = self
            .definitions
            .iter()
            .filter(|definition| definition.path.parts == [ENTRY])
            .peekable();
        if entries.peek().is_none() {
            faults.push(
                PolicyError::new(PolicyErrorKind::Entry, format!("there is no rule {ENTRY}")).help(
                    format!("write: default {ENTRY} := false, and a rule {ENTRY} if {{ … }}"),
                ),
            );
        } else if let Some(function) =
            entries.find(|definition| syntax::arity(definition.rule).is_some())
        {
            faults.push(
                PolicyError::new(
                    PolicyErrorKind::Entry,
                    format!("{ENTRY} is a function, and is asked without arguments"),
                )
                .at(function.rule.span().line),
            );
        }
    }

    fn defaults(&self, faults: &mut Vec<PolicyError>) {
        let mut seen = BTreeMap::new();
        for definition in &self.definitions {
            let Rule::Default { span, .. } = definition.rule else {
                continue;
            };
            let name = definition.path.parts.join(".");
            if let Some(first) = seen.get(&name) {
                let message = format!("{name} has a default at line {first} already");
                faults.push(PolicyError::new(PolicyErrorKind::Conflict, message).at(span.line));
            } else {
                seen.insert(name, span.line);
            }
        }
    }

    /// The name within this package that a reference means, after aliases; `None` for what is elsewhere.
    fn local(&self, path: &Path) -> Option<Path> {
        let first = path.parts.first()?;
        let mut parts = match self.imports.get(first) {
            Some(target) => {
                let mut parts = target.clone();
                parts.extend(path.parts.iter().skip(1).cloned());
                parts
            }
            None => path.parts.clone(),
        };
        let is_open = path.is_open;
        match parts.first().map(String::as_str) {
            Some("input") => None,
            Some("data") => {
                let below = &parts[1..];
                let common = below.len().min(self.package.len());
                if below[..common] != self.package[..common] {
                    return None;
                }
                if common < self.package.len() {
                    // All that this package holds, and more.
                    return Some(Path {
                        parts: Vec::new(),
                        is_open: true,
                    });
                }
                parts.drain(..=common);
                Some(Path { parts, is_open })
            }
            _ => Some(Path { parts, is_open }),
        }
    }
}

fn define(rule: &Rule) -> Result<Definition<'_>, PolicyError> {
    let line = rule.span().line;
    let path = syntax::name(rule).ok_or_else(|| {
        PolicyError::new(PolicyErrorKind::Syntax, "the rule has no name").at(line)
    })?;
    let items = syntax::items(rule);
    let depth = items
        .iter()
        .map(|item| match item {
            Item::Expr(_, depth) | Item::Statement(_, depth) => *depth,
        })
        .max()
        .unwrap_or(0);
    if depth > MAX_DEPTH {
        return Err(
            PolicyError::new(PolicyErrorKind::TooLarge, "the rule is nested too deep")
                .at(line)
                .help("split it into several rules"),
        );
    }
    Ok(Definition {
        rule,
        path,
        depth: depth + items.iter().filter(|item| is_loop(item)).count(),
        items,
    })
}

/// Whether the engine goes through what is behind it once for each of several values, one within the other on its stack.
fn is_loop(item: &Item<'_>) -> bool {
    match item {
        Item::Statement(statement, _) => matches!(statement.literal, Literal::SomeIn { .. }),
        Item::Expr(Expr::RefBrack { index, .. }, _) => matches!(
            index.as_ref(),
            Expr::Var { .. } | Expr::Array { .. } | Expr::Object { .. }
        ),
        Item::Expr(Expr::Call { fcn, .. }, _) => {
            syntax::path(fcn).is_some_and(|path| path.parts == ["walk"])
        }
        Item::Expr(..) => false,
    }
}

/// The name that an import makes known, and what it stands for.
fn import(import: &Import) -> Option<(String, Vec<String>)> {
    let parts = syntax::path(&import.refr)?.parts;
    if !matches!(parts.first().map(String::as_str), Some("data" | "input")) {
        return None;
    }
    let name = match &import.r#as {
        Some(alias) => alias.text().to_owned(),
        None => parts.last()?.clone(),
    };
    Some((name, parts))
}

/// A fault at a place of the text.
fn fault(kind: PolicyErrorKind, span: &Span, message: impl Into<String>) -> PolicyError {
    PolicyError::new(kind, message).at(span.line)
}

/// The span of an expression's text.
fn span(expr: &Expr) -> &Span {
    expr.span()
}
