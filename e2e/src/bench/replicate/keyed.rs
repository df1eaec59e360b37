//! Copies in the order of keys: a thousand nodes, each with a subject of its own.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::super::report::Report;
use super::brokers::{Pair, SOURCE};
use super::copying::{figures, finished};
use super::program::{Job, Program};
use super::{Options, Rows};

const KEYS: u64 = 1_000;
const SIZE: usize = 256;
const ANSWERED: u64 = 500;
const FILLED: Duration = Duration::from_secs(300);
const CASES: [(&str, Option<Duration>); 2] = [
    ("by key, 1,000 keys, 256 B", None),
    (
        "50 ms to the target, by key, 1,000 keys, 256 B",
        Some(Duration::from_millis(25)),
    ),
];

/// Measures those of the cases that are wanted.
pub(super) async fn run(options: &Options, report: &mut Report) -> Result<()> {
    for (name, target) in CASES.into_iter().filter(|case| options.wants(case.0)) {
        let pair = Pair::start().await?;
        let mut rows = Rows::new();
        for _ in 0..options.runs.max(1) {
            fill(&pair, options.messages).await?;
            let program = Program::OursWith("order by key", "order = \"key\"\n");
            let job = Job {
                source: pair.source.url(None),
                target: pair.target.url(target),
                more: String::new(),
            };
            let scratch = tempfile::tempdir().context("make a directory")?;
            let replicator = program.start(&job, &scratch, "one")?;
            let (held, spent) = finished(&replicator, &pair, options.messages).await?;
            replicator.stop().await?;
            verify(&pair, options.messages).await?;
            let row = format!("{name}, {}", program.name());
            rows.add(report, &row, figures(held, spent));
        }
        rows.finish(report);
    }
    Ok(())
}

async fn fill(pair: &Pair, messages: u64) -> Result<()> {
    pair.clear().await?;
    let client = &pair.source.client;
    for number in 0..messages {
        let body = vec![b'x'; SIZE];
        let subject = format!("BENCH.node{}", number % KEYS);
        // Answered now and then, so that the broker is not run over.
        if number % ANSWERED == ANSWERED - 1 {
            let stored = client.request(subject, body.into()).await;
            stored.context("publish")?;
        } else {
            let sent = client.publish(subject, body.into()).await;
            sent.context("publish")?;
        }
    }
    client.flush().await.context("flush")?;
    pair.source.wait_for(SOURCE, messages, FILLED).await?;
    Ok(())
}

/// Fails unless each message is there once, and those of each key in their order.
async fn verify(pair: &Pair, messages: u64) -> Result<()> {
    let mut keys: HashMap<u64, u64> = HashMap::new();
    let mut sum = 0_u64;
    let found = pair.target.copies().await?;
    for (sequence, _) in &found {
        let sequence = *sequence;
        let before = keys.insert(sequence % KEYS, sequence).unwrap_or_default();
        ensure!(
            sequence > before,
            "source sequence {sequence} stands behind {before} of its key: doubled or out of order"
        );
        sum += sequence;
    }
    let held = u64::try_from(found.len()).unwrap_or(u64::MAX);
    ensure!(
        held == messages && sum == messages * (messages + 1) / 2,
        "{held} of {messages} copies: lost or doubled"
    );
    Ok(())
}
