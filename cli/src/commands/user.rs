//! `overlay user`: keeps the file of users that the login service reads.

mod change;
mod file;
mod list;
mod password;
mod record;
#[cfg(test)]
mod tests;
mod totp;

use std::path::{Path, PathBuf};

use clap::Subcommand;

use self::file::UsersFile;
use crate::app::App;
use crate::error::Failure;

/// Where a cell keeps its users, seen from its directory.
const IN_CELL: &str = "users/users.json";

#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  overlay user add rip --acl 'rpcutil.*' --acl puppet.status
  overlay user passwd rip
  overlay user list
  overlay user disable rip
  overlay user totp rip

The file is a JSON list as Choria's AAA service reads it, with more keys. It is changed whole: a running login
service takes the change within seconds, or keeps what it had and says so if the file is bad.")]
pub(crate) struct Args {
    /// Users file; in a cell's directory its `users/users.json`
    #[arg(
        long,
        short = 'f',
        value_name = "FILE",
        env = "OVERLAY_USERS",
        global = true
    )]
    file: Option<PathBuf>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Add a user; the file is made if there is none
    Add(Box<change::AddArgs>),
    /// Set a user's password
    Passwd(change::PasswdArgs),
    /// List the users
    #[command(visible_alias = "ls")]
    List,
    /// Keep a user from logging in
    Disable(change::Name),
    /// Let a disabled user log in again
    Enable(change::Name),
    /// Give a user a second factor, or take it away
    Totp(totp::Args),
    /// Remove a user
    #[command(visible_alias = "rm")]
    Remove(change::Name),
}

pub(crate) async fn run(args: Args, app: &App) -> Result<(), Failure> {
    let path = path(args.file)?;
    match args.verb {
        Verb::Add(args) => change::add(*args, &path, app).await,
        Verb::Passwd(args) => change::passwd(args, &path, app).await,
        Verb::List => list::run(&path, app),
        Verb::Disable(name) => change::disable(&name, true, &path, app),
        Verb::Enable(name) => change::disable(&name, false, &path, app),
        Verb::Totp(args) => totp::run(&args, &path, app),
        Verb::Remove(name) => change::remove(&name, &path, app),
    }
}

fn path(given: Option<PathBuf>) -> Result<PathBuf, Failure> {
    if let Some(path) = given {
        return Ok(path);
    }
    let in_cell = Path::new(IN_CELL);
    if in_cell.is_file() || Path::new("cell.toml").is_file() {
        return Ok(in_cell.to_owned());
    }
    Err(Failure::usage("no users file")
        .hint("name it with `--file`, set OVERLAY_USERS, or change to the directory of a cell"))
}

/// Reads the file to look at it.
fn look(path: &Path) -> Result<UsersFile, Failure> {
    UsersFile::read(path)
}
