//! The fleet node: does what verified requests ask.
use std::process::ExitCode;

fn main() -> ExitCode {
    overlay_runtime::launch(overlay_runtime::app!(), overlay_server::run)
}
