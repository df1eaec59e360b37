//! Pieces of the permission lists that broker-auth hands out, as the Choria broker grants them.

use crate::id::{Collective, Identity};

/// Everything.
pub const ALL: &str = ">";

/// What `streams_user` of a client may publish.
pub const STREAMS_USER_PUBLISH: [&str; 20] = [
    "$JS.API.INFO",
    "$JS.API.STREAM.NAMES",
    "$JS.API.STREAM.LIST",
    "$JS.API.STREAM.INFO.*",
    "$JS.API.STREAM.MSG.GET.*",
    "$JS.API.STREAM.MSG.DELETE.*",
    "$JS.API.DIRECT.GET.*",
    "$JS.API.DIRECT.GET.*.>",
    "$JS.API.CONSUMER.CREATE.*",
    "$JS.API.CONSUMER.CREATE.*.>",
    "$JS.API.CONSUMER.DURABLE.CREATE.*.*",
    "$JS.API.CONSUMER.DELETE.*.*",
    "$JS.API.CONSUMER.NAMES.*",
    "$JS.API.CONSUMER.LIST.*",
    "$JS.API.CONSUMER.INFO.*.*",
    "$JS.API.CONSUMER.MSG.NEXT.*.*",
    "$JS.ACK.>",
    "$JS.FC.>",
    "$KV.>",
    "$O.>",
];

/// What `streams_admin` of a client may publish.
pub const STREAMS_ADMIN_PUBLISH: &str = "$JS.>";
/// What `streams_admin` of a client may subscribe to.
pub const STREAMS_ADMIN_SUBSCRIBE: &str = "$JS.EVENT.>";
/// What `events_viewer` of a client may subscribe to.
pub const EVENTS_VIEWER_SUBSCRIBE: [&str; 3] = [
    super::LIFECYCLE_EVENTS,
    super::MACHINE_WATCHERS,
    super::MACHINE_TRANSITION,
];
/// What `election_user` of a client may publish.
pub const ELECTION_USER_PUBLISH: [&str; 2] = [
    super::stream::ELECTION_INFO,
    super::stream::ELECTION_SUBJECTS,
];
/// What `governor` of a client with access to streams may publish.
pub const GOVERNOR_PUBLISH: [&str; 2] = ["*.governor.*", "choria.lifecycle.event.governor.>"];
/// What a client that manages the fleet may publish, self signed or through a signer.
pub const FLEET_PUBLISH: [&str; 4] = [
    "*.broadcast.agent.>",
    "*.broadcast.service.>",
    "*.node.>",
    "choria.federation.*.federation",
];
/// Asks the broker who one is; every client may publish it.
pub const USER_INFO: &str = super::USER_INFO;
/// Acknowledgements and flow control of streams.
pub const JETSTREAM_FLOW: [&str; 2] = ["$JS.ACK.>", "$JS.FC.>"];

/// What every node may publish, whatever its collectives.
pub const SERVER_PUBLISH: [&str; 3] = [
    super::LIFECYCLE,
    super::MACHINE_TRANSITION,
    super::MACHINE_WATCHERS,
];

/// Parts after the API prefix of what a node with `streams` may publish; see [`server_streams_publish`].
const SERVER_STREAMS_API: [&str; 10] = [
    "STREAM.INFO.*",
    "STREAM.MSG.GET.*",
    "STREAM.MSG.DELETE.*",
    "DIRECT.GET.*",
    "DIRECT.GET.*.>",
    "CONSUMER.CREATE.*",
    "CONSUMER.CREATE.*.>",
    "CONSUMER.DURABLE.CREATE.*.*",
    "CONSUMER.INFO.*.*",
    "CONSUMER.MSG.NEXT.*.*",
];

/// What an unprovisioned node may subscribe to.
pub const UNPROVISIONED_SUBSCRIBE: [&str; 5] = [
    "provisioning.node.>",
    "provisioning.broadcast.agent.discovery",
    "provisioning.broadcast.agent.rpcutil",
    "provisioning.broadcast.agent.choria_util",
    "provisioning.broadcast.agent.choria_provision",
];
/// What an unprovisioned node may publish.
pub const UNPROVISIONED_PUBLISH: [&str; 3] = [
    super::LIFECYCLE,
    "provisioning.reply.>",
    "provisioning.registration.>",
];

/// What a connection with a verified certificate but no token may neither publish nor subscribe to.
pub const PUBSUB_DENY: [&str; 6] = [
    "*.broadcast.>",
    "*.node.>",
    "*.reply.>",
    "choria.federation.>",
    super::LIFECYCLE,
    super::stream::MACHINE_SUBJECTS,
];
/// What a connection without a token from an allowed host may not subscribe to.
pub const NO_TOKEN_SUBSCRIBE_DENY: [&str; 3] =
    ["*.reply.>", "choria.federation.>", super::LIFECYCLE];
/// What a connection without a token from an allowed host may not publish.
pub const NO_TOKEN_PUBLISH_DENY: [&str; 4] = FLEET_PUBLISH;

/// Returns the private replies of a caller in every collective.
#[must_use]
pub fn any_collective_reply(uid: &str) -> String {
    format!("*.reply.{uid}.>")
}

/// Returns the private replies of a node in one collective.
#[must_use]
pub fn reply_of(collective: &Collective, uid: &str) -> String {
    format!("{collective}.reply.{uid}.>")
}

/// Returns all replies in one collective, to which its nodes publish.
#[must_use]
pub fn replies(collective: &Collective) -> String {
    format!("{collective}.reply.>")
}

/// Returns the requests to all agents of one collective.
#[must_use]
pub fn broadcast_agents(collective: &Collective) -> String {
    format!("{collective}.broadcast.agent.>")
}

/// Returns the requests to all services of one collective.
#[must_use]
pub fn broadcast_services(collective: &Collective) -> String {
    format!("{collective}.broadcast.service.>")
}

/// Returns the requests to one node.
#[must_use]
pub fn node(collective: &Collective, identity: &Identity) -> String {
    super::node(collective, identity)
}

/// Returns where nodes of one collective publish registration data.
#[must_use]
pub fn registration(collective: &Collective) -> String {
    super::registration(collective)
}

/// Returns where replies go that a federation broker carries on.
#[must_use]
pub fn federation_collective(collective: &Collective) -> String {
    format!("choria.federation.{collective}.collective")
}

/// Returns where a node's submissions go.
#[must_use]
pub fn submissions(collective: &Collective) -> String {
    format!("{collective}.submission.in.>")
}

/// Returns the governors of one collective.
#[must_use]
pub fn governors(collective: &Collective) -> String {
    format!("{collective}.governor.*")
}

/// Returns what streams of an organisation publish again on core subjects.
///
/// `ou` comes from a token: the result may be no valid permission, so check it with
/// [`is_valid_permission`](super::is_valid_permission).
#[must_use]
pub fn republish(ou: &str) -> String {
    format!("{ou}.republish.>")
}

/// Returns what a node with the `streams` permission may publish; organisations other than `choria` reach the streams
/// through an imported prefix.
#[must_use]
pub fn server_streams_publish(ou: &str) -> Vec<String> {
    let prefix = if ou == "choria" {
        super::stream::API_PREFIX
    } else {
        super::stream::IMPORTED_API_PREFIX
    };
    SERVER_STREAMS_API
        .iter()
        .map(|part| format!("{prefix}.{part}"))
        .chain(JETSTREAM_FLOW.map(str::to_owned))
        .collect()
}
