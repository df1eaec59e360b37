//! Whether a caller may call an action, as the list or the Rego policy in the caller's own token says, or a policy file
//! of the node.
//!
//! What a policy sees comes from the signed request; of the body only the action and its inputs count.

mod files;

use std::sync::OnceLock;
use std::time::Duration;

use overlay_policy::{
    Limits, NODE_SITE, Question, Rego, TokenPolicy, Verdict, Why, from_token_with,
};
use overlay_protocol::envelope::v2::Request;
use overlay_protocol::filter::Filter;
use overlay_protocol::rpc::RpcRequest;
use overlay_tokens::claims::ClientClaims;
use serde_json::Value;

use crate::config::{Authorization, Config};
use crate::node::View;

pub use files::{Asked, PolicyFiles};

/// Bounds of policies on a node: a few callers, little memory.
const LIMITS: Limits = Limits {
    time: Duration::from_millis(250),
    memory: 4 * 1024 * 1024,
    policies: 32,
    policy_bytes: 64 * 1024,
};

/// Judges calls; makes an evaluator of Rego when the first token brings a policy.
#[derive(Debug)]
pub struct Judge {
    authorization: Authorization,
    files: Option<PolicyFiles>,
    rego: OnceLock<Rego>,
}

/// Why a call is denied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// The configured policy language is not known here.
    #[error("`{0}` is configured, which this node cannot judge")]
    Unsupported(&'static str),
    /// The body names an agent other than the one addressed.
    #[error("the body names agent `{body}`, the request was for `{addressed}`")]
    AgentMismatch {
        /// The agent in the body.
        body: String,
        /// The agent in the signed request.
        addressed: String,
    },
    /// There is no token that could allow it.
    #[error("the caller has no token")]
    NoToken,
    /// A policy file says no, or can't be read.
    #[error("{0}")]
    File(String),
    /// The policy in the caller's token says no, or can't be used.
    #[error("{}: {}", .0.rule, .0.message)]
    Policy(Why),
}

impl Judge {
    /// Judges as configured.
    pub fn new(config: &Config) -> Self {
        Self::of(config.authorization, config.policies.clone())
    }

    fn of(authorization: Authorization, files: Option<PolicyFiles>) -> Self {
        Self {
            authorization,
            files,
            rego: OnceLock::new(),
        }
    }

    /// Judges one call: what was signed, what its body asks for, and what the caller's verified token says; `node` is
    /// asked for where facts and classes count.
    ///
    /// # Errors
    ///
    /// Why it is denied.
    pub fn judge<'a>(
        &self,
        request: &Request,
        body: &RpcRequest,
        caller: Option<&ClientClaims>,
        node: &dyn Fn() -> View<'a>,
    ) -> Result<(), Denial> {
        let mismatch = || Denial::AgentMismatch {
            body: body.agent.clone(),
            addressed: request.agent.clone(),
        };
        match self.authorization {
            // A body without agent is answered by servers that do not authorise, and by this one.
            Authorization::Off if body.agent.is_empty() || body.agent == request.agent => Ok(()),
            Authorization::Off => Err(mismatch()),
            Authorization::Unsupported(name) => Err(Denial::Unsupported(name)),
            Authorization::CallerToken | Authorization::PolicyFiles
                if body.agent != request.agent =>
            {
                Err(mismatch())
            }
            Authorization::PolicyFiles => {
                let files = self
                    .files
                    .as_ref()
                    .ok_or(Denial::Unsupported("action_policy"))?;
                let view = node();
                let asked = Asked {
                    caller: &request.caller,
                    agent: &request.agent,
                    action: &body.action,
                    node: view.as_filter_view(),
                };
                files.judge(&asked).map_err(Denial::File)
            }
            Authorization::CallerToken => {
                let claims = caller.ok_or(Denial::NoToken)?;
                match self.by_token(request, body, claims) {
                    Verdict::Allow(_) => Ok(()),
                    Verdict::Deny(why) => Err(Denial::Policy(why)),
                }
            }
        }
    }

    fn by_token(&self, request: &Request, body: &RpcRequest, claims: &ClientClaims) -> Verdict {
        // Only Rego looks at inputs and claims.
        let (data, all_claims) = match TokenPolicy::of(claims) {
            TokenPolicy::Rego(_) => (
                Value::Object(body.data.clone()),
                serde_json::to_value(claims).unwrap_or_default(),
            ),
            TokenPolicy::ActionList(_) | TokenPolicy::Neither | TokenPolicy::Both => {
                (Value::Null, Value::Null)
            }
        };
        let nobody_in_particular = Filter::default();
        let question = Question {
            agent: &request.agent,
            action: &body.action,
            data: &data,
            sender: &request.sender,
            collective: &request.collective,
            ttl: request.ttl.as_secs(),
            time_ns: request.time_ns,
            site: NODE_SITE,
            filter: request.filter.as_ref().unwrap_or(&nobody_in_particular),
            claims: &all_claims,
            tenant: claims.tenant.as_deref(),
        };
        from_token_with(
            claims,
            || self.rego.get_or_init(|| Rego::new(LIMITS)),
            &question,
        )
    }
}

#[cfg(test)]
mod tests;
