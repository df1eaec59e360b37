//! Policies in Rego: read, checked, kept, evaluated and explained.
//!
//! A text is compiled once: as Rego v1, and where that fails, as Rego v0 (unless it says `import rego.v1`). What is
//! refused is remembered like what is accepted. Evaluations share nothing but what is compiled, and hold no lock.

mod check;
mod compile;
mod decide;
mod error;
mod explain;
mod functions;
mod guard;
mod input;
mod rewrite;
mod syntax;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use quick_cache::Weighter;
use quick_cache::sync::Cache;
use serde::Serialize;
use sha2::{Digest, Sha256};

use compile::Compiled;

pub use error::{PolicyError, PolicyErrorKind};
pub use explain::{Explanation, RuleStep, StepState};

/// The package that a policy must be.
pub const PACKAGE: &str = "io.choria.aaasvc";

/// The rule that is asked.
const ENTRY: &str = "allow";

/// The rule that is asked, in full.
pub const ENTRY_POINT: &str = "data.io.choria.aaasvc.allow";

/// The language of a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// As before OPA 1.0: `allow { … }`.
    V0,
    /// `allow if { … }`.
    V1,
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V0 => "Rego v0",
            Self::V1 => "Rego v1",
        })
    }
}

/// Bounds of policies and of what they may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest evaluation.
    pub time: Duration,
    /// Most memory of all compiled policies together, in bytes, estimated from their texts.
    pub memory: u64,
    /// Most compiled policies that are kept.
    pub policies: usize,
    /// Largest text of a policy, in bytes.
    pub policy_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            time: Duration::from_millis(250),
            memory: 64 * 1024 * 1024,
            policies: 1_024,
            policy_bytes: 64 * 1024,
        }
    }
}

/// What a policy is, as far as its text shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// The language that it was read in.
    pub dialect: Dialect,
    /// The package.
    pub package: String,
    /// SHA-256 of the text, 64 hex digits.
    pub hash: String,
    /// The rules in the order of the text.
    pub rules: Vec<RuleFact>,
}

/// One rule of a policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RuleFact {
    /// The name within the package.
    pub name: String,
    /// The line, from 1.
    pub line: u32,
    /// Whether it is a `default`.
    pub default: bool,
    /// How many arguments it takes; absent for what is no function.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arguments: Option<usize>,
}

/// Evaluates policies; keeps what it compiled.
pub struct Rego {
    limits: Limits,
    kept: Cache<[u8; 32], Arc<Kept>, ByText>,
}

/// What became of a text.
pub(crate) type Kept = Result<Compiled, Vec<PolicyError>>;

impl Rego {
    /// An evaluator with nothing compiled yet.
    pub fn new(limits: Limits) -> Self {
        let policies = limits.policies.max(1);
        let smallest = limits.memory / u64::try_from(policies).unwrap_or(u64::MAX);
        Self {
            limits,
            kept: Cache::with_weighter(policies, limits.memory, ByText { smallest }),
        }
    }

    /// The bounds in force.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// How many policies are kept.
    pub fn kept(&self) -> usize {
        self.kept.len()
    }

    /// Reads a policy as [`decide`](Self::decide) would.
    ///
    /// # Errors
    ///
    /// The first fault, if the policy can't be used.
    pub fn check(&self, text: &str) -> Result<Facts, PolicyError> {
        self.faults(text).map_err(|faults| {
            faults.into_iter().next().unwrap_or_else(|| {
                PolicyError::new(PolicyErrorKind::Engine, "the policy can't be used")
            })
        })
    }

    /// Reads a policy and lists all that is wrong with it.
    ///
    /// # Errors
    ///
    /// The faults in the order of their lines, at least one.
    pub fn faults(&self, text: &str) -> Result<Facts, Vec<PolicyError>> {
        match self.compiled(text).1.as_ref() {
            Ok(compiled) => Ok(compiled.facts().clone()),
            Err(faults) => Err(faults.clone()),
        }
    }

    /// The compiled form with the hash of the text; others who want the same text wait instead of compiling it too.
    fn compiled(&self, text: &str) -> (String, Arc<Kept>) {
        let digest = digest(text);
        let hash = hex::encode(digest);
        let kept = self.kept.get_or_insert_with(&digest, || {
            Ok::<_, std::convert::Infallible>(Arc::new(compile::compile(text, &hash, &self.limits)))
        });
        let kept = match kept {
            Ok(kept) => kept,
            Err(never) => match never {},
        };
        (hash, kept)
    }
}

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

impl Default for Rego {
    fn default() -> Self {
        Self::new(Limits::default())
    }
}

impl fmt::Debug for Rego {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rego")
            .field("limits", &self.limits)
            .field("kept", &self.kept.len())
            .finish()
    }
}

/// Weighs a policy by what its compiled form takes, and never less than its share of the memory, so that the count is
/// bounded too.
#[derive(Debug, Clone, Copy)]
struct ByText {
    smallest: u64,
}

impl Weighter<[u8; 32], Arc<Kept>> for ByText {
    fn weight(&self, _: &[u8; 32], kept: &Arc<Kept>) -> u64 {
        let bytes = match kept.as_ref() {
            Ok(compiled) => compiled.bytes(),
            Err(_) => 1_024,
        };
        bytes.max(self.smallest).max(1)
    }
}
