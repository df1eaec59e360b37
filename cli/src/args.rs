//! The command line: global flags and the nouns.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::commands;

/// Runs commands on a fleet, shows what it is, and keeps its cell.
#[derive(Debug, Parser)]
#[command(
    name = "overlay",
    version,
    propagate_version = true,
    max_term_width = 100
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
    #[arg(long, global = true, value_name = "FILE", env = "OVERLAY_CONFIG")]
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
    /// Make, check, start and inspect a cell
    Cell(commands::cell::Args),
    /// Make and read keys and tokens
    Jwt(commands::jwt::Args),
}
