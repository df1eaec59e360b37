//! A node that does only what a verified request asks.
//!
//! ```text
//! program: files, token ── mode ──> member, or waits to be enrolled ── provisioning
//! ```
//!
//! What must hold:
//! - Nothing of a request is parsed before its signature holds over the bytes received, by a key
//!   that a trusted issuer stands for.
//! - A node that is no member yet trusts nobody, and does only what serves to make it one, for those who know the secret of
//!   its provisioning token.
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
pub mod effect;
mod enrol;
mod error;
pub mod facts;
mod hostname;
pub mod identity;
pub mod link;
pub mod mode;
pub mod node;
pub mod policy;
mod program;
pub mod provisioning;
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
pub use program::Program;
pub use service::Server;

/// The version the node reports.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Time of the grace period that is kept for the last messages after running actions.
const FLUSH: Duration = Duration::from_secs(3);

/// Runs the node until it is told to stop, or begins it anew.
pub async fn run(program: Program, cx: Context) -> anyhow::Result<()> {
    let image = edge::Image::of_this_process()?;
    let Context {
        shutdown,
        started,
        clock,
        ..
    } = cx;
    let host = enrol::Host {
        clock,
        program: image.program.clone(),
    };
    let node = enrol::run(program, host, shutdown, move || started.release());
    let ending = Box::pin(node).await?;
    match ending {
        effect::Ending::Stop => Ok(()),
        effect::Ending::Restart => {
            tracing::info!(program = %image.program.display(), "beginning anew");
            Err(anyhow::Error::new(image.begin_anew()).context("begin anew"))
        }
    }
}
