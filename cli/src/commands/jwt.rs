//! `overlay jwt`.

use crate::app::App;
use crate::error::Failure;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

#[expect(clippy::unused_async, reason = "the verbs of this noun are to come")]
pub(crate) async fn run(_args: Args, _app: &App) -> Result<(), Failure> {
    Err(Failure::usage("this command has no verbs yet"))
}
