//! `bench provision`: how many nodes a minute a cell enrols, who spends how much processor time on one, and how long the
//! hand-over from one provisioner to another takes.

mod handover;
mod measure;
mod world;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};

use super::report::{Report, at, median, say};
use measure::Run;

/// Name, value and unit of what is shown of a run.
type Figure = (&'static str, fn(&Run) -> f64, &'static str);

/// Flags of `bench provision`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// Emulated nodes
    #[arg(short = 'n', long, default_value_t = 1000)]
    nodes: usize,
    /// How the helper is asked
    #[arg(long, value_enum, default_value_t = HelperMode::Persistent)]
    helper: HelperMode,
    /// Milliseconds that the helper takes for each node
    #[arg(long, value_name = "MS", default_value_t = 0)]
    helper_delay: u64,
    /// Helpers at once; the provisioner's default when absent
    #[arg(long, value_name = "N")]
    helpers: Option<usize>,
    /// Percent of the nodes that announce themselves and never answer
    #[arg(long, default_value_t = 0.0)]
    dead: f64,
    /// The nodes publish no event: a scan must find them
    #[arg(long)]
    scan_only: bool,
    /// Each node publishes its event so many times
    #[arg(long, default_value_t = 1)]
    events: u32,
    /// Milliseconds before each answer of a node
    #[arg(long, value_name = "MS", default_value_t = 0)]
    latency: u64,
    /// Provisioners at once
    #[arg(long, default_value_t = 1)]
    provisioners: usize,
    /// Nodes that each works on at a time; its default when absent
    #[arg(long)]
    workers: Option<usize>,
    /// Nodes come back with their tokens, two seconds after the restart, as real ones do
    #[arg(long)]
    members: bool,
    /// Seconds after which a run is given up
    #[arg(long, value_name = "S", default_value_t = 600)]
    limit: u64,
    /// Runs; figures are medians
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// GOGC of nats-server; 0 leaves its default
    #[arg(long, default_value_t = 400)]
    gogc: u32,
    /// Measure how fast a second provisioner goes on when the first one ends so, instead
    #[arg(long, value_enum)]
    hand_over: Option<HandOver>,
    /// For the hand-over: one provisioner leads and the other waits, instead of both working
    #[arg(long)]
    leader: bool,
}

/// The ways to ask a helper.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum HelperMode {
    /// A process for each node
    Process,
    /// One process, a line for each node
    Persistent,
    /// A web service
    Http,
}

/// How a provisioner ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum HandOver {
    /// SIGTERM
    Clean,
    /// SIGKILL
    Kill,
}

impl HelperMode {
    fn as_str(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Persistent => "persistent",
            Self::Http => "http",
        }
    }
}

/// Measures.
///
/// # Errors
///
/// When the cell can't be started, or when a node was lost or enrolled twice.
pub(crate) fn run(options: &Options) -> Result<Report> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("start a runtime")?;
    if let Some(way) = options.hand_over {
        return runtime.block_on(handover::run(options, way));
    }
    let mut report = Report::new("provision");
    let mut runs = Vec::new();
    for index in 1..=options.runs.max(1) {
        let run = runtime.block_on(measure::once(options))?;
        say(&format!("run {index}: {}", run.line()));
        report.row(run.json());
        runs.push(run);
    }
    let middle = |value: fn(&Run) -> f64| median(&mut runs.iter().map(value).collect::<Vec<_>>());
    let figures: [Figure; 17] = [
        ("nodes a minute", |run| run.per_minute, "1/min"),
        ("nodes enrolled", |run| run.enrolled as f64, ""),
        ("wall time", |run| run.wall_s, "s"),
        ("one node p50", |run| at(&run.took_ms, 500), "ms"),
        ("one node p99", |run| at(&run.took_ms, 990), "ms"),
        (
            "provisioner, per node",
            |run| run.cpu_ms.provisioner,
            "CPU ms",
        ),
        ("helper, per node", |run| run.cpu_ms.helper, "CPU ms"),
        ("nats-server, per node", |run| run.cpu_ms.broker, "CPU ms"),
        (
            "broker-auth, per node",
            |run| run.cpu_ms.broker_auth,
            "CPU ms",
        ),
        ("emulator, per node", |run| run.cpu_ms.emulator, "CPU ms"),
        ("connections of provisioners", |run| run.connections, ""),
        ("most nodes that waited", |run| run.most.nodes, ""),
        (
            "memory of a provisioner then",
            |run| run.most.resident_mib,
            "MiB",
        ),
        (
            "peak memory of a provisioner",
            |run| run.provisioner_mib,
            "MiB",
        ),
        ("peak memory of nats-server", |run| run.broker_mib, "MiB"),
        ("logins of nodes refused", |run| run.refused as f64, ""),
        (
            "messages to a node",
            |run| run.calls as f64 / run.enrolled.max(1) as f64,
            "",
        ),
    ];
    for (name, value, unit) in figures {
        report.figure(name, middle(value), unit);
    }
    let lost: usize = runs.iter().map(|run| run.lost).sum();
    let doubled: usize = runs.iter().map(|run| run.doubled).sum();
    report.figure("nodes lost, all runs", lost as f64, "");
    report.figure("nodes enrolled twice, all runs", doubled as f64, "");
    if lost + doubled > 0 {
        bail!("{lost} nodes were lost and {doubled} enrolled more than once");
    }
    Ok(report)
}
