//! The one place that prints.
//!
//! Results go to standard output, notes and errors to standard error.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use serde::Serialize;
use tracing_subscriber::EnvFilter;

use crate::args::Global;
use crate::error::{Failure, Kind};

/// Handle on the two streams of this process.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    json: bool,
    color: bool,
}

impl Output {
    pub(crate) fn new(global: &Global) -> Self {
        let color = !global.no_color && io::stdout().is_terminal();
        Self {
            json: global.json,
            color,
        }
    }

    /// Whether the user asked for JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Whether colour may be used on standard output.
    pub(crate) fn is_colored(&self) -> bool {
        self.color
    }

    /// Whether somebody watches standard error, so that progress is of use.
    pub(crate) fn is_watched(&self) -> bool {
        !self.json && io::stderr().is_terminal()
    }

    /// Prints one line of result.
    pub(crate) fn line(&self, line: impl Display) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "{line}")?;
        Ok(())
    }

    /// Prints text of result as it is.
    pub(crate) fn text(&self, text: impl Display) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        write!(stdout, "{text}")?;
        stdout.flush()?;
        Ok(())
    }

    /// Prints a value as indented JSON.
    pub(crate) fn json(&self, value: &impl Serialize) -> Result<(), Failure> {
        self.line(serde_json::to_string_pretty(value)?)
    }

    /// Prints a value as JSON on one line.
    pub(crate) fn json_line(&self, value: &impl Serialize) -> Result<(), Failure> {
        self.line(serde_json::to_string(value)?)
    }

    /// Tells the user something that is no result, on standard error.
    pub(crate) fn note(&self, note: impl Display) {
        // Nobody is left to tell when standard error is closed.
        writeln!(io::stderr().lock(), "{note}").ok();
    }

    /// Tells the user that something is not as it should be, on standard error.
    pub(crate) fn warn(&self, warning: impl Display) {
        self.note(format_args!("warning: {warning}"));
    }

    /// Ends the command: tells of a failure, returns the exit code.
    pub(crate) fn finish(&self, result: Result<(), Failure>) -> ExitCode {
        let result = result.and_then(|()| Ok(io::stdout().flush()?));
        match result {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => {
                if failure.kind() != Kind::PipeClosed {
                    write!(io::stderr().lock(), "{}", failure.render()).ok();
                }
                failure.exit_code()
            }
        }
    }
}

/// Prints what the argument parser has to say: help and version on standard output with code 0,
/// faults on standard error with code 2.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    error.print().ok();
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

/// Sends the log to standard error: warnings, or everything of ours with `--debug`.
pub(crate) fn start_logs(global: &Global) {
    let filter = if global.debug {
        "overlay=debug,overlay_cli=debug,overlay_client=debug,async_nats=debug,warn"
    } else {
        "error,async_nats=off"
    };
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(io::stderr)
        .with_ansi(!global.no_color && io::stderr().is_terminal())
        .with_target(global.debug)
        .init();
}
