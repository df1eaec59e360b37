//! The one place that prints.
//!
//! Results go to standard output, notes and errors to standard error.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use overlay_client::connection::Collected;
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
        let is_wanted =
            !global.no_color && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        let color = is_wanted && io::stdout().is_terminal();
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
        self.text(format_args!("{line}\n"))
    }

    /// Prints text of result as it is.
    pub(crate) fn text(&self, text: impl Display) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        let written = write!(stdout, "{text}").and_then(|()| stdout.flush());
        written.map_err(|error| Failure::from(error).context("cannot write the results"))
    }

    /// Prints a value as indented JSON.
    pub(crate) fn json(&self, value: &impl Serialize) -> Result<(), Failure> {
        self.line(pretty(value, b"  ")?)
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

    /// Tells what the broker said besides messages: refusals and losses.
    pub(crate) fn warn_of(&self, notices: &Collected) {
        for refusal in &notices.refusals {
            self.warn(format_args!("the broker says: {refusal}"));
        }
        if notices.overruns > 0 {
            self.warn("replies came faster than they could be read; some are lost");
        }
        if notices.disconnects > 0 {
            self.warn("the connection to the broker was lost; what came meanwhile is missing");
        }
    }

    /// Shows that something is going on, until dropped; nothing if nobody watches.
    pub(crate) fn spinner(&self, message: impl Into<String>) -> Progress {
        let bar = self.bar_of(ProgressBar::new_spinner(), "{spinner} {msg}");
        bar.set_message(message.into());
        bar.enable_steady_tick(Duration::from_millis(120));
        Progress(bar)
    }

    /// Shows how much of a known amount is done, until dropped; nothing if nobody watches.
    pub(crate) fn progress(&self, amount: usize) -> Progress {
        let bar = ProgressBar::new(amount as u64);
        Progress(self.bar_of(bar, "{pos} / {len} {elapsed:>4} [{bar:48}] {percent:>3}%"))
    }

    fn bar_of(&self, bar: ProgressBar, template: &str) -> ProgressBar {
        if !self.is_watched() {
            return ProgressBar::hidden();
        }
        let style =
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        bar.set_draw_target(ProgressDrawTarget::stderr());
        bar.with_style(style.progress_chars("=> "))
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

/// Progress on a terminal; gone when dropped.
#[derive(Debug)]
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// Replaces the text.
    pub(crate) fn set_message(&self, message: impl Into<String>) {
        self.0.set_message(message.into());
    }

    /// One more is done.
    pub(crate) fn step(&self) {
        self.0.inc(1);
    }

    /// Nothing to show.
    pub(crate) fn none() -> Self {
        Self(ProgressBar::hidden())
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// Text with a colour, if colour may be used.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Color {
    Red,
    Yellow,
    Green,
}

impl Output {
    /// `text` in a colour, if colour may be used.
    pub(crate) fn paint(&self, color: Color, text: impl Display) -> String {
        if !self.color {
            return text.to_string();
        }
        let code = match color {
            Color::Red => 31,
            Color::Yellow => 33,
            Color::Green => 32,
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

/// A value as indented JSON.
pub(crate) fn pretty(value: &impl Serialize, indent: &[u8]) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(indent);
    value.serialize(&mut serde_json::Serializer::with_formatter(
        &mut bytes, formatter,
    ))?;
    Ok(String::from_utf8(bytes)?)
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
