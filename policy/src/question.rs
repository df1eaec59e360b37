//! What is asked of a policy.

use overlay_protocol::filter::Filter;
use serde_json::Value;

/// One request as its policy sees it: what was signed, who signed it, where it is decided.
///
/// Whoever fills it takes `sender`, `collective`, `ttl`, `time_ns` and `filter` from the signed envelope, `agent`,
/// `action` and `data` from the body, and has checked that both name the same agent.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The agent.
    pub agent: &'a str,
    /// The action.
    pub action: &'a str,
    /// The inputs of the action; a policy in Rego needs an object or null.
    pub data: &'a Value,
    /// The host that sent the request.
    pub sender: &'a str,
    /// The collective that it is for.
    pub collective: &'a str,
    /// How long it may be answered, in seconds.
    pub ttl: u64,
    /// When it was made, in nanoseconds since 1970.
    pub time_ns: i64,
    /// The site of whoever decides: that of the signer, `server` on a fleet node.
    pub site: &'a str,
    /// The nodes that it is for.
    pub filter: &'a Filter,
    /// All claims of the caller's token under their names on the wire.
    pub claims: &'a Value,
    /// The tenant that the token names.
    pub tenant: Option<&'a str>,
}
