//! Where we differ from the recorded broker on purpose, as predicates over the data; each is a line of
//! `docs/conformance/broker-auth.md`.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use overlay_broker_auth::{ProvisioningCompat, Role};
use overlay_protocol::id::{Collective, Identity};
use overlay_tokens::Key;
use serde_json::Value;

/// What a program of Choria's may need wider than we grant unless told: with these, recorded lists are to be met.
pub(crate) const AS_RECORDED: ProvisioningCompat = ProvisioningCompat {
    any_reply: true,
    any_node_name: true,
    provisioner_unrestricted: true,
};

/// What an unprovisioned node publishes, where all of `choria.lifecycle.>` and `provisioning.registration.>` was granted.
const OF_UNPROVISIONED: [&str; 6] = [
    "choria.lifecycle.event.startup.provision_mode_server",
    "choria.lifecycle.event.alive.provision_mode_server",
    "choria.lifecycle.event.provisioned.provision_mode_server",
    "choria.lifecycle.event.upgraded.provision_mode_server",
    "choria.lifecycle.event.shutdown.provision_mode_server",
    "provisioning.registration.data",
];

/// What a case presents, as far as the rules look at it.
pub(crate) struct Presented<'a> {
    pub(crate) listener: &'a str,
    pub(crate) token: &'a str,
    pub(crate) user: &'a str,
    pub(crate) signing_seed: Option<&'a str>,
    pub(crate) client_sees: &'a Value,
}

/// What a rule makes of a case.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// We refuse what was allowed.
    Refused,
    /// The limit is the broker's own, and ours is configured higher: we allow what was refused.
    Allowed,
}

/// The rule that applies to a case, if one does.
pub(crate) fn of(case: &Presented<'_>) -> Option<Verdict> {
    let claims = claims(case.token).unwrap_or_default();
    if case.listener == "leaf"
        || has_time_as_text(&claims)
        || is_wild_node(&claims)
        || is_unproved_provisioner(case, &claims)
        || is_foreign_provisioner(case, &claims)
    {
        return Some(Verdict::Refused);
    }
    is_long_connect(case).then_some(Verdict::Allowed)
}

/// Whether an unprovisioned node may not publish a subject that was allowed: events but its own, other registration.
pub(crate) fn is_tale(role: Role, subject: &str) -> bool {
    role == Role::Unprovisioned
        && (subject.starts_with("choria.lifecycle.")
            || subject.starts_with("provisioning.registration."))
        && !OF_UNPROVISIONED.contains(&subject)
}

/// Whether an unprovisioned node that is called `name` is refused something of others that was allowed.
pub(crate) fn is_anothers(name: &str, publish: bool, subject: &str) -> bool {
    if publish {
        subject.starts_with("provisioning.reply.")
    } else {
        let node = subject.strip_prefix("provisioning.node.");
        node.is_some_and(|node| node != name)
    }
}

/// Whether a provisioner is refused a subject that was allowed, as everything was: all at once, the fleet's, other
/// elections, what belongs to nobody.
pub(crate) fn is_none_of_the_provisioners(publish: bool, subject: &str) -> bool {
    let own: &[&str] = if publish {
        &[
            "provisioning.node.",
            "provisioning.broadcast.agent.",
            "provisioning.vetted.",
            "choria.lifecycle.event.",
            "choria.streams.",
            "$KV.CHORIA_LEADER_ELECTION.provisioner",
            "$KV.PROVISIONING_",
            "$JS.",
            "$SYS.REQ.USER.INFO",
            "overlay.audit.provisioning.",
            "fleet.",
        ]
    } else {
        &[
            "provisioning.reply.",
            "choria.lifecycle.event.",
            "provisioning.registration.",
            "_INBOX.",
            "*.broadcast.service.provisioner",
        ]
    };
    !own.iter().any(|own| subject.starts_with(own))
}

/// Whether the provisioner is answered where the recorded broker had nobody to answer: who leads its election.
pub(crate) fn is_answered_here(subject: &str) -> bool {
    subject
        == "choria.streams.DIRECT.GET.KV_CHORIA_LEADER_ELECTION.$KV.CHORIA_LEADER_ELECTION.provisioner"
}

/// A list of an unprovisioned node without what [`is_tale`] takes from it.
pub(crate) fn without_tales<'a>(role: Role, list: &BTreeSet<&'a str>) -> BTreeSet<&'a str> {
    if !list.iter().any(|subject| is_tale(role, subject)) {
        return list.clone();
    }
    let kept = list
        .iter()
        .copied()
        .filter(|subject| !is_tale(role, subject));
    kept.chain(OF_UNPROVISIONED).collect()
}

/// The claims of a token, unproved.
pub(crate) fn claims(token: &str) -> Option<Value> {
    let claims = token.split('.').nth(1)?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()
}

/// A time claim is a text: not a number, so not a time.
pub(crate) fn has_time_as_text(claims: &Value) -> bool {
    ["exp", "nbf", "iat", "issexp"]
        .iter()
        .any(|claim| claims[claim].is_string())
}

/// A node's identity or collective would reach into others' subjects.
pub(crate) fn is_wild_node(claims: &Value) -> bool {
    let collectives = claims["collectives"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    claims["purpose"] == "choria_server"
        && (claims["identity"]
            .as_str()
            .is_some_and(|identity| Identity::new(identity).is_err())
            || collectives
                .iter()
                .filter_map(Value::as_str)
                .any(|name| Collective::new(name).is_err()))
}

/// A provisioner presents a token whose key did not sign the nonce.
fn is_unproved_provisioner(case: &Presented<'_>, claims: &Value) -> bool {
    let signer = case
        .signing_seed
        .and_then(|seed| Key::from_seed_text(seed.as_bytes()).ok())
        .map(|key| key.public().to_string());
    case.user == "provisioner"
        && !case.token.is_empty()
        && signer.as_deref() != claims["public_key"].as_str()
}

/// A provisioner's token is of another organisation than the cell.
fn is_foreign_provisioner(case: &Presented<'_>, claims: &Value) -> bool {
    case.user == "provisioner"
        && !case.token.is_empty()
        && claims["ou"] != super::broker::ORGANISATION
}

/// The original's listener cut the connection off for the length of its CONNECT.
fn is_long_connect(case: &Presented<'_>) -> bool {
    case.client_sees
        .to_string()
        .to_ascii_lowercase()
        .contains("maximum control line")
}
