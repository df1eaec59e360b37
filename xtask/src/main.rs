//! The project's tasks: what CI runs, and what a person runs by hand.
//!
//! Nothing of ours is linked in: xtask builds and runs our programs, so that it compiles in seconds on a fresh machine.

mod bench;
mod demo;
mod deps;
mod docs;
mod fuzz;
mod identity;
mod overlays;
mod run;
mod skips;
mod system;
mod test;
mod tools;
mod vectors;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Tasks of the Overlay workspace.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Everything that CI runs; ends with a line of counts
    #[command(visible_alias = "ci")]
    Test {
        /// Run only the steps whose name contains this text
        #[arg(long, value_name = "TEXT")]
        only: Option<String>,
    },
    /// Start a cell with nodes and show what it does; Ctrl-C stops it
    Demo {
        /// Run through, check what was shown, stop; exit 1 if anything fell short
        #[arg(long)]
        once: bool,
        /// Debug builds of the programs: built sooner, slower, and not what is shipped
        #[arg(long)]
        debug: bool,
        /// Directory of the cell, kept afterwards [default: a new one under target/]
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
    /// Replay the test vectors, those in the tree or those under DIR
    Vectors {
        /// Directory with vector files in the layout of the tree
        dir: Option<PathBuf>,
    },
    /// Measure one of the bars in a release build; prints figures and writes JSON under target/bench/
    Bench {
        /// Which benchmark, or `list`
        name: String,
        /// Flags of the benchmark itself
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        flags: Vec<String>,
    },
    /// Check the crate table: who may depend on whom, and under which licences
    Deps,
    /// Write the generated reference under docs/reference
    Docs {
        /// Only say whether the files are what would be written
        #[arg(long)]
        check: bool,
    },
    /// Replay the fuzz corpora on the stable compiler
    Fuzz {
        /// Also run this many mutated inputs for each target
        #[arg(long, default_value_t = 0, value_name = "N")]
        mutate: u64,
    },
    /// Check the shipped configuration and systemd units
    Overlays,
    /// Find or fetch what tests and demo use: nats-server, the OpenID provider and the directory of the login tests
    Tools,
}

fn main() -> ExitCode {
    let result = match Args::parse().task {
        Task::Test { only } => test::run(only.as_deref()),
        Task::Demo { once, debug, dir } => demo::run(once, debug, dir.as_deref()),
        Task::Vectors { dir } => vectors::run(dir.as_deref()),
        Task::Bench { name, flags } => bench::run(&name, &flags),
        Task::Deps => deps::run(),
        Task::Docs { check } => docs::run(check),
        Task::Fuzz { mutate } => fuzz::run(mutate).map(drop),
        Task::Overlays => overlays::run().map(drop),
        Task::Tools => tools::run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            run::say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
