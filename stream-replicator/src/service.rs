//! Puts the parts together: everything that touches a broker is below here.
//!
//! ```text
//! supervisor, one for each worker ── election, pause ──> worker ── source > target
//!        └── readiness `worker:<stream>/<name>`             ^
//! control (operators' requests on the home broker) ─────────┘ questions, trace, status
//! ```

mod bucket;
mod connect;
mod election;
mod pause;
mod places;
mod questions;
mod supervise;
mod trace;

use std::sync::Arc;

use anyhow::Context as _;
use overlay_runtime::Context;

use crate::config::Config;
use crate::metrics::Metrics;

use connect::Links;
use places::Places;
use supervise::{Post, Supervisor, Work};

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
    tracing::info!(
        replicator = config.name,
        workers = posts.len(),
        "replicating"
    );
    cx.started.release();
    Ok(())
}

/// What a worker does at each start.
fn work(post: &Arc<Post>, _config: &Config, _links: &Links, _cx: &Context) -> Work {
    let post = Arc::clone(post);
    Box::new(move |start| {
        let post = Arc::clone(&post);
        Box::pin(async move {
            let _not_yet = (&post.trace, start.questions, start.leadership);
            start.shutdown.cancelled().await;
            Ok(())
        })
    })
}
