//! Puts the parts together: everything that touches a broker is below here.
//!
//! ```text
//! supervisor, one for each worker ── election, pause ──> worker ── source > target
//!        └── readiness `worker:<stream>/<name>`             ^
//! control (operators' requests on the home broker) ─────────┘ questions, trace, status
//! ```

mod advisor;
mod api;
mod bookmark;
mod bucket;
mod connect;
mod control;
mod copier;
mod deadletters;
mod election;
mod gossip;
mod heartbeat;
mod keeper;
mod lifecycle;
mod pause;
mod places;
mod position;
mod questions;
mod reader;
mod sampling;
mod scan;
mod source_time;
mod supervise;
mod target;
mod trace;
mod warm;
mod worker;
mod writer;

use std::sync::Arc;

use anyhow::Context as _;
use overlay_runtime::{Context, err_chain};

use crate::config::Config;
use crate::metrics::Metrics;

use connect::Links;
use control::Control;
use places::Places;
use supervise::{Post, Supervisor, Work};
use worker::Worker;

/// Copies until the shutdown.
///
/// # Errors
///
/// When the metrics fail at the start. Whatever fails later shows in readiness and is tried again.
pub async fn run(config: Config, cx: Context) -> anyhow::Result<()> {
    for notice in &config.notices {
        tracing::warn!("{notice}");
    }
    let metrics = Metrics::register(&cx.registry, &config.name, config.original_metrics)
        .context("register metrics")?;
    let links = Links::new(&cx);
    let places = Places::new(links.clone());
    let mut posts = Vec::new();
    for stream in &config.streams {
        let stream = Arc::new(stream.clone());
        let name = format!("{}/{}", stream.source.stream, stream.name);
        let place = places.of(&stream.source.endpoint, &name);
        let post = Arc::new(Post::new(stream, place, &metrics));
        posts.push(Arc::clone(&post));
        cx.tasks
            .spawn_job("pause", post.pausing.clone().follow(cx.shutdown.clone()));
        let supervisor = Supervisor {
            work: work(&post, &config, &links, &cx),
            part: cx.readiness.part(format!("worker:{name}")),
            metrics: metrics.clone(),
            tasks: cx.tasks.clone(),
            clock: cx.clock.clone(),
            post,
        };
        cx.tasks
            .spawn("worker", supervisor.run(cx.shutdown.clone()));
    }
    if let Some(heartbeats) = config.heartbeats.clone() {
        let beating = heartbeat::beat(
            heartbeats,
            config.name.clone(),
            links.clone(),
            metrics.clone(),
            cx.clock.clone(),
            cx.shutdown.clone(),
        );
        cx.tasks.spawn("heartbeats", async move {
            beating.await;
            Ok(())
        });
    }
    if let Some(control) = &config.control {
        let instance = instance().context("name this process")?;
        let names = (config.name.as_str(), instance.as_str());
        let posts = posts.clone();
        let control = Control::new(control, &cx, links, names, posts, metrics)
            .context("the service agent has no description")?;
        cx.tasks.spawn("control", control.run(cx.shutdown.clone()));
    } else {
        tracing::info!("no home broker is configured: operators' requests are not answered");
    }
    tracing::info!(
        replicator = config.name,
        workers = posts.len(),
        "replicating"
    );
    cx.started.release();
    Ok(())
}

/// What a worker does at each start.
fn work(post: &Arc<Post>, config: &Config, links: &Links, cx: &Context) -> Work {
    let post = Arc::clone(post);
    let (site, state_dir) = (config.name.clone(), config.state_dir.clone());
    let (links, clock, tasks) = (links.clone(), cx.clock.clone(), cx.tasks.clone());
    Box::new(move |start| {
        let worker = Worker {
            config: Arc::clone(&post.config),
            site: site.clone(),
            links: links.clone(),
            clock: clock.clone(),
            metrics: post.metrics.clone(),
            status: post.status.clone(),
            leadership: start.leadership,
            paused: post.pausing.reasons(),
            trace: post.trace.clone(),
            questions: start.questions,
            state_dir: state_dir.clone(),
            tasks: tasks.clone(),
        };
        let work = Box::pin(worker.run(start.shutdown));
        Box::pin(async move { work.await.map_err(|error| err_chain(&error)) })
    })
}

/// A name that no other process has, fit for subjects.
fn instance() -> anyhow::Result<String> {
    let mut random = [0_u8; 6];
    getrandom::fill(&mut random).map_err(|error| anyhow::anyhow!("random bytes: {error}"))?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}
