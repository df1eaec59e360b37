//! From text to something that can be evaluated, on a stack of its own: what is foreign may be deep.

use std::collections::BTreeSet;
use std::num::{NonZeroU32, NonZeroUsize};
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::Duration;

use regorus::unstable::{Module, Rule};
use regorus::utils::limits::ExecutionTimerConfig;
use regorus::{Engine, PolicyLengthConfig};

use super::error::{PolicyError, PolicyErrorKind};
use super::functions::{self, FILTER_FUNCTIONS, MEASURE};
use super::guard::Words;
use super::rewrite::{Candidate, Rewritten, rewrite};
use super::syntax::{self, Item};
use super::{Dialect, ENTRY_POINT, Facts, Limits, RuleFact, check, guard};

/// The stack for reading a text: enough for an expression that is as deep as the longest text, which is then refused.
const STACK: usize = 64 * 1024 * 1024;

/// What the tree of a policy takes for each byte of its text, measured.
const BYTES_PER_BYTE: u64 = 64;

/// What a compiled policy takes in any case.
const BYTES: u64 = 16 * 1024;

/// Between two looks at the clock, in steps of the engine.
const CHECK_INTERVAL: NonZeroU32 = NonZeroU32::new(16).unwrap();

/// Questions that are not tried in a hurry after one that took too long for that.
const PUT_OFF: u8 = 32;

/// A policy that can be evaluated.
#[derive(Debug)]
pub(crate) struct Compiled {
    facts: Facts,
    engine: Engine,
    rewritten: Rewritten,
    source: String,
    uses_filter: bool,
    /// So many of the next questions are not tried in a hurry.
    put_off: AtomicU8,
}

impl Compiled {
    /// Whether this question is one of those that are not tried in a hurry.
    pub(super) fn is_put_off(&self) -> bool {
        let fewer = |left: u8| left.checked_sub(1);
        self.put_off
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fewer)
            .is_ok()
    }

    /// Notes that there was not enough time in a hurry.
    pub(super) fn put_off(&self) {
        self.put_off.store(PUT_OFF, Ordering::Relaxed);
    }

    pub(super) fn facts(&self) -> &Facts {
        &self.facts
    }

    /// An engine of one's own; what is compiled is shared.
    pub(super) fn engine(&self) -> Engine {
        self.engine.clone()
    }

    /// What may have decided, in the order of their numbers.
    pub(super) fn candidates(&self) -> &[Candidate] {
        &self.rewritten.candidates
    }

    /// The line of `default allow`.
    pub(super) fn default_line(&self) -> Option<u32> {
        self.rewritten.default
    }

    /// Whether the candidate that decided is noted; else there is one at most.
    pub(super) fn is_marked(&self) -> bool {
        self.rewritten.is_marked
    }

    /// Whether it looks at the filter.
    pub(super) fn uses_filter(&self) -> bool {
        self.uses_filter
    }

    /// The text as written.
    pub(super) fn source(&self) -> &str {
        &self.source
    }

    /// The memory that it takes, roughly.
    pub(super) fn bytes(&self) -> u64 {
        u64::try_from(self.source.len())
            .unwrap_or(u64::MAX)
            .saturating_mul(BYTES_PER_BYTE)
            .saturating_add(BYTES)
    }
}

/// Reads, checks and prepares a text.
pub(super) fn compile(
    text: &str,
    hash: &str,
    limits: &Limits,
) -> Result<Compiled, Vec<PolicyError>> {
    if text.is_empty() {
        return Err(vec![PolicyError::new(
            PolicyErrorKind::Syntax,
            "the policy is empty",
        )]);
    }
    let words = guard::scan(text, limits.policy_bytes).map_err(|fault| vec![fault])?;

    thread::scope(|scope| {
        let work = || {
            // The engine is foreign code at work on foreign text.
            panic::catch_unwind(AssertUnwindSafe(|| {
                either_dialect(text, hash, limits, words)
            }))
        };
        thread::Builder::new()
            .name("policy".to_owned())
            .stack_size(STACK)
            .spawn_scoped(scope, work)
            .map_err(|error| engine_fault(format!("no thread to read the policy: {error}")))?
            .join()
            .unwrap_or_else(Err)
            .unwrap_or_else(|_| Err(engine_fault("the engine failed to read the policy")))
    })
}

fn engine_fault(message: impl Into<String>) -> Vec<PolicyError> {
    vec![PolicyError::new(PolicyErrorKind::Engine, message)]
}

fn either_dialect(
    text: &str,
    hash: &str,
    limits: &Limits,
    words: Words,
) -> Result<Compiled, Vec<PolicyError>> {
    let newer = match in_dialect(text, hash, limits, Dialect::V1) {
        Ok(compiled) => return Ok(compiled),
        // The parser of v0 would take such words for names, and say so on standard error.
        Err(refused) if refused.imports_v1 || words.are_of_v1 => return Err(refused.faults),
        Err(refused) => refused.faults,
    };
    in_dialect(text, hash, limits, Dialect::V0).map_err(|refused| {
        // Whichever reading got further says more; a missing keyword only says that it is not v1.
        let end = |faults: &[PolicyError]| faults.first().and_then(|fault| fault.line);
        let is_old = newer.iter().any(|fault| {
            fault
                .message
                .ends_with("keyword is required before rule body")
                || fault
                    .message
                    .ends_with("keyword is required for partial set rules")
        });
        if is_old || end(&refused.faults) > end(&newer) {
            refused.faults
        } else {
            newer
        }
    })
}

struct Refused {
    faults: Vec<PolicyError>,
    imports_v1: bool,
}

impl Refused {
    fn one(kind: PolicyErrorKind, error: &dyn std::fmt::Display) -> Self {
        Self {
            faults: vec![PolicyError::of_engine(kind, &error.to_string())],
            imports_v1: false,
        }
    }
}

fn in_dialect(
    text: &str,
    hash: &str,
    limits: &Limits,
    dialect: Dialect,
) -> Result<Compiled, Refused> {
    let mut written = parse(text, dialect, limits)
        .map_err(|error| Refused::one(PolicyErrorKind::Syntax, &error))?;
    let Some(module) = written.get_modules().first().cloned() else {
        return Err(Refused::one(
            PolicyErrorKind::Engine,
            &"the engine lost the policy",
        ));
    };
    let refused = |faults| Refused {
        faults,
        imports_v1: syntax::imports_v1(&module),
    };
    let mut faults = check::faults(&module, dialect);
    if text.contains(MEASURE) || module.policy.iter().any(|rule| is_named(rule, MEASURE)) {
        let message = format!("the name {MEASURE} is taken");
        faults.push(PolicyError::new(PolicyErrorKind::Conflict, message));
    }
    if !faults.is_empty() {
        return Err(refused(faults));
    }

    let rewritten = rewrite(text, &module);
    let is_measured = rewritten.is_measured;
    let changed = if rewritten.text == text {
        Ok(written)
    } else {
        parse(&rewritten.text, dialect, limits)
    };
    let engine = changed
        .and_then(|engine| prepare(engine, limits, &called(&module), is_measured))
        .map_err(|error| {
            refused(vec![PolicyError::of_engine(
                PolicyErrorKind::Variable,
                &error,
            )])
        })?;
    Ok(Compiled {
        facts: facts(&module, dialect, hash),
        engine,
        put_off: AtomicU8::new(0),
        uses_filter: FILTER_FUNCTIONS
            .iter()
            .any(|name| called(&module).contains(*name)),
        rewritten,
        source: text.to_owned(),
    })
}

/// Whether the word is a part of a rule's name, however it is written.
fn is_named(rule: &Rule, word: &str) -> bool {
    syntax::name(rule).is_some_and(|path| path.parts.iter().any(|part| part == word))
}

/// Parses a text alone.
fn parse(text: &str, dialect: Dialect, limits: &Limits) -> Result<Engine, String> {
    // Room for what is written into the text besides.
    let bytes = NonZeroUsize::MIN.saturating_add(limits.policy_bytes.saturating_mul(8));
    let mut engine = Engine::new();
    engine.set_policy_length_config(PolicyLengthConfig {
        max_col: NonZeroU32::MAX,
        max_file_bytes: bytes,
        max_lines: bytes,
    });
    engine.set_rego_v0(dialect == Dialect::V0);
    engine
        .add_policy("policy".to_owned(), text.to_owned())
        .map_err(|error| error.to_string())?;
    Ok(engine)
}

/// Adds what policies may call, and has the engine plan the evaluation.
fn prepare(
    mut engine: Engine,
    limits: &Limits,
    called: &BTreeSet<String>,
    is_measured: bool,
) -> Result<Engine, String> {
    engine.set_strict_builtin_errors(false);
    // What is printed is kept by the clone that evaluates, and dropped with it.
    engine.set_gather_prints(true);
    set_time(&mut engine, limits.time);
    functions::add(&mut engine, called)?;
    if is_measured {
        functions::add_measure(&mut engine)?;
    }
    engine
        .compile_with_entrypoint(&ENTRY_POINT.into())
        .map_err(|error| error.to_string())?;
    Ok(engine)
}

/// Bounds how long an evaluation may take.
pub(super) fn set_time(engine: &mut Engine, time: Duration) {
    engine.set_execution_timer_config(ExecutionTimerConfig {
        limit: time,
        check_interval: CHECK_INTERVAL,
    });
}

fn facts(module: &Module, dialect: Dialect, hash: &str) -> Facts {
    Facts {
        dialect,
        package: syntax::package(module).unwrap_or_default(),
        hash: hash.to_owned(),
        rules: module
            .policy
            .iter()
            .map(|rule| RuleFact {
                name: syntax::name(rule)
                    .map(|path| path.parts.join("."))
                    .unwrap_or_default(),
                line: rule.span().line,
                default: matches!(rule.as_ref(), Rule::Default { .. }),
                arguments: syntax::arity(rule),
            })
            .collect(),
    }
}

/// Whatever is referred to: the names of functions may also stand behind `with`.
fn called(module: &Module) -> BTreeSet<String> {
    let mut called = BTreeSet::new();
    for rule in &module.policy {
        for item in syntax::items(rule) {
            if let Item::Expr(expr, _) = item
                && let Some(path) = syntax::path(expr)
            {
                called.insert(path.parts.join("."));
            }
        }
    }
    called
}

/// Compiles a text that was made of one that is known to be good.
pub(super) fn probe(text: &str, dialect: Dialect, limits: &Limits) -> Result<Engine, String> {
    let mut written = parse(text, dialect, limits)?;
    let module = written
        .get_modules()
        .first()
        .cloned()
        .ok_or("the engine lost the policy")?;
    if !check::faults(&module, dialect).is_empty() {
        return Err("not a policy".to_owned());
    }
    let rewritten = rewrite(text, &module);
    parse(&rewritten.text, dialect, limits)
        .and_then(|engine| prepare(engine, limits, &called(&module), rewritten.is_measured))
}
