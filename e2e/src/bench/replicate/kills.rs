//! A copy in which the program is killed again and again: what is lost, doubled or out of order.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::time::Instant;

use super::super::report::Report;
use super::brokers::{Pair, TARGET};
use super::program::{Job, Program};
use super::{Figures, Options, Rows};

const CASE: &str = "killed five times in a copy";
const KILLS: u64 = 5;
const LIMIT: Duration = Duration::from_secs(180);

pub(super) async fn run(options: &Options, report: &mut Report) -> Result<()> {
    if !options.wants(CASE) {
        return Ok(());
    }
    let pair = Pair::start().await?;
    let mut rows = Rows::new();
    let mut programs = vec![(Program::Ours, options.messages)];
    // The original's other engine stands still for half a minute after each kill.
    let peer = options.peer.clone().map(Program::PeerTargetInitiated);
    programs.extend(peer.map(|peer| (peer, options.peer_messages)));
    for _ in 0..options.runs.max(1) {
        for (program, messages) in &programs {
            let figures = killed(program, *messages, &pair).await;
            let figures = figures.with_context(|| format!("{CASE}, {}", program.name()))?;
            rows.add(report, &format!("{CASE}, {}", program.name()), figures);
        }
    }
    rows.finish(report);
    Ok(())
}

async fn killed(program: &Program, messages: u64, pair: &Pair) -> Result<Figures> {
    pair.fill(messages, 256, None).await?;
    let scratch = tempfile::tempdir().context("make a directory")?;
    let job = Job {
        source: pair.source.url(None),
        target: pair.target.url(None),
        more: String::new(),
    };
    let begun = Instant::now();
    let mut replicator = program.start(&job, &scratch, "one")?;
    for kill in 1..=KILLS {
        let some = messages * kill / (KILLS + 2);
        pair.target.wait_for(TARGET, some, LIMIT).await?;
        replicator.kill();
        replicator = program.start(&job, &scratch, "one")?;
    }
    pair.target.wait_for(TARGET, messages, LIMIT).await?;
    let seconds = begun.elapsed().as_secs_f64();
    // A copy that is doubled at the end would come now.
    tokio::time::sleep(Duration::from_secs(1)).await;
    replicator.stop().await?;

    let copies = pair.target.copies().await?;
    let mut times: BTreeMap<u64, u64> = BTreeMap::new();
    let (mut last, mut disorder) = (0, 0_u64);
    for (sequence, _) in copies {
        disorder += u64::from(sequence < last);
        last = sequence;
        *times.entry(sequence).or_default() += 1;
    }
    let doubled: u64 = times.values().map(|count| count - 1).sum();
    let lost = (1..=messages).filter(|it| !times.contains_key(it)).count();
    if !program.is_peer() {
        ensure!(
            (lost, doubled, disorder) == (0, 0, 0),
            "{lost} lost, {doubled} doubled, {disorder} out of order"
        );
    }
    Ok(vec![
        ("in all", seconds, "s"),
        ("lost", lost as f64, ""),
        ("doubled", doubled as f64, ""),
        ("out of order", disorder as f64, ""),
    ])
}
