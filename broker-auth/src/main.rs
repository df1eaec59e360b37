//! Login service of the broker: answers NATS auth callouts.
use std::process::ExitCode;

fn main() -> ExitCode {
    overlay_runtime::launch(overlay_runtime::app!(), overlay_broker_auth::run)
}
