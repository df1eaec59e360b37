//! Sampling alone: decisions a second, and what is known of all values written and read, without brokers.

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use overlay_stream_replicator::replay::{Message, Replay, read_file};
use overlay_stream_replicator::{Inspect, Sampling};

use super::super::process::{cpu_seconds, resident_mib};
use super::super::report::Report;
use super::{Figures, Options, Rows};

const CASE: &str = "judge, 11 of 12 passed over";
/// As many as the largest cell has nodes.
const VALUES: u64 = 20_000;
/// Each value is heard so often in an interval, and copied once.
const EACH: u64 = 12;
const INTERVAL: Duration = Duration::from_secs(3600);
const SIZES: [(usize, &str); 2] = [(256, "256 B"), (2048, "2 KiB")];

pub(super) fn run(options: &Options, report: &mut Report) -> Result<()> {
    if !options.wants(CASE) {
        return Ok(());
    }
    for (size, name) in SIZES {
        let mut rows = Rows::new();
        for _ in 0..options.runs.max(1) {
            let figures = judge(options.messages * 10, size)?;
            rows.add(report, &format!("{CASE}, {VALUES} values, {name}"), figures);
        }
        rows.finish(report);
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn judge(messages: u64, size: usize) -> Result<Figures> {
    let sampling = Sampling {
        inspect: Inspect::Field("sender".to_owned()),
        force: None,
        force_is_strict: false,
        interval: INTERVAL,
        warn: INTERVAL / 2,
        size_trigger: 0.0,
        lifecycle: false,
    };
    let bodies: Vec<Vec<u8>> = (0..VALUES).map(|number| body(number, size)).collect();
    let resident = resident_mib(std::process::id())?;
    let mut replay = Replay::new(&sampling, "BENCH");
    let every = INTERVAL / u32::try_from(VALUES * EACH).unwrap_or(u32::MAX);
    let mut at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let mut copied = 0_u64;
    let (began, cpu) = (Instant::now(), cpu_seconds(std::process::id())?);
    for body in bodies
        .iter()
        .cycle()
        .take(usize::try_from(messages).unwrap_or(usize::MAX))
    {
        at += every;
        let message = Message {
            subject: "BENCH.data",
            header: None,
            body,
            at,
        };
        let (copies, ticket) = replay.judge(&message, 0.5);
        if copies {
            copied += 1;
            replay.copied(ticket.context("a copy of a value has a ticket")?);
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    let cpu = cpu_seconds(std::process::id())? - cpu;
    let share = copied as f64 / messages as f64;
    ensure!(
        share < 0.2,
        "{copied} of {messages} messages are to be copied"
    );
    let held = resident_mib(std::process::id())? - resident;
    let (saved, loaded, bytes) = keep(&replay, &sampling)?;
    Ok(vec![
        ("decisions", messages as f64 / seconds, "messages/s"),
        ("CPU per 100,000", cpu / messages as f64 * 1e5, "s"),
        ("share that is copied", share, ""),
        ("memory of what is known", held, "MiB"),
        ("its file", bytes / 1024.0 / 1024.0, "MiB"),
        ("written as a file", saved, "s"),
        ("read from a file", loaded, "s"),
    ])
}

/// Seconds to write and to read what is known of all values, and the bytes of it.
#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn keep(replay: &Replay, sampling: &Sampling) -> Result<(f64, f64, f64)> {
    let scratch = tempfile::tempdir().context("make a directory")?;
    let path = scratch.path().join("state.json");
    let began = Instant::now();
    let text = replay.file().context("there is something to keep")?;
    std::fs::write(&path, &text).context("write the state")?;
    let saved = began.elapsed().as_secs_f64();
    let began = Instant::now();
    let text = std::fs::read(&path).context("read the state")?;
    let (items, faults) = read_file(&text).map_err(anyhow::Error::msg)?;
    ensure!(faults.is_empty(), "{faults:?}");
    let mut other = Replay::new(sampling, "BENCH");
    for item in &items {
        other.learn(item);
    }
    let loaded = began.elapsed().as_secs_f64();
    let known = u64::try_from(other.items().len()).unwrap_or_default();
    ensure!(known == VALUES, "{known} of {VALUES} values were read");
    Ok((saved, loaded, text.len() as f64))
}

/// As registration data looks behind an adapter: the sender stands behind what it sends.
fn body(number: u64, size: usize) -> Vec<u8> {
    let mut body = br#"{"protocol":"choria:adapters:jetstream:output:1","data":""#.to_vec();
    let rest = format!(r#"","sender":"n{number:05}.example.net","time":"2026-11-21T12:00:00Z"}}"#);
    body.resize(size.saturating_sub(rest.len()).max(body.len()), b'x');
    body.extend_from_slice(rest.as_bytes());
    body
}
