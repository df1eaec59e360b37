//! `overlay events`: what starts, stops, lives, and who is refused, as it happens.

use std::time::Duration;

use overlay_client::{Events, Seen};
use overlay_protocol::lifecycle::{Event, EventKind};
use time::macros::format_description;

use crate::app::App;
use crate::error::Failure;
use crate::output::Color;
use crate::text::visible;

/// How often a lost connection is looked for.
const LOOK_AROUND: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  overlay events                          everything
  overlay events --type refused           whose login is refused, and why
  overlay events --component server       the nodes only
  overlay events --json | jq .            each event as one line of JSON

Takes a token with the permission to view events. Ends with Ctrl-C.")]
pub(crate) struct Args {
    /// Only events of this component, such as server or broker_auth
    #[arg(long, value_name = "COMPONENT")]
    component: Option<String>,
    /// Only events of this type: startup, shutdown, alive, provisioned, upgraded, governor, refused
    #[arg(long = "type", value_name = "TYPE")]
    type_: Option<String>,
    /// End after this many events
    #[arg(long, value_name = "COUNT")]
    count: Option<u64>,
}

pub(crate) async fn run(args: Args, app: &App) -> Result<(), Failure> {
    let config = app.config()?;
    let fleet = app.fleet(config, "events").await?;
    let mut events = Events::watch(fleet.connection()).await?;
    if !app.output.is_json() {
        app.output.note("Waiting for events, Ctrl-C ends");
    }
    let mut seen = 0;
    let mut look_around = tokio::time::interval(LOOK_AROUND);
    while args.count.is_none_or(|count| seen < count) {
        let next = tokio::select! {
            next = events.next() => next,
            _ = tokio::signal::ctrl_c() => return Ok(()),
            _ = look_around.tick() => {
                app.output.warn_of(&fleet.connection().take_notices());
                continue;
            }
        };
        let Some(next) = next else {
            return Err(Failure::new("the connection to the broker is closed"));
        };
        if args.shows(&next) {
            show(app, &next)?;
            seen += 1;
        }
    }
    Ok(())
}

impl Args {
    fn shows(&self, seen: &Seen) -> bool {
        let Ok(event) = &seen.event else {
            return self.component.is_none() && self.type_.is_none();
        };
        let is_component = self
            .component
            .as_ref()
            .is_none_or(|name| *name == event.component);
        let is_type = self
            .type_
            .as_deref()
            .is_none_or(|name| name.eq_ignore_ascii_case(event.kind.type_name()));
        is_component && is_type
    }
}

fn show(app: &App, seen: &Seen) -> Result<(), Failure> {
    let output = &app.output;
    match &seen.event {
        Ok(_) if output.is_json() => {
            let value: serde_json::Value = serde_json::from_slice(&seen.bytes)?;
            output.json_line(&value)?;
        }
        Ok(event) => output.line(line(app, event))?,
        Err(error) => output.warn(format_args!("not an event: {error}")),
    }
    output.text("")
}

fn line(app: &App, event: &Event) -> String {
    let clock = format_description!("[hour]:[minute]:[second]");
    let time = event
        .time()
        .and_then(|time| time.format(clock).ok())
        .unwrap_or_default();
    let text = visible(&format!("{time} {event}"));
    match &event.kind {
        EventKind::Refused(_) => app.output.paint(Color::Red, text),
        EventKind::Startup { .. }
        | EventKind::Shutdown
        | EventKind::Alive { .. }
        | EventKind::Provisioned
        | EventKind::Upgraded { .. }
        | EventKind::Governor { .. } => text,
    }
}
