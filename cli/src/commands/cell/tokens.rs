//! The tokens of a cell: what its operator and its nodes may do.

mod replication;

use std::time::Duration;

use overlay_tokens::claims::{ClientPermissions, OverlayExtension, ServerPermissions};
use overlay_tokens::issue::{
    ClientToken, ProvisioningToken, ServerToken, add_org_issuer_data, sign,
};
use overlay_tokens::{Key, PublicKey, SecretText, UnixTime};
use time::OffsetDateTime;

use super::layout::{
    CA_CERT, CLIENT_JWT, LOGIN_JWT, Layout, NODE_JWT, NODE_SECRET, PROVISIONER_JWT,
    PROVISIONING_JWT, SIGNER_JWT, of_node,
};
use super::settings::Settings;
use crate::commands::provision::Fingerprint;

pub(super) use replication::{
    replicator_source, replicator_source_command, replicator_target, replicator_target_command,
    source_publish, target_publish,
};

/// Caller id of the operator whom `init` makes a token for.
pub(super) const OPERATOR: &str = "up=operator";
const OPERATOR_DAYS: u64 = 90;
const NODE_DAYS: u64 = 365;
const PROVISIONER_DAYS: u64 = 365;
const PROVISIONING_DAYS: u64 = 365;
const SIGNER_DAYS: u64 = 365;
const SERVICE_DAYS: u64 = 365;
const ISSUER: &str = "Overlay cell";

fn days(days: u64) -> Duration {
    Duration::from_secs(days * 86_400)
}

pub(super) fn unix(now: OffsetDateTime) -> UnixTime {
    UnixTime {
        secs: now.unix_timestamp(),
        nanos: now.nanosecond(),
    }
}

/// Token of the operator: makes requests, sees events, uses streams, looks into the broker, reads the audit. Not more:
/// administering streams or the whole organisation are tokens of their own.
pub(super) fn operator(
    settings: &Settings,
    holder: PublicKey,
    issuer: &Key,
    now: OffsetDateTime,
) -> anyhow::Result<String> {
    let token = ClientToken {
        public_key: Some(holder),
        ou: settings.organisation.clone(),
        validity: days(OPERATOR_DAYS),
        issuer: ISSUER.to_owned(),
        agents: vec!["*".to_owned()],
        permissions: Some(ClientPermissions {
            fleet_management: true,
            events_viewer: true,
            streams_user: true,
            election_user: true,
            governor: true,
            system_user: true,
            audit_viewer: true,
            ..ClientPermissions::default()
        }),
        ..ClientToken::new(OPERATOR)
    };
    Ok(sign(&token.claims(unix(now))?, issuer)?)
}

/// The command that makes the same token elsewhere.
pub(super) fn operator_command(settings: &Settings, layout: &Layout, holder: PublicKey) -> String {
    format!(
        "overlay jwt client {} {OPERATOR} ORGANISATION.SEED --public-key {holder} --org {} --validity \
         {OPERATOR_DAYS}d --agents '*' --event-viewer --stream-user --elections-user --governor --system \
         --audit-viewer",
        layout.text(CLIENT_JWT),
        settings.organisation
    )
}

/// Caller id of the cell's provisioner.
pub(super) fn provisioner_caller(settings: &Settings) -> String {
    format!("provisioner={}", settings.name)
}

/// Token of the provisioner: it issues the tokens of nodes. It may not make requests to the fleet.
pub(super) fn provisioner(
    settings: &Settings,
    holder: PublicKey,
    issuer: &Key,
    now: OffsetDateTime,
) -> anyhow::Result<String> {
    let token = ClientToken {
        public_key: Some(holder),
        ou: settings.organisation.clone(),
        validity: days(PROVISIONER_DAYS),
        permissions: Some(ClientPermissions {
            provisioner: true,
            ..ClientPermissions::default()
        }),
        ..ClientToken::new(provisioner_caller(settings))
    };
    let mut claims = token.claims(unix(now))?;
    add_org_issuer_data(&mut claims.standard, issuer)?;
    Ok(sign(&claims, issuer)?)
}

/// The command that makes the same token elsewhere.
pub(super) fn provisioner_command(
    settings: &Settings,
    layout: &Layout,
    holder: PublicKey,
) -> String {
    format!(
        "overlay jwt client {} {} ORGANISATION.SEED --public-key {holder} --org {} --validity \
         {PROVISIONER_DAYS}d --server-provisioner --issuer",
        layout.text(PROVISIONER_JWT),
        provisioner_caller(settings),
        settings.organisation
    )
}

/// Token of new nodes: they wait at the cell's broker, whose authority they know by its fingerprint.
pub(super) fn provisioning(
    settings: &Settings,
    secret: SecretText,
    pins: Vec<Fingerprint>,
    issuer: &Key,
    now: OffsetDateTime,
) -> anyhow::Result<String> {
    let mut extensions = serde_json::Map::new();
    extensions.insert("site".to_owned(), settings.name.as_str().into());
    OverlayExtension {
        ca_sha256: pins,
        ..OverlayExtension::default()
    }
    .write(&mut extensions);
    let token = ProvisioningToken {
        token: secret,
        urls: vec![settings.broker_url()],
        by_default: true,
        extensions: Some(extensions),
        ou: settings.organisation.clone(),
        protocol_v2: true,
        validity: days(PROVISIONING_DAYS),
        ..ProvisioningToken::default()
    };
    Ok(sign(&token.claims(unix(now))?, issuer)?)
}

/// The command that makes the same token elsewhere.
pub(super) fn provisioning_command(settings: &Settings, layout: &Layout) -> String {
    format!(
        "overlay provision tokens create {} ORGANISATION.SEED --org {} --urls {} --token-file {} --pin-ca {} \
         --site {} --validity {PROVISIONING_DAYS}d",
        layout.text(PROVISIONING_JWT),
        settings.organisation,
        settings.broker_url(),
        layout.text(NODE_SECRET),
        layout.text(CA_CERT),
        settings.name
    )
}

/// Token of a node: answers requests, submits messages.
pub(super) fn node(
    settings: &Settings,
    identity: &str,
    holder: PublicKey,
    issuer: &Key,
    now: OffsetDateTime,
) -> anyhow::Result<String> {
    let permissions = ServerPermissions {
        submission: true,
        ..ServerPermissions::default()
    };
    server(
        settings,
        identity,
        holder,
        NODE_DAYS,
        permissions,
        issuer,
        now,
    )
}

/// The command that makes the same token elsewhere.
pub(super) fn node_command(
    settings: &Settings,
    layout: &Layout,
    identity: &str,
    holder: PublicKey,
) -> String {
    let path = of_node(identity, NODE_JWT);
    server_command(
        settings,
        layout,
        &path,
        identity,
        holder,
        NODE_DAYS,
        "--submission",
    )
}

/// Token of a service: it answers requests to its agent, and signs what it says. It is no node.
pub(super) fn service(
    settings: &Settings,
    identity: &str,
    holder: PublicKey,
    issuer: &Key,
    now: OffsetDateTime,
) -> anyhow::Result<String> {
    let permissions = ServerPermissions {
        service_host: true,
        ..ServerPermissions::default()
    };
    server(
        settings,
        identity,
        holder,
        SERVICE_DAYS,
        permissions,
        issuer,
        now,
    )
}

/// The command that makes the same token elsewhere, in `path`.
pub(super) fn service_command(
    settings: &Settings,
    layout: &Layout,
    path: &str,
    identity: &str,
    holder: PublicKey,
) -> String {
    server_command(
        settings,
        layout,
        path,
        identity,
        holder,
        SERVICE_DAYS,
        "--service",
    )
}

/// Token of the delegator: nodes take its signature for that of whoever the request names.
pub(super) fn delegator(
    settings: &Settings,
    holder: PublicKey,
    issuer: &Key,
    now: OffsetDateTime,
) -> anyhow::Result<String> {
    let token = ClientToken {
        public_key: Some(holder),
        ou: settings.organisation.clone(),
        validity: days(SIGNER_DAYS),
        issuer: ISSUER.to_owned(),
        permissions: Some(ClientPermissions {
            authentication_delegator: true,
            ..ClientPermissions::default()
        }),
        ..ClientToken::new(delegator_caller(settings))
    };
    Ok(sign(&token.claims(unix(now))?, issuer)?)
}

/// The command that makes the same token elsewhere.
pub(super) fn delegator_command(settings: &Settings, layout: &Layout, holder: PublicKey) -> String {
    format!(
        "overlay jwt client {} {} ORGANISATION.SEED --public-key {holder} --org {} --validity {SIGNER_DAYS}d \
         --auth-delegation --no-fleet-management",
        layout.text(SIGNER_JWT),
        delegator_caller(settings),
        settings.organisation
    )
}

fn delegator_caller(settings: &Settings) -> String {
    format!("signer={}", settings.name)
}

/// Token of the chain issuer, who signs the tokens of people who log in. It may do nothing itself.
pub(super) fn login_issuer(
    settings: &Settings,
    holder: PublicKey,
    issuer: &Key,
    now: OffsetDateTime,
) -> anyhow::Result<String> {
    let token = ClientToken {
        public_key: Some(holder),
        ou: settings.organisation.clone(),
        validity: days(SIGNER_DAYS),
        permissions: Some(ClientPermissions::default()),
        ..ClientToken::new(login_caller(settings))
    };
    let mut claims = token.claims(unix(now))?;
    add_org_issuer_data(&mut claims.standard, issuer)?;
    Ok(sign(&claims, issuer)?)
}

/// The command that makes the same token elsewhere.
pub(super) fn login_issuer_command(
    settings: &Settings,
    layout: &Layout,
    holder: PublicKey,
) -> String {
    format!(
        "overlay jwt client {} {} ORGANISATION.SEED --public-key {holder} --org {} --validity {SIGNER_DAYS}d --issuer",
        layout.text(LOGIN_JWT),
        login_caller(settings),
        settings.organisation
    )
}

fn login_caller(settings: &Settings) -> String {
    format!("login={}", settings.name)
}

fn server(
    settings: &Settings,
    identity: &str,
    holder: PublicKey,
    valid: u64,
    permissions: ServerPermissions,
    issuer: &Key,
    now: OffsetDateTime,
) -> anyhow::Result<String> {
    let token = ServerToken {
        identity: identity.to_owned(),
        collectives: settings.collectives.clone(),
        public_key: Some(holder),
        validity: days(valid),
        ou: settings.organisation.clone(),
        issuer: ISSUER.to_owned(),
        permissions: Some(permissions),
        ..ServerToken::default()
    };
    Ok(sign(&token.claims(unix(now))?, issuer)?)
}

fn server_command(
    settings: &Settings,
    layout: &Layout,
    path: &str,
    identity: &str,
    holder: PublicKey,
    valid: u64,
    permission: &str,
) -> String {
    format!(
        "overlay jwt server {} {identity} {holder} ORGANISATION.SEED --org {} {} --validity {valid}d {permission}",
        layout.text(path),
        settings.organisation,
        collectives(settings)
    )
}

/// The cell's collectives as flags.
fn collectives(settings: &Settings) -> String {
    let flag = |collective: &String| format!("--collectives {collective}");
    let flags: Vec<String> = settings.collectives.iter().map(flag).collect();
    flags.join(" ")
}
