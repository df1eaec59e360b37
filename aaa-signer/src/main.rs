//! Logs people in, decides and signs their requests, and keeps the record of it.
use std::process::ExitCode;

/// What one thread makes, another drops: see docs/adr/0022.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    overlay_runtime::launch(overlay_runtime::app!(), overlay_aaa_signer::run)
}
