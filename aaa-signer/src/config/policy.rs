//! `[policy]`: how it is decided what may be signed.

use std::time::Duration;

use overlay_runtime::{Fault, Period};
use serde::Deserialize;

use super::check::period;

/// How long one evaluation may take.
const TIME: Duration = Duration::from_millis(250);
/// Compiled policies that are kept.
const POLICIES: usize = 1024;
/// The longest policy that is read, in bytes.
const POLICY_BYTES: usize = 64 * 1024;

pub(super) const REFERENCE: &str = r#"# How it is decided what a caller may do.
[policy]
# token: by what the token has, an action list or a Rego policy; a token with both, or none, may do nothing.
# actionlist: by the token's action list alone. rego: by the token's policy alone. The last two are what the original has.
# authorizer = "token"
# How long one evaluation of a policy may take; one that takes longer denies.
# time_limit = "250ms"
# Compiled policies that are kept.
# policies = 1024
# The longest policy, in bytes.
# max_policy_bytes = 65536
"#;

/// The table as files hold it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawPolicy {
    authorizer: Authorizer,
    time_limit: Option<Period>,
    policies: Option<usize>,
    max_policy_bytes: Option<usize>,
}

/// Which of a token's claims decides.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Authorizer {
    /// The one that it has.
    #[default]
    Token,
    /// The action list.
    ActionList,
    /// The policy.
    Rego,
}

/// How it is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Which claim decides.
    pub authorizer: Authorizer,
    /// How long one evaluation may take.
    pub time_limit: Duration,
    /// Compiled policies that are kept.
    pub policies: usize,
    /// The longest policy, in bytes.
    pub max_policy_bytes: usize,
}

impl RawPolicy {
    pub(super) fn check(self, at: &str, faults: &mut Vec<Fault>) -> Option<Policy> {
        let key = |member: &str| format!("{at}.{member}");
        let before = faults.len();
        let time_limit = period(
            &key("time_limit"),
            self.time_limit,
            TIME,
            Duration::from_millis(1),
            faults,
        );
        let policy = Policy {
            authorizer: self.authorizer,
            time_limit,
            policies: self.policies.unwrap_or(POLICIES).max(1),
            max_policy_bytes: self.max_policy_bytes.unwrap_or(POLICY_BYTES),
        };
        (faults.len() == before).then_some(policy)
    }
}
