//! One file per noun.

pub(crate) mod cell;
pub(crate) mod jwt;

use crate::app::App;
use crate::args::Command;
use crate::error::Failure;

/// Runs the chosen command.
pub(crate) async fn run(command: Command, app: &App) -> Result<(), Failure> {
    match command {
        Command::Cell(args) => cell::run(args, app).await,
        Command::Jwt(args) => jwt::run(args, app).await,
    }
}
