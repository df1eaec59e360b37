//! Rules that need each other: no circle, and no chain that is longer than the stack.

use std::collections::{BTreeMap, BTreeSet};

use regorus::unstable::{AssignOp, Expr, Literal};

use super::{Check, Definition, fault};
use crate::rego::error::{PolicyError, PolicyErrorKind};
use crate::rego::syntax::{self, Item, Path};

/// Deepest evaluation: the depths of all rules of the longest chain together.
///
/// With the engine's frames this stays well below the 2 MiB of a worker's stack.
const MAX_CHAIN: usize = 384;

impl Check<'_> {
    /// Looks for rules that need themselves, and for chains that are too long.
    pub(super) fn recursion(&self, faults: &mut Vec<PolicyError>) {
        let graph = Graph::new(self);
        let mut state = vec![State::New; graph.edges.len()];
        for start in 0..graph.edges.len() {
            if let Err(at) = graph.visit(start, &mut state) {
                let (message, kind) = match at {
                    Fault::Circle(_) => ("the rule needs itself", PolicyErrorKind::Recursion),
                    Fault::Chain(_) => (
                        "the rules that it needs are nested too deep",
                        PolicyErrorKind::TooLarge,
                    ),
                };
                let (Fault::Circle(node) | Fault::Chain(node)) = at;
                if let Some(definition) = graph
                    .first
                    .get(node)
                    .and_then(|at| self.definitions.get(*at))
                {
                    let name = definition.path.parts.join(".");
                    let message = format!("{name}: {message}");
                    faults.push(fault(kind, definition.rule.span(), message));
                }
                return;
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    Open,
    Done(usize),
}

enum Fault {
    Circle(usize),
    Chain(usize),
}

/// Which rule needs which; rules of one name are one node.
struct Graph {
    edges: Vec<BTreeSet<usize>>,
    depth: Vec<usize>,
    first: Vec<usize>,
}

impl Graph {
    fn new(check: &Check<'_>) -> Self {
        let mut nodes: BTreeMap<&[String], usize> = BTreeMap::new();
        let mut graph = Self {
            edges: Vec::new(),
            depth: Vec::new(),
            first: Vec::new(),
        };
        let mut owner = Vec::with_capacity(check.definitions.len());
        for (at, definition) in check.definitions.iter().enumerate() {
            let node = *nodes.entry(&definition.path.parts).or_insert_with(|| {
                graph.edges.push(BTreeSet::new());
                graph.depth.push(0);
                graph.first.push(at);
                graph.edges.len() - 1
            });
            if let Some(depth) = graph.depth.get_mut(node) {
                *depth = (*depth).max(definition.depth + 1);
            }
            owner.push(node);
        }
        for (definition, node) in check.definitions.iter().zip(owner) {
            let wanted = needs(check, definition);
            if let Some(edges) = graph.edges.get_mut(node) {
                for path in wanted {
                    edges.extend(
                        nodes
                            .iter()
                            .filter(|(name, _)| meets(&path, name))
                            .map(|(_, target)| *target),
                    );
                }
            }
        }
        graph
    }

    /// Goes depth first without recursion; the value of a node is the depth of its longest chain.
    fn visit(&self, start: usize, state: &mut [State]) -> Result<(), Fault> {
        let mut stack = vec![start];
        while let Some(node) = stack.last().copied() {
            match state.get(node).copied() {
                Some(State::New) => {
                    set(state, node, State::Open);
                    for next in self.edges.get(node).into_iter().flatten() {
                        match state.get(*next) {
                            Some(State::New) => stack.push(*next),
                            Some(State::Open) => return Err(Fault::Circle(*next)),
                            _ => {}
                        }
                    }
                }
                Some(State::Open) => {
                    let below = self
                        .edges
                        .get(node)
                        .into_iter()
                        .flatten()
                        .filter_map(|next| match state.get(*next) {
                            Some(State::Done(depth)) => Some(*depth),
                            _ => None,
                        })
                        .max()
                        .unwrap_or(0);
                    let depth = below + self.depth.get(node).copied().unwrap_or(0);
                    if depth > MAX_CHAIN {
                        return Err(Fault::Chain(node));
                    }
                    set(state, node, State::Done(depth));
                    stack.pop();
                }
                Some(State::Done(_)) | None => {
                    stack.pop();
                }
            }
        }
        Ok(())
    }
}

fn set(state: &mut [State], node: usize, new: State) {
    if let Some(old) = state.get_mut(node) {
        *old = new;
    }
}

/// Whether a reference may mean a rule: one is the beginning of the other.
fn meets(path: &Path, name: &[String]) -> bool {
    let common = path.parts.len().min(name.len());
    path.parts[..common] == name[..common] && (!path.parts.is_empty() || path.is_open)
}

/// The references of a rule to others of this package.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "a few of the engine's many forms matter here"
)]
fn needs(check: &Check<'_>, definition: &Definition<'_>) -> Vec<Path> {
    let own = names_of_its_own(definition);
    // What is a part of something longer is seen with that.
    let mut parts = BTreeSet::new();
    let mut found = Vec::new();
    for item in &definition.items {
        let Item::Expr(expr, _) = item else {
            continue;
        };
        match expr {
            Expr::Call { fcn, .. } => {
                parts.insert(std::ptr::from_ref::<Expr>(fcn.as_ref()));
                found.extend(syntax::path(fcn).and_then(|path| check.local(&path)));
            }
            Expr::RefDot { refr, .. } | Expr::RefBrack { refr, .. } => {
                parts.insert(std::ptr::from_ref::<Expr>(refr.as_ref()));
            }
            _ => {}
        }
    }
    for item in &definition.items {
        let Item::Expr(expr, _) = item else {
            continue;
        };
        if parts.contains(&std::ptr::from_ref::<Expr>(expr)) {
            continue;
        }
        if matches!(
            expr,
            Expr::Var { .. } | Expr::RefDot { .. } | Expr::RefBrack { .. }
        ) && let Some(path) = syntax::path(expr)
            && !path.parts.first().is_some_and(|first| own.contains(first))
        {
            found.extend(check.local(&path));
        }
    }
    found.sort_by(|left, right| left.parts.cmp(&right.parts));
    found.dedup();
    found
}

/// Arguments and variables, which hide rules of the same name.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "a few of the engine's many forms matter here"
)]
fn names_of_its_own(definition: &Definition<'_>) -> BTreeSet<String> {
    let mut own = BTreeSet::new();
    let mut bind = |expr: &Expr| {
        let mut pending = vec![expr];
        while let Some(expr) = pending.pop() {
            match expr {
                Expr::Var { span, .. } => {
                    own.insert(span.text().to_owned());
                }
                Expr::Array { items, .. } => pending.extend(items.iter().map(AsRef::as_ref)),
                Expr::Object { fields, .. } => {
                    pending.extend(fields.iter().map(|(_, _, value)| value.as_ref()));
                }
                _ => {}
            }
        }
    };
    if let regorus::unstable::Rule::Spec {
        head: regorus::unstable::RuleHead::Func { args, .. },
        ..
    } = definition.rule
    {
        args.iter().for_each(|arg| bind(arg));
    }
    for item in &definition.items {
        match item {
            Item::Expr(
                Expr::AssignExpr {
                    op: AssignOp::ColEq,
                    lhs,
                    ..
                },
                _,
            ) => bind(lhs),
            Item::Statement(statement, _) => match &statement.literal {
                Literal::SomeIn { key, value, .. } => {
                    if let Some(key) = key {
                        bind(key);
                    }
                    bind(value);
                }
                Literal::SomeVars { .. }
                | Literal::Expr { .. }
                | Literal::NotExpr { .. }
                | Literal::Every { .. } => {}
            },
            Item::Expr(..) => {}
        }
    }
    for item in &definition.items {
        if let Item::Statement(statement, _) = item {
            match &statement.literal {
                Literal::SomeVars { vars, .. } => {
                    own.extend(vars.iter().map(|var| var.text().to_owned()));
                }
                Literal::Every { key, value, .. } => {
                    own.extend(key.iter().map(|var| var.text().to_owned()));
                    own.insert(value.text().to_owned());
                }
                Literal::SomeIn { .. } | Literal::Expr { .. } | Literal::NotExpr { .. } => {}
            }
        }
    }
    own
}
