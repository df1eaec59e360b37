//! `overlay provision`: tokens for new nodes, and the provisioner that enrols them.

mod control;
mod nodes;
mod pause;
mod status;
mod tokens;

use clap::Subcommand;

pub(super) use self::control::{Act, Control, Reach};
pub(super) use self::nodes::instant;
pub(super) use self::tokens::{Fingerprint, fingerprints};

use crate::app::App;
use crate::error::Failure;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make, show and check the tokens that new nodes arrive with
    #[command(visible_alias = "token")]
    Tokens(tokens::Args),
    /// List, show, retry, quarantine and release nodes
    #[command(visible_alias = "node")]
    Nodes(nodes::Args),
    /// Take up no further nodes; those that were begun are finished
    Pause(pause::Pause),
    /// Take up nodes again
    Resume(pause::Resume),
    /// Tell how enrolment goes: instances, nodes by state, nodes a minute, time left
    Status(status::Args),
}

pub(crate) async fn run(args: Args, app: &App) -> Result<(), Failure> {
    match args.verb {
        Verb::Tokens(args) => tokens::run(args, app),
        Verb::Nodes(args) => nodes::run(args, app).await,
        Verb::Pause(args) => pause::pause(args, app).await,
        Verb::Resume(args) => pause::resume(args, app).await,
        Verb::Status(args) => status::run(args, app).await,
    }
}
