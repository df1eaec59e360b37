//! Asks, shows, and exits with the right code.
//!
//! What must hold:
//!
//! - Results go to standard output, everything else (progress, notes, errors) to standard error.
//! - Only `output` prints. A reader that closes the pipe early is no error.
//! - Exit code 0: done. 1: it failed or was refused. 2: the command line was wrong.
//! - Every error says what failed, on what, and what to do next.

mod app;
mod args;
mod commands;
mod duration;
mod error;
mod output;
mod prompt;
mod results;
mod select;
mod text;

use std::process::ExitCode;

use clap::Parser;

use crate::app::App;
use crate::args::Cli;
use crate::error::Failure;
use crate::output::Output;

/// Runs the command of this process: reads arguments and environment, returns the exit code.
#[must_use]
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(usage) => return output::usage(&usage),
    };
    let output = Output::new(&cli.global);
    output::start_logs(&cli.global);
    let result = runtime().and_then(|runtime| {
        let app = App::new(cli.global, output.clone());
        let result = app.end(runtime.block_on(commands::run(cli.command, &app)));
        // A blocked read of standard input must not keep a finished command alive.
        runtime.shutdown_background();
        result
    });
    output.finish(result)
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    Ok(tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?)
}
