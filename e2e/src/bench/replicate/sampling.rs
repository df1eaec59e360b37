//! Sampling: messages judged a second when eleven of twelve are passed over.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use overlay_testkit::http_get;
use tokio::time::Instant;

use super::super::report::Report;
use super::brokers::{Pair, TARGET};
use super::program::{Job, Program, Replicator};
use super::{Figures, Options, Rows};

const CASE: &str = "sampled 256 B, 11 of 12 passed over";
/// Each sender is heard so often, and copied once.
const EACH: u64 = 12;
const SEEN: &str = "choria_stream_replicator_replicator_total_messages";
const LIMIT: Duration = Duration::from_secs(180);
const POLL: Duration = Duration::from_millis(10);

pub(super) async fn run(options: &Options, report: &mut Report) -> Result<()> {
    if !options.wants(CASE) {
        return Ok(());
    }
    let pair = Pair::start().await?;
    let mut rows = Rows::new();
    let mut programs = vec![(Program::Ours, options.messages * 4)];
    if let Some(peer) = &options.peer {
        programs.push((Program::Peer(peer.clone()), options.peer_messages));
    }
    for _ in 0..options.runs.max(1) {
        for (program, messages) in &programs {
            let figures = sampled(program, *messages, &pair).await;
            let figures = figures.with_context(|| format!("{CASE}, {}", program.name()))?;
            rows.add(report, &format!("{CASE}, {}", program.name()), figures);
        }
    }
    rows.finish(report);
    Ok(())
}

async fn sampled(program: &Program, messages: u64, pair: &Pair) -> Result<Figures> {
    let senders = messages / EACH;
    pair.fill(messages, 256, Some(senders)).await?;
    let scratch = tempfile::tempdir().context("make a directory")?;
    let job = Job {
        source: pair.source.url(None),
        target: pair.target.url(None),
        more: "   inspect_field: sender\n   inspect_duration: 1h\n".to_owned(),
    };
    let replicator = program.start(&job, &scratch, "one")?;
    let rate = rate(&replicator, messages as f64).await?;
    let held = pair.target.wait_for(TARGET, senders, LIMIT).await?;
    let spent = replicator.spent()?;
    replicator.stop().await?;
    pair.target.verify(None).await?;
    // The original copies a value again when its random deadline says so; in the first hour none is due.
    ensure!(
        held.messages == senders,
        "{} of {senders} senders were copied",
        held.messages
    );
    Ok(vec![
        ("seen", rate, "messages/s"),
        (
            "CPU per 100,000 seen",
            spent.cpu_s / messages as f64 * 1e5,
            "s",
        ),
        ("memory", spent.resident_mib, "MiB"),
        ("peak memory", spent.peak_mib, "MiB"),
    ])
}

/// Watches the program's own counter until it has seen everything.
async fn rate(replicator: &Replicator, messages: f64) -> Result<f64> {
    let mut first: Option<(Instant, f64)> = None;
    let begun = Instant::now();
    loop {
        let seen = seen(replicator.monitor_port);
        let now = Instant::now();
        if seen > 0.0 && first.is_none() {
            first = Some((now, seen));
        }
        if seen >= messages {
            let (from, at) = first.unwrap_or((begun, 0.0));
            // All of it between two looks: counted from the start of the program.
            let (from, at) = if at >= messages {
                (begun, 0.0)
            } else {
                (from, at)
            };
            return Ok((messages - at) / (now - from).as_secs_f64());
        }
        if begun.elapsed() > LIMIT {
            bail!(
                "{seen} of {messages} messages seen; its log ends with\n{}",
                replicator.log()
            );
        }
        tokio::time::sleep(POLL).await;
    }
}

/// The sum of the counter over its labels; 0 while nobody answers.
fn seen(port: u16) -> f64 {
    let Ok((200, page)) = http_get(port, "/metrics") else {
        return 0.0;
    };
    let lines = page.lines().filter(|line| line.starts_with(SEEN));
    lines
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}
