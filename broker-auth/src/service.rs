//! Answers the broker's callouts: the only part that touches the broker.
//!
//! ```text
//! broker ── $SYS.REQ.USER.AUTH, queue group ──> worker 1..n: read, decide, write ── reply ──> broker
//!                                                   └── refusals ──> teller ──> log, outbox ──> CHORIA_EVENTS
//! ```
//!
//! Each worker is a member of the queue group by its own subscription: the broker spreads requests over the workers of
//! all instances, and as many are worked on at a time as there are workers. A worker never waits for anything but the
//! connection's own queue.

mod answers;
mod probe;
mod publisher;
mod reconciler;
mod streams_user;
mod supervise;
mod teller;

use std::num::NonZeroUsize;
use std::sync::Arc;

use anyhow::Context as _;
use overlay_protocol::subject;
use overlay_runtime::Context;
use overlay_runtime::nats::election;

use crate::codec::Codec;
use crate::config::{Config, Keys, ProvisioningFiles};
use crate::error::StartError;
use crate::metrics::Metrics;
use crate::policy::ProvisioningCompat;

use answers::Answers;
use probe::Probe;
use publisher::{Outbox, Publisher};
use reconciler::{Candidacy, Reconciler};
use streams_user::StreamsUser;
use teller::Telling;

/// Queue group of all workers of all instances.
pub const QUEUE_GROUP: &str = "overlay-broker-auth";

/// Answers callouts until the shutdown.
///
/// # Errors
///
/// When a secret, the callout user's connection or the metrics fail at the start, or when the broker asks nobody about
/// logins. Whatever else fails shows in readiness, and logins are answered all the while.
pub async fn run(config: Config, cx: Context) -> anyhow::Result<()> {
    let keys = Keys::load(&config, &cx.secrets).map_err(StartError::keys)?;
    tracing::info!(
        issuer = keys.account.public(),
        xkey = keys.curve.as_ref().map(|curve| curve.public()),
        organisations = ?config.issuers.names().collect::<Vec<_>>(),
        provisioning = config.provisioning.is_some(),
        "keys read; the broker must be configured with this issuer and xkey"
    );
    if let Some(provisioning) = &config.provisioning {
        tell_of_compat(provisioning);
    }
    let metrics = Metrics::register(&cx.registry).context("register metrics")?;
    let nats = cx.broker()?;

    // The streams' user may take long to connect when the broker is busy with everybody else's logins: until then events
    // wait in the outbox.
    let outbox = streams(&config, &cx, &metrics)?;
    let (teller, telling) =
        Telling::new(config.refusals, outbox, cx.clock.clone(), metrics.clone());
    cx.tasks.spawn(
        "teller",
        supervise::keep(telling, metrics.clone(), cx.shutdown.clone()),
    );
    let probe = Probe::new();
    let answers = Arc::new(Answers::new(
        keys.policy,
        Codec::new(keys.account, keys.curve),
        config.limits.max_age,
        cx.clock.clone(),
        metrics.clone(),
        teller,
        probe.clone(),
    ));
    let workers = workers(config.limits.workers);
    for _ in 0..workers.get() {
        let requests = nats
            .queue_subscribe(subject::AUTH_CALLOUT, QUEUE_GROUP.to_owned())
            .await
            .context("subscribe to callouts")?;
        let work = Arc::clone(&answers).work(requests, nats.clone(), cx.shutdown.clone());
        cx.tasks.spawn("callouts", work);
    }
    let errors = nats
        .subscribe(subject::AUTH_ERRORS)
        .await
        .context("subscribe to the broker's refusals")?;
    cx.tasks.spawn(
        "broker-refusals",
        Arc::clone(&answers).watch_broker(errors, cx.shutdown.clone()),
    );
    nats.flush().await.context("subscribe to callouts")?;
    tracing::info!(workers, "answering callouts");

    if config.callout.self_check {
        let part = cx.readiness.part("self-check");
        probe.run(&config.broker, &part, &cx.shutdown).await?;
    }
    cx.started.release();
    Ok(())
}

/// Starts what needs the streams' user, if there is one.
fn streams(config: &Config, cx: &Context, metrics: &Metrics) -> anyhow::Result<Option<Outbox>> {
    let Some(streams) = &config.streams else {
        return Ok(None);
    };
    let (outbox, publisher) = Publisher::new(config.broker.name.clone(), metrics.clone());
    let reconciler = if streams.manage {
        let candidacy = Candidacy {
            name: candidate(
                &config.broker.name,
                &rustix::system::uname().nodename().to_string_lossy(),
            ),
            metrics: election::Metrics::register(&cx.registry).context("register metrics")?,
            tasks: cx.tasks.clone(),
        };
        Some(Reconciler::new(
            streams.clone(),
            candidacy,
            metrics.clone(),
            &cx.readiness,
        ))
    } else {
        None
    };
    let user = StreamsUser {
        settings: streams.clone(),
        connector: cx.connector.clone(),
        part: cx.readiness.part(format!("broker:{}", streams.broker.name)),
        publisher,
        reconciler,
        metrics: metrics.clone(),
    };
    cx.tasks.spawn("streams", user.run(cx.shutdown.clone()));
    Ok(Some(outbox))
}

/// Names the rules of provisioning that are wider than they must be.
fn tell_of_compat(provisioning: &ProvisioningFiles) {
    let ProvisioningCompat {
        any_reply,
        any_node_name,
        provisioner_unrestricted,
    } = provisioning.compat;
    let switches = [
        ("without_token", provisioning.without_token),
        ("compat.any_reply", any_reply),
        ("compat.any_node_name", any_node_name),
        ("compat.provisioner_unrestricted", provisioner_unrestricted),
    ];
    let on: Vec<_> = switches.iter().filter(|(_, on)| *on).collect();
    if !on.is_empty() {
        let on: Vec<_> = on.iter().map(|(name, _)| *name).collect();
        tracing::warn!(
            on = on.join(", "),
            "rules of [provisioning] are wider than they must be; switch them off once Choria's programs are gone"
        );
    }
}

/// What the key of the election shows of this instance: its name and its host.
fn candidate(name: &str, host: &str) -> String {
    if host.is_empty() || name.contains(host) {
        name.to_owned()
    } else {
        format!("{name}@{host}")
    }
}

fn workers(configured: Option<NonZeroUsize>) -> NonZeroUsize {
    configured
        .or_else(|| std::thread::available_parallelism().ok())
        .unwrap_or(NonZeroUsize::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_candidate_shows_its_host_once() {
        for (name, host, shown) in [
            ("broker-auth", "auth1", "broker-auth@auth1"),
            ("broker-auth-auth1", "auth1", "broker-auth-auth1"),
            ("broker-auth", "", "broker-auth"),
        ] {
            assert_eq!(candidate(name, host), shown);
        }
    }
}
