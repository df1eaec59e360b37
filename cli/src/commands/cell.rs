//! `overlay cell`: makes, checks, starts and inspects a cell.
//!
//! A cell is a directory. [`layout`] says what lies where and who may read it, [`settings`] what its
//! maker chose, [`build`] turns settings and keys into files, and everything else works on those.

mod build;
mod check;
mod down;
mod exec_child;
mod http;
mod init;
mod keys;
mod layout;
mod process;
mod programs;
mod provisioning;
mod replication;
mod settings;
mod signing;
mod status;
mod templates;
mod tls;
mod tokens;
mod up;
mod write;

use std::path::PathBuf;

use clap::Subcommand;

use crate::app::App;
use crate::error::Failure;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Write a complete cell: keys, certificates, configuration, tokens, units
    ///
    /// Run it again to make what is missing: a lost or removed certificate or token is made anew, keys
    /// and files that exist are left as they are.
    Init(Box<init::Args>),
    /// Look for anything wrong in a cell: files, modes, keys, certificates, tokens, configuration
    Check(Place),
    /// Start broker, login service, signer, replicator and nodes of a cell in the foreground, for trying out
    Up(up::Args),
    /// Tell health, versions, connections, streams, leaders and nodes
    Status(Place),
    /// Stop what `up` started
    Down(down::Args),
    /// Run a program that dies with its parent
    #[command(hide = true)]
    ExecChild(exec_child::Args),
}

/// A cell that exists.
#[derive(Debug, clap::Args)]
struct Place {
    /// Directory of the cell
    #[arg(value_name = "DIR", default_value = ".")]
    dir: PathBuf,
}

pub(crate) async fn run(args: Args, app: &App) -> Result<(), Failure> {
    match args.verb {
        Verb::Init(args) => init::run(&args, app),
        Verb::Check(place) => check::run(&place.dir, app),
        Verb::Up(args) => up::run(&args, app).await,
        Verb::Status(place) => status::run(&place.dir, app).await,
        Verb::Down(args) => down::run(&args, app).await,
        Verb::ExecChild(args) => Err(exec_child::run(&args)),
    }
}
