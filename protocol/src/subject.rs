//! Every subject of a cell: the only place where subjects are put together.

use crate::id::{AgentName, Collective, Identity, Ksuid};

mod aaa;
pub mod permission;
mod provisioning;
mod replication;
pub mod stream;
mod target;

pub use aaa::*;
pub use provisioning::*;
pub use replication::*;
pub use target::{RequestKind, TargetError, target};

/// Subjects on which all lifecycle events go.
pub const LIFECYCLE: &str = "choria.lifecycle.>";
/// Lifecycle events as viewers subscribe to them.
pub const LIFECYCLE_EVENTS: &str = "choria.lifecycle.event.>";
/// State changes of autonomous agents.
pub const MACHINE_TRANSITION: &str = "choria.machine.transition";
/// States of the watchers of autonomous agents.
pub const MACHINE_WATCHERS: &str = "choria.machine.watcher.>";
/// Logins that broker-auth refused, as CloudEvents; kept in the events stream with the rest.
pub const REFUSALS: &str = "choria.lifecycle.event.refused.broker_auth";
/// Reply address of messages to which nobody shall reply.
pub const DEV_NULL: &str = "dev.null";
/// Request by which a connection asks who it is.
pub const USER_INFO: &str = "$SYS.REQ.USER.INFO";
/// Request by which an account asks the broker how many connections of its own listen to a subject, which is the payload;
/// the answer is a number.
pub const LISTENERS: &str = "$SYS.DEBUG.SUBSCRIBERS";
/// Requests of the broker that ask who may connect.
pub const AUTH_CALLOUT: &str = "$SYS.REQ.USER.AUTH";
/// Logins that the broker refused, told to the account that it asks who may connect.
pub const AUTH_ERRORS: &str = "$SYS.ACCOUNT.CLIENT.AUTH.ERR";

/// Returns where a request to all nodes with an agent goes.
#[must_use]
pub fn broadcast_agent(collective: &Collective, agent: &AgentName) -> String {
    format!("{collective}.broadcast.agent.{agent}")
}

/// Returns where a request to any one host of a service goes; hosts share it in the queue group of [`service_group`].
#[must_use]
pub fn broadcast_service(collective: &Collective, agent: &AgentName) -> String {
    format!("{collective}.broadcast.service.{agent}")
}

/// Returns the queue group of a service's hosts.
#[must_use]
pub fn service_group(agent: &AgentName) -> String {
    agent.to_string()
}

/// Returns where a request to one node goes.
#[must_use]
pub fn node(collective: &Collective, identity: &Identity) -> String {
    format!("{collective}.node.{identity}")
}

/// Returns where replies to one request go.
///
/// `uid` is [`crate::id::md5_hex`] of the caller id, `request_id` the id of the request.
#[must_use]
pub fn reply(collective: &Collective, uid: &str, request_id: &str) -> String {
    format!("{collective}.reply.{uid}.{request_id}")
}

/// Returns where replies to a request with an id of ours go.
#[must_use]
pub fn reply_to(collective: &Collective, uid: &str, request_id: &Ksuid) -> String {
    format!("{collective}.reply.{uid}.{request_id}")
}

/// Tells whether a subject is one on which replies are awaited in some collective.
#[must_use]
pub fn is_reply(subject: &str) -> bool {
    let mut parts = subject.splitn(3, '.');
    let place = (parts.next(), parts.next(), parts.next());
    matches!(place, (Some(_), Some("reply"), Some(_))) && is_valid(subject)
}

/// Returns the inbox prefix of a connection: `_INBOX.` is never used, and nobody may subscribe to it.
#[must_use]
pub fn inbox_prefix(collective: &Collective, uid: &str) -> String {
    format!("{collective}.reply.{uid}")
}

/// Returns the inbox prefix of a node that has no token yet.
#[must_use]
pub fn inbox_prefix_unprovisioned(collective: &Collective) -> String {
    format!("{collective}.reply")
}

/// Returns where nodes publish registration data.
#[must_use]
pub fn registration(collective: &Collective) -> String {
    format!("{collective}.broadcast.agent.registration")
}

/// Returns where a lifecycle event goes, or nothing if type or component would break the subject.
#[must_use]
pub fn lifecycle_event(type_: &str, component: &str) -> Option<String> {
    let subject = format!("choria.lifecycle.event.{type_}.{component}");
    is_valid(&subject).then_some(subject)
}

/// Returns where lifecycle events of one component go, whatever their type.
#[must_use]
pub fn lifecycle_of_component(component: &AgentName) -> String {
    format!("choria.lifecycle.event.*.{component}")
}

/// Returns where the watchers of one type report their states.
#[must_use]
pub fn machine_watcher(type_: &AgentName) -> String {
    format!("choria.machine.watcher.{type_}.state")
}

/// Returns where campaigns for a governor's slots go.
#[must_use]
pub fn governor(collective: &Collective, name: &AgentName) -> String {
    format!("{collective}.governor.{name}")
}

/// Returns where a message submitted on a node goes, or nothing if its subject is none.
#[must_use]
pub fn submission(collective: &Collective, subject: &str) -> Option<String> {
    is_valid(subject).then(|| format!("{collective}.submission.in.{subject}"))
}

/// Tells whether messages can be published on a subject: no wildcards, no empty parts, no white space.
#[must_use]
pub fn is_valid(subject: &str) -> bool {
    is_valid_permission(subject) && !subject.split('.').any(|token| matches!(token, "*" | ">"))
}

/// Tells whether nats-server takes a subject in a permission list; a login with one that it does not take is refused
/// as a whole.
///
/// A wildcard counts only as a token of its own, `>` only as the last one; `star*` is an ordinary token.
#[must_use]
pub fn is_valid_permission(subject: &str) -> bool {
    if subject
        .chars()
        .any(|found| found.is_whitespace() || found.is_control() || found == '\u{fffd}')
    {
        return false;
    }
    let mut tokens = subject.split('.').peekable();
    while let Some(token) = tokens.next() {
        if token.is_empty() || (token == ">" && tokens.peek().is_some()) {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests;
