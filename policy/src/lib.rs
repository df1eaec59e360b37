//! Whether a request may be made, by action list or Rego.
//!
//! ```text
//! signed request (envelope, body) ──┐
//!                                   ├── Question ──► action_list │ Rego::decide ──► Verdict (yes or no, and why)
//! claims of the caller's token ─────┘
//! ```
//!
//! What must hold:
//!
//! - A verdict is a function of the question and the policy: nothing else is read, no network, no files, no environment.
//!   The one exception is `time.now_ns`, which is the clock of the machine.
//! - Everything but a clear yes is a no: an unreadable policy, one that calls an unknown function, one that takes too
//!   long, an undefined result, a result that is no boolean.
//! - A policy is foreign bytes: whatever it holds, it costs a bounded time, a bounded stack, a bounded size of what it builds,
//!   and no other policy.
//! - What a policy is told of a request comes from what was signed, never from what the body says about itself.
#![warn(missing_docs)]

mod action_list;
mod question;
mod rego;
mod token;
mod verdict;

pub use action_list::action_list;
pub use question::Question;
pub use rego::{
    Dialect, ENTRY_POINT, Explanation, Facts, Limits, PACKAGE, PolicyError, PolicyErrorKind, Rego,
    RuleFact, RuleStep, StepState,
};
pub use token::{NODE_SITE, TokenPolicy, from_token, from_token_with};
pub use verdict::{Verdict, Why};

/// The agent of discovery, which every authoriser lets pass: it does nothing but answer.
pub const DISCOVERY: &str = "discovery";
