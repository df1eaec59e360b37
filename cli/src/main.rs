//! The operator's command.
use std::process::ExitCode;

fn main() -> ExitCode {
    overlay_cli::run()
}
