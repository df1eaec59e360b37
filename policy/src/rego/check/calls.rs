//! Calls: whether the function exists, takes so many arguments, and takes constants of such types.

use regorus::unstable::{Expr, Literal};

use super::{Check, Definition, fault, span};
use crate::action_list::shown;
use crate::rego::Dialect;
use crate::rego::error::{PolicyError, PolicyErrorKind};
use crate::rego::functions::{Function, function, withheld};
use crate::rego::syntax::{self, Item};

/// The one function of any number of arguments, and only a statement.
pub(in crate::rego) const PRINT: &str = "print";

impl Check<'_> {
    /// Looks at every call of one rule.
    pub(super) fn calls(&self, definition: &Definition<'_>, faults: &mut Vec<PolicyError>) {
        let statements: Vec<*const Expr> = definition
            .items
            .iter()
            .filter_map(|item| match item {
                Item::Statement(statement, _) => match &statement.literal {
                    Literal::Expr { expr, .. } | Literal::NotExpr { expr, .. } => {
                        Some(std::ptr::from_ref::<Expr>(expr.as_ref()))
                    }
                    Literal::SomeVars { .. } | Literal::SomeIn { .. } | Literal::Every { .. } => {
                        None
                    }
                },
                Item::Expr(..) => None,
            })
            .collect();

        for item in &definition.items {
            let Item::Expr(expr, _) = item else {
                continue;
            };
            let Expr::Call { fcn, params, .. } = expr else {
                continue;
            };
            let params: Vec<&Expr> = params.iter().map(AsRef::as_ref).collect();
            let is_statement = statements.contains(&std::ptr::from_ref::<Expr>(expr));
            faults.extend(self.call(expr, fcn, &params, is_statement));
        }
    }

    fn call(
        &self,
        call: &Expr,
        name: &Expr,
        params: &[&Expr],
        is_statement: bool,
    ) -> Option<PolicyError> {
        let unknown = |name: &str| {
            let message = format!("there is no function {}", shown(name));
            Some(fault(PolicyErrorKind::Function, span(call), message))
        };
        let Some(path) = syntax::path(name).filter(|path| !path.is_open) else {
            return unknown("of a name that is computed");
        };
        let full = path.parts.join(".");

        if let Some(arity) = self
            .local(&path)
            .and_then(|local| self.functions.get(&local.parts.join(".")))
        {
            return self.count(call, &full, params.len(), *arity);
        }
        if full == PRINT {
            return None;
        }
        let Some(function) = function(&full) else {
            return match withheld(&full) {
                Some(why) => {
                    let message = format!("the function {full} is not offered: {why}");
                    Some(fault(PolicyErrorKind::Function, span(call), message))
                }
                None => unknown(&full),
            };
        };
        if function.deprecated && self.dialect == Dialect::V1 {
            let message = format!("the function {full} is no longer part of Rego v1");
            return Some(fault(PolicyErrorKind::Function, span(call), message));
        }
        // What the engine knows only from us can bind its result where it is a whole statement.
        if function.ours && !is_statement && params.len() > function.arity() {
            return self.count(call, &full, params.len(), function.arity());
        }
        self.count(call, &full, params.len(), function.arity())
            .or_else(|| constants(function, params))
    }

    /// Allows one argument more than a function takes: that one gets the result.
    #[expect(clippy::unused_self, reason = "reads as the other checks do")]
    fn count(&self, call: &Expr, name: &str, given: usize, wanted: usize) -> Option<PolicyError> {
        (given != wanted && given != wanted + 1).then(|| {
            let message = format!("{name} takes {wanted} arguments, not {given}");
            fault(PolicyErrorKind::Arguments, span(call), message)
        })
    }
}

/// The first constant of a type that the function does not take.
fn constants(function: &Function, params: &[&Expr]) -> Option<PolicyError> {
    params.iter().enumerate().find_map(|(place, param)| {
        let kind = syntax::kind(param)?;
        (!function.takes(place, kind)).then(|| {
            let message = format!(
                "argument {} of {} can't be {}",
                place + 1,
                function.name,
                kind.name()
            );
            fault(PolicyErrorKind::Arguments, span(param), message)
        })
    })
}
