//! `overlay provision status`: how enrolment goes, once or as it goes on.

mod rate;
mod show;

use std::time::Duration;

use overlay_protocol::provisioning::control::{StatusReply, name};
use serde_json::{Map, Value};
use tokio::time::{Instant, sleep};

use self::rate::Rate;
use super::control::{Control, Reach};
use crate::app::App;
use crate::args::seconds;
use crate::error::Failure;
use crate::output::Progress;

/// So many failed questions in a row end the watching.
const PATIENCE: u32 = 5;

#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  overlay provision status                    once
  overlay provision status --watch            until Ctrl-C: counts, nodes a minute, time left
  overlay provision status --watch --wait     until nobody is on the way any more
  overlay provision status --watch --json     a line of JSON for each look")]
pub(super) struct Args {
    /// Go on looking
    #[arg(short, long)]
    watch: bool,
    /// End when no node is on the way any more
    #[arg(long, requires = "watch")]
    wait: bool,
    /// Time between two looks
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "1", requires = "watch")]
    interval: Duration,
    #[command(flatten)]
    reach: Reach,
}

pub(super) async fn run(args: Args, app: &App) -> Result<(), Failure> {
    let control = Control::open(app, &args.reach).await?;
    if args.watch {
        return watch(&args, &control, app).await;
    }
    let status: StatusReply = ask(&control).await?;
    if app.output.is_json() {
        return app.output.json(&status);
    }
    app.output.text(show::whole(&status))
}

async fn ask(control: &Control<'_>) -> Result<StatusReply, Failure> {
    control
        .ask(name::STATUS, &Map::<String, Value>::new())
        .await
}

/// A line for each look; on a terminal they are one picture that changes. Ctrl-C ends it well.
async fn watch(args: &Args, control: &Control<'_>, app: &App) -> Result<(), Failure> {
    let mut watching = Watching {
        args,
        control,
        app,
        picture: app.output.spinner("asking the provisioner"),
        began: Instant::now(),
        rate: Rate::default(),
        failures: 0,
        last: None,
    };
    tokio::select! {
        biased;
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        result = watching.go_on() => result?,
    }
    drop(watching.picture);
    match watching.last {
        Some(last) if !app.output.is_json() => app.output.text(show::whole(&last)),
        Some(_) | None => Ok(()),
    }
}

struct Watching<'a> {
    args: &'a Args,
    control: &'a Control<'a>,
    app: &'a App,
    picture: Progress,
    began: Instant,
    rate: Rate,
    /// Questions in a row that nobody answered.
    failures: u32,
    last: Option<StatusReply>,
}

impl Watching<'_> {
    async fn go_on(&mut self) -> Result<(), Failure> {
        loop {
            match ask(self.control).await {
                Ok(status) => {
                    self.failures = 0;
                    self.look(&status)?;
                    let is_over = self.args.wait && rate::on_the_way(&status) == 0;
                    self.last = Some(status);
                    if is_over {
                        return Ok(());
                    }
                }
                // The one that would have answered may be restarting.
                Err(_) if self.last.is_some() && self.failures < PATIENCE => {
                    self.failures += 1;
                    self.picture
                        .set_message("no provisioner answers; asking again");
                }
                Err(failure) => return Err(failure),
            }
            sleep(self.args.interval).await;
        }
    }

    fn look(&mut self, status: &StatusReply) -> Result<(), Failure> {
        let output = &self.app.output;
        self.rate.enter(self.began.elapsed(), status);
        if output.is_json() {
            return output.json_line(&self.rate.with(status)?);
        }
        if output.is_watched() {
            self.picture.set_message(show::picture(status, &self.rate));
            return Ok(());
        }
        output.line(show::line(status, &self.rate))
    }
}
