//! `bench reconnect` and `bench ping`: a fleet of emulated members on a cell.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use overlay_testkit::emulated::{Fleet, Tally};
use overlay_tokens::issue::ServerToken;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::cell::{Cell, Variant, programs};
use super::process::{cpu_seconds, descriptors};
use super::report::{Report, median, say};

const OWN_DESCRIPTORS: usize = 500;
const POLL: Duration = Duration::from_millis(20);

/// Flags of `bench reconnect`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Reconnect {
    /// Nodes that are connected, as far as the limit of open files allows
    #[arg(short = 'n', long, default_value_t = 20_000)]
    nodes: usize,
    /// Instances of broker-auth
    #[arg(long, default_value_t = 1)]
    responders: usize,
    /// GOGC of nats-server at its first start; 0 leaves its default
    #[arg(long, default_value_t = 400)]
    gogc: u32,
    /// Seconds after which it is given up
    #[arg(long, value_name = "S", default_value_t = 300)]
    limit: u64,
}

/// Flags of `bench ping`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Ping {
    /// Nodes that answer
    #[arg(short = 'n', long, default_value_t = 2000)]
    nodes: usize,
    /// Runs of each program; figures are medians
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Another program, called as `PROGRAM ping --config CLIENT.CONF --names`
    #[arg(long, value_name = "PROGRAM")]
    other: Option<PathBuf>,
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("start a runtime")
}

/// Members of the cell, each with its own token and key.
async fn members(cell: &Cell, nodes: usize) -> Result<Fleet> {
    let organisation = cell.organisation()?;
    let fleet = Fleet::builder(cell.port)
        .tls()
        .count(nodes)
        .reconnect_as_nodes_do()
        .members(move |name| {
            organisation.server(ServerToken {
                identity: name.to_owned(),
                ..ServerToken::default()
            })
        })
        .start()
        .await;
    Ok(fleet)
}

/// Measures the time from the end of the broker until all nodes are connected again.
///
/// # Errors
///
/// When the cell can't be started, when a login was refused, or when not all come back.
pub(crate) fn reconnect(options: &Reconnect) -> Result<Report> {
    let mut cell = Cell::start(&Variant {
        sealed: true,
        gogc: (options.gogc > 0).then_some(options.gogc),
        responders: options.responders,
    })?;
    let nodes = options
        .nodes
        .min(descriptors().saturating_sub(OWN_DESCRIPTORS));
    let runtime = runtime()?;
    let began = Instant::now();
    let fleet = runtime.block_on(members(&cell, nodes))?;
    let connected = began.elapsed().as_secs_f64();
    say(&format!("{nodes} nodes connected in {connected:.1} s"));

    let before = fleet.tally();
    ensure!(
        before.connected == nodes,
        "not all are connected: {before:?}"
    );
    let spent = |cell: &Cell| -> Result<f64> {
        cell.responders
            .iter()
            .map(|responder| cpu_seconds(responder.pid()))
            .sum()
    };
    let spent_before = spent(&cell)?;
    let began = Instant::now();
    cell.restart_broker()?;
    let up = began.elapsed().as_secs_f64();
    let limit = began + Duration::from_secs(options.limit);
    let since = |tally: Tally| (tally.lost - before.lost, tally.connected);
    let mut half = None;
    let after = runtime.block_on(async {
        loop {
            let tally = fleet.tally();
            let (lost, connected) = since(tally);
            if lost >= nodes && connected >= nodes / 2 {
                half.get_or_insert_with(|| began.elapsed().as_secs_f64());
            }
            if (lost >= nodes && connected == nodes) || Instant::now() > limit {
                return tally;
            }
            tokio::time::sleep(POLL).await;
        }
    });
    let all = began.elapsed().as_secs_f64();
    let mut report = Report::new("reconnect");
    report.figure("nodes", nodes as f64, "");
    report.figure("first connection of all", connected, "s");
    report.figure("broker up again", up, "s");
    report.figure("half of the nodes back", half.unwrap_or_default(), "s");
    report.figure("all nodes back", all, "s");
    let refused = after.refused - before.refused;
    let failed = after.failed - before.failed;
    let logins = (after.entered - before.entered).max(1) as f64;
    report.figure("logins refused", refused as f64, "");
    report.figure("tries that came to nothing", failed as f64, "");
    report.figure(
        "broker-auth, per login",
        1000.0 * (spent(&cell)? - spent_before) / logins,
        "CPU ms",
    );
    report.row(json!({ "before": format!("{before:?}"), "after": format!("{after:?}") }));
    runtime.block_on(fleet.stop());
    if after.connected < nodes || refused > 0 {
        say(&format!("{after:?}"));
        bail!(
            "{refused} logins were refused, {} of {nodes} nodes are back",
            after.connected
        );
    }
    Ok(report)
}

/// Measures how long a ping of all nodes takes until the program ends, and whether all were heard.
///
/// # Errors
///
/// When the cell can't be started, or when `overlay` misses a node.
pub(crate) fn ping(options: &Ping) -> Result<Report> {
    let cell = Cell::start(&Variant {
        sealed: true,
        gogc: None,
        responders: 1,
    })?;
    let runtime = runtime()?;
    let fleet = runtime.block_on(members(&cell, options.nodes))?;
    let operator = cell.directory.join("operator");
    let mut report = Report::new("ping");
    report.figure("nodes", options.nodes as f64, "");
    let ours = (programs()?.join("overlay"), operator.join("client.toml"));
    let theirs = options
        .other
        .clone()
        .map(|program| (program, operator.join("client.conf")));
    let mut missed = 0;
    for (who, (program, config)) in [("overlay", Some(ours)), ("other", theirs)]
        .into_iter()
        .filter_map(|(who, program)| Some((who, program?)))
    {
        let (mut walls, mut cpus, mut heard) = (Vec::new(), Vec::new(), Vec::new());
        for run in 0..=options.runs.max(1) {
            let found = one_ping(&program, &config)?;
            if run == 0 {
                continue;
            }
            say(&format!("{who}: {found:?}"));
            report.row(json!({ "who": who, "wall_s": found.wall, "cpu_s": found.cpu, "heard": found.names }));
            walls.push(found.wall);
            cpus.push(found.cpu);
            heard.push(found.names as f64);
            if who == "overlay" {
                missed += options.nodes.saturating_sub(found.names);
            }
        }
        report.figure(format!("{who}: until it ends"), median(&mut walls), "s");
        report.figure(format!("{who}: processor time"), median(&mut cpus), "CPU s");
        report.figure(format!("{who}: nodes heard"), median(&mut heard), "");
    }
    runtime.block_on(fleet.stop());
    ensure!(missed == 0, "overlay missed {missed} answers");
    Ok(report)
}

/// What one ping found.
#[derive(Debug)]
struct Found {
    wall: f64,
    cpu: f64,
    names: usize,
}

fn one_ping(program: &Path, config: &Path) -> Result<Found> {
    let began = Instant::now();
    let spent = super::process::helper_seconds(std::process::id())?;
    let output = Command::new(program)
        .args(["ping", "--config"])
        .arg(config)
        .arg("--names")
        .env("USER", "bench")
        .output()
        .with_context(|| format!("start {}", program.display()))?;
    let wall = began.elapsed().as_secs_f64();
    let text = String::from_utf8_lossy(&output.stdout);
    let names = text
        .lines()
        .filter(|line| line.trim().ends_with(".example.net"))
        .count();
    if names == 0 {
        let said: Value = String::from_utf8_lossy(&output.stderr).into();
        bail!("{} heard nobody: {said}", program.display());
    }
    Ok(Found {
        cpu: super::process::helper_seconds(std::process::id())? - spent,
        wall,
        names,
    })
}
