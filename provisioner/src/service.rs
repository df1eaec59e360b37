//! Puts the parts together: the one connection, the streams, and the tasks that work over them.
//!
//! ```text
//! streams ── kept in order                     events ──┐
//! mirror  ── records, operators' words ──> driver <── control (operators' requests)
//!                                            └── helper
//! ```

mod control;
mod driver;
mod events;
mod issuer;
mod login;
mod mirror;
mod node;
mod places;
mod streams;
mod timers;
mod wire;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_nats::Client;
use overlay_protocol::lifecycle::{Event, EventKind};
use overlay_protocol::provisioning::{PROVISIONER_COMPONENT, SERVICE, control as words};
use overlay_protocol::subject;
use overlay_runtime::nats::election::{self, Caution, Leadership};
use overlay_runtime::{CancellationToken, Context, FileConfig as _, nats};
use tokio::sync::{mpsc, watch};

use crate::config::{Config, Keys};
use crate::error::StartError;
use crate::helper::Helper;
use crate::metrics::Metrics;
use crate::policy::Policy;
use crate::store::Store;

use control::Control;
use driver::{Driver, Parts, Sources};
use events::Events;
use issuer::Issuer;
use login::Credentials;
use mirror::Mirror;
use streams::Keeper;
use wire::Speaker;

pub use login::CredentialsError;

/// Messages that one subscription holds: as many nodes as a cell has may answer a scan at once.
const SUBSCRIPTION: usize = 65_536;
/// Announcements that wait for the driver; further ones wait in their stream.
const FOUND: usize = 1024;
/// Requests of operators about nodes that wait for the driver.
const ORDERS: usize = 256;
/// Workers for each processor, unless set.
const WORKERS: usize = 64;
/// What the stop needs of the grace period after the driver.
const AFTER_DRIVER: Duration = Duration::from_secs(3);
/// How often a candidate tries: a leader that stops hands over within that.
const CANDIDATE_INTERVAL: Duration = Duration::from_millis(500);
/// How long the broker may take until it knows a subscription.
const SETTLE: Duration = Duration::from_secs(10);

/// Enrols nodes until the shutdown.
///
/// # Errors
///
/// When a secret, the connection, the helper or the metrics fail at the start. Whatever fails later shows in readiness and
/// is tried again.
pub async fn run(config: Config, cx: Context) -> anyhow::Result<()> {
    for notice in &config.notices {
        tracing::warn!("{notice}");
    }
    let keys = Keys::load(&config, &cx.secrets).map_err(StartError::keys)?;
    let instance = new_instance().context("name this instance")?;
    let policy = Arc::new(Policy {
        instance: instance.clone(),
        ..keys.policy
    });
    let site = config
        .original_metrics
        .then(|| config.site.clone().unwrap_or_default());
    let metrics = Metrics::register(&cx.registry, site.as_deref()).context("register metrics")?;
    let credentials = Credentials::new(&config, keys.password, &cx.secrets, &cx.clock)?;
    let credentials = Arc::new(credentials);
    let settings = nats::Settings {
        subscription_capacity: config.broker.subscription_capacity.max(SUBSCRIPTION),
        ..config.broker.clone()
    };
    let client = cx
        .connector
        .connect_with(&settings, || credentials.options())
        .await?;
    let jetstream = async_nats::jetstream::new(client.clone());

    let keeper = Keeper {
        jetstream: jetstream.clone(),
        streams: config.streams,
        metrics: metrics.clone(),
        part: cx.readiness.part("streams"),
    };
    keeper.make(&cx.shutdown).await;
    cx.tasks.spawn("streams", keeper.keep(cx.shutdown.clone()));

    let (mirror, changes) = Mirror::new(&instance);
    let mirror = Arc::new(mirror);
    for store in [Store::Nodes, Store::Control] {
        let (mirror, jetstream) = (Arc::clone(&mirror), jetstream.clone());
        let shutdown = cx.shutdown.clone();
        cx.tasks.spawn("mirror", async move {
            mirror.follow(store, jetstream, shutdown).await
        });
    }
    tokio::select! {
        biased;
        () = cx.shutdown.cancelled() => return Ok(()),
        () = mirror.loaded() => {}
    }

    // The helper outlasts the stop's beginning: what is under way may still need it.
    let helper_stop = CancellationToken::new();
    let helper = match &config.helper {
        Some(settings) => {
            let part = cx.readiness.part("helper");
            let helper = Helper::start(settings, &cx.tasks, &helper_stop, &cx.secrets, part)?;
            Some(Arc::new(helper))
        }
        None => {
            tracing::warn!("no helper is configured: no node can be enrolled");
            None
        }
    };

    let holder = credentials.holder();
    let speaker = Speaker::new(
        config.identity.as_str(),
        &instance,
        holder.unique_id(),
        config.limits.reply_bytes,
    );
    let inbox = client.new_inbox();
    let (found_sender, found) = mpsc::channel(FOUND);
    let (orders_sender, orders) = mpsc::channel(ORDERS);
    let sources = Sources {
        replies: subscribe(
            &client,
            speaker.replies().context("name the reply subject")?,
        )
        .await?,
        answers: subscribe(&client, format!("{inbox}.>")).await?,
        members: subscribe(&client, subject::MEMBER_STARTUP.to_owned()).await?,
        found,
        changes,
        orders,
        pause: mirror.pause(),
    };
    // An answer of the broker to what was sent last: it knows the subscriptions. Its own inbox it may not publish to.
    if let Err(error) = nats::request(&client, subject::USER_INFO, "", SETTLE).await {
        tracing::warn!(%error, "subscriptions may not be known yet");
    }

    let active = watch::Sender::new(false);
    let events = Events {
        jetstream: jetstream.clone(),
        component: config.component.clone(),
        metrics: metrics.clone(),
        active: active.subscribe(),
        found: found_sender,
    };
    cx.tasks.spawn("events", events.run(cx.shutdown.clone()));

    let control = Control::new(
        &config,
        &cx,
        (client.clone(), jetstream.clone()),
        Arc::clone(&credentials),
        (Arc::clone(&mirror), Arc::clone(&policy)),
        metrics.clone(),
        orders_sender,
    )?;
    let requests = client
        .queue_subscribe(subject::PROVISIONER_SERVICE, SERVICE.to_owned())
        .await
        .context("subscribe to operators' requests")?;
    cx.tasks
        .spawn("control", control.run(requests, cx.shutdown.clone()));

    let status = words::InstanceStatus {
        id: instance.clone(),
        identity: config.identity.to_string(),
        site: config.site.clone().unwrap_or_default(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started: overlay_tokens::UnixTime::from(cx.clock.now()).secs,
        mode: words::InstanceMode::Standby,
        ..words::InstanceStatus::default()
    };
    let workers = workers(config.limits.workers);
    let (leadership, released) = leadership(&config, &client, &cx)?.unzip();
    let parts = Parts {
        client: client.clone(),
        credentials,
        speaker,
        issuer: Issuer::new(
            &config.issuer_token_file,
            &config.issuer_seed_file,
            &cx.secrets,
            policy.issuers.clone(),
        ),
        policy,
        helper,
        mirror,
        clock: cx.clock.clone(),
        tasks: cx.tasks.clone(),
        metrics,
        leadership,
        status,
        active,
    };
    tell_start(&parts).await;
    let driver = Driver::new(parts, &config, inbox, workers);
    let grace = config.runtime().grace.saturating_sub(AFTER_DRIVER);
    let shutdown = cx.shutdown.clone();
    cx.tasks.spawn("driver", async move {
        // However the driver ends, its helpers do.
        let _helpers = helper_stop.drop_guard();
        let outcome = driver.run(sources, shutdown, grace).await;
        // The leader's key is given back over the same connection, once the driver holds the leadership no more.
        if let Some(released) = released {
            let released = released.cancelled();
            if tokio::time::timeout(AFTER_DRIVER / 3, released)
                .await
                .is_err()
            {
                tracing::warn!("the stop does not wait for the release of the leadership");
            }
        }
        nats::drain(&client, AFTER_DRIVER / 3).await;
        outcome
    });
    tracing::info!(
        instance,
        workers,
        interval = ?config.scan.interval,
        leader = config.leader.enabled,
        "enrolling nodes"
    );
    cx.started.release();
    Ok(())
}

async fn subscribe(client: &Client, subject: String) -> anyhow::Result<async_nats::Subscriber> {
    let what = subject.clone();
    client
        .subscribe(subject)
        .await
        .with_context(|| format!("subscribe to {what}"))
}

/// Takes part in the original's election when one instance shall lead; the token is cancelled when that is over.
fn leadership(
    config: &Config,
    client: &Client,
    cx: &Context,
) -> anyhow::Result<Option<(Leadership, CancellationToken)>> {
    if !config.leader.enabled {
        return Ok(None);
    }
    let metrics = election::Metrics::register(&cx.registry).context("register metrics")?;
    // The fence keeps two that lead for a moment apart.
    let settings = election::Settings {
        api_prefix: Some(subject::stream::IMPORTED_API_PREFIX.to_owned()),
        caution: Caution::None,
        candidate_interval: Some(CANDIDATE_INTERVAL),
        ..election::Settings::new(PROVISIONER_COMPONENT, config.identity.as_str())
    };
    let (leadership, candidacy) = election::candidate(client.clone(), settings, metrics);
    let released = CancellationToken::new();
    let (over, shutdown) = (released.clone().drop_guard(), cx.shutdown.clone());
    cx.tasks.spawn("election", async move {
        let _over = over;
        candidacy.run(shutdown).await;
        Ok(())
    });
    Ok(Some((leadership, released)))
}

async fn tell_start(parts: &Parts) {
    let version = parts.status.version.clone();
    let event = Event::new(
        format!("{}-{}", parts.status.id, parts.status.started),
        parts.status.identity.clone(),
        PROVISIONER_COMPONENT,
        parts.status.started,
        EventKind::Startup { version },
    );
    let Some(subject) = subject::provisioner_event(event.kind.type_name()) else {
        return;
    };
    let payload = event.to_cloudevent_json().into();
    if let Err(error) = parts.client.publish(subject, payload).await {
        tracing::debug!(%error, "the start was not told");
    }
}

fn workers(configured: Option<NonZeroUsize>) -> NonZeroUsize {
    configured.unwrap_or_else(|| {
        let processors = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        processors.saturating_mul(NonZeroUsize::new(WORKERS).unwrap_or(NonZeroUsize::MIN))
    })
}

/// A name that no other process has, fit for subjects.
fn new_instance() -> anyhow::Result<String> {
    let mut random = [0_u8; 6];
    getrandom::fill(&mut random).map_err(|error| anyhow::anyhow!("random bytes: {error}"))?;
    Ok(hex::encode(random))
}
