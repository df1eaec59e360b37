//! `bench replicate`: messages a second from one broker to another, near and far, beside the machine's ceiling and, when
//! it is named, the original; sampling; the first message after a start; fail-over; a partition; kills; decisions.

mod brokers;
mod cases;
mod ceiling;
mod copying;
mod failover;
mod judge;
mod keyed;
mod kills;
mod outage;
mod program;
mod rows;
mod sampling;

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Args;

use super::report::{Report, say};

pub(crate) use ceiling::Options as CeilingOptions;
pub(crate) use ceiling::run as ceiling;
use rows::{Figures, Rows};

/// Flags of `bench replicate`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// Messages of a run; half as many of 2 KiB
    #[arg(short = 'n', long, default_value_t = 100_000)]
    messages: u64,
    /// Runs of each row; figures are medians
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Only the cases whose name contains this; may be given again
    #[arg(long, value_name = "PART")]
    only: Vec<String>,
    /// The original's program, measured beside ours in the same run
    #[arg(long, env = "OVERLAY_PEER_REPLICATOR", value_name = "PROGRAM")]
    peer: Option<PathBuf>,
    /// Messages of the original's local runs
    #[arg(long, default_value_t = 20_000)]
    peer_messages: u64,
    /// A ceiling program of another client library, to check ours against: called with
    /// -source, -target, -stream, -prefix, -n and -window
    #[arg(long, env = "OVERLAY_PEER_CEILING", value_name = "PROGRAM")]
    peer_ceiling: Option<PathBuf>,
    /// Seconds of the partition
    #[arg(long, value_name = "S", default_value_t = 60)]
    partition: u64,
    /// Messages that wait when the partition ends
    #[arg(long, default_value_t = 1_000_000)]
    backlog: u64,
}

impl Options {
    fn wants(&self, case: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|part| case.contains(part.as_str()))
    }
}

/// Measures.
///
/// # Errors
///
/// When the brokers can't be started, or when a copy lost, doubled or reordered a message.
pub(crate) fn run(options: &Options) -> Result<Report> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("start a runtime")?;
    let mut report = Report::new("replicate");
    runtime.block_on(async {
        say(&format!(
            "load of the machine at the start: {}",
            program::load()
        ));
        copying::run(options, &mut report).await?;
        keyed::run(options, &mut report).await?;
        sampling::run(options, &mut report).await?;
        failover::first_copy(options, &mut report).await?;
        failover::run(options, &mut report).await?;
        kills::run(options, &mut report).await?;
        outage::run(options, &mut report).await?;
        judge::run(options, &mut report)?;
        ensure!(
            !report.is_empty(),
            "no case has a name that contains {}",
            options.only.join(" or ")
        );
        say(&format!(
            "load of the machine at the end: {}",
            program::load()
        ));
        Ok(report)
    })
}
