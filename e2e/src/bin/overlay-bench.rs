//! Runs one benchmark; `cargo xtask bench NAME` builds and calls it.

use std::process::ExitCode;

fn main() -> ExitCode {
    overlay_e2e::bench::main()
}
