//! Whether a caller may call an action, as the list in the caller's own token says.
//!
//! Entries are `*`, `agent.*` or `agent.action`. Anything else is a fault of the token and denies
//! the call, as soon as it is reached: a list must not be read past what could not be understood.

use crate::config::Authorization;

/// What the caller's verified token says about policy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Grant<'a> {
    /// The token's list.
    pub agents: &'a [String],
    /// Whether the token carries a rego policy.
    pub has_rego: bool,
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
    /// The token says nothing.
    #[error("the caller's token has no policy")]
    NoPolicy,
    /// The token says two things.
    #[error("the caller's token has an agent list and a rego policy")]
    TwoPolicies,
    /// The token's policy is rego, which this node does not run yet.
    #[error("the caller's token has a rego policy, which this node cannot judge yet")]
    Rego,
    /// An entry of the list is malformed.
    #[error("the caller's token has the malformed entry `{0}`")]
    MalformedEntry(String),
    /// No entry matches.
    #[error("the caller's token does not list it")]
    NotListed,
}

/// Judges one call. `addressed` is the agent of the signed request, `body` that of the body.
pub fn judge(
    authorization: Authorization,
    grant: Grant<'_>,
    addressed: &str,
    body: &str,
    action: &str,
) -> Result<(), Denial> {
    let mismatch = || Denial::AgentMismatch {
        body: body.to_owned(),
        addressed: addressed.to_owned(),
    };
    match authorization {
        // A body without agent is answered by servers that do not authorise, and by this one.
        Authorization::Off if body.is_empty() || body == addressed => Ok(()),
        Authorization::Off => Err(mismatch()),
        Authorization::Unsupported(name) => Err(Denial::Unsupported(name)),
        Authorization::CallerToken if body != addressed => Err(mismatch()),
        Authorization::CallerToken => match (grant.agents.is_empty(), grant.has_rego) {
            (true, false) => Err(Denial::NoPolicy),
            (false, true) => Err(Denial::TwoPolicies),
            (true, true) => Err(Denial::Rego),
            (false, false) => listed(grant.agents, addressed, action),
        },
    }
}

fn listed(entries: &[String], agent: &str, action: &str) -> Result<(), Denial> {
    for entry in entries {
        if entry == "*" {
            return Ok(());
        }
        let Some((of, which)) = entry
            .split_once('.')
            .filter(|(_, which)| !which.contains('.'))
        else {
            return Err(Denial::MalformedEntry(entry.clone()));
        };
        if of == agent && (which == "*" || which == action) {
            return Ok(());
        }
    }
    Err(Denial::NotListed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by_token(agents: &[&str], has_rego: bool, agent: &str, action: &str) -> Result<(), Denial> {
        let agents = agents
            .iter()
            .map(|&entry| entry.to_owned())
            .collect::<Vec<_>>();
        let grant = Grant {
            agents: &agents,
            has_rego,
        };
        judge(Authorization::CallerToken, grant, agent, agent, action)
    }

    #[test]
    fn rpc_case_37_the_agent_list_allows_what_it_names_and_no_more() {
        let list = ["rpcutil.ping"];
        assert_eq!(by_token(&list, false, "rpcutil", "ping"), Ok(()));
        assert_eq!(
            by_token(&list, false, "rpcutil", "inventory"),
            Err(Denial::NotListed)
        );
        let bare = ["rpcutil"];
        assert!(matches!(
            by_token(&bare, false, "rpcutil", "ping"),
            Err(Denial::MalformedEntry(_))
        ));
        assert_eq!(by_token(&["*"], false, "x", "y"), Ok(()));
        assert_eq!(by_token(&["a.b", "x.*"], false, "x", "y"), Ok(()));
        assert!(by_token(&["a.b.c", "x.*"], false, "x", "y").is_err());
        assert_eq!(by_token(&["x.*", "a.b.c"], false, "x", "y"), Ok(()));
    }

    #[test]
    fn rpc_case_38_both_policies_or_none_deny() {
        assert_eq!(
            by_token(&["*"], true, "rpcutil", "ping"),
            Err(Denial::TwoPolicies)
        );
        assert_eq!(
            by_token(&[], false, "rpcutil", "ping"),
            Err(Denial::NoPolicy)
        );
        assert_eq!(by_token(&[], true, "rpcutil", "ping"), Err(Denial::Rego));
    }

    #[test]
    fn a_body_for_another_agent_is_denied_with_and_without_a_policy() {
        let all = ["*".to_owned()];
        let grant = Grant {
            agents: &all,
            has_rego: false,
        };
        for mode in [Authorization::Off, Authorization::CallerToken] {
            assert!(judge(mode, grant, "rpcutil", "choria_util", "ping").is_err());
            assert!(judge(mode, grant, "rpcutil", "rpcutil", "ping").is_ok());
        }
        assert!(judge(Authorization::Off, grant, "rpcutil", "", "ping").is_ok());
        assert!(judge(Authorization::CallerToken, grant, "rpcutil", "", "ping").is_err());
    }

    #[test]
    fn a_policy_language_that_is_not_known_denies_all() {
        let all = ["*".to_owned()];
        let grant = Grant {
            agents: &all,
            has_rego: false,
        };
        let mode = Authorization::Unsupported("action_policy");
        assert!(judge(mode, grant, "rpcutil", "rpcutil", "ping").is_err());
    }
}
