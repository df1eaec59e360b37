//! `overlay provision pause` and `resume`.

use overlay_protocol::provisioning::control::{DoneReply, PauseRequest, name};
use serde_json::{Map, Value};

use super::control::{Control, Reach};
use crate::app::App;
use crate::error::Failure;
use crate::text;

#[derive(Debug, clap::Args)]
pub(super) struct Pause {
    /// Why, for other operators and for the audit
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    reason: String,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Debug, clap::Args)]
pub(super) struct Resume {
    #[command(flatten)]
    reach: Reach,
}

pub(super) async fn pause(args: Pause, app: &App) -> Result<(), Failure> {
    let control = Control::open(app, &args.reach).await?;
    let request = PauseRequest {
        reason: args.reason,
    };
    tell(control.ask(name::PAUSE, &request).await?, app)
}

pub(super) async fn resume(args: Resume, app: &App) -> Result<(), Failure> {
    let control = Control::open(app, &args.reach).await?;
    tell(
        control
            .ask(name::RESUME, &Map::<String, Value>::new())
            .await?,
        app,
    )
}

fn tell(done: DoneReply, app: &App) -> Result<(), Failure> {
    if app.output.is_json() {
        return app.output.json(&done);
    }
    app.output.line(text::visible(&done.message))
}
