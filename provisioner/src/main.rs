//! Enrols nodes that have nothing but a provisioning token.
use std::process::ExitCode;

fn main() -> ExitCode {
    overlay_runtime::launch(overlay_runtime::app!(), overlay_provisioner::run)
}
