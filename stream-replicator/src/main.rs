//! Copies streams between brokers.
use std::process::ExitCode;

fn main() -> ExitCode {
    overlay_runtime::launch(overlay_runtime::app!(), overlay_stream_replicator::run)
}
