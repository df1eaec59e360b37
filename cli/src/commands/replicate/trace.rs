//! Decisions on single messages.

use std::time::Duration;

use overlay_protocol::replication::control::{
    MAX_DECISIONS, MAX_TRACE_SECONDS, TraceReply, TraceRequest, Traced, name,
};
use serde_json::json;

use super::control::{Control, Reach, Workers};
use crate::app::App;
use crate::error::Failure;
use crate::output::Color;
use crate::text;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only these workers: STREAM or STREAM/WORKER
    #[arg(value_name = "WORKER")]
    workers: Option<Workers>,
    /// End after so many decisions
    #[arg(long, value_name = "COUNT", default_value_t = 20)]
    count: usize,
    /// End after so long
    #[arg(long = "for", value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=MAX_TRACE_SECONDS))]
    seconds: u64,
    #[command(flatten)]
    reach: Reach,
}

pub(super) async fn run(args: Args, app: &App) -> Result<(), Failure> {
    let control = Control::open(app, &args.reach).await?;
    let request = TraceRequest {
        selection: args.reach.selection(args.workers.as_ref()),
        count: args.count.clamp(1, MAX_DECISIONS),
        seconds: args.seconds,
    };
    let takes = Duration::from_secs(args.seconds);
    let replies: Vec<TraceReply> = control.ask_for(name::TRACE, &request, takes).await?;
    let missed: u64 = replies.iter().map(|reply| reply.missed).sum();
    let decisions: Vec<_> = replies
        .into_iter()
        .flat_map(|reply| reply.decisions)
        .collect();
    if app.output.is_json() {
        return app
            .output
            .json(&json!({ "decisions": decisions, "missed": missed }));
    }
    for decision in &decisions {
        app.output.line(line(decision, app))?;
    }
    if decisions.is_empty() {
        app.output
            .note(format!("No message came within {} s", args.seconds));
    }
    if missed > 0 {
        app.output
            .note(format!("{missed} decisions were made too fast to be shown"));
    }
    Ok(())
}

fn line(decision: &Traced, app: &App) -> String {
    let (what, color) = if decision.copied {
        ("copy", Color::Green)
    } else {
        ("pass", Color::Yellow)
    };
    let way = match &decision.target {
        Some(target) => format!("{} > {target}", decision.subject),
        None => decision.subject.clone(),
    };
    let value = match &decision.value {
        Some(value) => format!(" [{value}]"),
        None => String::new(),
    };
    text::visible(&format!(
        "{}/{} {} {way}{value} {} B: {}",
        decision.stream, decision.worker, decision.sequence, decision.bytes, decision.why
    ))
    .split_once(' ')
    .map_or_else(String::new, |(worker, rest)| {
        format!("{} {worker} {rest}", app.output.paint(color, what))
    })
}
