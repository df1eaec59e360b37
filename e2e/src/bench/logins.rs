//! `bench logins`: how many logins a second a cell takes, and who spends how much processor time on one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use overlay_tokens::file;

use super::cell::{Cell, Variant};
use super::driver::{Door, Holder, Seen};
use super::process::cpu_seconds;
use super::report::{Report, at, median, say};

/// Flags of `bench logins`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// Logins of one run
    #[arg(short = 'n', long, default_value_t = 5000)]
    count: usize,
    /// Logins at once
    #[arg(short = 'c', long, default_value_t = 32)]
    at_once: usize,
    /// Runs; figures are medians
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Callout requests and answers not sealed
    #[arg(long)]
    plain: bool,
    /// GOGC of nats-server; 0 leaves its default
    #[arg(long, default_value_t = 400)]
    gogc: u32,
    /// Only the classical key exchange (X25519) in TLS, none that withstands a quantum computer
    #[arg(long)]
    classical: bool,
    /// Another authority and certificate of the broker, of any type: ca.pem, broker.pem and broker.key for `localhost`
    #[arg(long, value_name = "DIR")]
    tls_files: Option<PathBuf>,
    /// Instances of broker-auth
    #[arg(long, default_value_t = 1)]
    responders: usize,
    /// Another driver, called as `PROGRAM login -url URL -token FILE -seed FILE -n N -c N -pid PID`
    #[arg(long, value_name = "PROGRAM")]
    driver: Option<PathBuf>,
}

/// One run's figures.
#[derive(Debug, Default)]
struct Run {
    per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    refused: f64,
    broker: f64,
    responder: f64,
    driver: f64,
}

/// Measures.
///
/// # Errors
///
/// When the cell can't be started, or when a login was refused.
pub(crate) fn run(options: &Options) -> Result<Report> {
    let gogc = (options.gogc > 0).then_some(options.gogc);
    let variant = Variant {
        sealed: !options.plain,
        gogc,
        responders: options.responders,
    };
    let cell = Cell::start_changed(&variant, |cell| change(cell, options))?;
    let mut report = Report::new("logins");
    let mut runs = Vec::new();
    // The first run warms caches and is not counted, as the peers' figures leave theirs out of the median.
    for index in 0..=options.runs {
        let run = match &options.driver {
            Some(program) => external(&cell, program, options)?,
            None => own(&cell, options)?,
        };
        if index == 0 {
            continue;
        }
        report.row(serde_json::json!({
            "per_second": run.per_second, "p50_ms": run.p50_ms, "p99_ms": run.p99_ms, "refused": run.refused,
            "cpu_s_per_1000": { "nats_server": run.broker, "broker_auth": run.responder, "driver": run.driver },
        }));
        say(&format!(
            "run {index}: {:.0}/s, p50 {:.1} ms, p99 {:.1} ms, CPU s per 1000: nats-server {:.3}, broker-auth {:.3}, driver {:.3}",
            run.per_second, run.p50_ms, run.p99_ms, run.broker, run.responder, run.driver
        ));
        if run.refused > 0.0 {
            bail!("{} logins were refused", run.refused);
        }
        runs.push(run);
    }
    let middle = |value: fn(&Run) -> f64| median(&mut runs.iter().map(value).collect::<Vec<_>>());
    report.figure("logins a second", middle(|run| run.per_second), "1/s");
    report.figure("login p50", middle(|run| run.p50_ms), "ms");
    report.figure("login p99", middle(|run| run.p99_ms), "ms");
    report.figure(
        "nats-server, per 1,000 logins",
        middle(|run| run.broker),
        "CPU s",
    );
    report.figure(
        "broker-auth, per 1,000 logins",
        middle(|run| run.responder),
        "CPU s",
    );
    report.figure(
        "driver, per 1,000 logins",
        middle(|run| run.driver),
        "CPU s",
    );
    Ok(report)
}

/// Changes the cell's TLS as the flags say.
fn change(cell: &Path, options: &Options) -> Result<()> {
    if let Some(files) = &options.tls_files {
        for name in ["ca.pem", "broker.pem", "broker.key"] {
            let (from, to) = (files.join(name), cell.join("tls").join(name));
            // Written over, so that the key keeps its mode.
            let content = fs::read(&from).with_context(|| format!("read {}", from.display()))?;
            fs::write(&to, content).with_context(|| format!("write {}", to.display()))?;
        }
    }
    if options.classical {
        let path = cell.join("broker/nats-server.conf");
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let changed = text.replacen(
            "\ntls {\n",
            "\ntls {\n  curve_preferences: [ \"X25519\" ]\n",
            1,
        );
        if changed == text {
            bail!("the broker's configuration has no tls block");
        }
        fs::write(&path, changed).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

/// The processor time so far of the broker, of all responders, and of this process.
fn spent(cell: &Cell) -> Result<(f64, f64, f64)> {
    let mut responders = 0.0;
    for responder in &cell.responders {
        responders += cpu_seconds(responder.pid())?;
    }
    Ok((
        cpu_seconds(cell.broker.pid())?,
        responders,
        cpu_seconds(std::process::id())?,
    ))
}

fn own(cell: &Cell, options: &Options) -> Result<Run> {
    let node = cell.node()?;
    let key = file::read_seed(&node.join("server.seed")).context("read the node's seed")?;
    let token = file::read_token(&node.join("server.jwt")).context("read the node's token")?;
    let holders = Arc::new(vec![Holder { token, key }]);
    let door = Door::new(cell.port, cell.roots()?);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let before = spent(cell)?;
    let seen: Seen = runtime.block_on(door.storm(holders, options.count, options.at_once))?;
    let after = spent(cell)?;
    if let Some(error) = &seen.last_error {
        say(&format!("last error: {error}"));
    }
    let thousands = options.count as f64 / 1000.0;
    Ok(Run {
        per_second: seen.took_ms.len() as f64 / seen.wall.as_secs_f64(),
        p50_ms: at(&seen.took_ms, 500),
        p99_ms: at(&seen.took_ms, 990),
        refused: seen.refused as f64,
        broker: (after.0 - before.0) / thousands,
        responder: (after.1 - before.1) / thousands,
        driver: (after.2 - before.2) / thousands,
    })
}

fn external(cell: &Cell, program: &PathBuf, options: &Options) -> Result<Run> {
    let node = cell.node()?;
    let before = spent(cell)?;
    let output = Command::new(program)
        .args(["login", "-url", &format!("nats://localhost:{}", cell.port)])
        .args([
            "-n",
            &options.count.to_string(),
            "-c",
            &options.at_once.to_string(),
        ])
        .args(["-pid", &cell.broker.pid().to_string()])
        .arg("-token")
        .arg(node.join("server.jwt"))
        .arg("-seed")
        .arg(node.join("server.seed"))
        .output()
        .with_context(|| format!("start {}", program.display()))?;
    // nats-server's and broker-auth's shares are settled a moment after the last connection was closed.
    std::thread::sleep(Duration::from_millis(200));
    let after = spent(cell)?;
    let seen: serde_json::Value =
        serde_json::from_slice(&output.stdout).context("read the driver's result")?;
    let number = |key: &str| seen[key].as_f64().unwrap_or_default();
    let thousands = options.count as f64 / 1000.0;
    Ok(Run {
        per_second: number("per_s"),
        p50_ms: number("p50_ms"),
        p99_ms: number("p99_ms"),
        refused: number("refused"),
        broker: (after.0 - before.0) / thousands,
        responder: (after.1 - before.1) / thousands,
        driver: number("driver_cpu_s") / thousands,
    })
}
