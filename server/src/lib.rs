//! A node that does only what a verified request asks.
//!
//! What must hold:
//! - Nothing of a request is parsed before its signature holds over the bytes received, by a key
//!   that a trusted issuer stands for.
//! - A refused message is counted and logged, and never answered; no message ends the process.
//! - Every RPC request that reaches an agent is answered once, also when the action fails, runs out
//!   of time or has too much to say.
//! - Everything is bounded: message size, life of a request, queue, workers, time of an action.
//! - The node works on through the loss of any broker, and a renewed token or facts file needs no
//!   restart.
//! - At the end nothing new is taken, and what runs is finished within the grace period.
//!
//! ```text
//! service (broker) ── bytes ──> authorise ──> dispatch ──> agent ──> reply ── bytes ──> service
//!                                  │ replay      │ policy, audit       Node: facts, classes, counts
//! ```
//!
//! Only `service` knows the broker; every rule can be tested without it.

pub mod agent;
pub mod agents;
pub mod audit;
pub mod authorise;
pub mod compat;
pub mod config;
pub mod dispatch;
mod edge;
mod error;
pub mod facts;
pub mod identity;
pub mod link;
pub mod node;
pub mod policy;
pub mod replay;
pub mod reply;
pub mod resolve;
mod service;
pub mod stats;
pub mod status;

use std::time::Duration;

use overlay_runtime::Context;

pub use config::Config;
pub use error::{RunError, StartError};
pub use service::Server;

/// The version the node reports.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Time of the grace period that is kept for the last messages after running actions.
const FLUSH: Duration = Duration::from_secs(3);

/// Runs the node until it is told to stop.
pub async fn run(mut config: Config, cx: Context) -> anyhow::Result<()> {
    let Context {
        shutdown,
        started,
        clock,
        ..
    } = cx;
    edge::complete(&mut config);
    let grace = config
        .grace()
        .saturating_sub(FLUSH)
        .max(Duration::from_secs(1));
    Server::new(config, clock)
        .with_grace(grace)
        .run(shutdown, move || started.release())
        .await?;
    Ok(())
}
