//! Who leads: the votes in the election bucket.

use std::time::Duration;

use anyhow::{Context, anyhow};
use async_nats::ConnectOptions;
use async_nats::jetstream;
use futures_util::TryStreamExt;
use serde::Serialize;
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::commands::cell::layout::{CA_CERT, Layout, STREAMS_KEY};
use crate::commands::cell::settings::Settings;

const BUCKET: &str = "KV_CHORIA_LEADER_ELECTION";
const PREFIX: &str = "$KV.CHORIA_LEADER_ELECTION.";
const LIMIT: Duration = Duration::from_secs(5);

/// An election that somebody leads now.
#[derive(Debug, Serialize)]
pub(super) struct Election {
    pub(super) name: String,
    pub(super) leader: String,
}

/// Asks as the login service's own static user, so that it works when nobody else can log in.
pub(super) async fn ask(settings: &Settings, layout: &Layout) -> anyhow::Result<Vec<Election>> {
    timeout(LIMIT, read(settings, layout))
        .await
        .map_err(|_elapsed| anyhow!("no answer within {} s", LIMIT.as_secs()))
        .flatten()
}

async fn read(settings: &Settings, layout: &Layout) -> anyhow::Result<Vec<Election>> {
    let path = layout.path(STREAMS_KEY);
    let seed = Zeroizing::new(
        std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}", path.display()))?,
    );
    let client = ConnectOptions::with_nkey(seed.trim().to_owned())
        .name("overlay cell status")
        .add_root_certificates(layout.path(CA_CERT))
        .require_tls(true)
        .connect(settings.local_url())
        .await
        .context("cannot connect to the broker")?;
    let context = jetstream::new(client);
    let stream = context
        .get_stream(BUCKET)
        .await
        .context("there is no election bucket")?;
    let subjects: Vec<(String, usize)> = stream
        .info_with_subjects(format!("{PREFIX}>"))
        .await?
        .try_collect()
        .await?;
    let mut elections = Vec::new();
    for (subject, _) in subjects {
        // A vote may have run out since it was listed.
        let Ok(vote) = stream.direct_get_last_for_subject(&subject).await else {
            continue;
        };
        let leader = String::from_utf8_lossy(&vote.payload).into_owned();
        if !leader.is_empty() {
            elections.push(Election {
                name: subject.trim_start_matches(PREFIX).to_owned(),
                leader,
            });
        }
    }
    elections.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(elections)
}
