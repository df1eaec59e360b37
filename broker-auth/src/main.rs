//! Login service of the broker: answers NATS auth callouts.
use std::process::ExitCode;

/// What one thread makes, another drops: see docs/adr/0022.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    overlay_runtime::launch(overlay_runtime::app!(), overlay_broker_auth::run)
}
