//! Two provisioners before nodes that take their time; one of the two ends in the middle.

use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::json;
use tokio::time::Instant;

use super::super::report::{Report, median, say};
use super::measure::nodes;
use super::world::World;
use super::{HandOver, Options};

const POLL: Duration = Duration::from_millis(2);
/// Milliseconds that each answer of a node takes, so that many are in the middle of their enrolment.
const LATENCY_MS: u64 = 100;
/// Nodes that are worked on at a time, so that there is a middle.
const WORKERS: usize = 8;

/// Measures the longest time in which no node was enrolled after the end of the first provisioner, and the time until all
/// were.
pub(super) async fn run(options: &Options, way: HandOver) -> Result<Report> {
    let mut options = options.clone();
    if options.latency == 0 {
        options.latency = LATENCY_MS;
    }
    options.workers = options.workers.or(Some(WORKERS));
    let mut report = Report::new("provision-hand-over");
    let (mut gaps, mut rests) = (Vec::new(), Vec::new());
    for index in 1..=options.runs.max(1) {
        let world = World::start(&options)?;
        let mut first = world.provisioner(&options, 0)?;
        let second = world.provisioner(&options, 1)?;
        let fleet = nodes(&world, &options).await;
        let began = fleet.announce().await;
        let limit = began + Duration::from_secs(options.limit);
        while fleet.restarted() < options.nodes / 4 && Instant::now() < limit {
            tokio::time::sleep(POLL).await;
        }
        let ended = Instant::now();
        match way {
            HandOver::Clean => first.process.terminate(),
            HandOver::Kill => first.process.kill(),
        }
        while fleet.restarted() < options.nodes && Instant::now() < limit {
            tokio::time::sleep(POLL).await;
        }
        let tally = fleet.tally();
        let all = fleet.all();
        let mut times: Vec<Instant> = all.iter().filter_map(|seen| seen.restarted_at).collect();
        times.sort();
        let after: Vec<Instant> = std::iter::once(ended)
            .chain(times.into_iter().filter(|time| *time > ended))
            .collect();
        let gap = after
            .windows(2)
            .map(|pair| (pair[1] - pair[0]).as_secs_f64())
            .fold(0.0, f64::max);
        // Of those that the first one had in its hands: the last that went on after its end.
        let caught = all.iter().filter(|seen| {
            seen.first_at.is_some_and(|at| at < ended)
                && seen.restarted_at.is_none_or(|at| at > ended)
        });
        let rest = caught
            .filter_map(|seen| seen.restarted_at)
            .map(|at| (at - ended).as_secs_f64())
            .fold(0.0, f64::max);
        say(&format!(
            "run {index}: longest pause {gap:.2} s, nodes in the middle done after {rest:.2} s, {tally:?}"
        ));
        report.row(json!({
            "longest_pause_s": gap, "caught_done_s": rest, "enrolled": tally.restarted,
            "configured_again": tally.configured_again, "restarted_again": tally.restarted_again,
        }));
        let doubled = tally.restarted_again;
        if tally.restarted < options.nodes || doubled > 0 {
            bail!(
                "{} of {} nodes were enrolled, {doubled} of them twice",
                tally.restarted,
                options.nodes
            );
        }
        gaps.push(gap);
        rests.push(rest);
        fleet.stop().await;
        drop(second);
    }
    report.figure("longest pause after the end", median(&mut gaps), "s");
    report.figure("nodes in the middle, until done", median(&mut rests), "s");
    Ok(report)
}
