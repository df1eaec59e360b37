//! Requests and policies for the tests.

use std::time::Duration;

use overlay_policy::{Limits, Question, Rego, Verdict};
use overlay_protocol::filter::Filter;
use serde_json::{Value, json};

/// A request with everything filled in.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) agent: String,
    pub(crate) action: String,
    pub(crate) data: Value,
    pub(crate) sender: String,
    pub(crate) collective: String,
    pub(crate) ttl: u64,
    pub(crate) time_ns: i64,
    pub(crate) site: String,
    pub(crate) filter: Filter,
    pub(crate) claims: Value,
    pub(crate) tenant: Option<String>,
}

impl Default for Request {
    fn default() -> Self {
        Self {
            agent: "myco".to_owned(),
            action: "deploy".to_owned(),
            data: json!({"component": "frontend", "list": ["x", "y"], "count": 5}),
            sender: "some.node".to_owned(),
            collective: "choria".to_owned(),
            ttl: 60,
            time_ns: 1_795_000_000_000_000_000,
            site: "beta".to_owned(),
            filter: Filter::default(),
            claims: json!({"callerid": "up=bob", "user_properties": {"group": "admins"}}),
            tenant: None,
        }
    }
}

impl Request {
    pub(crate) fn question(&self) -> Question<'_> {
        Question {
            agent: &self.agent,
            action: &self.action,
            data: &self.data,
            sender: &self.sender,
            collective: &self.collective,
            ttl: self.ttl,
            time_ns: self.time_ns,
            site: &self.site,
            filter: &self.filter,
            claims: &self.claims,
            tenant: self.tenant.as_deref(),
        }
    }
}

/// An evaluator whose patience does not depend on how busy the machine is.
pub(crate) fn patient() -> Rego {
    Rego::new(Limits {
        time: Duration::from_secs(60),
        ..Limits::default()
    })
}

/// What a policy in v1 with these lines says of a request.
pub(crate) fn decide(lines: &str, request: &Request) -> Verdict {
    let text = format!("package io.choria.aaasvc\ndefault allow := false\n{lines}\n");
    patient().decide(&text, &request.question())
}

/// Whether a policy in v1 with these lines allows a request.
pub(crate) fn allows(lines: &str, request: &Request) -> bool {
    decide(lines, request).is_allowed()
}
