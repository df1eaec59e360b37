//! A partition: nothing passes for a while, a backlog grows, and then it is copied.

use std::time::Duration;

use anyhow::{Context, Result};
use overlay_testkit::Way;
use tokio::time::Instant;

use super::super::report::Report;
use super::brokers::{Pair, TARGET, publish};
use super::program::{Job, Program};
use super::{Options, Rows};

const CASE: &str = "partition from the target 256 B";
const LIMIT: Duration = Duration::from_secs(600);
/// Copied before the partition begins.
const BEFORE: u64 = 1000;

pub(super) async fn run(options: &Options, report: &mut Report) -> Result<()> {
    if !options.wants(CASE) {
        return Ok(());
    }
    let pair = Pair::start().await?;
    pair.fill(BEFORE, 256, None).await?;
    let scratch = tempfile::tempdir().context("make a directory")?;
    let job = Job {
        source: pair.source.url(None),
        target: pair.target.url(Some(Duration::ZERO)),
        more: String::new(),
    };
    let replicator = Program::Ours.start(&job, &scratch, "one")?;
    pair.target.wait_for(TARGET, BEFORE, LIMIT).await?;
    pair.target.link.swallow(Way::Both);
    let begun = Instant::now();
    let whole = BEFORE + options.backlog;
    publish(&pair.source.client, BEFORE..whole, 256, None).await?;
    tokio::time::sleep(Duration::from_secs(options.partition).saturating_sub(begun.elapsed()))
        .await;
    let partition = begun.elapsed().as_secs_f64();
    let waiting = replicator.spent()?;
    let held = pair.target.state(TARGET).await?.map_or(0, |it| it.messages);
    pair.target.link.flow();
    let healed = Instant::now();
    let next = pair.target.wait_for(TARGET, held + 1, LIMIT).await;
    next.with_context(|| replicator.log())?;
    let resumed = healed.elapsed().as_secs_f64();
    let done = pair.target.wait_for(TARGET, whole, LIMIT).await;
    done.with_context(|| replicator.log())?;
    let caught_up = healed.elapsed().as_secs_f64();
    let spent = replicator.spent()?;
    replicator.stop().await?;
    pair.target.verify(Some(whole)).await?;
    let mut rows = Rows::new();
    rows.add(
        report,
        CASE,
        vec![
            ("cut off for", partition, "s"),
            ("messages that waited", (whole - held) as f64, ""),
            ("first copy after its end", resumed, "s"),
            ("all copied after its end", caught_up, "s"),
            (
                "rate from the first copy on",
                (whole - held) as f64 / (caught_up - resumed),
                "messages/s",
            ),
            ("memory at its end", waiting.resident_mib, "MiB"),
            ("peak memory", spent.peak_mib, "MiB"),
        ],
    );
    rows.finish(report);
    Ok(())
}
