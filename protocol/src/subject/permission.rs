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
/// What `audit_viewer` of a client may publish: the stream API of the audit, and nothing that changes it.
pub const AUDIT_VIEWER_PUBLISH: [&str; 3] = super::stream::IMPORT_AUDIT_API;
/// What `audit_viewer` of a client may subscribe to: records as they are made.
pub const AUDIT_VIEWER_SUBSCRIBE: [&str; 1] = [super::AUDIT_AAA];
/// What somebody who logs in may publish.
pub const LOGIN_PUBLISH: [&str; 1] = [super::LOGIN];
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

/// What an unprovisioned node may subscribe to in the original: the requests to all of them.
pub const UNPROVISIONED_SUBSCRIBE: [&str; 5] = [
    "provisioning.node.>",
    "provisioning.broadcast.agent.discovery",
    "provisioning.broadcast.agent.rpcutil",
    "provisioning.broadcast.agent.choria_util",
    "provisioning.broadcast.agent.choria_provision",
];
/// What an unprovisioned node may publish in the original: replies to anybody, and events as whoever it likes.
pub const UNPROVISIONED_PUBLISH: [&str; 3] = [
    super::LIFECYCLE,
    "provisioning.reply.>",
    "provisioning.registration.>",
];

/// Requests to any unprovisioned node, for nodes that connect under another name than their own.
pub const UNPROVISIONED_ANY_NODE: &str = "provisioning.node.>";
/// Replies to any provisioner, for provisioners that send no reply subject of the broker.
pub const UNPROVISIONED_ANY_REPLY: &str = "provisioning.reply.>";
/// What every unprovisioned node may subscribe to, beside the requests to itself.
pub const UNPROVISIONED_BROADCASTS: [&str; 4] = [
    "provisioning.broadcast.agent.discovery",
    "provisioning.broadcast.agent.rpcutil",
    "provisioning.broadcast.agent.choria_util",
    "provisioning.broadcast.agent.choria_provision",
];
/// What an unprovisioned node may publish, beside the replies to what it was asked.
pub const UNPROVISIONED_EVENTS: [&str; 6] = [
    "choria.lifecycle.event.startup.provision_mode_server",
    "choria.lifecycle.event.alive.provision_mode_server",
    "choria.lifecycle.event.provisioned.provision_mode_server",
    "choria.lifecycle.event.upgraded.provision_mode_server",
    "choria.lifecycle.event.shutdown.provision_mode_server",
    super::PROVISIONING_REGISTRATION,
];

/// What a provisioner may subscribe to.
pub const PROVISIONER_SUBSCRIBE: [&str; 6] = [
    "provisioning.reply.>",
    super::PROVISIONING_EVENTS,
    "provisioning.registration.>",
    "_INBOX.>",
    super::PROVISIONER_SERVICE,
    super::MEMBER_STARTUP,
];
/// What a provisioner may publish, beside the requests about its own streams; see [`provisioner_publish`].
pub const PROVISIONER_PUBLISH: [&str; 14] = [
    "provisioning.node.>",
    "provisioning.broadcast.agent.>",
    super::VETTED_EVENTS,
    "choria.lifecycle.event.*.provisioner",
    super::stream::IMPORT_ELECTION_INFO,
    super::stream::IMPORT_PROVISIONER_ELECTION,
    "choria.streams.DIRECT.GET.KV_CHORIA_LEADER_ELECTION.$KV.CHORIA_LEADER_ELECTION.provisioner",
    super::stream::EXPORT_PROVISIONER_ELECTION,
    super::FLEET_PROBES,
    super::FLEET_REPLIES,
    super::PROVISIONING_AUDIT,
    "$JS.API.INFO",
    super::USER_INFO,
    super::LISTENERS,
];
/// Streams that a provisioner makes and keeps, those of its buckets included.
pub const PROVISIONER_STREAMS: [&str; 6] = [
    super::stream::PROVISIONING_EVENTS,
    super::stream::PROVISIONING_AUDIT,
    "KV_PROVISIONING_CLAIMS",
    "KV_PROVISIONING_NODES",
    "KV_PROVISIONING_CONTROL",
    "KV_PROVISIONING_TOKENS",
];
/// Buckets that a provisioner writes.
pub const PROVISIONER_BUCKETS: [&str; 4] = [
    super::stream::PROVISIONING_CLAIMS_BUCKET,
    super::stream::PROVISIONING_NODES_BUCKET,
    super::stream::PROVISIONING_CONTROL_BUCKET,
    super::stream::PROVISIONING_TOKENS_BUCKET,
];
/// What a provisioner may ask about each of its streams; `@` stands for the name. Neither to delete nor to empty one.
const PROVISIONER_STREAM_API: [&str; 13] = [
    "$JS.API.STREAM.INFO.@",
    "$JS.API.STREAM.CREATE.@",
    "$JS.API.STREAM.UPDATE.@",
    "$JS.API.STREAM.MSG.GET.@",
    "$JS.API.DIRECT.GET.@",
    "$JS.API.DIRECT.GET.@.>",
    "$JS.API.CONSUMER.CREATE.@",
    "$JS.API.CONSUMER.CREATE.@.>",
    "$JS.API.CONSUMER.DURABLE.CREATE.@.*",
    "$JS.API.CONSUMER.INFO.@.*",
    "$JS.API.CONSUMER.MSG.NEXT.@.*",
    "$JS.API.CONSUMER.DELETE.@.*",
    "$JS.FC.@.>",
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

/// Returns what somebody who logs in may subscribe to, by the public key that the session is bound to.
#[must_use]
pub fn login_subscribe(public_key: &[u8; 32]) -> String {
    format!("{}.>", super::login_reply_prefix(public_key))
}

/// Returns what an unprovisioned node may subscribe to: requests to itself and to all.
#[must_use]
pub fn unprovisioned_subscribe(identity: &Identity) -> Vec<String> {
    std::iter::once(super::unprovisioned_node(identity))
        .chain(UNPROVISIONED_BROADCASTS.map(str::to_owned))
        .collect()
}

/// Returns what a provisioner may publish.
#[must_use]
pub fn provisioner_publish() -> Vec<String> {
    let streams = PROVISIONER_STREAMS.iter().flat_map(|stream| {
        PROVISIONER_STREAM_API
            .iter()
            .map(|request| request.replace('@', stream))
    });
    PROVISIONER_PUBLISH
        .map(str::to_owned)
        .into_iter()
        .chain(streams)
        .chain(PROVISIONER_BUCKETS.map(|bucket| format!("$KV.{bucket}.>")))
        .chain([format!("$JS.ACK.{}.>", super::stream::PROVISIONING_EVENTS)])
        .collect()
}
