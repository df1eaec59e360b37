//! `overlay policy`: what a policy is, and what it would decide.

mod check;
mod explain;
mod holder;

use std::path::Path;

use clap::Subcommand;

use crate::app::App;
use crate::error::Failure;

#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  overlay policy check ops.rego
  overlay policy explain --policy ops.rego --agent rpcutil --action ping
  overlay policy explain --users users.json --user rip --agent puppet --action disable -F country=mt
  overlay policy explain --token rip.jwt --agent package --action install --data '{\"package\": \"zsh\"}'

Nothing is asked of a broker or a service. Exit codes: 0 the policy is good, or allows; 1 it is not, or denies;
2 the command line is wrong, or a file cannot be read.")]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Say whether a policy in Rego can be used, and what is wrong with it
    Check(check::Args),
    /// Say what would be decided for a caller and a request, and which rule says so
    Explain(Box<explain::Args>),
}

pub(crate) fn run(args: Args, app: &App) -> Result<(), Failure> {
    match args.verb {
        Verb::Check(args) => check::run(&args, app),
        Verb::Explain(args) => explain::run(&args, app),
    }
}

/// Reads a file that the command line names; a file that can't be read is no verdict.
fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path)
        .map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))
}
