//! Logs people in, decides and signs their requests, and keeps the record of it.
use std::process::ExitCode;

fn main() -> ExitCode {
    overlay_runtime::launch(overlay_runtime::app!(), overlay_aaa_signer::run)
}
