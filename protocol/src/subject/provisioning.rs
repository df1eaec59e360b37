//! Subjects of enrolment, in the account of nodes that are not enrolled and out of it.

use crate::id::{Collective, Identity};
use crate::provisioning::audit::Kind;
use crate::provisioning::{COLLECTIVE, COMPONENT, SERVICE};

/// Where nodes that are not enrolled publish registration data.
pub const PROVISIONING_REGISTRATION: &str = "provisioning.registration.data";
/// Events of nodes that are not enrolled, as they publish them.
pub const PROVISIONING_EVENTS: &str = "choria.lifecycle.event.*.provision_mode_server";
/// Events of nodes that are not enrolled, after the provisioner has made sure who sent them.
pub const VETTED_EVENTS: &str = "provisioning.vetted.*";
/// Where [`VETTED_EVENTS`] arrive in the account of members; `$1` stands for the type.
pub const VETTED_EVENTS_TARGET: &str = "choria.lifecycle.event.$1.provision_mode_server";
/// Records of the provisioner's decisions.
pub const PROVISIONING_AUDIT: &str = "overlay.audit.provisioning.>";
/// Events of members that start, by which the provisioner sees that an enrolment worked.
pub const MEMBER_STARTUP: &str = "choria.lifecycle.event.startup.server";
/// Requests to the provisioner's service agent, of any collective.
pub const PROVISIONER_SERVICE: &str = "*.broadcast.service.provisioner";
/// Requests to members as the account of nodes that are not enrolled sees them.
pub const FLEET_PROBES: &str = "fleet.*.node.>";
/// Where [`FLEET_PROBES`] arrive in the account of members; `$1` stands for the collective.
pub const FLEET_PROBES_TARGET: &str = "$1.node.>";

/// Replies of the provisioner's service agent as the account of nodes that are not enrolled sees them.
pub const FLEET_REPLIES: &str = "fleet.*.reply.>";
/// Where [`FLEET_REPLIES`] arrive in the account of members; `$1` stands for the collective.
pub const FLEET_REPLIES_TARGET: &str = "$1.reply.>";

/// Returns where a request to one node that is not enrolled goes.
#[must_use]
pub fn unprovisioned_node(identity: &Identity) -> String {
    format!("{COLLECTIVE}.node.{identity}")
}

/// Returns where a request to all nodes with an agent goes that are not enrolled.
#[must_use]
pub fn unprovisioned_broadcast(agent: &crate::id::AgentName) -> String {
    format!("{COLLECTIVE}.broadcast.agent.{agent}")
}

/// Returns where an event of a node that is not enrolled goes once it is known who sent it, or nothing if the type
/// would break the subject.
#[must_use]
pub fn vetted(type_: &str) -> Option<String> {
    let subject = format!("{COLLECTIVE}.vetted.{type_}");
    (super::is_valid(&subject) && !type_.contains('.')).then_some(subject)
}

/// Returns where replies to one request of one instance of a provisioner go.
///
/// `uid` is [`crate::id::md5_hex`] of the caller id. Nothing if a part would break the subject.
#[must_use]
pub fn reply_of_instance(uid: &str, instance: &str, request_id: &str) -> Option<String> {
    let subject = format!("{COLLECTIVE}.reply.{uid}.{instance}.{request_id}");
    let whole = [uid, instance, request_id]
        .iter()
        .all(|part| !part.contains('.'));
    (whole && super::is_valid(&subject)).then_some(subject)
}

/// Returns the replies to all requests of one instance of a provisioner.
#[must_use]
pub fn replies_of_instance(uid: &str, instance: &str) -> Option<String> {
    let subject = format!("{COLLECTIVE}.reply.{uid}.{instance}");
    let whole = [uid, instance].iter().all(|part| !part.contains('.'));
    (whole && super::is_valid(&subject)).then(|| format!("{subject}.>"))
}

/// Returns where a provisioner asks whether a member of a name is connected.
///
/// The broker answers at once that nobody listens, or the member gets a message that it ignores.
#[must_use]
pub fn fleet_probe(collective: &Collective, identity: &Identity) -> String {
    format!("fleet.{collective}.node.{identity}")
}

/// Returns where the provisioner's service agent answers a request of a member, or nothing if the address that the
/// request names is no reply subject of a collective.
#[must_use]
pub fn fleet_reply(reply: &str) -> Option<String> {
    super::is_reply(reply).then(|| format!("fleet.{reply}"))
}

/// Returns where a record of one kind goes; the name of the node that it concerns, if any, ends the subject.
#[must_use]
pub fn audit(kind: Kind, identity: Option<&Identity>) -> String {
    match identity {
        Some(identity) => format!("overlay.audit.{COLLECTIVE}.{kind}.{identity}"),
        None => format!("overlay.audit.{COLLECTIVE}.{kind}"),
    }
}

/// Returns the subjects of all records about one node.
#[must_use]
pub fn audit_of(identity: &Identity) -> String {
    format!("overlay.audit.{COLLECTIVE}.*.{identity}")
}

/// Returns where the provisioner's own events of one type go, or nothing if the type would break the subject.
#[must_use]
pub fn provisioner_event(type_: &str) -> Option<String> {
    super::lifecycle_event(type_, SERVICE)
}

/// Returns where a node's events of one type go while it is not enrolled, or nothing if the type would break the
/// subject.
#[must_use]
pub fn unprovisioned_event(type_: &str) -> Option<String> {
    super::lifecycle_event(type_, COMPONENT)
}
