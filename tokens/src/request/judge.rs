//! Whether a caller may ask for an action, as the agent list of its own token says: as a node judges.

use overlay_protocol::rpc::RpcRequest;

/// Why not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// The body names another agent than the one that is asked.
    #[error("the body names agent `{0}`")]
    OtherAgent(String),
    /// The token says nothing.
    #[error("the caller's token has no agent list")]
    NoList,
    /// The token has a policy that is not judged here.
    #[error("the caller's token has a rego policy, which is not judged here")]
    Rego,
    /// An entry of the list is malformed: it is not read past what is not understood.
    #[error("the caller's token has the malformed entry `{0}`")]
    Malformed(String),
    /// No entry fits.
    #[error("the caller's token does not list it")]
    NotListed,
}

/// Judges one call of the service agent `service`.
pub(super) fn judge(
    service: &str,
    list: &[String],
    has_rego: bool,
    body: &RpcRequest,
) -> Result<(), Denial> {
    if body.agent != service {
        return Err(Denial::OtherAgent(body.agent.clone()));
    }
    if has_rego {
        return Err(Denial::Rego);
    }
    if list.is_empty() {
        return Err(Denial::NoList);
    }
    for entry in list {
        if entry == "*" {
            return Ok(());
        }
        match entry.split_once('.') {
            Some((agent, action)) if !action.contains('.') => {
                if agent == service && (action == "*" || action == body.action) {
                    return Ok(());
                }
            }
            Some(_) | None => return Err(Denial::Malformed(entry.clone())),
        }
    }
    Err(Denial::NotListed)
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use super::*;

    const SERVICE: &str = "provisioner";

    fn judged(list: &[&str], agent: &str, action: &str) -> Result<(), Denial> {
        let list: Vec<_> = list.iter().map(|&entry| entry.to_owned()).collect();
        let body = RpcRequest {
            agent: agent.to_owned(),
            action: action.to_owned(),
            data: Map::new(),
        };
        judge(SERVICE, &list, false, &body)
    }

    #[test]
    fn the_list_allows_what_it_names_and_no_more() {
        assert_eq!(judged(&["*"], SERVICE, "pause"), Ok(()));
        assert_eq!(judged(&["provisioner.*"], SERVICE, "pause"), Ok(()));
        assert_eq!(
            judged(&["x.y", "provisioner.pause"], SERVICE, "pause"),
            Ok(())
        );
        assert_eq!(
            judged(&["provisioner.status"], SERVICE, "pause"),
            Err(Denial::NotListed)
        );
        assert_eq!(judged(&[], SERVICE, "pause"), Err(Denial::NoList));
        assert!(matches!(
            judged(&["provisioner", "*"], SERVICE, "pause"),
            Err(Denial::Malformed(_))
        ));
        assert!(matches!(
            judged(&["a.b.c", "*"], SERVICE, "pause"),
            Err(Denial::Malformed(_))
        ));
        assert!(matches!(
            judged(&["*"], "rpcutil", "pause"),
            Err(Denial::OtherAgent(_))
        ));
        let body = RpcRequest {
            agent: SERVICE.to_owned(),
            action: "pause".to_owned(),
            data: Map::new(),
        };
        let all = ["*".to_owned()];
        assert_eq!(judge(SERVICE, &all, true, &body), Err(Denial::Rego));
    }
}
