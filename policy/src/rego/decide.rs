//! One decision.

use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use regorus::utils::limits::{LimitError, monotonic_now};
use regorus::{Engine, Value};

use super::compile::{self, Compiled};
use super::error::PolicyError;
use super::rewrite::MARK;
use super::{ENTRY, ENTRY_POINT, Kept, Rego, digest, functions, input};
use crate::DISCOVERY;
use crate::action_list::discovery;
use crate::question::Question;
use crate::verdict::{Verdict, Why};

/// How much of the hash stands in the name of a rule.
const SHORT: usize = 12;

/// What the engine says when there is no more time.
const OUT_OF_TIME: &str = "execution exceeded time limit";

/// How much of the engine's own words is passed on.
const MAX_MESSAGE: usize = 300;

impl Rego {
    /// Decides by a policy; everything but a result of exactly `true` is a no.
    pub fn decide(&self, text: &str, question: &Question<'_>) -> Verdict {
        if let Some(verdict) = without_policy(text, question) {
            return verdict;
        }
        let (hash, kept) = self.compiled(text);
        let time = self.limits().time;
        let verdict = by_kept(&kept, &hash, question, time).unwrap_or_else(|_overtime| {
            let message = format!("the policy took more than {} ms", time.as_millis());
            Verdict::Deny(Why::failed(format!("rego {}", short(&hash)), message))
        });
        verdict.of_policy(&hash)
    }

    /// As [`decide`](Self::decide), for those who cannot wait: nothing when `time` is not enough for it, or the policy was not
    /// compiled before. Of a policy that was not quick enough the next questions are not tried either.
    pub fn decide_quickly(
        &self,
        text: &str,
        question: &Question<'_>,
        time: Duration,
    ) -> Option<Verdict> {
        if time >= self.limits().time {
            return Some(self.decide(text, question));
        }
        if let Some(verdict) = without_policy(text, question) {
            return Some(verdict);
        }
        let digest = digest(text);
        let kept = self.kept.get(&digest)?;
        if let Ok(compiled) = kept.as_ref()
            && compiled.is_put_off()
        {
            return None;
        }
        let hash = hex::encode(digest);
        match by_kept(&kept, &hash, question, time) {
            Ok(verdict) => Some(verdict.of_policy(&hash)),
            Err(Overtime) => {
                if let Ok(compiled) = kept.as_ref() {
                    compiled.put_off();
                }
                None
            }
        }
    }
}

/// An evaluation took longer than it may.
#[derive(Debug, Clone, Copy)]
struct Overtime;

/// What is decided without looking at a policy.
fn without_policy(text: &str, question: &Question<'_>) -> Option<Verdict> {
    if question.agent == DISCOVERY {
        return Some(discovery());
    }
    let empty = || Verdict::Deny(Why::failed("rego", "the policy in the token is empty"));
    text.is_empty().then(empty)
}

fn by_kept(
    kept: &Kept,
    hash: &str,
    question: &Question<'_>,
    time: Duration,
) -> Result<Verdict, Overtime> {
    match kept {
        Ok(compiled) => evaluate(compiled, hash, question, time),
        Err(faults) => Ok(Verdict::Deny(unusable(hash, faults))),
    }
}

fn short(hash: &str) -> &str {
    hash.get(..SHORT).unwrap_or(hash)
}

fn unusable(hash: &str, faults: &[PolicyError]) -> Why {
    let message = faults.first().map_or_else(String::new, ToString::to_string);
    Why::failed(
        format!("rego {}", short(hash)),
        format!("the policy can't be used: {message}"),
    )
}

fn evaluate(
    compiled: &Compiled,
    hash: &str,
    question: &Question<'_>,
    time: Duration,
) -> Result<Verdict, Overtime> {
    let rule = |line: Option<u32>| match line {
        Some(line) => format!("rego {} line {line}", short(hash)),
        None => format!("rego {}", short(hash)),
    };
    let failed = |message: String| Verdict::Deny(Why::failed(rule(None), message));

    let (mut engine, decided_by) = match ready(compiled, question) {
        Ok(ready) => ready,
        Err(message) => return Ok(failed(message)),
    };
    compile::set_time(&mut engine, time);
    let began = monotonic_now();
    let ended = run(&mut engine, ENTRY_POINT);
    // The engine may forget that there was no more time, as it forgets other errors within functions.
    let took = monotonic_now().zip(began).map(|(now, began)| now - began);
    let value = match ended {
        Ok(_) if took.is_none_or(|took| took > time) => return Err(Overtime),
        Ok(value) => value,
        Err(RunFault::Time) => return Err(Overtime),
        Err(RunFault::Engine(message)) => return Ok(failed(message)),
    };

    let decided_by = decided_by.candidate(compiled);
    let by = |answer: bool| {
        let line = match decided_by {
            Some(candidate) => Some(candidate),
            None if compiled.is_marked() => compiled.default_line(),
            // One candidate at most, and nothing was noted: its own value speaks for it where it has one.
            None => alone(compiled, answer),
        };
        let message = match line {
            line if line.is_some() && line == compiled.default_line() => {
                format!("no rule {ENTRY} holds, and the default is {answer}")
            }
            Some(line) => format!("the rule at line {line} says {answer}"),
            None => format!("{ENTRY} is {answer}"),
        };
        Why::decided(rule(line), message)
    };
    Ok(match value {
        Value::Bool(true) => Verdict::Allow(by(true)),
        Value::Bool(false) => Verdict::Deny(by(false)),
        Value::Undefined => failed(format!("no rule {ENTRY} holds, and there is no default")),
        Value::Null
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)
        | Value::Set(_)
        | Value::Object(_) => failed(format!("{ENTRY} is neither true nor false")),
    })
}

/// The line of the only rule, or of the default, by what came out.
fn alone(compiled: &Compiled, answer: bool) -> Option<u32> {
    let only = compiled.candidates().first();
    match (only, compiled.default_line()) {
        (Some(only), None) => Some(only.line),
        (None, default) => default,
        (Some(only), Some(default)) => {
            let says = only.value.as_deref().unwrap_or("true");
            if says == "true" || says == "false" {
                Some(if (says == "true") == answer {
                    only.line
                } else {
                    default
                })
            } else {
                Some(only.line)
            }
        }
    }
}

/// Which candidate gave the value.
#[derive(Debug, Clone, Default)]
pub(super) struct DecidedBy(Arc<AtomicU32>);

impl DecidedBy {
    /// The line of the first that was noted.
    fn candidate(&self, compiled: &Compiled) -> Option<u32> {
        let number = usize::try_from(self.0.load(Ordering::Relaxed)).ok()?;
        let candidate = compiled.candidates().get(number.checked_sub(1)?)?;
        Some(candidate.line)
    }
}

/// An engine with the functions and the input of one question.
pub(super) fn ready(
    compiled: &Compiled,
    question: &Question<'_>,
) -> Result<(Engine, DecidedBy), String> {
    let mut engine = compiled.engine();
    let decided_by = equip(
        &mut engine,
        question,
        compiled.uses_filter(),
        compiled.is_marked(),
    )?;
    Ok((engine, decided_by))
}

/// Gives an engine what one question needs.
pub(super) fn equip(
    engine: &mut Engine,
    question: &Question<'_>,
    uses_filter: bool,
    is_marked: bool,
) -> Result<DecidedBy, String> {
    let decided_by = DecidedBy::default();
    engine.set_input(input::document(question).map_err(|error| error.to_string())?);
    if uses_filter {
        functions::add_filter_functions(engine, Arc::new(question.filter.clone()))?;
    }
    if is_marked {
        let noted = decided_by.clone();
        let note = move |arguments: Vec<Value>| {
            let mut arguments = arguments.into_iter();
            let number = arguments
                .next()
                .and_then(|number| number.as_u32().ok())
                .unwrap_or(0);
            // The first stays: all that hold agree on the value.
            let _ = noted.0.compare_exchange(
                0,
                number.saturating_add(1),
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
            Ok(arguments.next().unwrap_or(Value::Undefined))
        };
        engine
            .add_extension(MARK.to_owned(), 2, Box::new(note))
            .map_err(|error| error.to_string())?;
    }
    Ok(decided_by)
}

/// Why an evaluation gave nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RunFault {
    /// It took too long.
    Time,
    /// The engine's own words.
    Engine(String),
}

/// Evaluates one rule.
pub(super) fn run(engine: &mut Engine, rule: &str) -> Result<Value, RunFault> {
    functions::begin();
    // The engine is foreign code at work on foreign text.
    let result = panic::catch_unwind(AssertUnwindSafe(|| engine.eval_rule(rule.to_owned())));
    match result {
        Ok(Ok(_)) if functions::was_too_much() => Err(RunFault::Engine(
            "the policy would make values that are too large".to_owned(),
        )),
        Ok(Ok(value)) => Ok(value),
        // Of an error within a function the engine keeps the text alone.
        Ok(Err(error)) if error.is::<LimitError>() || error.to_string().contains(OUT_OF_TIME) => {
            Err(RunFault::Time)
        }
        Ok(Err(error)) => {
            let fault = PolicyError::of_engine(super::PolicyErrorKind::Engine, &error.to_string());
            let message: String = fault.to_string().chars().take(MAX_MESSAGE).collect();
            Err(RunFault::Engine(message))
        }
        Err(_) => Err(RunFault::Engine("the engine failed".to_owned())),
    }
}
