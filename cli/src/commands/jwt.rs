//! `overlay jwt`: makes and reads keys and tokens.
//!
//! Names of verbs, arguments and flags are those of `choria jwt`. Signing by Vault is not offered: keys
//! are files here.

mod client;
mod keys;
pub(super) mod material;
mod people;
pub(super) mod provisioner;
mod server;
pub(super) mod validity;
pub(super) mod view;

pub(crate) use self::material::now;
pub(crate) use self::people::span;
pub(super) use self::people::{Described, State, client as describe_client, instant};

use std::path::PathBuf;

use clap::Subcommand;

use crate::app::App;
use crate::error::Failure;

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// Token to show, as with `view`
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Public key to verify it with, as with `view`
    #[arg(value_name = "PUBLIC")]
    public: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a pair of keys
    #[command(visible_alias = "k")]
    Keys(keys::Args),
    /// Make the token of a person, a service or an issuer
    #[command(visible_alias = "c")]
    Client(Box<client::Args>),
    /// Make the token of a node
    Server(server::Args),
    /// Make the token of nodes that are yet to be provisioned
    #[command(visible_aliases = ["provisioning", "provision", "prov", "p"])]
    Provisioner(Box<provisioner::Args>),
    /// Show what a token says, and whether it can be believed
    #[command(visible_aliases = ["show", "v"], alias = "s")]
    View(view::Args),
}

#[expect(
    clippy::unused_async,
    reason = "every noun is run alike, and this one never waits"
)]
pub(crate) async fn run(args: Args, app: &App) -> Result<(), Failure> {
    match (args.verb, args.file) {
        (Some(Verb::Keys(args)), _) => keys::run(&args, app),
        (Some(Verb::Client(args)), _) => client::run(*args, app),
        (Some(Verb::Server(args)), _) => server::run(args, app),
        (Some(Verb::Provisioner(args)), _) => provisioner::run(*args, app),
        (Some(Verb::View(args)), _) => view::run(&args, app),
        (None, Some(file)) => view::run(&view::Args::new(file, args.public), app),
        (None, None) => {
            Err(Failure::usage("nothing to do").hint("`overlay jwt --help` lists what can be done"))
        }
    }
}
