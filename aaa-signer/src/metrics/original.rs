//! Names, types and labels of Choria's AAA service. What it counts for HTTP alone is counted for RPC as well.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use overlay_protocol::audit::RpcFacts;
use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

use crate::sign::{Authority, Reason};

/// The one kind of signer that the original has.
const SIGNER: &str = "basicjwt";
/// The most different actions that become labels; the label is the caller's text.
const MAX_ACTIONS: usize = 200;
/// The longest action that becomes a label, in bytes.
const MAX_ACTION_BYTES: usize = 128;
/// Label of all further actions.
const OTHER: &str = "other";

/// The original's metrics, with the label `site`.
#[derive(Debug, Clone)]
pub(super) struct Original {
    authorizer_allowed: IntCounterVec,
    authorizer_denied: IntCounterVec,
    authorizer_errors: IntCounterVec,
    signer_allowed: IntCounter,
    signer_denied: IntCounter,
    signer_errors: IntCounter,
    signer_invalid_token: IntCounter,
    actions: Arc<Mutex<BTreeSet<String>>>,
}

impl Original {
    pub(super) fn register(registry: &Registry, site: &str) -> Result<Self, prometheus::Error> {
        let opts = |name: &str, help: &str| {
            Opts::new(format!("choria_aaa_{name}"), help).const_label("site", site)
        };
        let counter = |name: &str, help: &str| {
            let opts = opts(name, help).const_label("signer", SIGNER);
            let counter = IntCounter::with_opts(opts)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let counters = IntCounterVec::new(opts(name, help), labels)?;
            registry.register(Box::new(counters.clone()))?;
            Ok::<_, prometheus::Error>(counters)
        };
        let build = opts("build_info", "The running program")
            .const_label("version", env!("CARGO_PKG_VERSION"));
        let build = IntCounter::with_opts(build)?;
        build.inc();
        registry.register(Box::new(build))?;
        Ok(Self {
            authorizer_allowed: counters(
                "authorizer_allowed",
                "Requests that the policy allowed",
                &["authorizer", "action"],
            )?,
            authorizer_denied: counters(
                "authorizer_denied",
                "Requests that the policy did not allow",
                &["authorizer", "action"],
            )?,
            authorizer_errors: counters(
                "authorizer_errors",
                "Policies that could not be evaluated",
                &["authorizer"],
            )?,
            signer_allowed: counter("signer_allowed", "Requests that were signed")?,
            signer_denied: counter("signer_denied", "Requests that were not signed")?,
            signer_errors: counter("signer_errors", "Requests that were not signed")?,
            signer_invalid_token: counter(
                "signer_invalid_token",
                "Requests with a token that is not to be trusted",
            )?,
            actions: Arc::default(),
        })
    }

    pub(super) fn answered(&self, outcome: Result<(), Reason>) {
        let Err(reason) = outcome else {
            self.signer_allowed.inc();
            return;
        };
        self.signer_denied.inc();
        self.signer_errors.inc();
        if matches!(reason, Reason::Token | Reason::Validity | Reason::Revoked) {
            self.signer_invalid_token.inc();
        }
    }

    pub(super) fn decided(
        &self,
        authority: Authority,
        target: Option<&RpcFacts>,
        is_allowed: bool,
        is_error: bool,
    ) {
        let action = self.action(target);
        let labels = [authority.label(), action.as_str()];
        if is_allowed {
            self.authorizer_allowed.with_label_values(&labels).inc();
        } else {
            self.authorizer_denied.with_label_values(&labels).inc();
        }
        if is_error {
            self.authorizer_errors
                .with_label_values(&[authority.label()])
                .inc();
        }
    }

    /// The label of an action: one of a bounded number.
    fn action(&self, target: Option<&RpcFacts>) -> String {
        let Some(target) = target else {
            return OTHER.to_owned();
        };
        let label = if target.action.is_empty() && target.agent == overlay_policy::DISCOVERY {
            target.agent.clone()
        } else {
            format!("{}.{}", target.agent, target.action)
        };
        let mut actions = self.actions.lock().unwrap_or_else(PoisonError::into_inner);
        if actions.contains(&label) {
            return label;
        }
        if actions.len() >= MAX_ACTIONS || label.len() > MAX_ACTION_BYTES {
            return OTHER.to_owned();
        }
        actions.insert(label.clone());
        label
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_hundred_actions_have_a_label_and_all_further_ones_share_one() {
        let registry = Registry::new();
        let metrics = Original::register(&registry, "paris").unwrap();
        let ask = |action: &str| {
            let target = RpcFacts {
                agent: "rpcutil".to_owned(),
                action: action.to_owned(),
            };
            metrics.decided(Authority::ActionList, Some(&target), true, false);
        };
        let lines = || {
            let text = overlay_runtime::metrics::text(&registry).unwrap();
            let of = |name: &str| {
                let lines = text.lines().filter(|line| line.starts_with(name));
                lines.map(str::to_owned).collect::<Vec<_>>()
            };
            (
                of("choria_aaa_authorizer_allowed{"),
                of("choria_aaa_build_info{"),
            )
        };
        let count = |action: &str| {
            let label = format!("action=\"{action}\"");
            let (lines, _) = lines();
            let line = lines.into_iter().find(|line| line.contains(&label));
            line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        };
        // Too long for a label, although there is room for others.
        ask(&"x".repeat(MAX_ACTION_BYTES));
        assert_eq!(count(OTHER), Some(1.0));
        for action in 0..200 {
            ask(&format!("action{action}"));
        }
        assert_eq!(count(OTHER), Some(1.0));
        ask("action200");
        ask("action201");
        assert_eq!(count(OTHER), Some(3.0));
        assert_eq!(count("rpcutil.action200"), None);
        // Those that have a label keep it.
        ask("action7");
        assert_eq!(count("rpcutil.action7"), Some(2.0));
        let (lines, build) = lines();
        assert_eq!(lines.len(), 201);
        assert_eq!(build.len(), 1);
        assert!(build[0].ends_with(" 1"), "{build:?}");
    }
}
