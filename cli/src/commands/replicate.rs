//! `overlay replicate`: what stream replicators copy, how far behind they are, and what they kept aside.

mod advisories;
mod control;
mod gossip;
mod letters;
mod pause;
mod state;
mod status;
mod trace;

use clap::Subcommand;

use crate::app::App;
use crate::error::Failure;

#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  overlay replicate status                        every replica and its workers
  overlay replicate lag --wait                    until nothing is left to be copied
  overlay replicate pause NODES/W1 --reason why   in all replicas, and over restarts
  overlay replicate trace NODES/W1 --count 5      why five messages were copied, or not
  overlay replicate state --value '^web'          what is known of nodes whose names begin so
  overlay replicate deadletters list              what the target refused

A worker is named by its source stream and its name, STREAM/WORKER; STREAM alone means all that read it.")]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Tell how replicas and their workers are doing
    Status(status::Status),
    /// Tell how far behind workers are
    Lag(status::Lag),
    /// Stop copying in all replicas, until it is resumed
    Pause(pause::Pause),
    /// Copy again
    Resume(pause::Resume),
    /// Show decisions on single messages as they are made
    Trace(trace::Args),
    /// List values that are tracked, by a replicator or in its files
    State(Box<state::Args>),
    /// List, show, send again and give up messages that the target refused
    #[command(visible_alias = "dead")]
    Deadletters(letters::Args),
    /// Show advisories of a stream: what appeared, fell silent and returned
    #[command(visible_alias = "adv")]
    Advisories(advisories::Args),
    /// Show what replicas tell each other
    Gossip(gossip::Args),
}

pub(crate) async fn run(args: Args, app: &App) -> Result<(), Failure> {
    match args.verb {
        Verb::Status(args) => status::status(args, app).await,
        Verb::Lag(args) => status::lag(args, app).await,
        Verb::Pause(args) => pause::pause(args, app).await,
        Verb::Resume(args) => pause::resume(args, app).await,
        Verb::Trace(args) => trace::run(args, app).await,
        Verb::State(args) => state::run(*args, app).await,
        Verb::Deadletters(args) => letters::run(args, app).await,
        Verb::Advisories(args) => advisories::run(args, app).await,
        Verb::Gossip(args) => gossip::run(args, app).await,
    }
}
