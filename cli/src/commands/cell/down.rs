//! `overlay cell down`: stops what `up` started.

use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;

use super::process::{Identity, State};
use super::settings::Settings;
use crate::app::App;
use crate::error::Failure;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Directory of the cell
    #[arg(value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// Wait this many seconds for everything to end
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    wait: u64,
    /// Kill at once instead of stopping in order
    #[arg(long)]
    kill: bool,
}

pub(super) async fn run(args: &Args, app: &App) -> Result<(), Failure> {
    let (settings, layout) = Settings::load(&args.dir)?;
    let name = &settings.name;
    let Some(state) = State::load(&layout)? else {
        return report(app, name, false);
    };
    let limit = Duration::from_secs(args.wait);
    let up = state.process;
    let was_up = up.is_alive();
    if was_up {
        if !up.is_ours() {
            return Err(Failure::new(format!(
                "process {} runs the cell and belongs to somebody else",
                up.pid
            ))
            .hint("run this as the user who runs `overlay cell up`, or as root"));
        }
        app.output
            .note(format!("stopping cell {name} (process {})", up.pid));
        up.signal(if args.kill {
            Signal::KILL
        } else {
            Signal::TERM
        });
        if !up.ended(limit).await {
            return Err(Failure::new(format!(
                "process {} still runs after {} s",
                up.pid, args.wait
            ))
            .hint("look at what it says; `--kill` ends it at once"));
        }
    }
    // Children outlive their parent only for the moment that they take to stop.
    let left: Vec<Identity> = state
        .processes
        .iter()
        .filter_map(|child| child.process)
        .collect();
    for child in &left {
        if args.kill {
            child.signal(Signal::KILL);
        }
        if !child.ended(limit).await {
            return Err(
                Failure::new(format!("process {} of the cell still runs", child.pid))
                    .hint("`--kill` ends it at once"),
            );
        }
    }
    State::remove(&layout)?;
    report(app, name, was_up)
}

fn report(app: &App, name: &str, was_up: bool) -> Result<(), Failure> {
    if app.output.is_json() {
        return app
            .output
            .json(&serde_json::json!({ "name": name, "was_up": was_up }));
    }
    app.output.line(if was_up {
        format!("Cell {name} is down")
    } else {
        format!("Cell {name} was not up: nothing to stop")
    })
}
