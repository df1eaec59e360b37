//! Why a policy says what it says: each rule `allow`, and the first of its statements that does not hold.

use serde::Serialize;

use super::compile::{self, Compiled};
use super::decide::{self, RunFault};
use super::rewrite::Candidate;
use super::{Dialect, Facts, PACKAGE, PolicyError, Rego, input};
use crate::question::Question;
use crate::verdict::Verdict;
use regorus::Value;

/// The name of what is asked besides; a policy that uses it is not explained.
const PROBE: &str = "overlay_probe";

/// Most statements that are looked at.
const MAX_PROBES: usize = 512;

/// A decision with its reasons.
#[derive(Debug, Clone, Serialize)]
pub struct Explanation {
    /// What was decided.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// What the policy is; absent if it can't be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<Facts>,
    /// What is wrong with the policy, if it can't be used.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<PolicyError>,
    /// Each rule `allow` with its `else` branches, in the order of the text; empty where that can't be told.
    pub rules: Vec<RuleStep>,
    /// The document that the policy saw.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<serde_json::Value>,
}

/// One rule `allow` for one question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RuleStep {
    /// The line of its head.
    pub line: u32,
    /// Its value as written.
    pub value: String,
    /// Whether it is an `else` branch, which counts only if nothing above it holds.
    pub is_else: bool,
    /// What became of it.
    #[serde(flatten)]
    pub state: StepState,
}

/// Whether a rule holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum StepState {
    /// All of its statements hold.
    Holds,
    /// A statement does not, and those above it do.
    Fails {
        /// The line of the statement.
        at: u32,
        /// The statement as written.
        statement: String,
    },
    /// It could not be told.
    Unknown,
}

impl Rego {
    /// Decides, and says of every rule `allow` why it holds or does not.
    ///
    /// Costs several evaluations; it is for people.
    pub fn explain(&self, text: &str, question: &Question<'_>) -> Explanation {
        let verdict = self.decide(text, question);
        let (_, kept) = self.compiled(text);
        let document = input::document(question)
            .ok()
            .and_then(|input| input.to_json_str().ok())
            .and_then(|json| serde_json::from_str(&json).ok());
        match kept.as_ref() {
            Ok(compiled) => Explanation {
                verdict,
                policy: Some(compiled.facts().clone()),
                faults: Vec::new(),
                rules: rules(self, compiled, question),
                input: document,
            },
            Err(faults) => Explanation {
                verdict,
                policy: None,
                faults: faults.clone(),
                rules: Vec::new(),
                input: document,
            },
        }
    }
}

/// Asks for every beginning of every body: the first that does not hold ends with the statement that is at fault.
fn rules(rego: &Rego, compiled: &Compiled, question: &Question<'_>) -> Vec<RuleStep> {
    let candidates = compiled.candidates();
    let known = compiled.source().contains(PROBE);
    let count: usize = candidates
        .iter()
        .flat_map(|candidate| &candidate.bodies)
        .map(Vec::len)
        .sum();
    let can_tell = !known && count <= MAX_PROBES;
    candidates
        .iter()
        .enumerate()
        .map(|(number, candidate)| RuleStep {
            line: candidate.line,
            value: candidate.value.clone().unwrap_or_else(|| "true".to_owned()),
            is_else: candidate.is_else,
            state: if can_tell {
                state(rego, compiled, question, number, candidate)
            } else {
                StepState::Unknown
            },
        })
        .collect()
}

fn state(
    rego: &Rego,
    compiled: &Compiled,
    question: &Question<'_>,
    number: usize,
    candidate: &Candidate,
) -> StepState {
    if candidate.bodies.is_empty() {
        return StepState::Holds;
    }
    let mut worst = StepState::Unknown;
    for (at, body) in candidate.bodies.iter().enumerate() {
        let mut state = StepState::Holds;
        for end in 1..=body.len() {
            let lines: Vec<&str> = body
                .iter()
                .take(end)
                .map(|step| step.text.as_str())
                .collect();
            let name = format!("{PROBE}_{number}_{at}_{end}");
            match holds(rego, compiled, question, &name, &lines) {
                Some(true) => {}
                Some(false) => {
                    if let Some(step) = body.get(end - 1) {
                        state = StepState::Fails {
                            at: step.line,
                            statement: step.text.clone(),
                        };
                    }
                    break;
                }
                // Such a beginning alone is not Rego; with what follows it may be.
                None if end < body.len() => {}
                None => state = StepState::Unknown,
            }
        }
        if state == StepState::Holds {
            return state;
        }
        worst = state;
    }
    worst
}

/// Whether these statements hold together, as a rule of the policy's own package.
fn holds(
    rego: &Rego,
    compiled: &Compiled,
    question: &Question<'_>,
    name: &str,
    statements: &[&str],
) -> Option<bool> {
    let head = match compiled.facts().dialect {
        Dialect::V0 => name.to_owned(),
        Dialect::V1 => format!("{name} if"),
    };
    let text = format!(
        "{}\n{head} {{\n{}\n}}\n",
        compiled.source(),
        statements.join("\n")
    );
    let probe = compile::probe(&text, compiled.facts().dialect, rego.limits()).ok()?;
    let mut engine = probe;
    decide::equip(&mut engine, question, compiled.uses_filter(), true).ok()?;
    match decide::run(&mut engine, &format!("data.{PACKAGE}.{name}")) {
        Ok(Value::Bool(true)) => Some(true),
        Ok(_) => Some(false),
        Err(RunFault::Time | RunFault::Engine(_)) => None,
    }
}
