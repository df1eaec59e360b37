//! `overlay audit`: the record of logins and signatures, read and verified.

mod export;
mod search;
mod select;
mod show;
mod source;
mod stream;
mod tail;
mod verify;

use clap::Subcommand;

use crate::app::App;
use crate::error::Failure;

#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  overlay audit tail                                what is decided, as it happens
  overlay audit search --caller up=bob --since 2h   what one person did
  overlay audit verify                              is the record in the stream whole?
  overlay audit export audit.jsonl                  a copy that can be verified anywhere
  overlay audit verify audit.jsonl                  for instance here

The stream takes a token with the permission audit_viewer. Files are those of the service, or exported ones.")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show what was decided last, and what is decided next
    Tail(tail::Args),
    /// Find records
    Search(Box<search::Args>),
    /// Check that nothing was changed, removed, moved or cut off
    Verify(verify::Args),
    /// Copy the record into a file
    Export(export::Args),
}

pub(crate) async fn run(args: Args, app: &App) -> Result<(), Failure> {
    match args.command {
        Command::Tail(args) => Box::pin(tail::run(args, app)).await,
        Command::Search(args) => Box::pin(search::run(*args, app)).await,
        Command::Verify(args) => Box::pin(verify::run(args, app)).await,
        Command::Export(args) => Box::pin(export::run(args, app)).await,
    }
}
