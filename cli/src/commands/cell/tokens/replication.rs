//! Tokens of replicators: what one may do at its own broker and at its region.

use overlay_protocol::id::md5_hex;
use overlay_protocol::subject::{
    REPLICATOR_SOURCE_SUBSCRIBE, replicator_source_publish, replicator_target_publish,
};
use overlay_tokens::claims::ClientPermissions;
use overlay_tokens::issue::{ClientToken, sign};
use overlay_tokens::{Key, PublicKey};
use time::OffsetDateTime;

use super::{ISSUER, days, unix};
use crate::commands::cell::layout::{CELL_SOURCE_JWT, Layout, PASS_JWT, of_site};
use crate::commands::cell::settings::Settings;

const DAYS: u64 = 365;

/// Caller id of the replicators of `cell`, at its own broker and at its region.
fn caller(cell: &str) -> String {
    format!("replicator={cell}")
}

/// What the replicators of this cell publish at its own broker, to copy `streams`.
pub(in crate::commands::cell) fn source_publish(
    settings: &Settings,
    streams: &[&str],
) -> Vec<String> {
    let cell = settings.site_name();
    let uid = md5_hex(&caller(&cell));
    replicator_source_publish(
        streams.iter().copied(),
        &cell,
        settings.main_collective(),
        &uid,
    )
}

/// What the replicators of `cell` publish at this region.
pub(in crate::commands::cell) fn target_publish(settings: &Settings, cell: &str) -> Vec<String> {
    let streams = settings.replication.sites.get(cell);
    let streams = streams.into_iter().flatten().map(String::as_str);
    replicator_target_publish(cell, streams)
}

/// Token with which the cell's replicators read: exactly the streams that they copy.
pub(in crate::commands::cell) fn replicator_source(
    settings: &Settings,
    streams: &[&str],
    holder: PublicKey,
    issuer: &Key,
    now: OffsetDateTime,
) -> anyhow::Result<String> {
    let token = ClientToken {
        pub_subjects: source_publish(settings, streams),
        sub_subjects: REPLICATOR_SOURCE_SUBSCRIBE.map(str::to_owned).to_vec(),
        ..client(settings, &settings.site_name(), holder)
    };
    Ok(sign(&token.claims(unix(now))?, issuer)?)
}

/// The command that makes the same token elsewhere.
pub(in crate::commands::cell) fn replicator_source_command(
    settings: &Settings,
    layout: &Layout,
    streams: &[&str],
    holder: PublicKey,
) -> String {
    command(
        settings,
        &layout.text(CELL_SOURCE_JWT),
        &settings.site_name(),
        holder,
        &source_publish(settings, streams),
        &REPLICATOR_SOURCE_SUBSCRIBE,
    )
}

/// Token with which the replicators of `cell` write to this region: below their own prefix, and nowhere else.
pub(in crate::commands::cell) fn replicator_target(
    settings: &Settings,
    cell: &str,
    holder: PublicKey,
    issuer: &Key,
    now: OffsetDateTime,
) -> anyhow::Result<String> {
    let token = ClientToken {
        pub_subjects: target_publish(settings, cell),
        ..client(settings, cell, holder)
    };
    Ok(sign(&token.claims(unix(now))?, issuer)?)
}

/// The command that makes the same token elsewhere.
pub(in crate::commands::cell) fn replicator_target_command(
    settings: &Settings,
    layout: &Layout,
    cell: &str,
    holder: PublicKey,
) -> String {
    let path = layout.text(&of_site(cell, PASS_JWT));
    let publish = target_publish(settings, cell);
    command(settings, &path, cell, holder, &publish, &[])
}

/// A client without any permission but its own replies.
fn client(settings: &Settings, cell: &str, holder: PublicKey) -> ClientToken {
    ClientToken {
        public_key: Some(holder),
        ou: settings.organisation.clone(),
        validity: days(DAYS),
        issuer: ISSUER.to_owned(),
        permissions: Some(ClientPermissions::default()),
        ..ClientToken::new(caller(cell))
    }
}

fn command(
    settings: &Settings,
    path: &str,
    cell: &str,
    holder: PublicKey,
    publish: &[String],
    subscribe: &[&str],
) -> String {
    let mut text = format!(
        "overlay jwt client {path} {} ORGANISATION.SEED --public-key {holder} --org {} --validity {DAYS}d \
         --no-fleet-management",
        caller(cell),
        settings.organisation
    );
    for subject in publish {
        text.push_str(&format!(" --publish '{subject}'"));
    }
    for subject in subscribe {
        text.push_str(&format!(" --subscribe '{subject}'"));
    }
    text
}
