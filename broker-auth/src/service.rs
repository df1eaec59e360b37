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
mod teller;

use std::num::NonZeroUsize;
use std::sync::Arc;

use anyhow::Context as _;
use async_nats::jetstream;
use overlay_protocol::subject;
use overlay_runtime::Context;
use overlay_runtime::nats::election;

use crate::codec::Codec;
use crate::config::{Config, Keys};
use crate::error::StartError;
use crate::metrics::Metrics;

use answers::Answers;
use probe::Probe;
use publisher::Publisher;
use reconciler::{Candidacy, Reconciler};
use teller::Telling;

/// Queue group of all workers of all instances.
pub const QUEUE_GROUP: &str = "overlay-broker-auth";

/// Answers callouts until the shutdown.
///
/// # Errors
///
/// When a secret, the broker or the metrics fail at the start.
pub async fn run(config: Config, cx: Context) -> anyhow::Result<()> {
    let keys = Keys::load(&config, &cx.secrets).map_err(StartError::keys)?;
    tracing::info!(
        issuer = keys.account.public(),
        xkey = keys.curve.as_ref().map(|curve| curve.public()),
        organisations = ?config.issuers.names().collect::<Vec<_>>(),
        provisioning = config.provisioning.is_some(),
        "keys read; the broker must be configured with this issuer and xkey"
    );
    let metrics = Metrics::register(&cx.registry).context("register metrics")?;
    let nats = cx.broker()?;

    let (teller, telling) = Telling::new(config.refusals, cx.clock.clone(), metrics.clone());
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

    // Logins go on while the streams' connection is waited for: the streams' user is none of them, but the broker may be
    // busy with all the others.
    let outbox = match &config.streams {
        None => None,
        Some(streams) => {
            let client = cx
                .connector
                .connect(&streams.broker)
                .await
                .context("connect as the streams' user")?;
            let context = jetstream::new(client.clone());
            let name = config.broker.name.clone();
            let (outbox, publisher) = Publisher::new(context, name, metrics.clone());
            cx.tasks
                .spawn("publisher", publisher.run(cx.shutdown.clone()));
            if streams.manage {
                let candidacy = Candidacy {
                    name: config.broker.name.clone(),
                    metrics: election::Metrics::register(&cx.registry)
                        .context("register metrics")?,
                    tasks: cx.tasks.clone(),
                };
                let reconciler =
                    Reconciler::new(streams.clone(), client, metrics.clone(), &cx.readiness);
                cx.tasks
                    .spawn("streams", reconciler.run(candidacy, cx.shutdown.clone()));
            }
            Some(outbox)
        }
    };
    cx.tasks
        .spawn("teller", telling.run(outbox, cx.shutdown.clone()));

    if config.callout.self_check {
        probe.run(&config.broker, &cx.shutdown).await?;
    }
    cx.started.release();
    Ok(())
}

fn workers(configured: Option<NonZeroUsize>) -> NonZeroUsize {
    configured
        .or_else(|| std::thread::available_parallelism().ok())
        .unwrap_or(NonZeroUsize::MIN)
}
