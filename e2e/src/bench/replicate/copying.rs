//! Whole copies: messages a second, processor time, memory.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::super::report::{Report, say};
use super::brokers::{Held, Pair, SOURCE, TARGET};
use super::cases::{Case, all};
use super::program::{Job, Program, Replicator, Spent};
use super::{Figures, Options, Rows};

const LIMIT: Duration = Duration::from_secs(180);

/// Measures every case that is wanted; the programs take turns.
pub(super) async fn run(options: &Options, report: &mut Report) -> Result<()> {
    for case in all().iter().filter(|case| options.wants(&case.name)) {
        let pair = Pair::start().await?;
        let mut rows = Rows::new();
        for _ in 0..options.runs.max(1) {
            for program in case.programs(options) {
                let row = format!("{}, {}", case.name, program.name());
                match copy(case, &program, &pair, options).await {
                    Ok(figures) => rows.add(report, &row, figures),
                    // The original's failure is a result, ours is the end.
                    Err(error) if program.is_peer() => {
                        say(&format!("{row}: failed: {error:#}"));
                        report.row(json!({ "row": row, "failed": format!("{error:#}") }));
                    }
                    Err(error) => return Err(error.context(row)),
                }
            }
            for window in case.windows {
                let figures = limit(case, *window, &pair, options).await?;
                rows.add(
                    report,
                    &format!("{}, ceiling at {window}", case.name),
                    figures,
                );
                if let Some(program) = &options.peer_ceiling {
                    let figures = peers_limit(program, case, *window, &pair, options).await?;
                    rows.add(
                        report,
                        &format!("{}, other ceiling at {window}", case.name),
                        figures,
                    );
                }
            }
        }
        rows.finish(report);
    }
    Ok(())
}

fn job(case: &Case, pair: &Pair) -> Job {
    Job {
        source: pair.source.url(case.source),
        target: pair.target.url(case.target),
        more: String::new(),
    }
}

async fn copy(case: &Case, program: &Program, pair: &Pair, options: &Options) -> Result<Figures> {
    let messages = case.messages(Some(program), options);
    pair.fill(messages, case.size, None).await?;
    let scratch = tempfile::tempdir().context("make a directory")?;
    let replicator = program.start(&job(case, pair), &scratch, "one")?;
    let (held, spent) = finished(&replicator, pair, messages).await?;
    replicator.stop().await?;
    pair.target.verify(Some(messages)).await?;
    Ok(figures(held, spent))
}

/// Waits for the end of a copy, and looks at the program while it still runs.
pub(super) async fn finished(
    replicator: &Replicator,
    pair: &Pair,
    messages: u64,
) -> Result<(Held, Spent)> {
    match pair.target.wait_for(TARGET, messages, LIMIT).await {
        Ok(held) => Ok((held, replicator.spent()?)),
        Err(error) => bail!("{error:#}; its log ends with\n{}", replicator.log()),
    }
}

pub(super) fn figures(held: Held, spent: Spent) -> Figures {
    let messages = held.messages as f64;
    vec![
        ("rate", (messages - 1.0) / held.seconds, "messages/s"),
        ("CPU per 100,000", spent.cpu_s / messages * 1e5, "s"),
        ("memory", spent.resident_mib, "MiB"),
        ("peak memory", spent.peak_mib, "MiB"),
    ]
}

async fn limit(case: &Case, window: usize, pair: &Pair, options: &Options) -> Result<Figures> {
    let own = std::env::current_exe().context("find this program")?;
    let mut command = Command::new(own);
    let names = [
        "--source", "--target", "--stream", "--prefix", "-n", "--window",
    ];
    command.arg("replicate-ceiling");
    let said = drive(command, names, case, window, pair, options).await?;
    let said: Value =
        serde_json::from_str(said.trim()).with_context(|| format!("read {said:?}"))?;
    let cpu_s = said["cpu_s"]
        .as_f64()
        .context("the ceiling says its time")?;
    let peak = said["peak_mib"]
        .as_f64()
        .context("the ceiling says its memory")?;
    let held = pair
        .target
        .wait_for(TARGET, case.messages(None, options), LIMIT)
        .await?;
    Ok(figures(
        held,
        Spent {
            cpu_s,
            resident_mib: peak,
            peak_mib: peak,
        },
    ))
}

async fn peers_limit(
    program: &Path,
    case: &Case,
    window: usize,
    pair: &Pair,
    options: &Options,
) -> Result<Figures> {
    let names = ["-source", "-target", "-stream", "-prefix", "-n", "-window"];
    let said = drive(Command::new(program), names, case, window, pair, options).await?;
    let number = |name: &str| -> Option<f64> {
        let part = said
            .split_whitespace()
            .find_map(|part| part.strip_prefix(name));
        part?.parse().ok()
    };
    let held = pair
        .target
        .wait_for(TARGET, case.messages(None, options), LIMIT)
        .await?;
    let cpu_s = number("cpu_s_per_100k=").unwrap_or_default() * held.messages as f64 / 1e5;
    let peak = number("peak_rss_mib=").unwrap_or_default();
    Ok(figures(
        held,
        Spent {
            cpu_s,
            resident_mib: peak,
            peak_mib: peak,
        },
    ))
}

async fn drive(
    mut command: Command,
    names: [&str; 6],
    case: &Case,
    window: usize,
    pair: &Pair,
    options: &Options,
) -> Result<String> {
    let messages = case.messages(None, options);
    pair.fill(messages, case.size, None).await?;
    pair.target
        .make(TARGET, &["copy.BENCH.>"], json!({}))
        .await?;
    let job = job(case, pair);
    let values = [
        job.source,
        job.target,
        SOURCE.to_owned(),
        "copy".to_owned(),
        messages.to_string(),
        window.to_string(),
    ];
    for (name, value) in names.into_iter().zip(values) {
        command.arg(name).arg(value);
    }
    command.stdin(Stdio::null()).stderr(Stdio::inherit());
    // The proxies of a far link run in this program: it must not stand still while it waits.
    let output = tokio::task::spawn_blocking(move || command.output())
        .await
        .context("wait for the ceiling")?
        .context("start the ceiling")?;
    if !output.status.success() {
        bail!("the ceiling ended with {}", output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
