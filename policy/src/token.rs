//! What a fleet node asks of the caller's token: an action list or a policy in Rego, and exactly one of them.

use overlay_tokens::claims::ClientClaims;

use crate::DISCOVERY;
use crate::action_list::{action_list, discovery};
use crate::question::Question;
use crate::rego::Rego;
use crate::verdict::{Verdict, Why};

/// The site that a fleet node names in its questions.
pub const NODE_SITE: &str = "server";

/// What a token brings along to be decided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenPolicy<'a> {
    /// A list of actions.
    ActionList(&'a [String]),
    /// A policy in Rego.
    Rego(&'a str),
    /// Neither: nothing is allowed.
    Neither,
    /// Both, which is ambiguous: nothing is allowed.
    Both,
}

impl<'a> TokenPolicy<'a> {
    /// What these claims hold; an empty text or list counts as absent.
    pub fn of(claims: &'a ClientClaims) -> Self {
        let list = claims.agents.as_slice();
        let rego = claims.opa_policy.as_deref().filter(|text| !text.is_empty());
        match (list.is_empty(), rego) {
            (true, None) => Self::Neither,
            (true, Some(text)) => Self::Rego(text),
            (false, None) => Self::ActionList(list),
            (false, Some(_)) => Self::Both,
        }
    }
}

/// Decides by what the caller's token holds, as a fleet node with `rpcauthprovider = aaasvc` does.
pub fn from_token(claims: &ClientClaims, rego: &Rego, question: &Question<'_>) -> Verdict {
    from_token_with(claims, || rego, question)
}

/// As [`from_token`], with an evaluator that is made only for those who bring a policy in Rego.
pub fn from_token_with<'r>(
    claims: &ClientClaims,
    rego: impl FnOnce() -> &'r Rego,
    question: &Question<'_>,
) -> Verdict {
    if question.agent == DISCOVERY {
        return discovery();
    }
    match TokenPolicy::of(claims) {
        TokenPolicy::ActionList(list) => action_list(list, question.agent, question.action),
        TokenPolicy::Rego(text) => rego().decide(text, question),
        TokenPolicy::Neither => Verdict::Deny(Why::failed("token", "the token holds no policy")),
        TokenPolicy::Both => Verdict::Deny(Why::failed(
            "token",
            "the token holds an action list and a policy in Rego",
        )),
    }
}
