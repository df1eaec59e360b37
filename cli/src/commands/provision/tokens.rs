//! `overlay provision tokens`: what a new node arrives with.
//!
//! As `overlay jwt provisioner`, which has the flags of Choria's command, but with what this stack adds and
//! without what nodes would ignore or trip over.

mod check;
mod create;
mod extension;

pub(in crate::commands) use self::extension::{Fingerprint, fingerprints};

use std::path::PathBuf;

use clap::Subcommand;

use crate::app::App;
use crate::commands::jwt::view;
use crate::error::Failure;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a token: for all new nodes of a site, or for one
    #[command(visible_alias = "new")]
    Create(Box<create::Args>),
    /// Show what a token says; its secrets stay hidden
    #[command(visible_alias = "show")]
    View(Place),
    /// Look for anything that would keep a node from being enrolled
    Check(check::Args),
}

/// A token, and perhaps the key that proves it.
#[derive(Debug, clap::Args)]
struct Place {
    /// File with the token
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The organisation's issuer: its public key as 64 hexadecimal digits, or a file that holds it
    #[arg(long, value_name = "HEX|FILE")]
    issuer: Option<String>,
}

pub(super) fn run(args: Args, app: &App) -> Result<(), Failure> {
    match args.verb {
        Verb::Create(args) => create::run(*args, app),
        Verb::View(place) => view::provisioning(&place.file, place.issuer.as_deref(), app),
        Verb::Check(args) => check::run(&args, app),
    }
}
