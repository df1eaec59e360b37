//! How long nothing is copied: after a start, and when the replica that copies ends.

use std::time::Duration;

use anyhow::{Context, Result};
use overlay_runtime::Clock;
use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::super::report::Report;
use super::brokers::{Pair, SOURCE, TARGET, publish};
use super::program::{Job, Program};
use super::{Figures, Options, Rows};

const FIRST: &str = "first copy after a start";
const CLEAN: &str = "fail-over, stopped";
const CRASH: &str = "fail-over, killed";
/// How old an election key may grow; the bars are told for it.
const KEY_AGE: Duration = Duration::from_secs(10);
const LIMIT: Duration = Duration::from_secs(120);
/// One message each; a pause cannot be measured finer.
const BEAT: Duration = Duration::from_millis(5);

/// A consumer exists and one message waits: from the start of the program until it is stored.
pub(super) async fn first_copy(options: &Options, report: &mut Report) -> Result<()> {
    if !options.wants(FIRST) {
        return Ok(());
    }
    let pair = Pair::start().await?;
    let mut rows = Rows::new();
    for _ in 0..options.runs.max(1) {
        for program in programs(options) {
            let figures = first(&program, &pair).await;
            let figures = figures.with_context(|| format!("{FIRST}, {}", program.name()))?;
            rows.add(report, &format!("{FIRST}, {}", program.name()), figures);
        }
    }
    rows.finish(report);
    Ok(())
}

fn programs(options: &Options) -> Vec<Program> {
    let mut programs = vec![Program::Ours];
    programs.extend(options.peer.clone().map(Program::Peer));
    programs
}

async fn first(program: &Program, pair: &Pair) -> Result<Figures> {
    pair.fill(1, 256, None).await?;
    let scratch = tempfile::tempdir().context("make a directory")?;
    let job = Job {
        source: pair.source.url(None),
        target: pair.target.url(None),
        more: String::new(),
    };
    let replicator = program.start(&job, &scratch, "one")?;
    pair.target.wait_for(TARGET, 1, LIMIT).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    replicator.stop().await?;
    publish(&pair.source.client, 1..2, 256, None).await?;
    pair.source.wait_for(SOURCE, 2, LIMIT).await?;
    let begun = now();
    let replicator = program.start(&job, &scratch, "one")?;
    pair.target.wait_for(TARGET, 2, LIMIT).await?;
    let times = pair.target.verify(Some(2)).await?;
    replicator.stop().await?;
    let stored = times.last().copied().unwrap_or_default();
    Ok(vec![("until stored", stored - begun, "s")])
}

/// Two replicas with an election; the one that copies ends.
pub(super) async fn run(options: &Options, report: &mut Report) -> Result<()> {
    for (case, clean) in [(CLEAN, true), (CRASH, false)] {
        if !options.wants(case) {
            continue;
        }
        let pair = Pair::start().await?;
        let mut rows = Rows::new();
        for _ in 0..options.runs.max(1) {
            for program in programs(options) {
                let figures = fail_over(&program, &pair, clean).await;
                let figures = figures.with_context(|| format!("{case}, {}", program.name()))?;
                rows.add(report, &format!("{case}, {}", program.name()), figures);
            }
        }
        rows.finish(report);
    }
    Ok(())
}

async fn fail_over(program: &Program, pair: &Pair, clean: bool) -> Result<Figures> {
    pair.clear().await?;
    let bucket = json!({
        "max_age": u64::try_from(KEY_AGE.as_nanos()).unwrap_or(u64::MAX), "max_msgs_per_subject": 1, "discard": "new",
        "deny_delete": true, "allow_rollup_hdrs": true, "allow_direct": true, "max_msg_size": 1024,
    });
    let keys = ["$KV.CHORIA_LEADER_ELECTION.>"];
    pair.source
        .make("KV_CHORIA_LEADER_ELECTION", &keys, bucket)
        .await?;
    let scratch = tempfile::tempdir().context("make a directory")?;
    let job = |name: &str| Job {
        source: pair.source.url(None),
        target: pair.target.url(None),
        more: format!("   leader_election_name: {name}\n"),
    };
    publish(&pair.source.client, 0..1, 256, None).await?;
    let mut leader = program.start(&job("one"), &scratch, "one")?;
    pair.target.wait_for(TARGET, 1, LIMIT).await?;
    let follower = program.start(&job("two"), &scratch, "two")?;
    // Long enough for the second to have found its streams and to stand by.
    tokio::time::sleep(Duration::from_secs(6)).await;

    let ended = CancellationToken::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(beat(pair.source.client.clone(), ended.clone()));
    tokio::time::sleep(Duration::from_secs(2)).await;
    let at = now();
    if clean {
        leader.terminate();
    } else {
        leader.kill();
    }
    // Longer than any of the programs takes to be noticed missing, or until the copy is whole again.
    tokio::time::sleep(Duration::from_secs(if clean { 6 } else { 16 })).await;
    ended.cancel();
    let messages = tasks
        .join_next()
        .await
        .context("publish")?
        .context("publish")??;
    // What was sent last may not be stored yet.
    pair.source.wait_for(SOURCE, messages, LIMIT).await?;
    pair.target.wait_for(TARGET, messages, LIMIT).await?;
    drop(leader);
    follower.stop().await?;
    // The original may double a message here; ours may not.
    let all = (!program.is_peer()).then_some(messages);
    let times = match pair.target.verify(all).await {
        Ok(times) => times,
        Err(error) if program.is_peer() => {
            super::say(&format!("{}: {error:#}", program.name()));
            let copies = pair.target.copies().await?;
            copies.into_iter().map(|(_, at)| at).collect()
        }
        Err(error) => return Err(error),
    };
    let after = |time: f64| time > at - 0.5;
    let pause = times
        .windows(2)
        .filter_map(|pair| Some((*pair.first()?, *pair.get(1)?)))
        .filter(|(_, next)| after(*next))
        .map(|(one, next)| next - one)
        .fold(0.0, f64::max);
    Ok(vec![("longest pause", pause, "s")])
}

/// Publishes one message after the other, evenly; says how many were sent, with the one before.
async fn beat(client: async_nats::Client, ended: CancellationToken) -> Result<u64> {
    let mut number = 1;
    let mut ticks = tokio::time::interval(BEAT);
    while !ended.is_cancelled() {
        ticks.tick().await;
        publish(&client, number..number + 1, 256, None).await?;
        number += 1;
    }
    client.flush().await.context("flush")?;
    Ok(number)
}

/// Seconds since 1970, as the brokers count.
fn now() -> f64 {
    let now = Clock::system().now();
    let since = now.duration_since(std::time::UNIX_EPOCH);
    since.map_or(0.0, |it| it.as_secs_f64())
}
