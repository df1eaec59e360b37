//! Stops copying, and begins again.

use overlay_protocol::replication::control::{DoneReply, PauseRequest, name};

use super::control::{Control, Reach, Workers};
use crate::app::App;
use crate::error::Failure;
use crate::text;

#[derive(Debug, clap::Args)]
struct Which {
    /// These workers: STREAM or STREAM/WORKER
    #[arg(value_name = "WORKER", required_unless_present = "all")]
    workers: Option<Workers>,
    /// All workers, or with --replicator all of its
    #[arg(long, conflicts_with = "workers")]
    all: bool,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Debug, clap::Args)]
pub(super) struct Pause {
    #[command(flatten)]
    which: Which,
    /// Why, for other operators
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    reason: String,
}

#[derive(Debug, clap::Args)]
pub(super) struct Resume {
    #[command(flatten)]
    which: Which,
}

pub(super) async fn pause(args: Pause, app: &App) -> Result<(), Failure> {
    let Which { workers, reach, .. } = args.which;
    let control = Control::open(app, &reach).await?;
    let request = PauseRequest {
        selection: reach.selection(workers.as_ref()),
        reason: args.reason,
    };
    done(&control.ask(name::PAUSE, &request).await?, app)
}

pub(super) async fn resume(args: Resume, app: &App) -> Result<(), Failure> {
    let Which { workers, reach, .. } = args.which;
    let control = Control::open(app, &reach).await?;
    let selection = reach.selection(workers.as_ref());
    done(&control.ask(name::RESUME, &selection).await?, app)
}

/// Tells what was done; replicas that share workers say the same.
pub(super) fn done(replies: &[DoneReply], app: &App) -> Result<(), Failure> {
    if app.output.is_json() {
        return app.output.json(&replies);
    }
    let mut lines: Vec<String> = replies
        .iter()
        .map(|reply| {
            let replicator = text::visible(&reply.replica.replicator);
            format!("{replicator}: {}", text::visible(&reply.message))
        })
        .collect();
    lines.sort();
    lines.dedup();
    lines.iter().try_for_each(|line| app.output.line(line))
}
