//! The command line: global flags and the nouns.

mod select;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::commands;

pub(crate) use self::select::{DiscoveryArgs, FilterArgs, seconds};

/// Runs commands on a fleet, shows what it is, and keeps its cell.
#[derive(Debug, Parser)]
#[command(
    name = "overlay",
    version,
    propagate_version = true,
    max_term_width = 100,
    disable_help_subcommand = false,
    after_long_help = "\
Examples:
  overlay ping                                   who is there
  overlay req rpcutil ping -F os.family=redhat   an action on some of them
  overlay inventory n1.example.net               what a node is
  overlay login                                  a new session; overlay whoami shows it
  overlay events                                 what starts, stops, and is refused
  overlay cell init ./lhr --name lhr             a new cell

Configuration: --config FILE, else ~/.config/overlay/client.toml, /etc/overlay/client.toml, then the
files of Choria's own client (~/.choriarc, /etc/choria/client.conf, …). OVERLAY_… variables win.

Exit codes: 0 done; 1 failed or refused; 2 the command line was wrong."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags that every command has.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Read this configuration file instead of searching for one
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "OVERLAY_CONFIG",
        hide_env_values = true
    )]
    pub(crate) config: Option<PathBuf>,
    /// Print JSON on standard output and nothing else
    #[arg(short, long, global = true)]
    pub(crate) json: bool,
    /// Say more about what is done and found
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,
    /// Log what the program does, on standard error
    #[arg(long, global = true)]
    pub(crate) debug: bool,
    /// Do without colour (also with NO_COLOR set, and when the output is no terminal)
    #[arg(long, global = true)]
    pub(crate) no_color: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Tell who is there and how fast they answer
    Ping(commands::ping::Args),
    /// Find nodes by filters
    #[command(visible_alias = "discover")]
    Find(commands::find::Args),
    /// Run an action on nodes
    #[command(visible_aliases = ["rpc", "request"])]
    Req(Box<commands::req::Args>),
    /// Show what a node is, or which collectives there are
    Inventory(commands::inventory::Args),
    /// Count the values of a fact
    Facts(commands::facts::Args),
    /// Watch what starts, stops, lives, and who is refused
    Events(commands::events::Args),
    /// List agents and describe their actions
    Plugin(commands::plugin::Args),
    /// Make tokens for new nodes, and look after their enrolment
    Provision(commands::provision::Args),
    /// Look after the copying of streams to other brokers
    #[command(visible_alias = "repl")]
    Replicate(commands::replicate::Args),
    /// Send nodes back to be enrolled anew
    Reprovision(Box<commands::reprovision::Args>),
    /// Log in, and get a token
    Login(Box<commands::login::Args>),
    /// Show who one is, what for and until when
    Whoami(commands::whoami::Args),
    /// End the session
    Logout(commands::logout::Args),
    /// Keep the users of the login service
    User(commands::user::Args),
    /// Say whether a policy is good, and what it would decide
    Policy(commands::policy::Args),
    /// Read and verify the record of logins and signatures
    Audit(commands::audit::Args),
    /// Make, check, start and inspect a cell
    Cell(commands::cell::Args),
    /// Make and read keys and tokens
    Jwt(commands::jwt::Args),
    /// Print a script that completes commands in a shell
    Completion(commands::completion::Args),
    /// Print the help of every command as one page
    #[command(hide = true)]
    HelpMarkdown,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::Cli;

    #[test]
    fn the_command_line_holds_together() {
        Cli::command().debug_assert();
    }
}
